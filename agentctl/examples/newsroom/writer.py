"""Write an issue of what the researchers found, in the order the editor wants.

Payload: {"issue": "ISSUE.md"}. Result: {"lead", "stories", "lost"}; a story has
"title", "path", "words", "summary" and "degraded".
"""

import json
import os
import subprocess
import sys

WITHIN = "30s"


def agentctl(*words):
    """Run a verb as this agent and return what it printed."""
    return subprocess.run(["agentctl", *words], stdout=subprocess.PIPE, check=True, text=True).stdout


def found():
    """Return the researchers' results, and what could not be read."""
    stories, lost = [], []
    with open(os.environ["AGENTCTL_PARENTS_FILE"], encoding="utf-8") as lines:
        for line in lines:
            parent = json.loads(line)
            if parent["state"] == "done":
                stories.append({**parent["result"], "degraded": parent["degraded"]})
            else:
                lost.append({"path": parent["payload"]["path"], "why": parent["error"]})
    return stories, lost


def ask_the_editor(titles):
    """Return the number of the story that leads: a QUERY, its RESULT, and an ack of that."""
    # The key makes it one question, also when this process dies and the next one asks again.
    key = f"{os.environ['AGENTCTL_TASK']}:lead"
    asked = agentctl("msg", "send", "editor", json.dumps({"titles": titles}), "--type", "QUERY", "--key", key).strip()
    print(f"asked the editor: {asked}", flush=True)
    while True:
        line = agentctl("msg", "read", "--wait", WITHIN)  # exit code 7, no answer, is an exception: tried again
        message = json.loads(line)
        agentctl("msg", "ack", message["delivery"])
        if message["type"] == "RESULT" and message["reply_to"] == asked:
            return message["payload"]["lead"]


def main():
    stories, lost = found()
    lead = ask_the_editor([story["title"] for story in stories]) if stories else None
    with open(os.environ["AGENTCTL_RESULT_FILE"], "w", encoding="utf-8") as file:
        json.dump({"lead": lead, "stories": stories, "lost": lost}, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())

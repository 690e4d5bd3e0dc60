"""Answer the writer's questions, and read drafts: a worker, which claims for itself and has an inbox.

A draft is the result of the task before: {"lead", "stories", "lost"}. Result: {"lead", "stories", "lost", "words"}.
"""

import json
import subprocess
import sys

NOTHING = 7  # agentctl's exit code for it


def agentctl(*words):
    """Run a verb as this agent and return what it printed as JSON, or None when there was nothing."""
    done = subprocess.run(["agentctl", *words], stdout=subprocess.PIPE, text=True)
    if done.returncode == NOTHING:
        return None
    done.check_returncode()
    return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout


def answer(message):
    """Say which story leads: the one whose title says most."""
    titles = message["payload"]["titles"]
    lead = max(range(len(titles)), key=lambda number: len(titles[number]))
    print(f"leads: {titles[lead]}")
    agentctl("msg", "reply", message["delivery"], json.dumps({"lead": lead}))  # acks the question as well


def edit(claim):
    """Put the lead first, and count what the issue is made of."""
    draft = claim["parents"][0]["result"]
    stories = sorted(enumerate(draft["stories"]), key=lambda story: (story[0] != draft["lead"], story[1]["title"]))
    issue = {**draft, "stories": [story for _, story in stories]}
    issue["words"] = sum(story["words"] for story in issue["stories"])
    agentctl("task", "complete", claim["attempt"], "--result", json.dumps(issue))


def main():
    while True:
        message = agentctl("msg", "read", "--wait", "1s")
        if message is not None:
            answer(message)
        claim = agentctl("task", "claim", "edit")
        if claim is not None:
            edit(claim)


if __name__ == "__main__":
    sys.exit(main())

"""Write the issue into a file, and tell everybody that it is out.

Payload: {"issue": "ISSUE.md"}. Result: {"issue", "stories", "degraded", "lost", "words"}.
"""

import json
import os
import subprocess
import sys


def text_of(issue):
    """Return the issue as Markdown."""
    stories = issue["stories"]
    lines = ["# What is installed here" if not stories else f"# {stories[0]['title']}", ""]
    for number, story in enumerate(stories):
        lines += [] if number == 0 else [f"## {story['title']}", ""]
        lines += [story["summary"], "", f"*{story['path']}, {story['words']:,} words"]
        lines[-1] += ", from the archive: the wire service would not have it*" if story["degraded"] else "*"
        lines.append("")
    if issue["lost"]:
        lines += ["## Could not be read", "", *(f"- `{one['path']}`: {one['why']}" for one in issue["lost"]), ""]
    return "\n".join(lines)


def main():
    name = json.load(sys.stdin)["issue"]
    with open(os.environ["AGENTCTL_PARENTS_FILE"], encoding="utf-8") as lines:
        issue = json.loads(lines.readline())["result"]
    with open(f"{name}.new", "w", encoding="utf-8") as file:
        file.write(text_of(issue))
    os.replace(f"{name}.new", name)  # whole, or not at all
    said = {
        "issue": name,
        "stories": len(issue["stories"]),
        "degraded": sum(story["degraded"] for story in issue["stories"]),
        "lost": len(issue["lost"]),
        "words": issue["words"],
    }
    # Whoever subscribed hears of it, once: `agentctl msg subscribe published`.
    key = f"{os.environ['AGENTCTL_TASK']}:published"
    subprocess.run(
        ["agentctl", "msg", "publish", "published", json.dumps(said), "--key", key],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Plan an issue: a task per text to read, then one each for the writer, the editor and the publisher.

Payload: {"path": "FOLDER WITH TEXTS", "issue": "ISSUE.md"}; "issue" may be left out.
"""

import hashlib
import json
import os
import subprocess
import sys

MAX_TEXTS = 500


def texts(root):
    """Return the files in and below `root`, sorted; hidden ones and those with odd names are left out."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [os.path.join(folder, name) for name in names if not name.startswith(".")]
        found += [path for path in paths if path.isprintable() and os.path.isfile(path)]
    return sorted(found)


def task_lines(files, issue):
    """Return the tasks of an issue, in the form `agentctl task add --jsonl` reads."""
    # The keys hold this task's id: if this process dies and runs again, no task is added twice.
    plan = os.environ["AGENTCTL_TASK"]
    keys = {path: f"{plan}:{hashlib.sha256(path.encode()).hexdigest()[:16]}" for path in files}
    research = [{"queue": "research", "payload": {"path": path}, "key": keys[path]} for path in files]
    steps, after = [], list(keys.values())
    for queue in ("write", "edit", "publish"):
        key = f"{plan}:{queue}"
        steps.append(
            {"queue": queue, "payload": {"issue": issue}, "key": key, "after": [f"key:{name}" for name in after]}
        )
        after = [key]
    steps[0]["on_parent_failure"] = "run"  # a text that nobody can read must not cost the whole issue
    return research + steps


def main():
    payload = json.load(sys.stdin)
    files = texts(payload["path"])
    if not 1 <= len(files) <= MAX_TEXTS:
        print(f"{payload['path']} holds {len(files)} texts; from 1 to {MAX_TEXTS} make an issue", file=sys.stderr)
        return 65
    tasks = task_lines(files, payload.get("issue", "ISSUE.md"))
    lines = "".join(json.dumps(task) + "\n" for task in tasks)
    subprocess.run(
        ["agentctl", "task", "add", "--jsonl", "-"], input=lines.encode(), stdout=subprocess.DEVNULL, check=True
    )
    print(json.dumps({"texts": len(files), "tasks": len(tasks)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

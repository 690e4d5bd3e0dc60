"""Plan a review: one task per Python file, one per folder, and a last one that waits for them all.

Payload: {"path": "src", "report": "REPORT.md"}; "report" may be left out.
"""

import hashlib
import json
import os
import subprocess
import sys

MAX_FILES = 4000  # all tasks are added in one transaction, which has a limit


def python_files(root):
    """Return the *.py files in and below `root`, sorted. Hidden ones are left out, as in the shell.

    So are names with bytes that are not text: no payload could hold them.
    """
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".py") and not name.startswith(".") and is_printable(path) and os.path.isfile(path):
                found.append(path)
    return sorted(found)


def is_printable(path):
    """Say whether `path` can be written in a payload; if not, leave a line in the log."""
    if path.isprintable():
        return True
    print(f"left out, its name cannot be written: {path!r}", file=sys.stderr)
    return False


def digest(path):
    """Return a short name for `path`; a key has at most 200 characters."""
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def task_lines(files, payload):
    """Return the tasks to add, in the form `agentctl task add --jsonl` reads."""
    # The keys hold this task's id: if this process dies and runs again, no task is added twice.
    plan = os.environ["AGENTCTL_TASK"]
    folders = sorted({os.path.dirname(path) or "." for path in files})
    work = [("review", path) for path in files] + [("count", path) for path in folders]
    tasks = [
        {"queue": queue, "payload": {"path": path}, "key": f"{plan}:{queue}:{digest(path)}"} for queue, path in work
    ]
    report = {
        "queue": "report",
        "payload": {"path": payload["path"], "report": payload.get("report", "REPORT.md")},
        "key": f"{plan}:report",
        "after": ["key:" + task["key"] for task in tasks],
        "on_parent_failure": "run",  # a file that cannot be reviewed must not cost the whole report
    }
    return [*tasks, report]


def main():
    payload = json.load(sys.stdin)
    root = payload.get("path") if isinstance(payload, dict) else None
    if not isinstance(root, str) or not os.path.isdir(root):
        print(f'no folder at {root!r}: the payload must be {{"path": "FOLDER"}}', file=sys.stderr)
        return 65  # trying again cannot help: this task becomes a dead letter
    files = python_files(root)
    if not 1 <= len(files) <= MAX_FILES:
        print(f"{root} holds {len(files)} Python files, from 1 to {MAX_FILES} can be reviewed", file=sys.stderr)
        return 65

    # A line like this on standard output is understood, any other is a log line.
    print(json.dumps({"agentctl": "progress", "text": f"{len(files)} files found"}), flush=True)
    tasks = task_lines(files, payload)
    lines = "".join(json.dumps(task, ensure_ascii=False) + "\n" for task in tasks)
    subprocess.run(
        ["agentctl", "task", "add", "--jsonl", "-"],
        input=lines.encode(),
        stdout=subprocess.DEVNULL,  # the new ids; this agent's own result goes to stdout
        check=True,  # a failure is a traceback and exit code 1: transient, tried again
    )
    print(json.dumps({"files": len(files), "tasks": len(tasks)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

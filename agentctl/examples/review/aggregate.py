"""Write the report, once every review and every count has ended, well or badly.

Payload: {"path": "src", "report": "REPORT.md"}. AGENTCTL_PARENTS_FILE has one JSON object per line for each
task this one waited for: {"task", "queue", "state", "payload", "result", "reason", "error"}.
"""

import json
import os
import sys

KINDS = {
    "complex": "functions with a complexity above 10",
    "long": "functions longer than 60 lines",
    "bare_except": "bare excepts",
    "mutable_default": "mutable default values",
    "no_docstring": "missing docstrings",
    "todo": "TODO, FIXME and XXX comments",
}


def read_parents(path):
    """Return the results of the reviews, those of the counts, and the parents that have none."""
    reviews, counts, failed = [], [], []
    with open(path, encoding="utf-8") as file:
        for parent in map(json.loads, file):
            if parent["state"] != "done":
                failed.append(parent)
            else:
                (reviews if parent["queue"] == "review" else counts).append(parent["result"])
    return sorted(reviews, key=lambda r: r["path"]), sorted(counts, key=lambda c: c["path"]), failed


def add_up(reviews, counts, failed):
    """Return all the sums of the report. They are also this task's result."""
    return {
        "files": len(reviews) + sum(parent["queue"] == "review" for parent in failed),
        "reviewed": len(reviews),
        "lines": sum(review["lines"] for review in reviews),
        "functions": sum(review["functions"] for review in reviews),
        "findings": {kind: sum(review["counts"][kind] for review in reviews) for kind in KINDS},
        "suspicious": sum(sum(count["suspicious"].values()) for count in counts),
        "failed": [
            {"task": p["task"], "path": p["payload"]["path"], "reason": p["error"] or p["reason"]} for p in failed
        ],
    }


def table(head, rows):
    """Return a Markdown table; the first column is text, the others are figures."""
    lines = [head, ["---"] + ["--:"] * (len(head) - 1)]
    lines += [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def code(text):
    """Return `text` so that Markdown shows it as it is."""
    return "`" + " ".join(str(text).split()).replace("`", "'").replace("|", "\\|") + "`"


def report(path, reviews, counts, totals):
    """Return the text of the report."""
    functions = [(f["complexity"], r["path"], f) for r in reviews for f in r["most_complex"]]
    functions.sort(key=lambda item: (-item[0], item[1], item[2]["line"]))
    busiest = sorted(reviews, key=lambda r: (-sum(r["counts"].values()), r["path"]))
    parts = [
        f"# Review of {code(path)}\n",
        f"{totals['reviewed']:,} of {totals['files']:,} Python files were reviewed: "
        f"{totals['lines']:,} lines with {totals['functions']:,} functions.\n",
        "## Findings\n",
        table(["finding", "count"], [(text, totals["findings"][kind]) for kind, text in KINDS.items()]),
        "## Most complex functions\n",
        table(
            ["function", "complexity"],
            [(code(f"{where}:{f['line']} {f['name']}"), paths) for paths, where, f in functions[:10]],
        ),
        "## Files with most findings\n",
        table(
            ["file", "lines", "findings"],
            [(code(r["path"]), r["lines"], sum(r["counts"].values())) for r in busiest[:10]],
        ),
        "## Folders\n",
        "Suspicious strings: eval, exec, os.system, os.popen, shell=True, pickle.load, a written password.\n",
        table(
            ["folder", "files", "lines", "suspicious strings"],
            [(code(c["path"]), c["files"], c["lines"], sum(c["suspicious"].values())) for c in counts],
        ),
    ]
    if totals["failed"]:
        parts.append("## Could not be done\n")
        parts.append(
            "\n".join(f"- {code(f['path'])} (task {f['task']}): {code(f['reason'])}" for f in totals["failed"])
        )
        parts.append("\n")
    return "\n".join(parts).rstrip() + "\n"


def main():
    payload = json.load(sys.stdin)
    reviews, counts, failed = read_parents(os.environ["AGENTCTL_PARENTS_FILE"])
    totals = add_up(reviews, counts, failed)
    unfinished = payload["report"] + ".tmp"
    with open(unfinished, "w", encoding="utf-8") as file:
        file.write(report(payload["path"], reviews, counts, totals))
    os.replace(unfinished, payload["report"])  # a reader never sees half a report
    print(json.dumps(totals))
    return 0


if __name__ == "__main__":
    sys.exit(main())

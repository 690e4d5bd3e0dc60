"""Read one text and have the wire service sum it up.

Payload: {"path": "texts/one.txt"}. Result: {"path", "title", "words", "summary"}.
"""

import itertools
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request

WITHIN_S = 10


def note(**said):
    """Print a line that agentctl understands."""
    print(json.dumps(said), flush=True)


def ask(text):
    """Return what the wire service says, as its status and its answer."""
    for _ in range(100):  # the wire service may be starting as well
        if os.path.exists("wire.url"):
            break
        time.sleep(0.1)
    with open("wire.url", encoding="utf-8") as file:
        url = file.read().strip()
    request = urllib.request.Request(url, json.dumps({"text": text}).encode())
    try:
        with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
            return 200, json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 429:
            note(agentctl="retry_after", seconds=int(error.headers["Retry-After"]))
        return error.code, json.load(error)


def title_of(text):
    """Return the first heading of a text in Markdown or reStructuredText, without its markup; None if it has none."""
    lines = text.splitlines()
    for line, below in itertools.pairwise(lines):
        name = re.sub(r"<[^>]*>|!?\[([^\]]*)\]\([^)]*\)|[*`#]", r"\1", line).strip()
        underlined = len(below) > 2 and set(below) <= set("=-~")
        if (line.startswith("#") or underlined) and name[:1].isalpha():
            return name[:100]
    return None


def main():
    path = json.load(sys.stdin)["path"]
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        print(f"{path}: no text: {error.reason} at byte {error.start}", file=sys.stderr)
        return 65  # permanent: nobody can read it
    try:
        status, said = ask(text)
    except urllib.error.URLError as error:
        print(f"the wire service does not answer: {error.reason}", file=sys.stderr)
        return 1
    if status != 200:
        print(f"the wire service says {status}: {said['error']}", file=sys.stderr)
        return {429: 75, 413: 65}.get(status, 1)  # throttled; never; tried again
    note(
        agentctl="usage",
        input_tokens=said["input_tokens"],
        output_tokens=said["output_tokens"],
        cost_usd=(said["input_tokens"] + 4 * said["output_tokens"]) / 1_000_000,
    )
    title = title_of(text) or os.path.splitext(os.path.basename(path))[0]
    print(json.dumps({"path": path, "title": title, "words": len(text.split()), "summary": said["summary"]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

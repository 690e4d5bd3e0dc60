"""The figures of a review, found by other means than the example's agents use: ruff, compiled code, regular
expressions and `wc`-like counting. What they say of the same files must be the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from types import CodeType

_RULES = {"C901": "complex", "E722": "bare_except", "B006": "mutable_default"}
_RULES |= {"FIX001": "todo", "FIX002": "todo", "FIX003": "todo"}
_SUSPICIOUS = (
    rb"(?:^|[^A-Za-z0-9_.])eval\(",
    rb"(?:^|[^A-Za-z0-9_.])exec\(",
    rb"os\.(?:system|popen)\(",
    rb"shell *= *True",
    rb"pickle\.loads?\(",
    rb"[Pp][Aa][Ss][Ss][Ww][Oo][Rr][Dd] *= *[\"']",
)


def compiles(path: Path) -> bool:
    """Say whether Python itself can compile the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(path.read_bytes(), str(path), "exec")
        except (SyntaxError, ValueError):
            return False
    return True


def lint(paths: list[Path]) -> list[tuple[str, Path, int, str]]:
    """Return ruff's (finding, file, line, text); `complex` is reported for every function."""
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--ignore-noqa", "--quiet"]
    rules = ["--select", ",".join(_RULES), "--config", "lint.mccabe.max-complexity=0"]
    command = [*ruff, *rules, "--target-version", "py311", "--output-format", "json", *map(str, paths)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
    return [(_RULES[hit["code"]], Path(hit["filename"]), hit["location"]["row"], hit["message"]) for hit in found]


def complexities(paths: list[Path]) -> dict[tuple[str, int], int]:
    """Return the complexity of each function by (file, line)."""
    return {
        (str(path), line): int(re.findall(r"\((\d+) > 0\)", text)[0])
        for kind, path, line, text in lint(paths)
        if kind == "complex"
    }


def figures(paths: list[Path]) -> dict[str, int]:
    """Return the sums a report on `paths` must show, without docstrings and long functions."""
    good = [path for path in paths if compiles(path)]
    sums = Counter(dict.fromkeys(_RULES.values(), 0))
    for kind, _, _, text in lint(good):
        sums[kind] += kind != "complex" or int(re.findall(r"\((\d+) > 0\)", text)[0]) > 10
    lines = [line for path in paths for line in re.split(rb"\n", path.read_bytes())]
    return {
        **sums,
        "files": len(paths),
        "reviewed": len(good),
        "lines": sum(len(path.read_text("latin-1").replace("\r", " ").split("\n")) for path in good)
        - sum(path.read_bytes()[-1:] in (b"\n", b"") for path in good),
        "functions": sum(functions(path) for path in good),
        "suspicious": sum(bool(re.search(pattern, line)) for line in lines for pattern in _SUSPICIOUS),
    }


def functions(path: Path) -> int:
    """Return how many functions the compiler makes from the file, lambdas and comprehensions apart."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        todo: list[CodeType] = [compile(path.read_bytes(), str(path), "exec", optimize=0)]
    count = 0
    while todo:
        code = todo.pop()
        # CO_NEWLOCALS and CO_OPTIMIZED mark functions; class bodies and modules have neither.
        count += code.co_flags & 3 == 3 and not code.co_name.startswith("<")
        todo += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    return count

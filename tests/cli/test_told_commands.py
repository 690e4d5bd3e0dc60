"""Commands that messages, help texts and the README tell a person to run: their verbs and options are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from agentctl.cli.verb import VERBS
from agentctl.main import TABLE

ROOT = Path(__file__).resolve().parents[2]
_SAID = re.compile(r"\bagentctl ((?:[a-z]+ )?[a-z]+)\b([^;.,`'\"|)\n]*)")
_OPTION = re.compile(r"(?<!\S)--?[a-z][a-z-]*")


def texts(path: Path) -> Iterator[str]:
    """Yield the texts of a Python file; of one with values, a word stands for each."""
    tree = ast.parse(path.read_text())
    inside = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "VALUE" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside:
            yield node.value


def test_what_a_person_is_told_to_run_can_be_run() -> None:
    for module in set(TABLE.values()):
        import_module(f"agentctl.cli.{module}")
    said = [
        (path, text)
        for folder in ("agentctl", "store/agentctl_store", "tui/agentctl_tui")
        for path in (ROOT / folder).rglob("*.py")
        for text in texts(path)
    ]
    said += [(ROOT / "README.md", (ROOT / "README.md").read_text())]
    seen, nouns = 0, {path.partition(" ")[0] for path in TABLE}
    for path, text in said:
        for words, rest in _SAID.findall(text):
            noun, _, rest_of_path = words.partition(" ")
            verb = VERBS.get(words) or VERBS.get(noun)
            told = f"{path.relative_to(ROOT)}: agentctl {words}{rest}"
            assert verb is not None or noun not in nouns or not rest_of_path, told
            if verb is not None:
                seen += 1
                unknown = set(_OPTION.findall(rest)) - set(verb.options) - {"--help", "-h"}
                assert not unknown, f"{told}: {unknown}"
    assert seen > 150, "they are found"

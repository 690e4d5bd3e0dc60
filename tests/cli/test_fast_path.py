"""The fast path and typer read every argv alike: the fast one may decline, never differ."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.cli.fast import match
from agentctl.cli.typer_app import build
from agentctl.cli.verb import VERBS, Verb, arg, opt, verb
from agentctl.main import TABLE

for module in dict.fromkeys(TABLE.values()):
    import_module(f"agentctl.cli.{module}")

REAL = dict(VERBS)


@verb(
    "task everything",
    summary="One parameter of every kind.",
    reads=True,
    asks=True,
    dry=True,
    first=arg("A place."),
    rest=arg("The other places."),
    number=opt("-n", help="A number."),
    share=opt(help="A fraction."),
    flag=opt("-f", help="A flag."),
    several=opt("-s", "--several", help="Repeatable."),
    kind=opt(help="A choice.", choices=("a", "b")),
)
def _everything(
    call: object,
    *,
    first: str,
    rest: tuple[str, ...] = (),
    number: int | None = None,
    share: float = 0.5,
    flag: bool = False,
    several: tuple[str, ...] = (),
    kind: str = "a",
) -> int:
    return 0


EVERYTHING = VERBS.pop("task everything")

ODD = """- -- -1 0 7 007 1_000 ٣ 1.5 nan a b x=y --help -h --version -nq -n5 --number=5 --number= --kind=a -ff
    --flag=true --json {"a":1} @f table json 999999999999999999 99999999999999999999999 --no-flag -f
    \u202e \udc80"""
WORDS = st.one_of(
    st.sampled_from(ODD.split()),
    st.sampled_from(["", " 5"]),
    st.text(max_size=4),
)


_CALLED: list[dict[str, Any]] = []
_COMMANDS: dict[str, Any] = {}


def _by_typer(declared: Verb, words: list[str]) -> dict[str, Any] | str:
    """Return what typer would call the handler with, or how it refuses."""

    def take(_: Verb, values: dict[str, Any]) -> int:
        _CALLED.append(values)
        return 0

    if declared.path not in _COMMANDS:
        _COMMANDS[declared.path] = typer.main.get_command(build(take, {declared.path: declared}))
    path = declared.path.split()
    _CALLED.clear()
    try:
        _COMMANDS[declared.path].main([*path, *words], prog_name="agentctl", standalone_mode=False)
    except typer.TyperException as error:
        return error.format_message()
    return _CALLED[0] if _CALLED else "no call"


def _argv(declared: Verb) -> st.SearchStrategy[list[str]]:
    flags = sorted(declared.options)
    value = st.one_of(WORDS, st.sampled_from([c for p in declared.params for c in p.choices] or ["x"]))
    pair = st.tuples(st.sampled_from(flags or ["-z"]), value).map(list)
    piece = st.one_of(pair, value.map(lambda word: [word]), st.sampled_from(flags or ["-z"]).map(lambda f: [f]))
    pieces = st.lists(piece, max_size=5).map(lambda found: [word for one in found for word in one])
    needed = [param.choices[0] if param.choices else "x" for param in declared.params if param.required]
    return st.tuples(st.sampled_from([needed, []]), pieces).map(lambda halves: halves[0] + halves[1])


@pytest.mark.parametrize("path", [*REAL, "task everything"])
def test_a_fast_match_is_none_or_what_typer_calls_the_handler_with(path: str) -> None:
    declared = REAL.get(path, EVERYTHING)
    matched = 0

    @settings(max_examples=150 if path == "task everything" else 60, deadline=None, print_blob=True)
    @given(_argv(declared))
    def check(words: list[str]) -> None:
        nonlocal matched
        fast = match(declared, words)
        if fast is None:
            return
        matched += 1
        by_typer = _by_typer(declared, words)
        assert by_typer == fast, words
        assert {name: type(value) for name, value in fast.items()} == {
            name: type(by_typer[name])  # type: ignore[index]
            for name in fast
        }

    check()
    assert matched, "the generator never produced an argv that the fast path takes"


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["x", "-h"],
        ["x", "--unknown"],
        ["x", "-n"],
        ["x", "-n", "five"],
        ["x", "-n", "-5"],
        ["x", "-n5"],
        ["x", "--kind", "c"],
        ["x", "-n", "1", "-n", "2"],
        ["x", "--flag=true"],
        ["--", "-x"],
        [""],
        [],
    ],
)
def test_whatever_leaves_a_doubt_is_left_to_typer(words: list[str]) -> None:
    assert match(EVERYTHING, words) is None


def test_the_plain_forms_are_matched_without_typer() -> None:
    values = match(EVERYTHING, ["a", "-n", "5", "b", "--several=x", "-s", "y", "c", "--flag", "--kind", "b"])
    assert values is not None
    assert values["first"] == "a" and values["rest"] == ("b", "c")
    assert values["number"] == 5 and values["several"] == ("x", "y")
    assert values["flag"] is True and values["kind"] == "b" and values["share"] == 0.5


@pytest.mark.parametrize("path", list(REAL))
def test_every_verb_explains_itself_and_each_of_its_parameters(path: str) -> None:
    declared = REAL[path]
    assert declared.summary.endswith(".") and len(declared.summary) <= 80
    for param in declared.params:
        assert len(param.help) > 5, f"{path} {param.name}"
        assert param.kind in ("str", "int", "float", "bool"), f"{path} {param.name}: {param.kind}"
        assert not param.flags or any(flag.startswith("--") for flag in param.flags)
        if param.kind == "bool":
            assert param.default is False


def test_the_table_of_verbs_names_exactly_what_the_modules_declare() -> None:
    assert set(TABLE) == set(REAL)
    for path, module in TABLE.items():
        assert REAL[path].run.__module__ == f"agentctl.cli.{module}"

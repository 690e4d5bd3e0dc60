"""The typer application, made from the same declarations as the fast path.

Help, usage errors and completion come from it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection
from importlib import import_module
from typing import Annotated, Any, Optional

import typer

from agentctl_store.errors import BadInput

from .verb import VERBS, Param, Verb

Run = Callable[[Verb, dict[str, Any]], int]
KINDS: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
COMPLETION_VARIABLE = "_AGENTCTL_COMPLETE"
_NOUNS = {
    "task": "Units of work in queues.",
    "inbox": "Questions that tasks ask a person.",
    "dlq": "Dead letters: tasks and messages that a person decides on.",
    "msg": "Messages between agents.",
    "schema": "JSON Schemas that messages are held to.",
    "agent": "The agents of the fleet.",
    "queue": "Queues of tasks.",
    "limit": "What may start: rates, how many at once, depth of queues.",
    "budget": "What may be spent: tokens, money, time, starts.",
    "breaker": "Agents and providers that are left alone for a while.",
    "schedule": "Work that is added again and again.",
    "event": "The history of everything that happened.",
    "store": "The fleet's store.",
    "config": "agentctl.toml.",
}
_SETTINGS: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "add_completion": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


def run_typer(words: list[str], table: dict[str, str], run: Run) -> int:
    """Parse `words` with typer and run what they name. Raises BadInput for what it cannot parse."""
    # Only what the first word can mean is loaded; for the list of all, verbs of one word; for completion, everything.
    named = [path for path in table if words and path.partition(" ")[0] == words[0]]
    overview = words in (["--help"], ["-h"]) and COMPLETION_VARIABLE not in os.environ
    paths = named or [path for path in table if not overview or " " not in path]
    for module in dict.fromkeys(table[path] for path in paths):
        import_module(f"agentctl.cli.{module}")
    if COMPLETION_VARIABLE in os.environ:
        from typer._completion_classes import completion_init

        completion_init()
    # Above the verbs only their names and summaries are shown: no parameter has to be made for that.
    listing = words in (["--help"], ["-h"]) or (bool(words) and words[0][:1] != "-" and not named)
    whole = not listing or COMPLETION_VARIABLE in os.environ
    nouns = {path.partition(" ")[0] for path in table if " " in path} if overview else ()
    command = typer.main.get_command(build(run, {path: VERBS[path] for path in paths}, whole=whole, nouns=nouns))
    try:
        code = command.main(words, prog_name="agentctl", complete_var=COMPLETION_VARIABLE, standalone_mode=False)
    except typer.TyperException as error:
        raise BadInput(*_worded(error)) from None
    except typer.Abort:
        return 130
    return code if isinstance(code, int) else 0


def build(run: Run, verbs: dict[str, Verb] = VERBS, *, whole: bool = True, nouns: Collection[str] = ()) -> typer.Typer:
    """Make the app of `verbs`, all declared so far; a parsed one is handed to `run` with its values.

    Without `whole` the verbs have no parameters, and `nouns` have no verbs: enough for a list of them.
    """
    app = typer.Typer(
        help="Run a team of AI agents on your own machine overnight and be fine in the morning.", **_SETTINGS
    )
    app.callback()(_root)
    named = [*dict.fromkeys(path.rpartition(" ")[0] for path in verbs if " " in path), *nouns]
    groups = {"": app}
    for noun in sorted(named, key=list(_NOUNS).index):
        groups[noun] = typer.Typer(name=noun, help=_NOUNS[noun], no_args_is_help=True, **_SETTINGS)
        app.add_typer(groups[noun])
    for path, declared in verbs.items():
        noun, _, name = path.rpartition(" ")
        group = groups[noun]
        group.command(name, help=_help(declared), short_help=declared.summary)(
            _function(declared, run) if whole else _nothing
        )
    return app


def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
) -> None:
    # `--version` itself never comes here: main.py answers it; the option stands here for the help text.
    pass


def _nothing() -> int:
    return 0


def _help(declared: Verb) -> str:
    return f"{declared.summary}\n\n{declared.details}".rstrip()


def _function(declared: Verb, run: Run) -> Callable[..., int]:
    def call(**values: Any) -> int:
        for param in declared.params:
            if param.many:
                values[param.name] = tuple(values[param.name] or ())
        return run(declared, values)

    places = [_parameter(param) for param in declared.places]
    options = [_parameter(param) for param in declared.params if param.flags]
    call.__signature__ = inspect.Signature(places + options, return_annotation=int)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in places + options}
    return call


def _parameter(param: Param) -> inspect.Parameter:
    kind: Any = KINDS[param.kind]
    if param.many:
        kind = list[kind]
    default: Any = inspect.Parameter.empty if param.required else param.default
    if default is None or default == ():
        kind, default = Optional[kind], None  # noqa: UP045 - made at run time
    help = param.help + (f" [env: {param.env}]" if param.env else "")
    settings: dict[str, Any] = {"help": help, "metavar": param.metavar or _placeholder(param)}
    if param.complete:
        settings["autocompletion"] = _completer(param.complete)
    if param.choices:
        settings |= {"parser": _one_of(param), "metavar": "|".join(param.choices)}
        settings["autocompletion"] = _words(param.choices)
    made: Any
    if not param.flags:
        made = typer.Argument(**settings)
    else:
        settings["show_default"] = default not in (None, "", False)
        made = typer.Option(*param.flags, **settings)
    return inspect.Parameter(
        param.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, made]
    )


def _placeholder(param: Param) -> str | None:
    """Return what stands for an option's value in help when its declaration does not say: QUEUE, N."""
    if not param.flags or param.kind == "bool":
        return None
    return "N" if param.kind in ("int", "float") else param.name.upper()


def _one_of(param: Param) -> Callable[[str], str]:
    def choice(text: str) -> str:
        if text not in param.choices:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(param.choices)}")
        return text

    return choice


def _words(words: tuple[str, ...]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def _completer(source: str) -> Callable[[typer.Context, str], list[tuple[str, str]]]:
    def complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        from .completing import offer

        return offer(source, incomplete, ctx.params.get("store") or os.environ.get("AGENTCTL_STORE"))

    return complete


def _worded(error: typer.TyperException) -> tuple[str, str]:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "agentctl"
    message = " ".join(error.format_message().split()).rstrip(".")
    remedy = f"See `{path} --help`"
    if getattr(error, "option_name", "")[1:2].isdigit():
        remedy = f"A number below zero goes last, after `--`. {remedy}"
    return f"{message[:1].lower()}{message[1:]}", remedy

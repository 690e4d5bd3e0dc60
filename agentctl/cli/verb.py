"""How a verb of the command line is declared, once.

Help, parsing, completion and the fast path derive from it:

    @verb("queue pause", summary="Stop claims from a queue.", queue=arg("The queue.", complete="queues"),
          reason=opt("--reason", help="Why; shown to everybody who looks."))
    def pause(call: Call, *, queue: str, reason: str = "") -> int: ...

Annotations stay strings (``from __future__ import annotations``) and defaults stand in ``__kwdefaults__``,
so that reading a declaration imports nothing. `cli/fast.py` matches an argv against it, `cli/typer_app.py`
makes the typer command of it; both hand the same values to `cli/call.py`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Handler = Callable[..., int]


class Param:
    """One argument or option. `kind` is the type of one value: str, int, float or bool (a flag)."""

    __slots__ = (
        "choices",
        "complete",
        "default",
        "env",
        "flags",
        "help",
        "kind",
        "many",
        "metavar",
        "name",
        "required",
    )

    def __init__(
        self,
        flags: tuple[str, ...],
        help: str,
        metavar: str = "",
        choices: tuple[str, ...] = (),
        complete: str = "",
        env: str = "",
        name: str = "",
        kind: str = "str",
        default: Any = None,
    ) -> None:
        self.flags, self.help, self.metavar, self.choices = flags, help, metavar, choices
        self.complete = complete  #: what completion offers: a name in cli/completing.py
        self.env = env  #: the environment variable that stands in when nothing is given
        self.name, self.kind, self.default = name, kind, default
        self.required = self.many = False

    @property
    def spelled(self) -> str:
        """How a person types it, for messages."""
        return self.flags[-1] if self.flags else self.metavar or self.name


class Verb:
    """A declared verb: `path` is what a person types, `run` the handler."""

    __slots__ = ("details", "options", "params", "path", "places", "run", "summary")

    def __init__(self, path: str, summary: str, details: str, run: Handler, params: list[Param]) -> None:
        self.path, self.summary, self.details, self.run = path, summary, details, run
        self.params = params
        self.places = [param for param in params if not param.flags]
        self.options = {flag: param for param in params for flag in param.flags}


VERBS: dict[str, Verb] = {}  #: filled as the modules of agentctl/cli are imported

OUTPUTS = ("table", "wide", "json", "jsonl", "csv")
_STORE = Param(
    ("--store",),
    "The store directory (default: .agentctl beside the nearest agentctl.toml).",
    "DIR",
    env="AGENTCTL_STORE",
    name="store",
)
_FIELDS = Param(("--json",), "Print JSON with these fields only, comma-separated.", "FIELDS", name="json")
_WATCH = Param(("--watch",), "Print again on every change, until Ctrl-C.", name="watch", kind="bool", default=False)
_ASKING = [
    Param(("--yes", "-y"), "Do not ask for confirmation.", kind="bool", name="yes", default=False),
    Param(
        ("--no-input",),
        "Never ask; refuse what would need an answer.",
        kind="bool",
        name="no_input",
        default=False,
    ),
]
_DRY = Param(("--dry-run",), "Say what would be done, and do nothing.", kind="bool", name="dry_run", default=False)
#: options that every handler finds on its `Call` instead of among its own parameters
COMMON = frozenset(("store", "output", "json", "watch", "yes", "no_input", "dry_run"))


def _output(default: str) -> Param:
    return Param(("-o", "--output"), "How to print it.", choices=OUTPUTS, name="output", default=default)


def arg(help: str, metavar: str = "", *, choices: tuple[str, ...] = (), complete: str = "", env: str = "") -> Param:
    """Declare a positional argument; without a default it is required."""
    return Param((), help, metavar, choices, complete, env)


def opt(
    *flags: str,
    help: str,
    metavar: str = "",
    choices: tuple[str, ...] = (),
    complete: str = "",
    env: str = "",
) -> Param:
    """Declare an option under `flags`, and under `--name` when they hold no long one.

    A handler's `bool` makes a flag, a `tuple[str, ...]` a repeatable option.
    """
    return Param(flags or ("",), help, metavar, choices, complete, env)


LISTED = 50  #: rows of a list where nobody says how many
#: of a claim or heartbeat; the supervisor tells its sessions what agentctl.toml says
LEASE = opt(
    help="For how long from now the attempt owns the task without a heartbeat (default: 1m).",
    metavar="DURATION",
    env="AGENTCTL_LEASE",
)
AT_MOST = opt("-n", help=f"At most so many (default: {LISTED}).", metavar="N")  #: of a list: see Call.show_first


def verb(
    path: str,
    /,
    *,
    summary: str,
    details: str = "",
    store: bool = True,
    prints: str = "",
    reads: bool = False,
    asks: bool = False,
    dry: bool = False,
    **params: Param,
) -> Callable[[Handler], Handler]:
    """Record a handler as the verb `path`.

    `store` adds --store, `prints` -o and --json with that default form, `reads` these and --watch, `asks` --yes
    and --no-input, `dry` --dry-run; their values are on the `Call` that a handler gets first.
    """

    def declare(run: Handler) -> Handler:
        defaults = run.__kwdefaults__ or {}
        own = []
        for name, annotation in run.__annotations__.items():
            if name in ("call", "return"):
                continue
            param = params.pop(name)
            param.name = name
            param.many = annotation.startswith("tuple[")
            param.kind = annotation.removeprefix("tuple[").partition(" |")[0].partition(",")[0]
            param.required = name not in defaults
            param.default = defaults.get(name)
            if param.flags and not any(flag[:2] == "--" for flag in param.flags):
                param.flags = (*filter(None, param.flags), "--" + name.replace("_", "-"))
            own.append(param)
        if params:
            raise TypeError(f"{path}: {', '.join(params)} are declared but not taken by the handler")
        common = [_output(prints or "table"), _FIELDS] if prints or reads else []
        common += ([_WATCH] if reads else []) + (_ASKING if asks else [])
        common += ([_DRY] if dry else []) + ([_STORE] if store else [])
        VERBS[path] = Verb(path, summary, details, run, own + common)
        return run

    return declare

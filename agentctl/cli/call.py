"""One run of a verb: its common options, the store it works on and the way its findings are shown."""

from __future__ import annotations

import os
import time

from agentctl_store.errors import BadInput, NotFound, Refused

from . import output
from .verb import COMMON, LISTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from agentctl_store.read.port import Reader
    from agentctl_store.store import Store

    from .table import Column
    from .verb import Param, Verb

    Rows = Iterable[Mapping[str, Any]]


FLEET_FILE = "agentctl.toml"
STORE_FOLDER = ".agentctl"
MOST = 10**15  #: of any number that is given: what the store can hold, with room for adding up


class Call:
    """What a handler gets first: the values of the common options of its verb, and what they are for."""

    def __init__(self, verb: Verb, common: Mapping[str, Any]) -> None:
        self.verb = verb
        self.store_path: str | None = common.get("store")
        self.output: str = common.get("output", "table")
        self.fields: str | None = common.get("json")
        self.watch: bool = common.get("watch", False)
        self.yes: bool = common.get("yes", False)
        self.no_input: bool = common.get("no_input", False)
        self.dry_run: bool = common.get("dry_run", False)
        self.stays = False  #: it waits: the store may get or lose its owner meanwhile
        self.pause: Callable[[float], None] = time.sleep  #: with --watch: waits for news, this many seconds at most
        self._store: Store | None = None
        self._reader: Reader | None = None

    @property
    def store(self) -> Store:
        """The store this run works on, opened at first use. Raises NotFound, StoreError."""
        if self._store is None:
            from agentctl_store.store import open_store

            directory, create = self.place()
            self._store = open_store(directory, create=create, stay=self.stays)
        return self._store

    @property
    def reader(self) -> Reader:
        """The same store for reading lists, which works on a full or read-only disk. Raises NotFound, StoreError."""
        if self._reader is None:
            from agentctl_store.read import open_reader

            directory, create = self.place()
            if create and not os.path.isdir(directory):
                self.store  # noqa: B018 - makes it: a fleet that never ran has empty lists, not an error
            self._reader = open_reader(directory)
        return self._reader

    def place(self) -> tuple[str, bool]:
        """Return the store's directory, and whether it may be made: only beside the fleet's own file."""
        if self.store_path:
            return self.store_path, False
        here = folder = os.getcwd()
        while not os.path.isfile(os.path.join(folder, FLEET_FILE)):
            above = os.path.dirname(folder)
            if above == folder:
                raise NotFound(
                    f"there is no {FLEET_FILE} in {here} or above it",
                    "Run `agentctl init` to begin a fleet, or name a store with --store",
                )
            folder = above
        return os.path.join(folder, STORE_FOLDER), True

    def show(self, columns: Sequence[Column], fetch: Callable[[], Rows], *, empty: str = "", tall: bool = False) -> int:
        """Print what `fetch` returns as rows in the asked form, again and again with --watch.

        `empty` is told on stderr when a person asked and there is nothing. People see each of `tall` rows as a record.
        """
        return self._show(columns, fetch, one=False, empty=empty, tall=tall)

    def show_first(
        self,
        columns: Sequence[Column],
        limit: int | None,
        fetch: Callable[[int], Sequence[Mapping[str, Any]]],
        *,
        empty: str,
        newest_last: bool = False,
    ) -> int:
        """Print at most `limit` of the rows that `fetch` returns for a number at most, in the asked form.

        Without a limit LISTED of them, and a note on stderr where there are more, so that nobody takes a part for the
        whole. `newest_last`: the rows to leave out come first.
        """
        if limit is not None and limit < 1:
            raise BadInput(f"--limit {limit} shows nothing", "Use at least 1")
        if limit is not None or self.watch:
            return self.show(columns, lambda: fetch(LISTED if limit is None else limit), empty=empty)
        rows = fetch(LISTED + 1)
        shown = self.show(columns, lambda: rows[-LISTED:] if newest_last else rows[:LISTED], empty=empty)
        if len(rows) > LISTED:
            self.note(f"The {'newest' if newest_last else 'first'} {LISTED} of more; -n N shows more.")
        return shown

    def show_one(self, columns: Sequence[Column], fetch: Callable[[], Mapping[str, Any]]) -> int:
        """Print one record: an entry per line for people, one object for machines."""
        return self._show(columns, lambda: [fetch()], one=True, empty="")

    def _show(
        self, columns: Sequence[Column], fetch: Callable[[], Rows], *, one: bool, empty: str, tall: bool = False
    ) -> int:
        from .table import Form

        form = Form(columns, self.output, self.fields, one=one, tall=tall)
        if self.watch:
            from .watching import watch

            return watch(form, fetch, empty, self.pause)
        rows = list(fetch())
        output.write(form.render(rows))
        if empty and not rows and form.for_people:
            self.note(empty)
        return 0

    def expect(self, columns: Sequence[Column]) -> None:
        """Raise BadInput now for a field that no column has: an act must not be done and then not told."""
        if self.fields is not None:
            from .table import Form

            Form(columns, self.output, self.fields)

    def note(self, text: str) -> None:
        """Tell a person on stderr what was done."""
        from .diagnostics import narrate

        narrate(text)

    def confirm(self, question: str) -> bool:
        """Ask before what cannot be undone. Raises BadInput where nobody can answer."""
        from .diagnostics import confirm

        return confirm(question, yes=self.yes, no_input=self.no_input)


def _is_text(param: Param, text: str) -> bool:
    try:
        # A file name may hold any bytes; everything else is stored or shown as text.
        os.fsencode(text) if param.metavar in ("DIR", "FILE", "FOLDER") or text[:1] == "@" else text.encode()
        return True
    except UnicodeEncodeError:
        return False


def actor() -> str:
    """Return who acts, for the history: an agent's instance, or the person's name."""
    found = os.environ
    name = found.get("AGENTCTL_INSTANCE") or found.get("AGENTCTL_AGENT") or found.get("USER") or f"uid-{os.getuid()}"
    return "".join(character for character in name[:64] if character.isprintable()) or "unknown"


def inside(directory: str) -> bool:
    """Whether this runs inside an agent of the store in `directory`, who sees of it what its owner lets it see."""
    own = os.environ.get("AGENTCTL_STORE") if os.environ.get("AGENTCTL_TOKEN") else None
    return bool(own) and os.path.realpath(own or "") == os.path.realpath(directory)


def operators(what: str, directory: str) -> None:
    """Return outside of an agent of the store in `directory`. Refused inside: here nobody asks the store's owner."""
    if inside(directory):
        raise Refused(f"{actor()} may not {what}", "That is the operator's: do it outside of the agent")


def needed(value: str | None, what: str, variable: str, how: str = "Give it as the argument") -> str:
    """Return `value`. Raises BadInput when neither the command line (`how`) nor the environment gave it."""
    if value is None:
        raise BadInput(f"which {what}?", f"{how}, or set {variable}")
    return value


def lease_of(given: str | None) -> int:
    """Return the milliseconds of `--lease`, which a supervisor's sessions find in their environment."""
    if given is not None:
        return span(given, "--lease")
    from agentctl_store.taskverbs import DEFAULT_LEASE_MS

    return DEFAULT_LEASE_MS


def span(text: str, what: str) -> int:
    """Return the milliseconds of a duration, read by rooms that most calls of a script need not enter."""
    from .times import read_span

    return read_span(text, what)


_kept: list[Call] = []


def run(verb: Verb, values: dict[str, Any]) -> int:
    """Run the handler of `verb` with parsed values: both the fast path and typer end here."""
    for param in verb.params:
        value = values[param.name]
        if param.env and value is None:
            value = values[param.name] = os.environ.get(param.env) or None
        if param.kind == "int" and value is not None and abs(value) > MOST:
            raise BadInput(f"{param.spelled} is out of range", f"Use at most {MOST:,}")
        if param.kind == "str" and value:
            for text in value if param.many else (value,):
                if "\0" in text or not (text.isascii() or _is_text(param, text)):
                    raise BadInput(f"{param.spelled} {text[:40]!a} is not text", "Use UTF-8 characters, without NUL")
    own = {name: value for name, value in values.items() if name not in COMMON}
    # Kept past the return: the last one to close a store folds its log back, two fsyncs that no command has to wait
    # for. The process ends without closing, and whoever opens the store next finds every commit in the log.
    _kept[:] = [Call(verb, values)]
    return verb.run(_kept[0], **own)

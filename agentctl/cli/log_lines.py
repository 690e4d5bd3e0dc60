"""What agents printed, of one session or many at once, merged by time."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from heapq import merge
from itertools import chain, islice, takewhile
from operator import itemgetter
from typing import BinaryIO

from agentctl.supervisor.lookback import look_back
from agentctl.supervisor.session_dir import verify_folders
from agentctl.supervisor.spool import LINE_BYTES, Follower, Line
from agentctl_store.errors import BadInput, NotFound
from agentctl_store.ids import LENGTH, check_instance, check_name, write_id
from agentctl_store.read.models import SessionRow
from agentctl_store.store import sessions_folder
from agentctl_store.text import printable

from . import output
from .call import Call
from .given import task_id
from .table import Column, Form
from .times import iso, read_span, read_time

FOLLOW_S = 0.1
LOOK_S = 1.0  #: how often new sessions are looked for
LATE_MS = 10_000  #: a session is in the store no later than this after the time in its id: who claims waits for a turn
TAIL_BYTES = 1 << 20  #: of each stream of a session, for a few of its newest lines
READS = 2 + 2 * TAIL_BYTES // LINE_BYTES  #: that come to the end of it; what is written meanwhile is left to following
MAX_SESSIONS = 200
MAX_VERIFIES = 10  #: of one session, after so many supervisors that were killed
_MARKS = {"out": "| ", "err": "! ", "verify": "v "}
PAST_SESSIONS = 3  #: of each instance, when nothing of it runs
_Found = tuple[tuple[int, int], SessionRow, Line]  #: the first orders them: by time, then by where they are from
_COLUMNS = (Column("at", "time"), Column("instance"), Column("session"), Column("stream"), Column("text"))


class _Wanted:
    """Which lines are printed."""

    def __init__(self, call: Call, grep: str | None, since: str | None, stream: str | None) -> None:
        try:
            self.pattern = re.compile(grep) if grep else None
        except re.error as error:
            said = f"--grep {str(grep)[:60]!a} is no regular expression: {error}"
            raise BadInput(said, "Escape what is meant as it stands with a backslash") from None
        self.stream = stream
        self.since_ms = 0
        if since is not None:
            now_ms = time.time_ns() // 1_000_000
            short = since[:1].isdigit() and since[-1:].isalpha() and "T" not in since
            self.since_ms = now_ms - read_span(since, "--since") if short else read_time(since, "--since", now_ms)
        self.form = Form(_COLUMNS, "jsonl" if call.output == "json" else call.output, call.fields)
        if call.fields is not None and call.output != "csv":
            self.form.form = "jsonl"

    def takes(self, line: Line) -> bool:
        if self.stream and line.stream != self.stream:
            return False
        if self.since_ms and (line.wall_ms or 1 << 62) < self.since_ms:
            return False
        return self.matches(line.text)

    def matches(self, text: str) -> bool:
        return self.pattern is None or self.pattern.search(text) is not None

    def none_before(self, line: Line) -> bool:
        """Whether neither this line nor any before it in its stream is wanted."""
        too_old = self.since_ms > (line.wall_ms or 1 << 62)
        return too_old or bool(self.stream and line.stream != self.stream)

    def write(self, session: SessionRow, line: Line, *, named: bool) -> None:
        if not self.form.for_people:
            row = {
                "at": line.wall_ms,
                "instance": session.instance,
                "session": session.session,
                "stream": line.stream,
                "text": line.text,
            }
            output.write(self.form.line(row))
            return
        when = "" if self.form.form == "table" else iso(line.wall_ms or time.time_ns() // 1_000_000) + " "
        name = f"{session.instance} " if named else ""
        mark = _MARKS[line.stream]
        more = " … (cut)" if line.cut else ""
        output.write(f"{when}{name}{mark}{printable(line.text).rstrip()}{more}\n")


def print_logs(
    call: Call,
    names: tuple[str, ...],
    *,
    follow: bool,
    tail: int,
    since: str | None,
    grep: str | None,
    stream: str | None,
    facts: bool,
    supervisor: bool,
) -> int:
    """Print the newest lines of the named, and go on with `follow`. Raises BadInput, NotFound."""
    if tail < 0:
        raise BadInput(f"--tail {tail} is not a number of lines", "Use 0 or more")
    wanted = _Wanted(call, grep, since, stream)
    if supervisor:
        if call.output not in ("table", "wide") or call.fields is not None or since or stream or names:
            said = "--supervisor prints plain text: it takes no names, no -o, --json, --since or --stream"
            raise BadInput(said, "Use -n, -f and --grep with it")
        return _supervisor_log(call, wanted, tail, follow)
    following = _Following(call, names, wanted, facts=facts) if follow else None
    sessions = _sessions(call, names)
    if not sessions and not follow:
        call.note("Nothing has run yet." if not names else "Nothing of these has run yet.")
        return 0
    followers: dict[str, tuple[SessionRow, Follower]] = {}
    streams: list[Iterator[_Found]] = []
    for one in sessions:
        for place, label in _places(call, one):
            follower, before = look_back(place, facts=facts, label=label)
            followers[place] = (one, follower)
            # What the follower finds already is newer than all before it in its stream.
            behind = list(follower.read_on(READS, ended=one.ended_ms is not None))
            streams += [_newest(wanted, one, len(streams) + at, lines) for at, lines in enumerate(before)]
            for name in dict.fromkeys(line.stream for line in behind):
                of_it = [line for line in reversed(behind) if line.stream == name]
                streams.append(_newest(wanted, one, len(streams), of_it))
    named = len({one.instance for one in sessions}) > 1 or (follow and not names)
    newest = list(islice(merge(*streams, key=itemgetter(0), reverse=True), tail))
    for _, one, line in reversed(newest):
        wanted.write(one, line, named=named)
    if following is not None:
        following.begin(followers, named=named)
        _follow(following)
    return 0


def _newest(wanted: _Wanted, one: SessionRow, place: int, lines: Iterable[Line]) -> Iterator[_Found]:
    """Yield what is wanted of one stream's `lines`, the newest first, until nothing before can be."""
    for line in lines:
        if wanted.none_before(line):
            return
        if wanted.takes(line):
            yield (line.wall_ms or 1 << 62, place), one, line


class _Following:
    """The sessions whose lines are printed as they come. One that has ended stays until its last line was read."""

    def __init__(self, call: Call, names: tuple[str, ...], wanted: _Wanted, *, facts: bool) -> None:
        self._call, self._wanted, self._facts, self._named = call, wanted, facts, True
        self._instances = {name for name in names if "/" in name}
        rest = set(names) - self._instances
        # Asked only where it matters: an agent may follow an instance, but not see who else there is.
        self._agents = {agent.name for agent in call.store.agents() if agent.name in rest} if rest else set()
        #: tasks and sessions: what they mean is looked up again, a task may be tried again
        self._others = [name for name in names if name not in self._instances | self._agents]
        self._every = not names
        self._sessions: dict[str, tuple[SessionRow, dict[str, Follower]]] = {}
        self._since_ms = time.time_ns() // 1_000_000 - LATE_MS
        #: sessions that are done with, as far back as they are looked for: first those that ended before this began
        self._over = {one.session for one in call.reader.sessions_now(self._since_ms) if one.ended_ms is not None}

    def begin(self, followers: dict[str, tuple[SessionRow, Follower]], *, named: bool) -> None:
        """Take over those whose newest lines were printed."""
        self._named = named
        for place, (one, follower) in followers.items():
            self._sessions.setdefault(one.session, (one, {}))[1][place] = follower
        self._over.difference_update(self._sessions)

    def read(self) -> None:
        """Print what came, and leave the sessions that ended and have no more."""
        for session, (one, followers) in list(self._sessions.items()):
            ended, more = one.ended_ms is not None, False
            for follower in followers.values():
                before = follower.offsets
                for line in follower.read(ended=ended):
                    if self._wanted.takes(line):
                        self._wanted.write(one, line, named=self._named)
                more |= follower.offsets != before
            if ended and not more:
                self._over.add(session)
                del self._sessions[session]

    def look(self) -> None:
        """See which sessions began, and which ended, since the last look."""
        now_ms = time.time_ns() // 1_000_000
        rows = self._call.reader.sessions_now(self._since_ms, list(self._sessions))
        self._since_ms = now_ms - LATE_MS
        meant = {row.session for name in self._others for row in _named(self._call, name)}
        for one in rows:
            known = self._sessions.get(one.session)
            if known is None and (one.session in self._over or not self._means(one, meant)):
                continue
            if known is None and len(self._sessions) >= MAX_SESSIONS:
                continue
            followers = {} if known is None else known[1]
            for place, label in _places(self._call, one):
                if place not in followers:
                    followers[place] = Follower(place, facts=self._facts, label=label)
            self._sessions[one.session] = (one, followers)
        self._over.intersection_update(one.session for one in rows)

    def _means(self, one: SessionRow, meant: set[str]) -> bool:
        agent = one.instance.rpartition("/")[0]
        return self._every or agent in self._agents or one.instance in self._instances or one.session in meant


def _follow(following: _Following) -> None:
    looked = time.monotonic()
    while True:
        output.flush()
        following.read()
        time.sleep(FOLLOW_S)
        if time.monotonic() - looked >= LOOK_S:
            looked = time.monotonic()
            following.look()


def _places(call: Call, one: SessionRow) -> list[tuple[str, str]]:
    """Return the folders of a session's output, and how their streams are called if not by their own names."""
    from agentctl_store.store import read_session_id

    folder = sessions_folder(call.place()[0], read_session_id(one.session))
    checks = takewhile(os.path.isdir, verify_folders(folder, MAX_VERIFIES))
    return [(folder, ""), *((check, "verify") for check in checks)]


def _sessions(call: Call, names: tuple[str, ...]) -> list[SessionRow]:
    """Return the sessions that `names` mean, oldest first. Raises NotFound for a name that means none."""
    if not names:
        found = [row for row in _of_instances(call, None) if row.ended_ms is None]
        found = found or _of_instances(call, None)
    else:
        found = [row for name in names for row in _named(call, name)]
    unique = {row.session: row for row in found}
    return sorted(unique.values(), key=lambda row: row.session)[-MAX_SESSIONS:]


def _named(call: Call, name: str) -> list[SessionRow]:
    if "/" in name:
        check_instance(name)
        return list(call.reader.sessions(name, PAST_SESSIONS))
    if any(agent.name == name for agent in call.store.agents()):
        return _of_instances(call, name)
    if len(name) == LENGTH:
        found = _of_session(call, name)
        if found is not None:
            return [found]
    try:
        number = task_id(call.store, name)
    except (BadInput, NotFound):
        check_name(name, "agent")
        raise NotFound(
            f"{name} is neither an agent nor a task nor a session", "Look with: agentctl ps, agentctl task list"
        ) from None
    sessions = [one.session for one in call.store.attempts(number) if one.session is not None]
    rows = [_of_session(call, write_id(session)) for session in sessions]
    return [row for row in rows if row is not None]


def _of_session(call: Call, session: str) -> SessionRow | None:
    from agentctl_store.store import read_session_id

    try:
        found = call.store.session(read_session_id(session))
    except (BadInput, NotFound):
        return None
    return SessionRow(
        session,
        f"{found.agent}/{found.slot}",
        found.opened_ms,
        found.pid,
        found.started_ms,
        found.ended_ms,
        found.outcome,
        found.exit_code,
        found.signal,
        found.detail,
    )


def _of_instances(call: Call, agent: str | None) -> list[SessionRow]:
    found: list[SessionRow] = []
    for one in call.store.instances():
        if agent is None or one.agent == agent:
            found += call.reader.sessions(f"{one.agent}/{one.slot}", PAST_SESSIONS)
    running = [row for row in found if row.ended_ms is None]
    return running or found


def _supervisor_log(call: Call, wanted: _Wanted, tail: int, follow: bool) -> int:
    path = os.path.join(call.place()[0], "supervisor.log")
    file, older = _opened(path), _opened(f"{path}.1")
    if file is None:  # laid aside, and whoever did that was killed before the next one was begun
        file, older = older, None
    if file is None:
        raise NotFound("there is no supervisor.log yet", "It begins with the first `agentctl run -d`")
    with older or nullcontext():
        raw_lines = chain(older or (), file)
        newest = deque((line for line in map(_supervisor_text, raw_lines) if wanted.matches(line)), tail)
    for line in newest:
        output.say(line)
    while follow:
        output.flush()
        time.sleep(FOLLOW_S)
        gone = _laid_aside(file, path)  # asked first: what was written before that is in what is read now
        for raw in file.readlines():
            if wanted.matches(line := _supervisor_text(raw)):
                output.say(line)
        if gone:
            file.close()
            file = open(path, "rb")  # noqa: SIM115 - as the first
    return 0


def _opened(path: str) -> BinaryIO | None:
    try:
        return open(path, "rb")  # closed by the process when following
    except FileNotFoundError:
        return None


def _laid_aside(file: BinaryIO, path: str) -> bool:
    """Whether the supervisor has begun another log at `path`."""
    try:
        return os.stat(path).st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:  # between the two
        return False


def _supervisor_text(raw: bytes) -> str:
    return raw.decode(errors="replace").rstrip("\n")

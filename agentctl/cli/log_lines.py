"""What agents printed, of one session or many at once, merged by time."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from itertools import takewhile

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
TAIL_BYTES = 1 << 20  #: of each stream of each session, at most, before following
MAX_SESSIONS = 200
MAX_VERIFIES = 10  #: of one session, after so many supervisors that were killed
_MARKS = {"out": "| ", "err": "! ", "verify": "v "}
PAST_SESSIONS = 3  #: of each instance, when nothing of it runs
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
        return self.pattern is None or self.pattern.search(line.text) is not None

    def write(self, session: SessionRow, line: Line, *, named: bool) -> None:
        if not self.form.for_people:
            row = {
                "at": line.wall_ms,
                "instance": session.instance,
                "session": session.session,
                "stream": line.stream,
                "text": line.text,
            }
            text = self.form.render([row])
            output.write(text.split("\r\n", 1)[1] if self.form.form == "csv" else text)
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
        return _supervisor_log(call, wanted, tail, follow)
    sessions = _sessions(call, names)
    if not sessions and not follow:
        call.note("Nothing has run yet." if not names else "Nothing of these has run yet.")
        return 0
    followers = {
        place: (one, Follower.tail(place, TAIL_BYTES, facts=facts, label=label))
        for one in sessions
        for place, label in _places(call, one)
    }
    lines = [
        (line.wall_ms or 1 << 62, at, one, line)
        for at, (one, follower) in enumerate(followers.values())
        for line in _all(follower, ended=one.ended_ms is not None)
        if wanted.takes(line)
    ]
    lines.sort(key=lambda item: item[:2])
    named = len({one.instance for one in sessions}) > 1 or (follow and not names)
    for _, _, one, line in lines[len(lines) - min(tail, len(lines)) :]:
        wanted.write(one, line, named=named)
    if follow:
        _follow(call, names, followers, wanted, facts=facts, named=named)
    return 0


def _follow(
    call: Call,
    names: tuple[str, ...],
    followers: dict[str, tuple[SessionRow, Follower]],
    wanted: _Wanted,
    *,
    facts: bool,
    named: bool,
) -> None:
    looked = time.monotonic()
    over: set[str] = {place for place, (one, _) in followers.items() if one.ended_ms is not None}
    for place in over:
        del followers[place]
    while True:
        output.flush()
        for place, (one, follower) in list(followers.items()):
            found = follower.read(ended=one.ended_ms is not None)
            for line in found:
                if wanted.takes(line):
                    wanted.write(one, line, named=named)
            if one.ended_ms is not None and not found:
                over.add(place)
                del followers[place]
        time.sleep(FOLLOW_S)
        if time.monotonic() - looked < LOOK_S:
            continue
        looked = time.monotonic()
        for one in _sessions(call, names):
            for place, label in _places(call, one):
                if place in followers:
                    followers[place] = (one, followers[place][1])
                elif place not in over:
                    followers[place] = (one, Follower(place, facts=facts, label=label))


def _places(call: Call, one: SessionRow) -> list[tuple[str, str]]:
    """Return the folders of a session's output, and how their streams are called if not by their own names."""
    from agentctl_store.store import read_session_id

    folder = sessions_folder(call.place()[0], read_session_id(one.session))
    checks = takewhile(os.path.isdir, verify_folders(folder, MAX_VERIFIES))
    return [(folder, ""), *((check, "verify") for check in checks)]


def _all(follower: Follower, *, ended: bool) -> Iterator[Line]:
    # Bounded: what is written meanwhile is left to following.
    for _ in range(2 + 2 * TAIL_BYTES // LINE_BYTES):
        found = follower.read()
        if not found:
            break
        yield from found
    if ended:
        yield from follower.read(ended=True)


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
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the process when following
    except FileNotFoundError:
        raise NotFound("there is no supervisor.log yet", "It begins with the first `agentctl run`") from None
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - TAIL_BYTES))
    lines = file.read().decode(errors="replace").splitlines()
    for line in lines[len(lines) - min(tail, len(lines)) :]:
        _supervisor_line(wanted, line)
    while follow:
        output.flush()
        time.sleep(FOLLOW_S)
        for raw in file.readlines():
            _supervisor_line(wanted, raw.decode(errors="replace").rstrip("\n"))
    return 0


def _supervisor_line(wanted: _Wanted, line: str) -> None:
    if wanted.pattern is None or wanted.pattern.search(line):
        output.say(line)

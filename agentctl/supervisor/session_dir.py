"""The folder of a session: made before its process, read after it. The shim's own files are in session_files.py."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentctl.supervisor import spool
from agentctl.supervisor.shim_text import read_object
from agentctl_store import jsontext
from agentctl_store.errors import BadJson
from agentctl_store.ids import write_attempt, write_id

if TYPE_CHECKING:
    from agentctl.config import AgentSection
    from agentctl_store.domain.question import Question
    from agentctl_store.domain.task import Claim, ParentResult

PAYLOAD, PARENTS, ANSWERS = "payload.json", "parents.jsonl", "answers.jsonl"
RESULT, CHECKPOINT = "result.json", "checkpoint.json"
BASE_ENV = (
    "PATH", "HOME", "LANG", "LANGUAGE", "TERM", "COLORTERM", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL",
    "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME",
)  # fmt: skip
OWN = "own"
"""Below the folder of a sandboxed session: its agent's files, all of that folder it can reach. Otherwise it could
put a link in the way of a file that its keeper, outside the sandbox, is about to write."""
MAX_RESULT_BYTES = jsontext.MAX_BYTES
RESULT_TAIL_BYTES = 64 << 10  #: kept of an output too large to be a result
STDERR_TAIL_BYTES = 4 << 10


class BadResult(Exception):
    """The result file cannot be a result; the text says why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a session is, for its environment."""

    store: str
    agent: str
    slot: int
    session: int


def make(
    folder: str,
    claim: Claim | None,
    parents: Iterable[ParentResult],
    questions: Iterable[Question] = (),
    *,
    sandboxed: bool = False,
) -> None:
    """Create the session's folder with payload, parents' results and the answers of a person. Raises OSError."""
    os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
    os.mkdir(folder, 0o700)
    if sandboxed:
        folder = os.path.join(folder, OWN)
        os.mkdir(folder, 0o700)
    if claim is None:
        return
    _write(os.path.join(folder, PAYLOAD), claim.task.payload)
    lines = [
        jsontext.dumps({
            "task": write_id(parent.task), "queue": parent.queue, "state": parent.state,
            "payload": jsontext.loads(parent.payload),
            "result": None if parent.result is None else jsontext.loads(parent.result), "reason": parent.reason,
            "error": parent.error, "degraded": parent.degraded,
        }) + "\n"
        for parent in parents
    ]  # fmt: skip
    _write(os.path.join(folder, PARENTS), "".join(lines))
    said = [
        jsontext.dumps({
            "question": one.text, "options": list(one.options), "answer": one.answer, "how": one.how, "by": one.by,
        }) + "\n"
        for one in questions
    ]  # fmt: skip
    _write(os.path.join(folder, ANSWERS), "".join(said))


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def own(folder: str) -> str | None:
    """Return the part of a session's folder that is left to its sandboxed agent; None: it has no sandbox."""
    path = os.path.join(folder, OWN)
    return path if os.path.isdir(path) else None


def files(folder: str) -> str:
    """Return where the files lie that an agent reads and writes by contract."""
    return own(folder) or folder


def temporary(folder: str) -> str:
    """Return the folder for temporary files in a sandboxed agent's own one, which cannot use the usual one."""
    path = os.path.join(folder, "tmp")
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError:  # a full disk, or the agent put something else there: it is its own
        pass
    return path


def environment(
    who: Identity, folder: str, section: AgentSection, outside: Mapping[str, str], bin_folder: str, claim: Claim | None
) -> dict[str, str]:
    """Return the agent's whole environment: what may pass from outside, its own, and agentctl's."""
    passed = set(section.pass_env)
    env = {k: v for k, v in outside.items() if k in BASE_ENV or k.startswith("LC_") or k in passed}
    # `agentctl` must be found by agents though its virtual environment is not activated; last, so it shadows nothing.
    env["PATH"] = f"{env.get('PATH') or os.defpath}:{bin_folder}"
    env |= section.env
    folder = files(folder)
    env |= {
        "AGENTCTL_STORE": who.store,
        "AGENTCTL_AGENT": who.agent,
        "AGENTCTL_INSTANCE": f"{who.agent}/{who.slot}",
        "AGENTCTL_SESSION": write_id(who.session),
        "AGENTCTL_CHECKPOINT_FILE": os.path.join(folder, CHECKPOINT),
    }
    watchdog_ms = section.watchdog_ms
    if watchdog_ms:
        env["WATCHDOG_USEC"] = str(watchdog_ms * 1000)
    if claim is not None:
        task = claim.task
        attempt = write_attempt(task.id, claim.n)
        env |= {
            "AGENTCTL_TASK": write_id(task.id),
            "AGENTCTL_ATTEMPT": attempt,
            "AGENTCTL_QUEUE": task.queue,
            "AGENTCTL_CORRELATION": task.correlation,
            "AGENTCTL_IDEMPOTENCY_KEY": task.key or write_id(task.id),
            "AGENTCTL_PAYLOAD_FILE": os.path.join(folder, PAYLOAD),
            "AGENTCTL_PARENTS_FILE": os.path.join(folder, PARENTS),
            "AGENTCTL_ANSWERS_FILE": os.path.join(folder, ANSWERS),
            "AGENTCTL_RESULT_FILE": os.path.join(folder, RESULT),
            "TRACEPARENT": f"00-{task.correlation}-{_span(task.id, claim.n)}-01",
        }
    return env


def _span(task: int, n: int) -> str:
    """Return the attempt's span id: 16 hex digits that both the store and the agent can work out."""
    return f"{(task ^ (n * 0x9E3779B97F4A7C15)) & 0xFFFFFFFFFFFFFFFF or 1:016x}"


def result(folder: str) -> str | None:
    """Return the result as JSON text: the result file, else stdout. None: there is none. Raises BadResult."""
    place = files(folder)
    path = os.path.join(place, RESULT)
    # Behind a link a sandboxed agent could have us read what it cannot.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if place != folder else 0)
    try:
        size = os.stat(path, follow_symlinks=place == folder).st_size
    except OSError:
        size = 0
    if size > MAX_RESULT_BYTES:
        raise BadResult(f"the result file has {size:,} bytes; the limit is {MAX_RESULT_BYTES:,}")
    if size:
        try:
            with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
                return _as_json(file.read(MAX_RESULT_BYTES))
        except OSError as error:  # an agent may leave anything there: a folder, a file nobody may read
            raise BadResult(f"the result file cannot be read: {error.strerror}") from None
    return _from_output(folder)


def settle_result(folder: str) -> str | None:
    """Return the result, and leave it as the result file: what is verified is what is stored.

    Raises as `result` does, and OSError. Over whatever an agent may have put there: a link leads nowhere any more.
    """
    text = result(folder)
    if text is not None:
        path = os.path.join(files(folder), RESULT)
        fresh = f"{path}.{os.urandom(8).hex()}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(fresh, path)
    return text


def verify_folders(folder: str, most: int) -> Iterator[str]:
    """Yield where the checks of a session's success lie, the first one first."""
    for number in range(1, most + 1):
        yield os.path.join(folder, "verify" if number == 1 else f"verify.{number}")


def _from_output(folder: str) -> str | None:
    said = spool.result(folder, MAX_RESULT_BYTES)
    if not said.cut and not said.dropped_bytes:
        text = _as_json(said.text.encode(errors="replace"))
        if text is None or len(text.encode(errors="replace")) <= MAX_RESULT_BYTES:
            return text
    written = spool.Stream(folder, "out").extent()[1]
    return jsontext.dumps({"truncated": True, "output_bytes": written, "tail": tail(folder, "out", RESULT_TAIL_BYTES)})


def _as_json(data: bytes) -> str | None:
    text = data.decode(errors="replace").strip()
    if not text:
        return None
    try:
        return jsontext.dumps(jsontext.loads(text, "result"))
    except BadJson:
        return jsontext.dumps(text)


def tail(folder: str, stream: str, most_bytes: int) -> str:
    """Return the last bytes of `out` or `err` as text."""
    try:
        return spool.Stream(folder, stream).tail(most_bytes)[1].decode(errors="replace")
    except OSError:
        return ""


def output_wall_ms(folder: str) -> int | None:
    """Return when the session last wrote output: the newest change of its spool."""
    newest = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(("out.", "err.")) and entry.name[4:].isdigit():
                    found = entry.stat()
                    if found.st_size:
                        newest = max(newest, found.st_mtime_ns // 1_000_000)
    except OSError:
        return None
    return newest or None


def stop_reason(folder: str) -> str:
    """Return why the session was asked to stop, or nothing."""
    asked: dict[str, Any] | None = read_object(os.path.join(folder, "stop.json"))
    reason = (asked or {}).get("reason")
    return reason if isinstance(reason, str) else ""

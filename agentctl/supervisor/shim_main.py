"""The shim from its start to its end: wait for a spec, claim the directory, run the session."""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from agentctl.supervisor import proctree, shim_session, shim_text
else:
    import _signal

    import proctree
    import shim_session
    import shim_text

MOST_FDS = 4096


def main() -> None:
    """Wait for the spec, run it, leave. Never returns."""
    posix.closerange(3, MOST_FDS)  # what the supervisor's own parent left open is not for agents
    wake_end, signals = _catch_signals()
    subreaper = proctree.become_subreaper()
    line = _read_line()
    if line is None:
        posix._exit(0)
    spec = shim_text.loads(line.decode())
    assert isinstance(spec, dict)
    # From here on signals are for the session; whoever makes this link first decides whether it
    # runs at all: a later supervisor that found the directory without it makes its own.
    _signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
    for signum in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGCHLD):
        _signal.signal(signum, _noted)
    own = posix.getpid()
    try:
        posix.symlink(
            f"{own}:{proctree.start_of(own)}:{proctree.boot_id()}:{shim_session.tag()}",
            f"{spec['dir']}/begun",
        )
    except OSError:
        posix._exit(0)
    null = posix.open("/dev/null", posix.O_RDWR)
    posix.dup2(null, 0)
    session = shim_session.Session(spec)
    try:
        if session.begin(subreaper, signals):
            session.loop()
            session.end()
    except BaseException as error:
        session.fail(error)
    posix._exit(0)


def _catch_signals() -> "tuple[int, int]":
    def leave(signum: int, frame: object) -> None:
        posix._exit(0)

    _signal.signal(_signal.SIGTERM, leave)
    _signal.signal(_signal.SIGINT, leave)
    _signal.signal(_signal.SIGHUP, _signal.SIG_IGN)
    signals, wake_end = posix.pipe()
    posix.set_blocking(signals, False)
    posix.set_blocking(wake_end, False)
    return wake_end, signals


def _noted(signum: int, frame: object) -> None:
    """The number is in the wake-up pipe already."""


def _read_line() -> bytes | None:
    """The one line of the spec; None when the supervisor went away before it was complete."""
    parts: list[bytes] = []
    while part := posix.read(0, 65_536):
        parts.append(part)
        if part.endswith(b"\n"):
            return b"".join(parts)
    return None

"""`agentctl logs`: what agents printed; the work is done in cli/log_lines.py."""

from __future__ import annotations

from .call import Call
from .verb import arg, opt, verb


@verb(
    "logs",
    summary="Print what agents wrote; the newest lines, and with -f what follows.",
    details="Lines of standard error are marked with `!`, those of a verify command with `v`. "
    "Without a name, of everything that runs. Looks back as far as output is kept.",
    prints="table",
    names=arg("Agents, instances (reviewer/2), tasks or sessions.", "NAME...", complete="logs"),
    follow=opt("-f", help="Go on printing as lines come, until Ctrl-C."),
    tail=opt("-n", help="Begin with so many lines.", metavar="N"),
    since=opt(help="Only lines since this time, or this long ago.", metavar="TIME"),
    grep=opt("-g", help="Only lines that match this regular expression.", metavar="REGEX"),
    stream=opt(help="Only this stream.", choices=("out", "err", "verify")),
    facts=opt(help="Also the JSON lines that are meant for agentctl."),
    supervisor=opt(help="The supervisor's own log instead."),
)
def logs(
    call: Call,
    *,
    names: tuple[str, ...] = (),
    follow: bool = False,
    tail: int = 100,
    since: str | None = None,
    grep: str | None = None,
    stream: str | None = None,
    facts: bool = False,
    supervisor: bool = False,
) -> int:
    """Print logs."""
    from .log_lines import print_logs

    return print_logs(
        call, names, follow=follow, tail=tail, since=since, grep=grep, stream=stream, facts=facts, supervisor=supervisor
    )

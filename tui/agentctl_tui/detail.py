"""Detail panels: one row, or one dead letter, told in lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agentctl_store.read.models import DeadLetter, InstanceRow
from agentctl_tui import units
from agentctl_tui.cells import EMPTY, Line, Piece, clean, fit, join, piece, raw, width, wrap
from agentctl_tui.columns import Context
from agentctl_tui.glyphs import Glyphs
from agentctl_tui.ports import LogLine
from agentctl_tui.render import attempt, doing, health, reason, short

LABEL = 11  #: cells of the label column
MAX_ERROR_LINES = 40
SILENT_MS = 60_000  #: output older than this is worth a look while a task runs


def fact(label: str, *values: Line, gap: str) -> Line:
    """Return one labelled line; empty values are left out."""
    said = [value for value in values if value]
    return (raw(f" {label:<{LABEL - 1}}", "dim"), *join(said, f" {gap} "))


def rule(title: str, size: int, glyphs: Glyphs) -> Line:
    """Return a titled rule across a panel."""
    head = f"{glyphs.rule * 2} {title} "
    return (raw(head[:3], "rule"), raw(head[3:], "dim"), raw(glyphs.rule * max(size - len(head), 0), "rule"))


def instance_facts(row: InstanceRow, now_ms: int, size: int, glyphs: Glyphs) -> list[Line]:
    """Return what is known of an instance; always the same lines in the same places."""
    at = Context(now_ms, glyphs)
    dot = glyphs.dot
    held = raw(f" for {units.since(row.since_ms, now_ms)}", "dim")
    lines: list[Line] = [(*fact("health", health(row.health, glyphs), gap=dot), held)]
    why = wrap(short(row.reason), max(size - LABEL - 1, 10), 3) if row.reason else []
    lines += [(raw(" " * LABEL), raw(text)) for text in why]
    pid = (raw("pid ", "dim"), raw(str(row.pid))) if row.pid is not None else EMPTY
    up = (raw("up ", "dim"), raw(units.since(row.started_ms, now_ms))) if row.started_ms else EMPTY
    session = (piece(row.session),) if row.session else (raw("none", "dim"),)
    lines.append(fact("session", session, pid, up, gap=dot))
    if row.task is None:
        # What keeps it from working stands above, as the reason.
        quiet = bool(row.reason) or row.phase == "failed"
        now = (raw("none", "dim"),) if quiet else doing(row, now_ms)
        lines.append(fact("task", now or (raw("none", "dim"),), gap=dot))
    else:
        tries = (raw("attempt ", "dim"), raw(str(row.attempt or 1)))
        lines.append(fact("task", (piece(row.task, "strong"),), (piece(row.queue or ""),), tries, gap=dot))
        lines.append((raw(" " * LABEL), piece(short(row.title))))
        if row.progress:
            lines.append((raw(" " * LABEL), piece(short(row.progress), "dim")))
    lines.append(fact("signals", *_signals(row, at), gap=dot))
    memory = (raw("mem ", "dim"), raw(units.size(row.memory_bytes)))
    restarts = (raw("restarts ", "dim"), raw(str(row.restarts), "amber" if row.restarts > 2 else "text"))
    done = (raw("done ", "dim"), raw(units.count(row.done)))
    lines.append(fact("totals", done, restarts if row.restarts else EMPTY, memory, gap=dot))
    return lines


def _signals(row: InstanceRow, at: Context) -> list[Line]:
    said: list[Line] = []
    for name, then in (("heartbeat", row.heartbeat_ms), ("output", row.output_ms)):
        if then is not None:
            tint = "amber" if row.task is not None and at.now_ms - then > SILENT_MS else "text"
            said.append((raw(f"{name} ", "dim"), raw(units.since(then, at.now_ms), tint)))
    if row.probe:
        said.append((raw("probe ", "dim"), piece(short(row.probe), "green" if row.probe == "ready" else "amber")))
    return said or [(raw("none yet", "dim"),)]


def log_lines(lines: Sequence[LogLine], size: int, glyphs: Glyphs, wrapped: bool = False) -> list[Line]:
    """Return log lines with their times; long ones cut, or wrapped under themselves."""
    out: list[Line] = []
    stamped = any(entry.at_ms is not None for entry in lines)
    for entry in lines:
        stamp = f" {units.clock(entry.at_ms)} " if entry.at_ms is not None else " " * 10 if stamped else " "
        sign = raw("! " if entry.stream == "err" else "  ", "amber")
        room = max(size - len(stamp) - 2, 10)
        texts = wrap(entry.text[: 65536 if wrapped else 2000], room, 50) if wrapped else [_one(entry.text)]
        for at, text in enumerate(texts):
            head = raw(stamp if at == 0 else " " * len(stamp), "dim")
            out.append((head, sign if at == 0 else raw("  "), raw(text)))
    return out


def _one(text: str) -> str:
    return clean(text[:2000].replace("\t", "    ").rstrip("\r\n"))


def letter_facts(
    letter: DeadLetter, output: Sequence[LogLine] | None, now_ms: int, size: int, glyphs: Glyphs
) -> list[Line]:
    """Return a dead letter told from the end: why, the error, each attempt, the last output."""
    row, dot = letter.row, glyphs.dot
    why = str(row.error_class or "")
    died = (raw("died ", "dim"), raw(f"{units.since(row.died_ms, now_ms)} ago"))
    kind = (piece(why),) if why and why != row.reason else EMPTY
    lines: list[Line] = [
        fact("reason", (raw(glyphs.health["unhealthy"] + " ", "red"), piece(reason(row.reason), "red")),
             kind, died, gap=dot),
        fact("queue", (piece(row.queue),), (raw("added ", "dim"),
             raw(f"{units.since(letter.created_ms, now_ms)} ago")), gap=dot),
        fact("trace", (piece(letter.correlation, "dim"),), gap=dot),
        EMPTY,
        rule("error", size, glyphs),
    ]  # fmt: skip
    error = wrap(letter.error or "No error text was recorded.", max(size - 2, 10), MAX_ERROR_LINES)
    lines += [(raw(" "), raw(text, "text" if letter.error else "dim")) for text in error]
    lines += [EMPTY, rule(units.plural(len(letter.attempts), "attempt"), size, glyphs)]
    lines += attempts_table(letter, now_ms, size)
    if output is not None:
        lines += [EMPTY, rule("last output", size, glyphs)]
        lines += log_lines(output, size, glyphs) or [
            (raw(" The last attempt wrote nothing, or its files are gone.", "dim"),)
        ]
    return lines


def attempts_table(letter: DeadLetter, now_ms: int, size: int) -> list[Line]:
    """Return the attempts as a small aligned table, newest last."""
    rows = [attempt(entry, now_ms, letter.error) for entry in letter.attempts[-50:]]
    if not rows:
        return [(raw(" It was never claimed.", "dim"),)]
    sizes = [max(width(cells[i]) for cells in rows) for i in range(len(rows[0]))]
    out: list[Line] = []
    for cells in rows:
        line: list[Piece] = [raw(" ")]
        for at, (cell, wide) in enumerate(zip(cells, sizes, strict=True)):
            last = at == len(cells) - 1
            line += (*(cell if last else fit(cell, wide, right=at in (0, 3))), raw("" if last else "  "))
        out.append(tuple(line))
    return out

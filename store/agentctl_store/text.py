"""Text that came from outside, made fit to be shown or kept: cleaned, cut, redacted.

Whatever an agent, a payload, a file name or an environment holds may carry terminal escapes (titles,
clipboard writes, cursor moves), C0 and C1 controls, bidirectional overrides and invisible characters. Every
screen and every table goes through `printable`. No regular expression is compiled at import: this module is
on the start-up path.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from re import Match, Pattern

MAX_SEQUENCE = 4_096  #: characters looked through for the end of an escape sequence
MAX_TITLE = 200  #: characters of a title
REDACTED = "[redacted]"
_JOINERS = "\u200c\u200d"  # emoji and several scripts need them; they move nothing
_ESC = "\x1b"
#: the one-character forms of CSI, DCS, SOS, OSC, PM and APC, and what they stand for
_C1_INTRODUCERS = {0x9B: "\x1b[", 0x90: "\x1bP", 0x98: "\x1bX", 0x9D: "\x1b]", 0x9E: "\x1b^", 0x9F: "\x1b_"}


def printable(text: str, *, lines: bool = False) -> str:
    """Return `text` with nothing in it that could steer a terminal, reorder a line or hide.

    Escape sequences are dropped whole; every other control, bidirectional or invisible character and lone
    surrogate is written out visibly (`␀`, `<U+202E>`). With `lines`, newlines and tabs stay as they are.
    """
    if text.isprintable():
        return text
    if _ESC in text or not text.isascii():
        text = _without_sequences(text)
    return "".join(c if c.isprintable() or c in _JOINERS or (lines and c in "\n\t") else _shown(c) for c in text)


def cut(text: str, limit: int) -> str:
    """Return at most `limit` characters of `text`, the last one `…` when something was left out."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def one_line(text: str, limit: int) -> str:
    """Return `text` as one printable line of at most `limit` characters, white space folded."""
    # Cut first: folding a megabyte to show forty characters of it would be paid at every refresh.
    return cut(printable(" ".join(text[: limit * 8].split())), limit)


def title(said: object) -> str:
    """Return what a payload says of itself as one short line, as it was said: it is still to be made printable."""
    return " ".join(str("" if said is None else said).split())[:MAX_TITLE]


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without the given `secrets` and without what looks like one.

    Known shapes: provider API keys, cloud and forge tokens, JWTs, bearer headers, passwords in URLs, private
    keys and `NAME_TOKEN=value` assignments. A shape nobody has thought of passes: name it in `secrets`.
    """
    for secret in secrets:
        if len(secret) >= 6:
            text = text.replace(secret, REDACTED)
    if len(text) < 8:
        return text
    return _secret_shapes().sub(_hidden, text)


def _shown(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if 0xDC80 <= code <= 0xDCFF:
        return f"<{code - 0xDC00:02X}>"  # a byte that was not UTF-8, kept by surrogateescape
    if character.isspace() and code not in (0x2028, 0x2029, 0x85):
        return " "  # the many widths of blank
    return f"<U+{code:04X}>"


def _without_sequences(text: str) -> str:
    if not text.isascii():
        text = text.translate(_C1_INTRODUCERS)
    kept: list[str] = []
    at = 0
    while True:
        start = text.find(_ESC, at)
        if start < 0:
            kept.append(text[at:])
            return "".join(kept)
        kept.append(text[at:start])
        at = _sequence_end(text, start)
        if at == start + 1:
            kept.append(_ESC)  # not a sequence: `printable` writes the lone control out


def _sequence_end(text: str, start: int) -> int:
    """Return where the sequence whose ESC stands at `start` ends; `start + 1` when it is none."""
    first = text[start + 1 : start + 2]
    at = start + 2
    limit = min(len(text), at + MAX_SEQUENCE)
    if first == "[":
        while at < limit and "\x20" <= text[at] <= "\x3f":
            at += 1
        # Without a final byte it never was a sequence: what follows stays visible.
        return at + 1 if at < limit and "\x40" <= text[at] <= "\x7e" else start + 1
    if first and first in "PX]^_":
        while at < limit and text[at] not in "\x07\x9c\x1b\n":
            at += 1
        if at == limit or text[at] == "\n":
            return start + 1
        if text[at] != _ESC:
            return at + 1
        return at + 2 if text[at + 1 : at + 2] == "\\" else at
    if "\x20" <= first <= "\x2f":
        while at < limit and "\x20" <= text[at] <= "\x2f":
            at += 1
        return at + 1 if at < limit and "\x30" <= text[at] <= "\x7e" else start + 1
    return at if "\x30" <= first <= "\x7e" else start + 1


_shapes: list[Pattern[str]] = []


def _secret_shapes() -> Pattern[str]:
    if not _shapes:
        import re

        _shapes.append(
            re.compile(
                r"(?P<whole>-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
                r"|\b(?:sk|rk|pk)-[A-Za-z0-9_-]{16,}"
                r"|\b(?:ghp|gho|ghu|ghs|ghr|glpat|github_pat)[_-][A-Za-z0-9_-]{16,}"
                r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}"
                r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
                r"|\bAIza[A-Za-z0-9_-]{30,}"
                r"|\bhf_[A-Za-z0-9]{20,}"
                r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)"
                r"|(?P<before>\b(?:[Bb]earer|[Bb]asic)\s+)[A-Za-z0-9._~+/=-]{8,}"
                r"|(?P<scheme>\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,100}:)[^\s/@]{1,200}(?=@)"
                r"|(?P<name>\b[A-Za-z0-9_-]{0,60}(?:[Ss]ecret|SECRET|[Tt]oken|TOKEN|[Pp]assword|PASSWORD"
                r"|[Aa]pi[_-]?[Kk]ey|API[_-]?KEY)[\"']?\s{0,3}[=:]\s{0,3}[\"']?)[^\s\"',;&]{6,}",
                re.DOTALL,
            )
        )
    return _shapes[0]


def _hidden(found: Match[str]) -> str:
    kept = found["before"] or found["scheme"] or found["name"] or ""
    return kept + REDACTED

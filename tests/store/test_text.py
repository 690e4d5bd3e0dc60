"""Text from outside cannot steer a terminal, whatever it holds."""

from __future__ import annotations

import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl_store.text import cut, one_line, printable, redact

CORPUS = {
    "plain": "plain",
    "äöü 漢字 👩‍👩‍👧": "äöü 漢字 👩‍👩‍👧",
    "\x1b[31mred\x1b[0m": "red",
    "\x1b[2J\x1b[1;1Hgone": "gone",
    "\x1b]0;title\x07rest": "rest",
    "\x1b]52;c;ZXZpbA==\x1b\\rest": "rest",
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\": "link",
    "\x1bP+q544e\x1b\\rest": "rest",
    "\x9b31mred": "red",
    "\x9d52;c;ZXZpbA==\x9crest": "rest",
    "\x1b(0line": "line",
    "\x1bcreset": "reset",
    "unfinished \x1b[31": "unfinished ␛[31",
    "unfinished \x1b]0;title": "unfinished ␛]0;title",
    "hidden\x1b]x\nnext line": "hidden␛]x␊next line",
    "nul\x00byte": "nul␀byte",
    "back\x08\x08space": "back␈␈space",
    "line\r\nend": "line␍␊end",
    "del\x7f": "del␡",
    "\u202egpj.exe": "<U+202E>gpj.exe",
    "\u2066isolated\u2069": "<U+2066>isolated<U+2069>",
    "zero\u200bwidth": "zero<U+200B>width",
    "tag\U000e0041": "tag<U+E0041>",
    "no\u00a0break": "no break",
    "byte\udcff": "byte<FF>",
    "lone\ud800": "lone<U+D800>",
    "line\u2028separator": "line<U+2028>separator",
    "next\x85line": "next<U+0085>line",
    "\x1b": "␛",
    "\x1b\x1b[31mx": "␛x",
    "\x1b\x00": "␛␀",
}


@pytest.mark.parametrize("given_text", CORPUS, ids=ascii)
def test_escapes_go_and_other_controls_become_visible(given_text: str) -> None:
    assert printable(given_text) == CORPUS[given_text]


def test_lines_and_tabs_stay_when_asked_for() -> None:
    assert printable("a\n\tb\r\x1b[1mc", lines=True) == "a\n\tb␍c"


SPITEFUL = st.text(
    st.one_of(
        st.sampled_from("\x1b\x07\x9b\x9c\x9d\x90[]P;?0m\\\n\r\t\x00\x7f\x85\u202e\u2028\u200b\udc80\ufeff"),
        st.characters(),
    )
)


@given(SPITEFUL)
def test_nothing_that_moves_hides_or_reorders_is_left(text: str) -> None:
    for lines in (False, True):
        shown = printable(text, lines=lines)
        for character in shown:
            if lines and character in "\n\t":
                continue
            category = unicodedata.category(character)
            assert category not in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") or category == "Cn", ascii(character)
            assert category != "Cf" or character in "\u200c\u200d", ascii(character)
        shown.encode()
        assert printable(shown, lines=lines) == shown


@given(SPITEFUL, st.integers(min_value=1, max_value=50))
def test_one_line_is_one_line_within_its_limit(text: str, limit: int) -> None:
    shown = one_line(text, limit)
    assert len(shown) <= limit
    assert "\n" not in shown and "\x1b" not in shown


def test_a_cut_says_that_something_is_missing() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert cut("abcd", 4) == "abcd"


@pytest.mark.parametrize("piece", ["\x1b[", "\x1b]0;", "\x9b", "\x1b"], ids=ascii)
def test_cleaning_escapes_takes_linear_time(piece: str) -> None:
    import time

    def cost(times: int) -> float:
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            printable(piece * times)
            best = min(best, time.process_time() - started)
        return best

    # Eight times the text: about eight times the work, where a quadratic one would take sixty-four.
    assert cost(160_000) < 30 * cost(20_000) + 0.05


SECRETS = [
    "sk-ant-api03-abcdefghijklmnopqrstuvwxyz",
    "sk-proj-0123456789abcdefghij",
    "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "github_pat_0123456789abcdefghij",
    "xoxb-123456789012-abcdefghij",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA-0123456789abcdefghijklmnopqrstu",
    "hf_abcdefghijklmnopqrstuvwx",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_known_shape_of_secret_is_redacted(secret: str) -> None:
    text = redact(f"the key is {secret}, use it")
    assert secret not in text and "[redacted]" in text
    assert text.startswith("the key is ") and text.endswith(", use it")


def test_values_of_telling_names_are_redacted_and_names_kept() -> None:
    assert redact("OPENAI_API_KEY=hunter2hunter2 x") == "OPENAI_API_KEY=[redacted] x"
    assert redact('{"password": "hunter2hunter2"}') == '{"password": "[redacted]"}'
    assert redact("Authorization: Bearer abcdefgh12345678") == "Authorization: Bearer [redacted]"
    assert redact("postgres://me:hunter2@db/x") == "postgres://me:[redacted]@db/x"
    assert "MIIE" not in redact("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----")
    assert redact("my word is xyzzy12", ["xyzzy12"]) == "my word is [redacted]"


@pytest.mark.parametrize("text", ["task-0123456789abcdef", "two tokens: 512", "a short sk-1", "https://host:80/p"])
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text


def test_importing_it_compiles_no_regular_expression() -> None:
    code = "import sys; import agentctl_store.text; print('re' in sys.modules)"
    out = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"

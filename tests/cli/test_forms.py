"""The exact bytes of every output form."""

from __future__ import annotations

import pytest

from agentctl.cli.table import Column, Form
from agentctl.cli.times import iso, read_time, relative
from agentctl_store.errors import BadInput

PARTS = (Column("name"), Column("size", "number"))
COLUMNS = (
    Column("task"),
    Column("count", "number"),
    Column("wait_ms", "span"),
    Column("at", "time", wide=True),
    Column("ok", "flag"),
    Column("payload", "json"),
    Column("tags", "list"),
    Column("parts", "rows", parts=PARTS, wide=True),
    Column("note"),
)
ROWS = [
    {"task": "a1", "count": 12345, "wait_ms": 90_000, "at": 0, "ok": True, "payload": '{"k":[1]}', "tags": ("x", "y"),
     "parts": [{"name": "p", "size": 1}], "note": 'say "hi",\nthere\x1b[31m'},
    {"task": "漢字", "count": None, "wait_ms": None, "at": None, "ok": False, "payload": None, "tags": (), "parts": [],
     "note": None},
]  # fmt: skip
FORMS = {
    "table": (
        'TASK   COUNT   WAIT  OK   PAYLOAD    TAGS  NOTE\n'
        'a1    12,345  1m30s  yes  {"k":[1]}  x, y  say "hi", there\n'
        "漢字       -      -  no   -          -     -\n"
    ),
    "csv": (
        "task,count,wait_ms,at,ok,payload,tags,parts,note\n"
        'a1,12345,90000,1970-01-01T00:00:00.000Z,true,"{""k"":[1]}",x y,"[{""name"":""p"",""size"":1}]",'
        '"say ""hi"",\nthere"\n'
        "漢字,,,,false,,,[],\n"
    ),
    "jsonl": (
        '{"task":"a1","count":12345,"wait_ms":90000,"at":"1970-01-01T00:00:00.000Z","ok":true,"payload":{"k":[1]},'
        '"tags":["x","y"],"parts":[{"name":"p","size":1}],"note":"say \\"hi\\",\\nthere\\u001b[31m"}\n'
        '{"task":"漢字","count":null,"wait_ms":null,"at":null,"ok":false,"payload":null,"tags":[],"parts":[],'
        '"note":null}\n'
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_form_has_these_bytes(form: str) -> None:
    assert Form(COLUMNS, form, None).render(ROWS) == FORMS[form]


def test_json_is_the_lines_as_one_list_and_one_record_is_an_object() -> None:
    lines = FORMS["jsonl"].splitlines()
    assert Form(COLUMNS, "json", None).render(ROWS) == f"[{','.join(lines)}]\n"
    assert Form(COLUMNS, "json", None, one=True).render(ROWS[:1]) == lines[0] + "\n"


def test_fields_are_chosen_in_the_order_that_was_asked_for() -> None:
    assert Form(COLUMNS, "table", "ok, task").render(ROWS) == '[{"ok":true,"task":"a1"},{"ok":false,"task":"漢字"}]\n'
    assert Form(COLUMNS, "csv", "ok").render(ROWS) == "ok\ntrue\nfalse\n"
    with pytest.raises(BadInput, match=r"'nope'.*The fields are task, count"):
        Form(COLUMNS, "json", "task,nope")


def test_nothing_is_an_empty_table_an_empty_list_and_a_header() -> None:
    made = [Form(PARTS, form, None).render([]) for form in ("table", "json", "jsonl", "csv")]
    assert made == ["", "[]\n", "", "name,size\n"]


def test_times_are_iso_for_machines_and_relative_for_people() -> None:
    now_ms = 1_800_000_000_000
    assert iso(now_ms + 7) == "2027-01-15T08:00:00.007Z"
    assert [relative(now_ms - away, now_ms) for away in (0, 5_000, 90_000, -7_200_000)] == [
        "now", "5 s ago", "1m30s ago", "in 2h00m",
    ]  # fmt: skip
    assert read_time("2027-01-15T09:00:00Z", "--at", now_ms) == now_ms + 3_600_000
    assert read_time("2h ago", "--at", now_ms) == now_ms - 7_200_000

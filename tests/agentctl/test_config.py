"""agentctl.toml: what is accepted, and how every mistake is told with its place and remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.config import Config, find_config, json_schema, load_config, parse_config
from agentctl.config_problems import BadConfigs, lines_of
from agentctl.quantities import read_duration_ms, read_size_bytes, show_duration, write_duration, write_size
from agentctl.zones import local_zone
from agentctl_store.errors import BadConfig, NotFound

TEN_LINES = """\
[fleet]
name = "team"

[agent.reviewer]
command = "python review.py --strict"
queues = ["review"]
instances = 3

[agent.mailer]
command = ["sh", "mail.sh"]
"""


def test_ten_lines_make_a_fleet():
    config = parse_config(TEN_LINES)
    reviewer = config.agent["reviewer"]
    assert reviewer.command == ("python", "review.py", "--strict")
    assert (reviewer.mode, reviewer.instances, config.queues_of("reviewer")) == ("task", 3, ("review",))
    assert config.queues_of("mailer") == ("mailer",)
    assert config.lease_ms_of("mailer") == 60_000
    assert reviewer.restart.limit == 5 and config.fleet.grace_ms == 30_000


def test_everything_that_can_be_written_is_read():
    config = parse_config("""
[fleet]
grace = "1m"
min_free_memory = "1GiB"
[retry]
base = "2s"
factor = 3
[agent.a]
command = "x"
mode = "worker"
env = {K = "v"}
pass_env = ["OPENAI_API_KEY"]
timeout = "10m"
silence_timeout = "30s"
retry = {max_attempts = 2}
restart = {policy = "always", base = "10ms", cap = "1s", limit = 3, window = "5s", reset_after = "1h30m"}
limits = {memory = "2GB", cpu = "10m", files = 1024, processes = 50}
watchdog = "30s"
ready = "notify"
[agent.a.probe.liveness]
exec = ["true"]
[agent.a.probe.readiness]
tcp = "127.0.0.1:80"
period = "250ms"
""")
    agent = config.agent["a"]
    assert agent.restart.reset_after_ms == 5_400_000 and agent.limits.memory_bytes == 2_000_000_000
    assert agent.probe.readiness is not None and agent.probe.readiness.period_ms == 250
    assert config.fleet.min_free_memory_bytes == 1 << 30
    assert '"max_attempts":2' in (config.specs()[0].retry or "")


SERVICE = "[agent.a]\ncommand = 'x'\n[agent.b]\ncommand = 'x'\nmode = 'service'\n"
MISTAKES = [
    ("[agent.a]\ncommand = 'x'\ncan = ['Py Thon']", 3, "agent.a.can", "lower-case"),
    ("[agent.a]\ncommand = 'x'\ncan = 'python'", 3, "agent.a.can", "list of texts"),
    ("[agent.a]\ncommand = 'x'\nverify = ''", 3, "agent.a.verify", "is empty"),
    ("[agent.a]\ncommand = 'x'\nmode = 'worker'\nverify = 'x'", 4, "agent.a.verify", "change the mode"),
    ("[agent.a]\ncommand = 'x'\nmode = 'worker'\nresult = 'required'", 4, "agent.a.result", "change the mode"),
    ("[agent.a]\ncommand = 'x'\nresult = 'need'", 3, "agent.a.result", "Write one of optional, required"),
    ("[agent.a]\ncommand = 'x'\nverify_timeout = '5s'", 3, "agent.a.verify_timeout", "Add the command"),
    ("[agent.a]\ncommand = 'x'\nverify = 'x'\nverify_timeout = '1ms'", 4, "agent.a.verify_timeout", "least is 100 ms"),
    ("# 9\nx = " + "9" * 5_000, 2, "", "smaller number"),
    ("[fleet]\nlease = 0x" + "f" * 300, 2, "fleet.lease", "beyond 64 bits"),
    ("[fleet]\nkeep_output = 0x" + "f" * 5_000, 2, "fleet.keep_output", "beyond 64 bits"),
    ("[budget.task]\nusd = -9223372036854775809", 2, "budget.task.usd", "beyond 64 bits"),
    ("[agent.a]\nfallback_result" + ".a" * 2_000 + " = 1", 2, "agent.a.fallback_result", "Write it flatter"),
    ("[agent.a]\ncommand = 'x'\nfallback = 'a'", 3, "agent.a.fallback", "there is no other agent"),
    (
        "[agent.a]\ncommand = 'x'\nfallback = 'z'\n[agent.b]\ncommand = 'x'",
        3,
        "agent.a.fallback",
        "fallback = 'z' names no",
    ),
    (SERVICE.replace("[agent.b]", "fallback = 'b'\n[agent.b]"), 3, "agent.a.fallback", "it is a service"),
    (SERVICE + "can = ['x']", 6, "agent.b.can", "Leave it out"),
    (
        "[agent.a]\ncommand = 'x'\nfallback = 'b'\nfallback_result = 1\n[agent.b]\ncommand = 'x'",
        4,
        "agent.a.fallback_result",
        "Leave one of them out",
    ),
    ("[agent.a]\ncommand = 'x'\nfallback_result = 2026-01-01", 3, "agent.a.fallback_result", "JSON"),
    ("[fleet]\nmax_delegation_depth = 0", 2, "fleet.max_delegation_depth", "greater than or equal to 1"),
    ("[agent.a]\ncomand = 'x'", 2, "agent.a.comand", "Did you mean 'command'"),
    ("[agent.a]\nmode = 'task'", 1, "agent.a.command", "Add a line `command"),
    ("[fleeet]\n", 1, "fleeet", "Did you mean 'fleet'"),
    ("[agent.a]\ncommand = 'x'\nmode = 'tsk'", 3, "agent.a.mode", "Did you mean 'task'"),
    ("[agent.a]\ncommand = 'x'\nsandbox = 'landlok'", 3, "agent.a.sandbox", "Did you mean 'landlock'"),
    ("[agent.a]\nsandbox = 'docker'\ncommand = 'x'", 2, "agent.a.sandbox", "Write one of landlock, none"),
    ("[agent.a]\ncommand = 'x'\nsandbox = true", 3, "agent.a.sandbox", "Write one of landlock, none"),
    ("[agent.a]\ncommand = 'x'\n\ntimeout = '10 parsecs'", 4, "agent.a.timeout", '"1h30m"'),
    ("[agent.a]\ncommand = 'x'\ninstances = '3'", 3, "agent.a.instances", "not a whole number"),
    ("[agent.a]\ncommand = 'x\"'", 2, "agent.a.command", "no closing quotation"),
    ("[agent.a]\ncommand = []", 2, "agent.a.command", "is empty"),
    ("[agent.a]\ncommand = 'x'\nqueues = ['../x']", 3, "agent.a.queues", "lower-case"),
    ("[agent.a]\ncommand = 'x'\nenv = {A = 3}", 3, "agent.a.env.A", "is not a text"),
    ("[agent.a]\ncommand = 'x'\n[agent.a.env]\n\"A=B\" = '1'", 4, "agent.a.env.A=B", "environment variable"),
    ("[agent.'Bad Name']\ncommand = 'x'", 1, "agent.Bad Name", "lower-case"),
    ("[retry]\nbase = '1h'\ncap = '1m'", 1, "retry", "base ≤ cap"),
    ("[agent.a]\ncommand = 'x'\nlimits = {memory = '3XB'}", 3, "agent.a.limits.memory", "512MB"),
    (
        "[agent.a]\ncommand='x'\n[agent.a.probe.startup]\nperiod='1s'",
        3,
        "agent.a.probe.startup",
        "exactly one",
    ),
    ("[agent.a]\ncommand='x'\n[agent.a.probe.liveness]\nlog='('", 3, "agent.a.probe.liveness", "regular"),
    ("[agent.a]\ncommand='x'\n[agent.a.probe.liveness]\ntcp='db:99999'", 3, "agent.a.probe.liveness", "Port out of"),
    ("[agent.a]\ncommand='x'\n[agent.a.probe.liveness]\ntcp=':0'", 3, "agent.a.probe.liveness", "port 0"),
    ("[agent.a]\ncommand='x'\n[agent.a.probe.liveness]\nhttp='http://[::1/'", 3, "agent.a.probe.liveness", "IPv6"),
    ("[agent.a]\ncommand = 'x'\nlease = '1s'", 3, "agent.a.lease", "least is 2 s"),
    ("[agent.a]\ncommand = 'x'\ncwd = \"a\\u0000b\"", 3, "agent.a.cwd", "not a folder"),
    ("[agent.a]\ncommand = 'x'\n[agent.a.env]\nA = \"x\\u0000\"", 4, "agent.a.env.A", "NUL"),
    ("[agent.a\ncommand = 'x'", 1, "", "is not TOML"),
    ("agent = 3", 1, "agent", "not a table"),
    ("[schedule.'A b']\nqueue='q'\nevery='1m'\n", 1, "schedule.A b", "not a valid name"),
    ("[schedule.s]\nevery='1m'\n", 1, "schedule.s.queue", "has no 'queue'"),
    ("[schedule.s]\nqueue='Q!'\nevery='1m'\n", 2, "schedule.s.queue", "'Q!' is not a valid name"),
    ("[schedule.s]\nqueue='q'\n", 1, "schedule.s", "exactly one way"),
    ("[schedule.s]\nqueue='q'\nevery='1m'\ncron='* * * * *'\n", 1, "schedule.s", "exactly one way"),
    ("[schedule.s]\nqueue='q'\ncron='61 * * * *'\n", 3, "schedule.s.cron", "bad minute"),
    ("[schedule.s]\nqueue='q'\ncron='@daily'\n", 3, "schedule.s.cron", "five fields"),
    ("[schedule.s]\nqueue='q'\ncron='* * * * *'\ntz='Mars'\n", 4, "schedule.s.tz", "'Mars' is not known"),
    ("[schedule.s]\nqueue='q'\nevery='1m'\ntz='UTC'\n", 1, "schedule.s", "no cron line"),
    ("[schedule.s]\nqueue='q'\nevery='1ms'\n", 1, "schedule.s", "every is out of range"),
    ("[schedule.s]\nqueue='q'\nat='noon'\n", 3, "schedule.s.at", "is not a time"),
    ("[schedule.s]\nqueue='q'\nat=12:00:00\n", 3, "schedule.s.at", "is not a time"),
    ("[schedule.s]\nqueue='q'\nevery='1m'\npayload={a=2026-01-01}\n", 4, "schedule.s.payload", "a date or time"),
    ("[schedule.s]\nqueue='q'\nevery='1m'\npayload=nan\n", 4, "schedule.s.payload", "cannot be a payload"),
    ("[schedule.s]\nqueue='q'\nevery='1m'\noverlap='skp'\n", 4, "schedule.s.overlap", "Did you mean 'skip'?"),
    ("[schedule.s]\nqueue='q'\nevery='1m'\njitter='2m'\n", 1, "schedule.s", "jitter"),
    ("[schedule.s]\nqueue='q'\nevry='1m'\n", 3, "schedule.s.evry", "Did you mean 'every'?"),
]


@pytest.mark.parametrize(("text", "line", "key", "hint"), MISTAKES, ids=[str(m[2]) + str(m[1]) for m in MISTAKES])
def test_a_mistake_is_told_with_line_key_and_remedy(text, line, key, hint):
    with pytest.raises(BadConfig) as caught:
        parse_config(text, "agentctl.toml")
    error = caught.value
    assert (error.file, error.line, error.key) == ("agentctl.toml", line, key)
    assert hint in str(error) and f"agentctl.toml:{line}:" in str(error)
    assert error.remedy


def test_what_the_store_must_know_of_workflows():
    config = parse_config("""
[fleet]
max_delegation_depth = 5
[agent.a]
command = "x"
can = ["python", "browser", "python"]
verify = "pytest -q"
verify_timeout = "5m"
result = "required"
fallback = "b"
[agent.b]
command = "x"
fallback_result = {summary = "", pages = [1, 2.5]}
""")
    a, b = config.specs()
    assert (a.can, a.fallback, a.max_depth) == (("browser", "python"), '{"agent":"b"}', 5)
    assert (b.can, b.fallback) == ((), '{"result":{"summary":"","pages":[1,2.5]}}')
    section = config.agent["a"]
    assert (section.verify, section.verify_timeout_ms, section.result) == (("pytest", "-q"), 300_000, "required")
    assert config.agent["b"].verify_timeout_ms == 60_000


def test_all_mistakes_of_a_file_are_told_at_once():
    with pytest.raises(BadConfigs) as caught:
        parse_config("[agent.a]\ncomand = 'x'\nmode = 'tsk'\n[fleeet]\n")
    assert [problem.line for problem in caught.value.problems] == [2, 3, 4]
    assert "3 problems" in str(caught.value)


def test_lines_are_found_past_values_of_several_lines():
    text = '[agent.a]\nenv = {A = """\nqueues = 1\n"""}\nqueues = ["x"]\n[agent."b.c"]\ncwd="."\n'
    places = lines_of(text)
    assert places["agent", "a", "queues"] == 5
    assert places["agent", "b.c", "cwd"] == 7


def test_a_missing_unreadable_or_binary_file_is_told(tmp_path):
    with pytest.raises(NotFound, match="agentctl init"):
        find_config(str(tmp_path))
    path = tmp_path / "agentctl.toml"
    path.write_bytes(b"[fleet]\nname = '\xff'\n")
    with pytest.raises(BadConfig) as caught:
        load_config(str(path))
    assert caught.value.line == 2 and "UTF-8" in str(caught.value)
    assert find_config(str(tmp_path)) == str(path)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    path = tmp_path / "agentctl.toml"
    os.mkfifo(path)
    words = [sys.executable, "-m", "agentctl", "config", "check", str(path)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert ran.returncode == 2 and "is not a regular file" in ran.stderr
    with pytest.raises(BadConfig, match="is a folder"):
        load_config(str(tmp_path))
    assert find_config(str(tmp_path)) == str(path), "it is told as what it is, not as missing"


@pytest.mark.parametrize(
    ("words", "how"), [(["run"], "name it with --config"), (["config", "check"], "name it as the argument")]
)
def test_a_missing_file_can_be_named_as_the_verb_takes_it(tmp_path, words, how):
    ran = subprocess.run(
        [sys.executable, "-m", "agentctl", *words], cwd=tmp_path, capture_output=True, text=True, timeout=20
    )
    assert ran.returncode == 3 and ran.stderr.rstrip().endswith(f"or {how}."), ran.stderr


def test_the_schema_names_keys_as_the_file_does():
    schema = json_schema()
    tables = {"fleet", "retry", "findings", "messages", "agent", "schedule", "limits", "budget", "breaker"}
    assert set(schema["properties"]) == tables
    assert "silence_timeout" in schema["$defs"]["AgentSection"]["properties"]


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("10s", 10_000),
        ("1h30m", 5_400_000),
        ("250ms", 250),
        ("1.5s", 1500),
        (3, 3000),
        ("1d", 86_400_000),
        (" 1 H 2MS", 3_600_002),
    ],
)
def test_durations(text, ms):
    assert read_duration_ms(text) == ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "s",
        "-1s",
        "1s x",
        "1.s",
        ".5s",
        "1.2.3s",
        "1mh",
        "1sms",
        "²s",
        "٣s",
        "9" * 400 + "s",
        True,
        "9999d",
        None,
    ],
)
def test_bad_durations_are_refused(text):
    with pytest.raises(ValueError, match="duration"):
        read_duration_ms(text)


def test_sizes_are_decimal_or_binary_as_written():
    assert (read_size_bytes("512MB"), read_size_bytes("2GiB"), read_size_bytes("1k")) == (
        512_000_000,
        2 << 30,
        1000,
    )
    with pytest.raises(ValueError, match="size"):
        read_size_bytes("lots")


def test_durations_read_well():
    assert [show_duration(ms) for ms in (250, 1500, 38_000, 90_000, 8_000_000)] == [
        "250 ms", "1.5 s", "38 s", "1m30s", "2h13m",
    ]  # fmt: skip


@given(st.integers(0, 366 * 86_400_000), st.integers(0, 1 << 50))
def test_what_is_written_is_read_as_the_same(duration_ms, size_bytes):
    assert read_duration_ms(write_duration(duration_ms)) == duration_ms
    assert read_size_bytes(write_size(size_bytes)) == size_bytes


def test_a_configuration_that_is_shown_could_stand_in_the_file():
    config = parse_config(TEN_LINES + 'timeout = "90s"\nlimits = { memory = "2GiB" }\n')
    shown = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert shown["agent"]["mailer"]["timeout"] == "90s" and shown["agent"]["mailer"]["limits"] == {"memory": "2GiB"}
    assert Config.model_validate(shown) == config


def test_schedules_are_read_as_the_store_takes_them(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    config = parse_config("""
[schedule.nightly]
queue = "reports"
payload = { what = "all", pages = [1, 2] }
cron = "30 2 * * *"
jitter = "5m"
catch_up = false
overlap = "replace"

[schedule.once]
queue = "reports"
at = 2027-01-01T08:00:00Z

[schedule.often]
queue = "reports"
every = "10m"
timeout = "1m"
priority = 5
""")
    nightly, once, often = config.schedules()
    assert (nightly.cron, nightly.zone, nightly.jitter_ms) == ("30 2 * * *", "Europe/Berlin", 300_000)
    assert (nightly.payload, nightly.catch_up, nightly.overlap) == ('{"what":"all","pages":[1,2]}', False, "replace")
    assert once.at_ms == 1_798_790_400_000 and once.payload == "null"
    assert (often.every_ms, often.timeout_ms, often.priority) == (600_000, 60_000, 5)
    assert Config.model_validate(config.model_dump(mode="json", by_alias=True, exclude_none=True)) == config


@pytest.mark.parametrize("named", ["", "CET-1CEST", ":America/New_York", "No/Such"])
def test_the_machines_time_zone_has_a_name(monkeypatch, named):
    monkeypatch.setenv("TZ", named)
    found = local_zone()
    assert ZoneInfo(found).key == found
    if named == ":America/New_York":
        assert found == "America/New_York"

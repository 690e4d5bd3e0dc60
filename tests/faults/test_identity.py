"""P15: an agent acts only as itself, whichever process of it speaks, with a token or without; the operator may all."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.fleet_kit import Fleet, environ_of, fleet
from faults.raw_kit import Raw, claim_words, new_task
from faults.store_kit import until

from agentctl.supervisor import proctree
from agentctl_store.broker import tokens
from agentctl_store.broker.rights import OPERATORS
from agentctl_store.broker.tokens import Identity
from agentctl_store.domain.retry import Failure
from agentctl_store.ids import read_id, write_attempt, write_id
from agentctl_store.sqlite.driver import SqliteDriver

TESTS = str(Path(__file__).parent.parent)
AGENTS = f"""
[agent.a]
mode = "service"
instances = 2
command = ['{sys.executable}', 'agent.py']

[agent.b]
mode = "service"
command = ['{sys.executable}', 'agent.py']
"""
# An agent that does what it is told: each file in its folder is Python; what `found` is afterwards, is its answer.
AGENT = f"""
import json, os, subprocess, sys, time
sys.path.insert(0, {TESTS!r})
from faults.raw_kit import Raw, claim_words, new_task
from agentctl_store.ids import read_id

STORE, TOKEN = os.environ["AGENTCTL_STORE"], os.environ["AGENTCTL_TOKEN"]

def cli(*words, **env):
    env = {{k: v for k, v in (os.environ | env).items() if v is not None}}
    done = subprocess.run(("agentctl", *words, "--store", STORE), capture_output=True, text=True, env=env)
    return done.returncode, done.stdout, done.stderr

def raw(*call, token=None, client=None):
    with Raw(STORE) as caller:
        try:
            greeted = caller.hello(client, token)
            return [str(part) for part in (caller.call(*call) if greeted[0] == 0 else greeted)]
        except ConnectionError as error:
            return ["closed", str(error)]

def forked(act, depth=1, stay=False):
    # What `act` returns in a process `depth` forks below; with `stay` those between live on.
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        for _ in range(depth - 1):
            child = os.fork()
            if child:
                if stay:
                    os.waitpid(child, 0)
                os._exit(0)
        if not stay and depth > 1:
            parent = os.getppid()
            while os.getppid() == parent and parent != int(os.environ["KEEPER"]):
                time.sleep(0.001)
        os.write(writer, json.dumps(act()).encode())
        os._exit(0)
    os.close(writer)
    said = b""
    while more := os.read(reader, 1 << 16):
        said += more
    os.close(reader)
    return json.loads(said)

os.environ["KEEPER"] = str(os.getppid())
folder = "ask/" + os.environ["AGENTCTL_INSTANCE"].replace("/", "-")
os.makedirs(folder, exist_ok=True)
while True:
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py"):
            scope = dict(globals(), found=None)
            try:
                exec(open(folder + "/" + name).read(), scope)
            except Exception as error:
                scope["found"] = "broken: " + repr(error)
            os.unlink(folder + "/" + name)
            with open(folder + "/tmp", "w") as file:
                json.dump(scope["found"], file)
            os.rename(folder + "/tmp", folder + "/" + name[:-3] + ".json")
    time.sleep(0.005)
"""


class Stage:
    """A fleet whose agents do what a test tells them."""

    def __init__(self, f: Fleet) -> None:
        self.fleet = f
        self.key = tokens.load_key(f.folder)
        self.asked = 0

    def do(self, instance: str, code: str, **given: Any) -> Any:
        """Have an instance run `code`; what its `found` was afterwards."""
        self.asked += 1
        folder = self.fleet.root / "ask" / instance.replace("/", "-")
        until(folder.is_dir, f"{instance} runs")
        values = "".join(f"{name} = {value!r}\n" for name, value in given.items())
        (folder / "new").write_text(values + code)
        (folder / "new").rename(folder / f"{self.asked}.py")
        answer = folder / f"{self.asked}.json"
        until(answer.exists, f"{instance} answers\n{self.fleet.said()}")
        return json.loads(answer.read_text())

    def who(self, instance: str) -> Identity:
        agent, _, slot = instance.partition("/")
        found = [one for one in self.fleet.store.open_sessions() if (one.agent, one.slot) == (agent, int(slot))]
        return Identity(agent, int(slot), found[-1].id)

    def token(self, instance: str) -> str:
        return environ_of(self.pid(instance))["AGENTCTL_TOKEN"]

    def pid(self, instance: str) -> int:
        def found() -> int | None:
            session = self.who(instance).session
            return self.fleet.store.session(session).pid

        return int(until(found, f"{instance} runs"))

    def refused(self, words: str) -> Any:
        """The event in which a refusal with these words was told."""

        def told() -> Any:
            events = self.fleet.store.events(kinds=("access.refused",), limit=1_000)
            return next((event for event in events if words in (event.data or "")), None)

        return until(told, f"an event says {words!r}")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("identity")
    (root / "agent.py").write_text(AGENT)
    with fleet(root, AGENTS) as f:
        f.up()
        for instance in ("a/1", "a/2", "b/1"):
            f.shows(instance, lambda row: row.phase == "busy" and row.session is not None, f"{instance} runs")
        yield Stage(f)
        assert f.end() == 0
        assert f.leftovers() == []


def cli(stage: Stage, *words: str, **env: str) -> tuple[int, str, str]:
    """Run agentctl outside of every agent."""
    command = (sys.executable, "-m", "agentctl", *words, "--store", stage.fleet.folder)
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | env)
    return done.returncode, done.stdout, done.stderr


# --- without a token ----------------------------------------------------------------------------------------------
TOKENLESS = {
    "the agent itself": "found = raw(*call)",
    "a child": "found = forked(lambda: raw(*call))",
    "a double-forked child in a session of its own": "found = forked(lambda: raw(*call), 2)",
    "a chain of thirty whose middle has ended": "found = forked(lambda: raw(*call), 30)",
    "a chain of eighty that lives": "found = forked(lambda: raw(*call), 80, stay=True)",
}


@pytest.mark.parametrize("how", TOKENLESS)
def test_a_process_in_an_agents_tree_is_that_agent(how: str, stage: Stage) -> None:
    found = stage.do("a/1", TOKENLESS[how], call=("agents",))
    assert found[0] == "1" and "a/1 may not see the fleet's agents" in found[1], found
    queue = f"q{secrets.token_hex(4)}"
    task = stage.fleet.add(queue)
    claim = ("claim", (queue,), "a", None, None, None, 60_000, 1, None, 0)
    found = stage.do("a/1", TOKENLESS[how], call=claim)
    assert found[0] == "0", found
    [attempt] = stage.fleet.attempts(task)
    assert (attempt.agent, attempt.slot, attempt.session) == ("a", 1, stage.who("a/1").session)


def test_a_tree_too_deep_to_follow_is_refused_and_not_the_operator(stage: Stage) -> None:
    found = stage.do("a/1", "found = forked(lambda: raw('agents'), 130, stay=True)")
    assert found[0] == "1" and "cannot be told" in found[1], found


def test_parents_that_end_at_every_moment_make_nobody_the_operator(stage: Stage) -> None:
    code = """
found = []
until = time.monotonic() + 1.5
while time.monotonic() < until:
    reader, writer = os.pipe()
    if os.fork() == 0:
        for _ in range(6):
            if os.fork():
                time.sleep(0.0003)
                os._exit(0)
        os.write(writer, json.dumps(raw("agents")).encode())
        os._exit(0)
    os.close(writer)
    said = b""
    while more := os.read(reader, 1 << 16):
        said += more
    os.close(reader)
    os.waitpid(-1, 0)
    found.append(json.loads(said))
"""
    found = stage.do("a/1", code)
    assert len(found) > 20
    assert {one[0] for one in found} == {"1"}, "whatever it was taken for, it was not the operator"
    assert all("a/1 may not see the fleet's agents" in one[1] or "cannot be told" in one[1] for one in found)


def test_a_connection_left_by_a_process_that_ended_is_refused(stage: Stage) -> None:
    code = """
import socket
shared = socket.socket(socket.AF_UNIX)
child = os.fork()
if child == 0:
    shared.connect(STORE + "/broker.sock")
    os._exit(0)
os.waitpid(child, 0)
caller = Raw.__new__(Raw)
caller.channel, caller.number = shared, 0
found = caller.hello(token=token)
caller.close()
"""
    for token in (None, stage.token("b/1")):
        how, words = stage.do("a/1", code, token=token)
        assert how == 1 and "has ended: who calls cannot be told" in words[1], words
    stage.refused("who calls cannot be told")


# --- with a token -------------------------------------------------------------------------------------------------
def test_forged_expired_and_foreign_tokens_are_refused(stage: Stage) -> None:
    own, now = stage.token("a/1"), int(time.time())
    me = stage.who("a/1")
    forged = [
        "", "x", ":", "::::", own[:-1], own + "0", own.replace("a/1", "b/1"), own.upper(), own.replace("1:", "2:", 1),
        tokens.mint(bytes(32), me, now), "1:a/1:0000000000000:9999999999:" + "0" * 64, "é" + own, own + "\n",
    ]  # fmt: skip
    for token in forged:
        found = stage.do("a/1", "found = raw('version', token=token)", token=token)
        assert found[0] == "1" and "was not made here" in found[1], token
    expired = tokens.mint(stage.key, me, now - tokens.LIFE_S - 1)
    assert "has expired" in stage.do("a/1", "found = raw('version', token=token)", token=expired)[1]
    for instance in ("a/2", "b/1"):
        found = stage.do("a/1", "found = raw('version', token=token)", token=stage.token(instance))
        assert found[0] == "1" and "process " in found[1] and f"shows the token of {instance}" in found[1], found
    other = tokens.mint(stage.key, Identity("a", 1, me.session - 1), now)
    assert "shows the token of a/1" in stage.do("a/1", "found = raw('version', token=token)", token=other)[1]
    assert stage.do("a/1", "found = raw('version', token=TOKEN)")[0] == "0"
    for words in ("was not made here", "of a/1 shows the token of"):
        stage.refused(words)


def test_the_token_of_an_ended_session_is_good_for_nothing(stage: Stage) -> None:
    gone = tokens.mint(stage.key, Identity("a", 1, stage.who("a/1").session - 1), int(time.time()))
    with Raw(stage.fleet.folder) as caller:
        how, words = caller.hello(token=gone)
        assert how == 1 and "the session of a/1 has ended" in words[1]
        assert caller.closed()
    code, _, said = cli(stage, "task", "add", "1", AGENTCTL_TOKEN=gone, AGENTCTL_STORE=stage.fleet.folder)
    assert code == 4 and said.startswith("agentctl: the session of a/1 has ended."), said


def test_a_token_outside_of_the_tree_is_that_agent_too(stage: Stage) -> None:
    env = {"AGENTCTL_TOKEN": stage.token("a/1"), "AGENTCTL_STORE": stage.fleet.folder}
    code, _, said = cli(stage, "queue", "pause", "q", **env)
    assert code == 4, said
    assert said.startswith("agentctl: a/1 may not pause a queue (agentctl queue pause). That is the operator's"), said


# --- what an agent tries ------------------------------------------------------------------------------------------
def test_what_is_not_its_own_is_refused_with_a_sentence_and_exit_code_4(stage: Stage) -> None:
    f = stage.fleet
    dead = f.add("buried")
    won = f.store.claim(["buried"], agent="b")[0]
    f.store.fail(dead, won.n, Failure("permanent", "no"))
    theirs = f.add("theirs", '"a secret payload"')
    assert stage.do("b/1", "found = cli('task', 'claim', 'theirs')")[0] == 0
    attempt = write_attempt(theirs, 1)
    tried = {
        "requeue": ("dlq", "requeue", write_id(dead)),
        "discard": ("dlq", "discard", write_id(dead), "--yes"),
        "pause": ("queue", "pause", "theirs"),
        "resume": ("queue", "resume", "theirs"),
        "scale": ("agent", "scale", "a", "5"),
        "limit": ("limit", "set", "agent:a", "--concurrency", "9"),
        "budget": ("budget", "set", "fleet", "--usd", "1000"),
        "breaker": ("breaker", "reset", "agent:a"),
        "stop": ("agent", "stop", "b"),
        "complete": ("task", "complete", attempt),
        "fail": ("task", "fail", attempt),
        "heartbeat": ("task", "heartbeat", attempt),
        "release": ("task", "release", attempt),
        "show": ("task", "show", write_id(theirs)),
        "cancel": ("task", "cancel", write_id(theirs)),
        "claim as another": ("task", "claim", "theirs", "--agent", "b", "--instance", "b/1"),
        "claim as another slot": ("task", "claim", "theirs", "--instance", "a/2"),
        "retry": ("task", "retry", write_id(dead)),
    }
    code = "found = {name: cli(*words, AGENTCTL_TOKEN=token) for name, words in tried.items()}"
    for token in (stage.token("a/1"), None):
        found = stage.do("a/1", code, tried=tried, token=token)
        for name, (exit_code, out, said) in found.items():
            assert exit_code == 4, (name, exit_code, said)
            assert "a/1 may not" in said, (name, said)
            assert "secret payload" not in out + said
    found = stage.do("a/1", "found = cli('task', 'add', '1', AGENTCTL_TASK=task)", task=write_id(theirs))
    assert found[0] == 4 and "may not" in found[2], found
    assert f.task(dead).state == "dead" and f.task(theirs).state == "active"
    assert stage.do("b/1", "found = cli('task', 'complete', attempt)", attempt=attempt)[0] == 0


def test_what_is_its_own_it_may(stage: Stage) -> None:
    code = """
first = cli("task", "add", '"hello"', "-q", "own")
claimed = json.loads(cli("task", "claim", "own")[1])
mine = dict(AGENTCTL_TASK=claimed["task"], AGENTCTL_ATTEMPT=claimed["attempt"])
found = [
    first[0],
    cli("task", "heartbeat", **mine)[0],
    cli("task", "show", claimed["task"])[0],
    cli("task", "add", "2", "-q", "own2", **mine)[0],
    cli("task", "complete", "--result", "1", **mine)[0],
    claimed["task"],
]
"""
    *codes, task = stage.do("a/1", code)
    assert codes == [0] * 5
    events = stage.fleet.store.events(task=read_id(task))
    assert events[0].actor == "a/1" and stage.fleet.attempts(read_id(task))[0].slot == 1


def test_who_leaves_out_for_which_task_it_delegates_is_in_the_chain_all_the_same(stage: Stage) -> None:
    code = """
cli("task", "add", "1", "-q", "chained")
old = json.loads(cli("task", "claim", "chained")[1])
cli("task", "complete", old["attempt"])
cli("task", "add", "1", "-q", "chained")
mine = json.loads(cli("task", "claim", "chained")[1])
words = ("task", "add", "2", "-q", "passed-on", "-o", "json", "--correlation", mine["correlation"])
found = [mine["task"], *[cli(*words, AGENTCTL_TASK=named) for named in ("", old["task"])]]
cli("task", "complete", mine["attempt"])
"""
    held, *added = stage.do("a/1", code)
    for exit_code, out, said in added:
        assert exit_code == 0, said
        task = stage.fleet.store.task(read_id(json.loads(out)[0]["task"]))
        assert (task.creator, task.chain) == (read_id(held), ("a",))


def test_an_agent_is_given_its_own_receipts_and_no_others(stage: Stage) -> None:
    """It asks for them when its supervisor was restarted: its own are kept apart, whatever number it calls itself."""
    code = """
from agentctl_store.store import open_store, TaskRequest
store = open_store(STORE, stay=True)
store.add([TaskRequest("again", "1")])
link = store.driver.call.__self__._link
number = store.driver.call.__self__._number
raw_client = store.driver.call.__self__._client
found = [link.client, store.driver.receipt(raw_client, number)]
try:
    store.driver.receipt(12345, number)
except Exception as error:
    found.append(type(error).__name__)
"""
    kept_as, receipt, other = stage.do("a/1", code)
    assert kept_as < 0 and "true" in receipt and other == "Refused"
    driver = SqliteDriver(stage.fleet.folder)
    assert driver.conn.rows("SELECT count(*) FROM receipt WHERE client = ?", (kept_as,))[0][0] == 1
    driver.close()


def test_refusals_are_told_readably_and_not_without_end(stage: Stage) -> None:
    code = """
with Raw(STORE) as caller:
    caller.hello(token=TOKEN)
    for _ in range(3000):
        caller.call("hasten", 1, "x")
found = True
"""
    assert stage.do("b/1", code) is True
    event = stage.refused(f"may not {OPERATORS['hasten']}")
    assert event.actor == "b/1"
    until(lambda: cli(stage, "event", "list", "-k", "access.refused")[1].count("hasten") >= 1, "listed")
    code_, out, _ = cli(stage, "event", "list", "-k", "access.refused", "-n", "1000")
    lines = [line for line in out.splitlines() if "hasten" in line]
    assert code_ == 0 and 1 <= len(lines) < 10
    assert "access.refused" in lines[0] and "b/1" in lines[0].split()
    assert f"b/1 may not {OPERATORS['hasten']}" in lines[0]


def test_the_operator_may_all(stage: Stage) -> None:
    f = stage.fleet
    task = f.add("operators")
    for words in (
        ("queue", "pause", "operators"), ("queue", "resume", "operators"), ("task", "show", write_id(task)),
        ("task", "claim", "operators", "--agent", "me"), ("task", "complete", write_attempt(task, 1)),
        ("event", "list"), ("agent", "list"), ("ps",),
    ):  # fmt: skip
        code, _, said = cli(stage, *words)
        assert code == 0, (words, said)
    with Raw(f.folder) as caller:
        assert caller.hello()[0] == 0
        assert caller.call("open_sessions")[0] == 0
        assert caller.call("add", (new_task("operators"),), "me")[0] == 0
        assert len(caller.call("claim", *claim_words("me", queues=("operators",)))[1]) == 1


# --- keepers that are killed --------------------------------------------------------------------------------------
ESCAPE = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("escaped.tmp", "w").write(str(os.getpid()))
        os.rename("escaped.tmp", "escaped")
        while not os.path.exists("go"):
            time.sleep(0.002)
        said = [raw("agents") for _ in range(3)]
        open("said.tmp", "w").write(json.dumps(said))
        os.rename("said.tmp", "said")
        time.sleep(60)
    os._exit(0)
os.wait()
found = True
"""


@pytest.mark.parametrize("restarted", [False, True], ids=["its supervisor lives", "the supervisor is another's heir"])
def test_what_a_killed_keeper_leaves_is_refused_without_a_token(restarted: bool, tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    with fleet(tmp_path, AGENTS.partition("[agent.b]")[0].replace("instances = 2", "instances = 1")) as f:
        f.up()
        f.shows("a/1", lambda row: row.phase == "busy" and row.session is not None, "it runs")
        one = Stage(f)
        assert one.do("a/1", ESCAPE) is True
        until((tmp_path / "escaped").exists, "it is away")
        escaped = int((tmp_path / "escaped").read_text())
        keeper = proctree.parent_of(one.pid("a/1"))
        assert keeper is not None
        if restarted:
            f.kill()
            f.up()
            f.says("adopted 1 running")
        assert f.process is not None
        until(lambda: _serves(f.folder), "the broker serves")
        f.process.send_signal(signal.SIGSTOP)  # so that it does not end what the keeper leaves at once
        try:
            until(lambda: b") T " in Path(f"/proc/{f.process.pid}/stat").read_bytes(), "it is stopped")
            os.kill(keeper, signal.SIGKILL)
            until(lambda: proctree.parent_of(escaped) != keeper, "it is an orphan")
            (tmp_path / "go").touch()
            until(lambda: _connects(escaped), "it calls")
        finally:
            f.process.send_signal(signal.SIGCONT)
        until(lambda: (tmp_path / "said").exists() or proctree.start_of(escaped) is None, "answered, or ended")
        if (tmp_path / "said").exists():
            for how, words in json.loads((tmp_path / "said").read_text()):
                other = words.replace(f"may not {OPERATORS['agents']}", "")
                assert how in ("1", "closed") and "may not" not in other, words
        until(lambda: proctree.start_of(escaped) is None, "it was ended")
        assert f.end() == 0


def _serves(folder: str) -> bool:
    try:
        with Raw(folder) as caller:
            return bool(caller.hello()[0] == 0)
    except OSError:
        return False


def _connects(pid: int) -> bool:
    links = []
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    except OSError:
        pass  # closed meanwhile, or ended
    return any(link.startswith("socket:") for link in links)


# --- the key ------------------------------------------------------------------------------------------------------
def test_the_key_is_its_owners_alone(stage: Stage) -> None:
    facts = os.stat(f"{stage.fleet.folder}/token.key")
    assert facts.st_mode & 0o777 == 0o600 and facts.st_size == tokens.KEY_BYTES
    assert os.stat(f"{stage.fleet.folder}/broker.sock").st_mode & 0o777 == 0o600

"""Why an agent cannot have a sandbox: each kind of kernel, and each folder that could not be its own."""

from __future__ import annotations

import errno
import os
import types

import pytest

from agentctl.supervisor import sandbox, shim_sandbox


@pytest.fixture(autouse=True)
def fresh():
    """Answers about the kernel are kept for the life of a process: not across these tests."""
    kept = (sandbox.abi, sandbox.why_not)
    for answer in kept:
        answer.cache_clear()
    yield
    for answer in kept:
        answer.cache_clear()


@pytest.mark.parametrize(
    ("found", "number", "said"),
    [
        (-1, errno.ENOSYS, "kernel 5.4 has no Landlock; Linux 6.12 or newer has"),
        (-1, errno.EOPNOTSUPP, "the Landlock of kernel 5.4 is switched off; put landlock into its lsm= boot parameter"),
        (-1, errno.EPERM, "a container's seccomp profile perhaps; allow the landlock_* system calls"),
        (1, 0, "the Landlock of kernel 5.4 (ABI 1) cannot keep an agent from signalling other processes; Linux 6.12"),
        (5, 0, "(ABI 5)"),
    ],
)
def test_a_kernel_that_cannot_is_told_with_what_would_help(monkeypatch, found, number, said):
    monkeypatch.setattr(shim_sandbox, "abi", lambda: found)
    monkeypatch.setattr(sandbox, "_errno", lambda: number)
    monkeypatch.setattr(sandbox.sys, "platform", "linux")
    monkeypatch.setattr(os, "uname", lambda: types.SimpleNamespace(release="5.4"))
    assert said in sandbox.why_not()
    assert sandbox.Fence("store", "agentctl.toml").refusal("work").startswith('sandbox = "landlock": ')


def test_another_system_has_none(monkeypatch):
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    assert sandbox.why_not() == "Landlock is a part of Linux, and this is darwin"


@pytest.mark.parametrize("found", [6, 7, 10])
def test_abi_6_and_every_later_one_will_do(monkeypatch, found):
    monkeypatch.setattr(shim_sandbox, "abi", lambda: found)
    monkeypatch.setattr(sandbox.sys, "platform", "linux")
    assert sandbox.why_not() == ""


@pytest.mark.parametrize(
    ("cwd", "store", "config", "said"),
    [
        ("fleet", "fleet/.agentctl", "fleet/agentctl.toml", "which holds agentctl.toml; give it a folder of its own"),
        (".", "fleet/.agentctl", "fleet/agentctl.toml", "which holds agentctl.toml"),
        ("there", "there/.agentctl", "fleet/agentctl.toml", "which holds the store"),
        ("linked", "fleet/.agentctl", "fleet/agentctl.toml", "which holds agentctl.toml"),
        ("fleet/.agentctl", "fleet/.agentctl", "fleet/agentctl.toml", "lies in the store"),
        ("fleet/.agentctl/x", "fleet/.agentctl", "fleet/agentctl.toml", "lies in the store"),
        ("fleet", "far", "named", "which holds the store"),  # by the name of the link, though it leads elsewhere
        ("fleet/work", "fleet/.agentctl", "fleet/agentctl.toml", ""),
        ("fleet/.agentctl2", "fleet/.agentctl", "fleet/agentctl.toml", ""),
        ("elsewhere", "fleet/.agentctl", "fleet/agentctl.toml", ""),
    ],
)
def test_a_folder_is_its_own_or_refused(tmp_path, monkeypatch, cwd, store, config, said):
    monkeypatch.setattr(sandbox, "why_not", lambda: "")
    (tmp_path / "fleet").mkdir()
    (tmp_path / "linked").symlink_to("fleet")
    (tmp_path / "far").symlink_to("fleet/there")
    why = sandbox.Fence(str(tmp_path / store), str(tmp_path / config)).refusal(str(tmp_path / cwd))
    assert said in why if said else why == ""


def test_what_stays_open_names_no_part_of_the_store_but_its_own(tmp_path):
    store, own = tmp_path / "store", tmp_path / "store" / "sessions" / "a" / "own"
    own.mkdir(parents=True)
    env = {"HOME": str(store / "home"), "TMPDIR": str(tmp_path / "t")}
    box = sandbox.Fence(str(store), str(tmp_path / "agentctl.toml")).box(str(own), str(tmp_path / "work"), env)
    assert box["open"] == [str(tmp_path / "work"), str(tmp_path / "t"), str(own)]
    assert (box["hide"], box["read"]) == ([str(store)], [str(tmp_path / "agentctl.toml")])


def test_rules_grant_what_lies_beside_the_store_and_nothing_above_it(tmp_path):
    for name in ("store", "work", "other"):
        (tmp_path / name).mkdir()
    for name in ("agentctl.toml", "file"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("store")
    found = dict(shim_sandbox.rules([str(tmp_path / "store")], [str(tmp_path / "agentctl.toml")], [str(tmp_path)]))
    below = {os.path.basename(path): rights for path, rights in found.items() if path.startswith(str(tmp_path))}
    assert below == {
        "work": shim_sandbox.ALL, "other": shim_sandbox.ALL, "file": shim_sandbox.ON_FILES,
        "agentctl.toml": shim_sandbox.READ_FILE,
    }  # fmt: skip
    assert not set(shim_sandbox.folders_above(str(tmp_path / "store"))) & set(found)


def test_a_configuration_inside_the_store_opens_nothing_else_of_it(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    for name in ("agentctl.toml", "store.db"):
        (store / name).touch()
    found = dict(shim_sandbox.rules([str(store)], [str(store / "agentctl.toml")], []))
    assert {path for path in found if path.startswith(str(store))} == {str(store / "agentctl.toml")}


def test_a_keeper_on_an_older_kernel_starts_nothing(monkeypatch):
    monkeypatch.setattr(shim_sandbox, "abi", lambda: 5)
    started: list[int] = []
    with pytest.raises(shim_sandbox.SandboxError, match="Landlock ABI 5, the sandbox needs 6"):
        shim_sandbox.inside({"hide": [], "read": [], "open": []}, lambda: started.append(1))
    assert not started

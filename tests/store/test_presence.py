"""Whether a supervisor is there, and whether it can do anything."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from store.store_kit import held_later, new_store  # noqa: TID251

from agentctl_store.read import open_reader
from agentctl_store.read.models import SupervisorRow


def test_a_running_supervisor_is_known_by_its_process_and_not_by_its_number_alone(tmp_path: Path) -> None:
    with new_store(tmp_path) as store, open_reader(store.directory) as reader:
        before = reader.version()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        start = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        lock = tmp_path / ".agentctl" / "supervisor.lock"
        told = {"pid": os.getpid(), "start": start, "boot": boot, "since": 5}
        lock.write_text(json.dumps(told))
        assert reader.summary(0).supervisor.running and reader.version() != before
        for wrong in ({**told, "start": start + 1}, {**told, "boot": "other"}, {**told, "pid": 1 << 30}, [], "x"):
            lock.write_text(json.dumps(wrong))
            assert not reader.summary(0).supervisor.running


def test_a_supervisor_that_a_signal_holds_is_told_until_it_goes_on(tmp_path: Path) -> None:
    with new_store(tmp_path) as store, open_reader(store.directory) as reader, held_later() as process:
        (tmp_path / ".agentctl" / "supervisor.lock").write_text(json.dumps({"pid": process.pid}))
        assert reader.summary(0).supervisor == SupervisorRow(True, process.pid)
        before = reader.version()
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        assert reader.summary(0).supervisor == SupervisorRow(True, process.pid, stopped=True)
        assert reader.version() != before
        process.send_signal(signal.SIGCONT)
        os.waitpid(process.pid, os.WCONTINUED)
        assert reader.summary(0).supervisor == SupervisorRow(True, process.pid) and reader.version() == before

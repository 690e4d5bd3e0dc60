"""P10: whatever an agent prints, it is never blocked, memory and disk stay bounded, nothing is hidden."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from faults.session_kit import python, session, shell
from faults.store_kit import until

from agentctl.supervisor import lookback, process, spool
from agentctl.supervisor.session_files import FactsReader, read_exit

sys.path.append(os.path.dirname(process.SHIM))  # the shim's modules find each other the way it does
import shim_spool  # type: ignore[import-not-found]

MIB = 1 << 20
FLOOD_BYTES = 128 * MIB


def _memory_peak_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def _all_lines(folder: str, **more: Any) -> list[spool.Line]:
    follower = spool.Follower(folder, **more)
    found: list[spool.Line] = []
    while some := follower.read(ended=True):
        found += some
    return found


def test_flood_blocks_no_agent_and_keeps_the_newest_bytes(tmp_path: Path) -> None:
    code = f"""
import os
block = b'x' * 1023 + b'\\n'
chunk = block * 64
for n in range({FLOOD_BYTES} // len(chunk)):
    view = memoryview(chunk)
    while view:
        view = view[os.write(1, view):]
os.write(1, b'the end\\n')
os.write(2, b'not blocked\\n')
import time; time.sleep(600)
"""
    with session(tmp_path, python(code), segment_bytes=MIB, segments=4) as one:
        until(lambda: one.output("err") == b"not blocked\n", "the agent got through its flood", 60)
        assert _memory_peak_kb(one.shim.pid) < 32 * 1024
        until(lambda: one.output().endswith(b"the end\n"), "the flood in the ring")
        assert sum(p.stat().st_size for p in one.dir.glob("out.*")) <= 4 * MIB
        stream = spool.Stream(one.spec.session_dir, "out")
        first, end = stream.extent()
        assert end == FLOOD_BYTES + 8
        assert end - 4 * MIB <= first < end
        assert first % MIB == 0
        start, tail = stream.tail(100)
        assert (start, tail[-8:]) == (end - 100, b"the end\n")
        follower = spool.Follower(one.spec.session_dir)
        last = [line for line in iter(follower.read, []) for line in line][-1]
        assert last.text in ("the end", "not blocked")
        assert follower.dropped == first
        assert spool.result(one.spec.session_dir, 10).dropped_bytes == first


def test_flood_of_facts_is_bounded_and_the_loss_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(shim_spool, "FACTS_BYTES", 10_000)
    facts = shim_spool.Facts(str(tmp_path))
    early = FactsReader(str(tmp_path))
    late = FactsReader(str(tmp_path))
    seen: list[str] = []
    for n in range(2_000):
        facts.line(n, b'{"agentctl": "progress", "n": %d}' % n)
        facts.flush(n)
        seen += [fact["raw"] for fact in early.read()]
    assert [json.loads(raw)["n"] for raw in seen] == list(range(2_000))
    assert sum(p.stat().st_size for p in tmp_path.glob("facts*")) <= 2 * 10_000
    found = [fact for some in iter(late.read, []) for fact in some]
    assert found[0]["k"] == "dropped"
    assert found[0]["bytes"] > 0
    numbers = [json.loads(fact["raw"])["n"] for fact in found[1:]]
    assert numbers == list(range(numbers[0], 2_000))
    assert late.offset == early.offset
    assert FactsReader(str(tmp_path), late.offset).read() == []


def test_session_that_floods_with_facts_is_throttled_and_the_count_is_right(tmp_path: Path) -> None:
    total = 400_000
    code = f"""
import sys
line = '{{"agentctl": "progress", "text": "still busy"}}\\n'
for _ in range({total} // 1000):
    sys.stdout.write(line * 1000)
"""
    with session(tmp_path, python(code)) as one:
        assert one.ended(60).code == 0
        reader = FactsReader(one.spec.session_dir)
        found = [fact for some in iter(reader.read, []) for fact in some]
        kept = sum(fact["k"] == "line" for fact in found)
        assert kept + sum(fact["n"] for fact in found if fact["k"] == "dropped") == total
        seconds = (found[-1]["t"] - found[0]["t"]) // 1000 + 2
        assert kept <= seconds * shim_spool.FACTS_PER_S


def test_lines_for_the_supervisor_are_found_across_any_chunk_borders() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    mark = b'{"agentctl"'
    for _ in range(400):
        lines = []
        for _ in range(rng.randrange(8)):
            body = rng.choice([b"", b"x", mark, mark + b": 1}", mark[: rng.randrange(11)], b" " + mark, b"a" * 70])
            lines.append(body + rng.choice([b"", b"tail", mark]))
        data = b"\n".join(lines) + rng.choice([b"", b"\n"])
        scan = shim_spool.LineScan()
        found, at = [], 0
        while at < len(data):
            step = rng.choice([1, 2, 5, 11, 12, 64])
            found += scan.feed(data[at : at + step])
            at += step
        found += scan.rest()
        assert found == [line for line in data.split(b"\n") if line.startswith(mark)]


def test_endless_fact_line_is_cut() -> None:
    scan = shim_spool.LineScan()
    for _ in range(100):
        assert scan.feed(b'{"agentctl"' * 1000) == []
    (line,) = scan.feed(b"\nnext")
    assert len(line) == shim_spool.LINE_BYTES


def test_binary_endless_and_invalid_text_is_read_back_whole(tmp_path: Path) -> None:
    code = """
import os
os.write(1, bytes(range(256)) * 4 + b'\\n')
os.write(1, b'\\xff\\xfe caf\\xc3\\n')
for _ in range(64):
    os.write(1, b'e' * 4096)
os.write(1, b'\\nafter\\nopen end')
"""
    with session(tmp_path, python(code)) as one:
        assert one.ended().code == 0
        expected = bytes(range(256)) * 4 + b"\n\xff\xfe caf\xc3\n" + b"e" * 64 * 4096 + b"\nafter\nopen end"
        assert one.output() == expected
        lines = _all_lines(one.spec.session_dir)
        assert [line.text for line in lines[-4:]] == [
            "\ufffd\ufffd caf\ufffd",
            "e" * spool.LINE_BYTES,
            "after",
            "open end",
        ]
        assert [line.cut for line in lines[-4:]] == [False, True, False, False]
        whole = spool.result(one.spec.session_dir, MIB)
        assert (whole.cut, whole.dropped_bytes) == (False, 0)
        assert whole.text == expected.decode("utf-8", "replace")


@pytest.mark.parametrize("limit", [0, 7, 20, 1000])
def test_result_is_stdout_without_the_lines_for_the_supervisor(tmp_path: Path, limit: int) -> None:
    script = """echo one; echo '{"agentctl": "log"}'; echo '{"agen'
        echo 'x{"agentctl"'; printf '{"agentctl": 2}'"""
    with session(tmp_path, shell(script)) as one:
        one.ended()
        expected = 'one\n{"agen\nx{"agentctl"\n'
        found = spool.result(one.spec.session_dir, limit)
        assert (found.text, found.cut) == (expected[:limit], len(expected) > limit)


def test_both_streams_merge_in_the_order_of_time(tmp_path: Path) -> None:
    script = "for n in 1 2 3; do echo out $n; sleep 0.12; echo err $n >&2; sleep 0.12; done"
    with session(tmp_path, shell(script)) as one:
        one.ended()
        lines = _all_lines(one.spec.session_dir)
        assert [line.text for line in lines] == [f"{name} {n}" for n in (1, 2, 3) for name in ("out", "err")]
        walls = [line.wall_ms or 0 for line in lines]
        assert walls == sorted(walls)
        assert walls[0] > 0


def test_follower_sees_lines_as_they_come_and_resumes_at_an_offset(tmp_path: Path) -> None:
    with session(tmp_path, python("import sys\nfor n in range(3): print(n, flush=True); sys.stdin.read(0)")) as one:
        one.ended()
        follower = spool.Follower(one.spec.session_dir)
        lines = _all_lines(one.spec.session_dir)
        assert [line.text for line in follower.read()] == ["0", "1", "2"]
        again = spool.Follower(one.spec.session_dir, {"out": lines[1].offset})
        assert [line.text for line in again.read()] == ["1", "2"]
        assert [line.text for line in spool.Follower.tail(one.spec.session_dir, 3).read()] == ["2"]


@pytest.mark.parametrize("seed", range(20))
def test_looking_back_finds_the_lines_that_reading_on_finds(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    ring = shim_spool.Ring(str(tmp_path), "out", 100_000, chance.choice((3, 1_000)))
    for _ in range(60):
        length = chance.choice((0, 1, 70, 3_000, spool.LINE_BYTES - 1, spool.LINE_BYTES, spool.LINE_BYTES + 1, 200_000))
        ring.write(chance.randbytes(length).replace(b"\n", b".") + b"\n" * chance.randrange(3))
    stream = spool.Stream(str(tmp_path), "out", 100_000)
    first, end = stream.extent()
    data = stream.span(first, end)[1]
    data = data[: data.rfind(b"\n") + 1]
    whole = spool.Splitter("out", first).feed(data)[first > 0 :]  # without one that lost its beginning
    assert lookback.last_line_end(stream) == first + len(data)
    assert list(lookback.lines_before(stream, first + len(data)))[::-1] == whole


def test_index_stays_small_and_keeps_its_newest_times(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(shim_spool, "INDEX_BYTES", 5_000)
    ring = shim_spool.Ring(str(tmp_path), "out", MIB, 4)
    index = shim_spool.Index(str(tmp_path), {"out": ring})
    times = spool.Times(str(tmp_path))
    for n in range(2_000):
        ring.write(b"line\n")
        index.note("out", 1_000_000 + n * 100)
    assert (tmp_path / "index.jsonl").stat().st_size <= 5_100
    times.refresh()
    assert times.of("out", 10_000) == 1_000_000 + 1_999 * 100
    assert times.of("out", 10_001) is None
    early = times.of("out", 5)
    assert early is not None


def test_full_disk_costs_bytes_not_the_session(tmp_path: Path) -> None:
    """A missing folder refuses every write, as a disk that has nothing left does."""
    ring = shim_spool.Ring(str(tmp_path / "gone"), "out", 1024, 4)
    ring.write(b"x" * 5000)
    assert (ring.end, ring.lost) == (0, 5000)
    (tmp_path / "gone").mkdir()
    ring.write(b"y" * 3000)
    assert (ring.end, ring.lost) == (3000, 5000)
    assert spool.Stream(str(tmp_path / "gone"), "out", 1024).tail(3000) == (0, b"y" * 3000)


@pytest.mark.skipif(os.getuid() != 0 or sys.platform != "linux", reason="mounts a small tmpfs")
def test_session_on_a_full_disk_ends_with_its_record(tmp_path: Path) -> None:
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mount is not allowed here")
    try:
        with session(small, shell("yes | head -c 2000000; exit 5"), segment_bytes=65536, segments=8) as one:
            record = one.ended()
            assert record.code == 5
            assert record.out_bytes + record.lost_bytes == 2_000_000
            assert spool.Stream(one.spec.session_dir, "out").extent()[1] == record.out_bytes
            assert read_exit(one.spec.session_dir) == record
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)

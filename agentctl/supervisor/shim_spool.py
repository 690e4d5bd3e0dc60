"""What the shim writes while the agent runs: output ring, time index, facts.

Every file here is bounded. A write that fails (disk full) never stops the reading of the agent's
pipe: the ring first gives up its own oldest segments, then counts the bytes as lost.
"""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agentctl.supervisor.shim_text import dumps, quote
else:
    from shim_text import dumps, quote

MARK = b'{"agentctl"'
LINE_BYTES = 65_536
FACTS_BYTES = 16 * 1024 * 1024
FACTS_PER_S = 10_000
"""Of each kind. More would only keep the supervisor from reading anybody else's."""
INDEX_BYTES = 4 * 1024 * 1024
INDEX_EVERY_MS = 100

_APPEND = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC


class Ring:
    """One stream's newest bytes in files `NAME.000000`, `NAME.000001`, … of equal size.

    Bytes are counted from the start of the stream: byte n lies in segment n // segment_bytes.
    """

    def __init__(self, folder: str, name: str, segment_bytes: int, segments: int) -> None:
        self.end = 0
        """Bytes stored since the start, those of deleted segments included."""
        self.lost = 0
        """Bytes that could not be stored at all; they have no place in the numbering."""
        self._base = f"{folder}/{name}."
        self._size = segment_bytes
        self._keep = segments
        self._oldest = 0
        self._fd = -1

    def write(self, chunk: bytes) -> None:
        """Append; never raises for a full or failing disk."""
        view = memoryview(chunk)
        while view:
            try:
                room = self._size - self.end % self._size
                if self._fd < 0:
                    self._open()
                done = posix.write(self._fd, view[:room])
            except OSError:
                if not self._give_up_oldest():
                    self.lost += len(view)
                    return
                continue
            self.end += done
            view = view[done:]
            if done == room:
                posix.close(self._fd)
                self._fd = -1

    def _open(self) -> None:
        number = self.end // self._size
        while number - self._oldest >= self._keep:
            self._give_up_oldest()
        self._fd = posix.open(f"{self._base}{number:06d}", _APPEND, 0o600)

    def _give_up_oldest(self) -> bool:
        if self._oldest >= self.end // self._size:
            return False
        try:
            posix.unlink(f"{self._base}{self._oldest:06d}")
        except OSError:
            pass
        self._oldest += 1
        return True

    @property
    def first(self) -> int:
        """The oldest byte that is still there."""
        return self._oldest * self._size


class Log:
    """Whole lines appended to one file; a line that does not fit the disk is dropped whole."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = 0
        self._fd = -1

    def append(self, data: bytes) -> bool:
        try:
            if self._fd < 0:
                self._fd = posix.open(self.path, _APPEND, 0o600)
            done = posix.write(self._fd, data)
            if done < len(data):
                posix.ftruncate(self._fd, self.size)
                return False
        except OSError:
            return False
        self.size += done
        return True

    def forget(self) -> None:
        """The file at `path` is another one now."""
        if self._fd >= 0:
            posix.close(self._fd)
        self._fd = -1
        self.size = 0


class Index:
    """`index.jsonl`: [wall_ms, stream, end_offset] says when the stream had reached the offset."""

    def __init__(self, folder: str, rings: dict[str, Ring]) -> None:
        self._log = Log(folder + "/index.jsonl")
        self._rings = rings
        self._last_ms = dict.fromkeys(rings, 0)
        self._open: dict[str, int] = {}

    def note(self, stream: str, now_ms: int) -> None:
        """The stream has grown. One line per 100 ms; the last growth is written by `settle`."""
        if now_ms - self._last_ms[stream] >= INDEX_EVERY_MS or now_ms < self._last_ms[stream]:
            self._write(stream, now_ms)
        else:
            self._open[stream] = now_ms

    def due_ms(self) -> int | None:
        """When `settle` has something to write (wall milliseconds), or None."""
        return min((self._last_ms[name] + INDEX_EVERY_MS for name in self._open), default=None)

    def settle(self, now_ms: int, *, final: bool = False) -> None:
        for stream, seen_ms in list(self._open.items()):
            if final or not 0 <= now_ms - self._last_ms[stream] < INDEX_EVERY_MS:
                self._write(stream, seen_ms)

    def _write(self, stream: str, at_ms: int) -> None:
        self._open.pop(stream, None)
        self._last_ms[stream] = at_ms
        self._log.append(f'[{at_ms},"{stream}",{self._rings[stream].end}]\n'.encode())
        if self._log.size > INDEX_BYTES:
            self._thin()

    def _thin(self) -> None:
        """Forget lines of bytes that are gone, then every second line, so that the file stays small."""
        with open(self._log.path, "rb") as file:
            lines = file.readlines()
        kept = []
        for line in lines:
            _, stream, end = line.decode().strip("[]\n").split(",")
            if int(end) > self._rings[stream.strip('"')].first:
                kept.append(line)
        if len(kept) > len(lines) // 2:
            kept = kept[1::2]
        tmp = Log(self._log.path + ".tmp")
        if tmp.append(b"".join(kept)):
            posix.rename(tmp.path, self._log.path)
            size = tmp.size
            tmp.forget()
            self._log.forget()
            self._log.size = size


class Facts:
    """`facts.jsonl`: what the agent said to the supervisor, in order, batched per wake-up.

    At 16 MiB the file becomes `facts.old.jsonl` and a new one begins with the line
    {"k":"base","n":offset of the first byte after the last file}. A reader that was away for
    longer than two files hold sees a `dropped` fact instead of a silent gap.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._log = Log(folder + "/facts.jsonl")
        self._base = 0
        self._batch: list[str] = []
        self._unwritten = 0
        self._second = 0
        self._counts = {"line": 0, "notify": 0}

    def line(self, now_ms: int, raw: bytes) -> None:
        """A JSON line of the agent's stdout, already cut to LINE_BYTES."""
        if self._may(now_ms, "line"):
            text = quote(raw.decode("utf-8", "replace"))
            self._batch.append(f'{{"t":{now_ms},"k":"line","raw":{text}}}\n')

    def notify(self, now_ms: int, text: str, pid: int) -> None:
        """One sd_notify datagram and the process that sent it (0: not known)."""
        if self._may(now_ms, "notify"):
            self._batch.append(f'{{"t":{now_ms},"k":"notify","v":{quote(text)},"pid":{pid}}}\n')

    def _may(self, now_ms: int, kind: str) -> bool:
        if now_ms // 1000 != self._second:
            self._second = now_ms // 1000
            self._counts = dict.fromkeys(self._counts, 0)
        self._counts[kind] += 1
        if self._counts[kind] <= FACTS_PER_S:
            return True
        self._unwritten += 1
        return False

    def flush(self, now_ms: int, *, final: bool = False) -> bool:
        """Write the batch and, with it or at the end, how much was dropped; True: there was news."""
        if not self._batch and not (final and self._unwritten):
            return False
        if self._unwritten:
            self._batch.append(dumps({"t": now_ms, "k": "dropped", "n": self._unwritten}) + "\n")
        data = "".join(self._batch).encode()
        count = len(self._batch) - (1 if self._unwritten else 0)
        self._batch.clear()
        if self._log.size and self._log.size + len(data) > FACTS_BYTES:
            self._rotate(now_ms)
        if self._log.append(data):
            self._unwritten = 0
        else:
            self._unwritten += count
        return True

    def _rotate(self, now_ms: int) -> None:
        try:
            posix.rename(self._log.path, self._folder + "/facts.old.jsonl")
        except OSError:
            return
        self._base += self._log.size
        self._log.forget()
        self._log.append(dumps({"t": now_ms, "k": "base", "n": self._base}).encode() + b"\n")


class LineScan:
    """Finds the lines that begin with `{"agentctl"` in a stream cut anywhere into chunks."""

    def __init__(self) -> None:
        # The open line's bytes while it may still become such a line; None inside any other line.
        self._head: bytearray | None = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, without their newline, cut to LINE_BYTES."""
        found: list[bytes] = []
        at = 0
        if self._head is not None:
            end = chunk.find(b"\n")
            stop = end if end >= 0 else len(chunk)
            self._head += chunk[: min(stop, LINE_BYTES - len(self._head))]
            if not self._head.startswith(MARK) and (end >= 0 or not MARK.startswith(self._head)):
                self._head = None
            elif end >= 0:
                found.append(bytes(self._head))
                self._head = None
            if end < 0:
                return found
            at = end
        while (hit := chunk.find(b"\n" + MARK, at)) >= 0:
            at = chunk.find(b"\n", hit + 1)
            if at < 0:
                self._head = bytearray(chunk[hit + 1 : hit + 1 + LINE_BYTES])
                return found
            found.append(chunk[hit + 1 : min(at, hit + 1 + LINE_BYTES)])
        last = chunk.rfind(b"\n", max(at, len(chunk) - len(MARK)))
        if last >= 0 and MARK.startswith(chunk[last + 1 :]):
            self._head = bytearray(chunk[last + 1 :])
        return found

    def rest(self) -> list[bytes]:
        """The last line, when the stream ended without a newline."""
        head = self._head
        self._head = None
        return [bytes(head)] if head is not None and head.startswith(MARK) else []

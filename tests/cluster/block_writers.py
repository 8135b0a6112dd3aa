"""Writers that change files in every way, with fsync, and a reader at another mount that compares
after each change: nothing that was acknowledged may be missing or old.

Each file has one writer. Between two operations its content is known byte by byte."""

import os
import random
import threading
from pathlib import Path

from harness import check

FILE_BYTES = 4 << 20
BYTES_MAX = 6 << 20
PART_BYTES_MAX = 64 * 1024
READS_EVERY = 4


class BlockWriter(threading.Thread):
    def __init__(self, path: Path, elsewhere: Path, seed: int):
        super().__init__(daemon=True)
        self.path = path
        self.elsewhere = elsewhere
        self.random = random.Random(seed)
        self.content = bytearray(self.random.randbytes(FILE_BYTES))
        self.operations = 0
        self.reads = 0
        self.error: Exception | None = None
        self.stopping = threading.Event()
        path.write_bytes(self.content)

    def run(self) -> None:
        try:
            handle = os.open(self.path, os.O_RDWR)
            try:
                while not self.stopping.is_set():
                    self.step(handle)
                    self.operations += 1
                    if self.operations % READS_EVERY == 0:
                        self.read_elsewhere()
            finally:
                os.close(handle)
        except (OSError, AssertionError) as error:
            self.error = error

    def step(self, handle: int) -> None:
        kind = self.random.randrange(10)
        if kind == 0 and len(self.content) > FILE_BYTES // 2:
            self.truncate(handle, self.random.randrange(len(self.content)))
        elif kind == 1 and len(self.content) < BYTES_MAX:
            self.truncate(handle, len(self.content) + self.random.randrange(1, PART_BYTES_MAX))
        elif kind in (2, 3) and len(self.content) < BYTES_MAX:
            self.write(handle, len(self.content))
        elif kind in (4, 5):  # whole blocks
            blocks = max(1, len(self.content) // 4096)
            self.write(handle, self.random.randrange(blocks) * 4096, 4096)
        else:
            self.write(handle, self.random.randrange(len(self.content) + 1))
        os.fsync(handle)

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))

    def write(self, handle: int, at: int, size: int = 0) -> None:
        part = self.random.randbytes(size or self.random.randrange(1, PART_BYTES_MAX))
        check(os.pwrite(handle, part, at) == len(part), f"a short write to {self.path}")
        self.content[at:at + len(part)] = part

    def read_elsewhere(self) -> None:
        at = self.random.randrange(len(self.content) + 1)
        size = self.random.randrange(1, 4 * PART_BYTES_MAX)
        with self.elsewhere.open("rb", buffering=0) as file:
            # A regular file is read short only at its end.
            found = os.pread(file.fileno(), size, at)
        self.compare(found, at, bytes(self.content[at:at + size]), self.elsewhere)
        self.reads += 1

    def compare(self, found: bytes, at: int, wanted: bytes, path: Path) -> None:
        if found == wanted:
            return
        wrong = next((i for i in range(min(len(found), len(wanted))) if found[i] != wanted[i]),
                     None)
        where = "" if wrong is None else f", byte {at + wrong} is not what was acknowledged"
        check(False, f"{path}: {len(found)} bytes at {at}, wanted {len(wanted)}{where}, after "
                     f"{self.operations} operations")

    def stop(self) -> None:
        self.stopping.set()
        self.join(120)
        check(not self.is_alive(), f"an operation on {self.path} does not end")

    def verify(self) -> None:
        for path in (self.path, self.elsewhere):
            self.compare(path.read_bytes(), 0, bytes(self.content), path)


class BlockWriters:
    """Some of them at once, in files of their own below `place`, read below `elsewhere`."""

    def __init__(self, place: Path, elsewhere: Path, count: int, seed: int):
        self.writers = [BlockWriter(place / f"w{i}", elsewhere / f"w{i}", seed * 100 + i)
                        for i in range(count)]

    def __enter__(self):
        for writer in self.writers:
            writer.start()
        return self

    def __exit__(self, *_) -> None:
        for writer in self.writers:
            writer.stop()

    @property
    def operations(self) -> int:
        """Of the one that did least: all of them go on."""
        return min(writer.operations for writer in self.writers)

    @property
    def reads(self) -> int:
        return sum(writer.reads for writer in self.writers)

    @property
    def error(self) -> Exception | None:
        return next((writer.error for writer in self.writers if writer.error), None)

    def check(self) -> None:
        """Stopped: nothing failed, and everything is there, at both mounts."""
        for writer in self.writers:
            check(writer.error is None, f"{writer.path}: {writer.error}")
            writer.verify()

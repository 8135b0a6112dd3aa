"""Writers that overwrite parts of files in place, with fsync, and know what must be there.

Each has a file to itself. What was acknowledged must be found; the parts of the one operation that
failed or was under way may be old or new."""

import os
import random
import threading
from pathlib import Path

from harness import check

FILE_BYTES = 1 << 20
PART_BYTES_MAX = 48 * 1024


class Overwriter(threading.Thread):
    def __init__(self, path: Path, seed: int):
        super().__init__(daemon=True)
        self.path = path
        self.random = random.Random(seed)
        self.content = bytearray(FILE_BYTES)
        self.unsure: list[tuple[int, bytes]] = []  # that was not acknowledged
        self.operations = 0
        self.error: OSError | None = None
        self.stopping = threading.Event()
        path.write_bytes(bytes(FILE_BYTES))

    def run(self) -> None:
        with self.path.open("r+b", buffering=0) as file:
            while not self.stopping.is_set():
                at = self.random.randrange(FILE_BYTES)
                size = min(self.random.randrange(1, PART_BYTES_MAX), FILE_BYTES - at)
                part = self.random.randbytes(size)
                try:
                    os.pwrite(file.fileno(), part, at)
                    os.fsync(file.fileno())
                except OSError as error:
                    self.unsure.append((at, part))
                    self.error = error
                    return
                self.content[at:at + size] = part
                self.operations += 1

    def stop(self) -> None:
        self.stopping.set()
        self.join(120)
        check(not self.is_alive(), f"a write to {self.path} does not end")

    def verify(self) -> None:
        found = self.path.read_bytes()
        check(len(found) == FILE_BYTES, f"{self.path} has {len(found)} bytes")
        wanted = bytes(self.content)
        if found == wanted:
            return
        for at, part in self.unsure:  # old or new, byte by byte
            for i in range(at, at + len(part)):
                if found[i] == part[i - at]:
                    wanted = wanted[:i] + found[i:i + 1] + wanted[i + 1:]
        wrong = next((i for i in range(FILE_BYTES) if found[i] != wanted[i]), None)
        check(wrong is None, f"{self.path}: byte {wrong} is not what was acknowledged, after "
                             f"{self.operations} operations")


class Load:
    """Some of them at once. Between start() and stop() everything they do is acknowledged."""

    def __init__(self, root: Path, count: int, seed: int):
        root.mkdir(exist_ok=True)
        self.writers = [Overwriter(root / f"w{seed}-{i}", seed * 100 + i) for i in range(count)]

    def __enter__(self):
        for writer in self.writers:
            writer.start()
        return self

    def __exit__(self, *_) -> None:
        for writer in self.writers:
            writer.stop()

    @property
    def operations(self) -> int:
        return sum(writer.operations for writer in self.writers)

    def check(self) -> None:
        """Stopped: nothing failed, and everything is there."""
        for writer in self.writers:
            check(writer.error is None, f"{writer.path}: {writer.error}")
            writer.verify()

"""Files that are written at random, and what must be in them.

Exactly the last content while the mount lives, whatever became of chunk servers. When the mount was
killed: what was fsynced, and of each block that was changed after that the old or one of the new
contents."""

import os
import random
import threading
import time
from pathlib import Path

from harness import check, wait_until

BLOCK = 4096
KIB = 1024
FILE_BYTES_MAX = 4 << 20
YIELD = 0.002


class FileModel:
    def __init__(self) -> None:
        self.content = bytearray()
        self.older: dict[int, list[bytes]] = {}  # of blocks changed since the last fsync
        # Sizes since then, from-to: a write that makes a file longer does so by and by.
        self.sizes: list[tuple[int, int]] = []
        self.ever_synced = False

    def write(self, at: int, data: bytes) -> None:
        self._note(min(at, len(self.content)), at + len(data))
        self.sizes.append((len(self.content), max(len(self.content), at + len(data))))
        if at > len(self.content):
            self.content.extend(bytes(at - len(self.content)))
        self.content[at:at + len(data)] = data

    def truncate(self, size: int) -> None:
        old = len(self.content)
        self._note(min(size, old), max(size, old))
        self.sizes.append((old, old))
        if size < old:
            del self.content[size:]
        else:
            self.content.extend(bytes(size - old))

    def synced(self) -> None:
        self.older.clear()
        self.sizes.clear()
        self.ever_synced = True

    def _note(self, first: int, end: int) -> None:
        for block in range(first // BLOCK, -(-end // BLOCK)):
            self.older.setdefault(block, []).append(self._block(block))

    def _block(self, block: int) -> bytes:
        return bytes(self.content[block * BLOCK:(block + 1) * BLOCK]).ljust(BLOCK, b"\0")

    def wrong(self, found: bytes) -> str:
        """Of what must be exact. Empty: nothing."""
        if found == self.content:
            return ""
        if len(found) != len(self.content):
            return f"{len(found)} bytes, not {len(self.content)}"
        bad = [block for block in range(-(-len(found) // BLOCK))
               if found[block * BLOCK:(block + 1) * BLOCK] !=
               self.content[block * BLOCK:(block + 1) * BLOCK]]
        return f"{len(bad)} blocks differ: {bad[:8]}"

    def impossible(self, found: bytes) -> str:
        """Of what the end of the mount may have left. Empty: nothing."""
        size = len(found)
        if size != len(self.content) and not any(a <= size <= b for a, b in self.sizes):
            return f"{size} bytes, not {len(self.content)} or one of {self.sizes}"
        for block in range(-(-len(found) // BLOCK)):
            part = found[block * BLOCK:(block + 1) * BLOCK]
            versions = list(self.older.get(block, []))
            if block * BLOCK < len(self.content) or not versions:
                versions.append(self._block(block))
            if all(version[:len(part)] != part for version in versions):
                return (f"block {block} is none of its {len(versions)} versions "
                        f"({'zeros' if not any(part) else part[:16].hex()})")
        return ""

    def adopt(self, found: bytes) -> None:
        """A reader saw it: it cannot go away any more."""
        self.content = bytearray(found)
        self.synced()


def read_uncached(path: Path) -> bytes:
    """Past the kernel's pages; the mount's own memory is small (--cache-size)."""
    file = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        parts = []
        while part := os.read(file, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(file)


class MountGate:
    """Writers stop here while their mount is gone."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.parked: set[str] = set()


class Writer(threading.Thread):
    """One file at a time, of random life, below `root`; read by others at `other_root`."""

    def __init__(self, root: Path, other_root: Path, name: str, seed: int, gate: MountGate,
                 leaving: float = 0.04):
        super().__init__(name=name, daemon=True)
        self.root = root
        self.other_root = other_root
        self.gate = gate
        self.leaves = leaving  # how probably a file is deleted after a life
        self.random = random.Random(seed)
        self.lock = threading.Lock()  # of everything below; held during an operation
        self.model = FileModel()
        self.generation = 0
        self.exists = False  # it was made, as far as we know
        self.leaving = False  # it is being unlinked
        self.operations = 0
        self.syncs = 0
        self.error: Exception | None = None
        self.stopping = threading.Event()

    @property
    def path(self) -> Path:
        return self.root / self.file_name

    @property
    def file_name(self) -> str:
        return f"{self.name}.{self.generation}"

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                if not self.gate.open.is_set():
                    self.wait_for_mount()
                with self.lock:
                    if self.gate.open.is_set():
                        self.one_life()
                time.sleep(YIELD)  # a lock is not fair: whoever waits for it gets it now
        except (OSError, AssertionError) as error:
            self.error = error

    def one_life(self) -> None:
        """Opens the file and does some operations."""
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            self.forgive(error)
            return
        self.exists = True
        try:
            for _ in range(self.random.randrange(1, 8)):
                self.operation(file)
                if self.stopping.is_set() or not self.gate.open.is_set():
                    break
            if self.random.random() < self.leaves:
                self.leaving = True
                self.path.unlink()
                self.begin_anew()
        except OSError as error:
            self.forgive(error)
        finally:
            self.close(file)

    def close(self, file: int) -> None:
        try:
            os.close(file)
        except OSError as error:
            self.forgive(error)

    def begin_anew(self) -> None:
        self.generation += 1
        self.model = FileModel()
        self.exists = self.leaving = False

    def operation(self, file: int) -> None:
        choice = self.random.random()
        size = len(self.model.content)
        if choice < 0.06 and size > 0:
            to = self.random.choice([0, self.random.randrange(size), self.random.randrange(size),
                                     min(FILE_BYTES_MAX, size + self.random.randrange(200 * KIB))])
            self.model.truncate(to)
            os.ftruncate(file, to)
        else:
            at, data = self.random_write(size)
            self.model.write(at, data)
            while data:
                done = os.pwrite(file, data, at)
                at, data = at + done, data[done:]
        self.operations += 1
        if self.random.random() < 0.6:
            os.fsync(file)
            self.model.synced()
            self.syncs += 1

    def random_write(self, size: int) -> tuple[int, bytes]:
        length = self.random.choice([
            self.random.randrange(1, 700), BLOCK, BLOCK, self.random.randrange(1, 16 * KIB),
            self.random.randrange(16 * KIB, 80 * KIB), self.random.randrange(64 * KIB, 400 * KIB),
            *([1 << 20, self.random.randrange(1 << 20, 3 << 20)] if self.random.random() < 0.3
              else [])])
        # Mostly over what is there, often at its end, seldom behind it.
        where = self.random.random()
        if where < 0.6 and size > 0:
            at = self.random.randrange(size)
        elif where < 0.9:
            at = size
        else:
            at = size + self.random.randrange(100 * KIB)
        if self.random.random() < 0.5:
            at -= at % BLOCK
        at = min(at, FILE_BYTES_MAX - length)
        return at, self.random.randbytes(length)

    # ---- the mount was killed ----

    def forgive(self, error: OSError) -> None:
        """It is of a mount that was killed, or a finding."""
        if self.gate.open.is_set():
            raise error

    def wait_for_mount(self) -> None:
        with self.lock:
            self.gate.parked.add(self.name)
            while not self.gate.open.wait(0.05):
                if self.stopping.is_set():
                    return
            self.gate.parked.discard(self.name)
            self.settle()

    def settle(self) -> None:
        """What the lost mount left becomes what must be there."""
        try:
            found = read_uncached(self.other_root / self.file_name)
        except FileNotFoundError:
            check(self.leaving or not self.model.ever_synced,
                  f"{self.path} is gone, it was fsynced")
            self.begin_anew()
            return
        bad = self.model.impossible(found)
        check(not bad, f"{self.path} after the end of its mount: {bad}")
        self.model.adopt(found)
        self.leaving = False

    # ---- for others ----

    def stop(self) -> None:
        self.stopping.set()

    def verify(self, patience: float = -1) -> int:
        """Reads it through the other mount; bytes. 0: an operation took longer than patience."""
        if not self.lock.acquire(timeout=patience):
            return 0
        try:
            if not self.gate.open.is_set() or not self.exists:
                return 0
            found = read_uncached(self.other_root / self.file_name)
            bad = self.model.wrong(found)
            if bad and self.gate.open.is_set():
                raise AssertionError(f"{self.path} after {self.operations} operations: {bad}")
            return len(found)
        finally:
            self.lock.release()


class Load:
    """Writers, from __enter__ on."""

    def __init__(self, writers: list[Writer]):
        self.writers = writers

    def start(self) -> None:
        for writer in self.writers:
            writer.start()

    def stop(self, seconds: float = 120) -> None:
        for writer in self.writers:
            writer.stop()
        for writer in self.writers:
            writer.join(seconds)
            check(not writer.is_alive(), f"{writer.path}: an operation does not end")
        self.check()

    def check(self) -> None:
        for writer in self.writers:
            if writer.error is not None:
                raise AssertionError(f"{writer.path} after {writer.operations} operations: "
                                     f"{writer.error!r}")

    def wait_parked(self) -> None:
        wait_until(lambda: all(not writer.is_alive() or writer.name in writer.gate.parked
                               for writer in self.writers), 60, "all writers saw the mount end")

    @property
    def operations(self) -> int:
        return sum(writer.operations for writer in self.writers)

    @property
    def syncs(self) -> int:
        return sum(writer.syncs for writer in self.writers)

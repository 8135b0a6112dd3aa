"""Scenarios of drive_faults.py on loop devices: a chunk server whose disk is not mounted, is
full to the last block, or becomes read-only."""

import errno
import os
import random
import shutil
import threading
from pathlib import Path

from cs_process import ChunkServer, add_chunk_server
from fault_flags import BLOCK, LETTER_SECONDS, overwrite_durably, read_error, write_durably
from harness import Cluster, Results, Skip, check, check_equal, run, wait_until
from loops import Workplace, require_loops

MIB = 1 << 20
DRIVE_MIB = 600
JOURNAL_MB = 32
RESERVE = 0.05  # of a drive: nothing new is placed there
CHUNK = 64 * MIB
SLACK = 4 * MIB


class OnLoop:
    """One chunk server of its own tier on a loop device; one copy of everything below `place`."""

    def __init__(self, demo: Cluster, place: Workplace):
        self.demo = demo
        self.device = place.drive("cs-drive", DRIVE_MIB)
        run("mkfs.ext4", "-q", self.device)
        self.point = place.mount(self.device, "cs-mount")
        self.repository = self.point / "cs"
        self.cs: ChunkServer = add_chunk_server(demo, 7, self.repository, "-t", "2", "-s",
                                                str(JOURNAL_MB), allow_faults=True)
        self.cs.serve()
        self.wait_active()
        self.log = place.path / "csd.log"
        self.place = demo.mount(0) / "loop"
        self.place.mkdir()
        demo.cairn("set-attr", self.place, "replicas=1", "tier=2")
        self.random = random.Random(7)

    def wait_active(self) -> None:
        wait_until(lambda: self.cs.stat()["status"] == "active", LETTER_SECONDS, "it is active")

    def wait_letters(self, there: str = "", absent: str = "") -> None:
        def shown() -> bool:
            flags = self.cs.flags()
            return (all(letter in flags for letter in there) and
                    not any(letter in flags for letter in absent))
        wait_until(shown, LETTER_SECONDS, f"flags {there!r}, without {absent!r}")

    def free(self) -> int:
        """As cairn stat says, when nothing is on its way any more."""
        answer = self.cs.try_ask(op="commit")
        check(answer is not None and answer["ok"], f"commit: {answer}")
        def same() -> bool:
            # The index beside the data needs some, too, and not always as much.
            return near(self.cs.stat()["free_bytes"], self.cs.state()["free_bytes"])
        wait_until(same, 20, "stat says the same as the CS")
        return self.cs.stat()["free_bytes"]

    def unmount(self) -> None:
        """The kernel lets go of what io_uring had a moment after the process."""
        wait_until(lambda: run("umount", self.point, good=False).returncode == 0, 10, "unmounted")

    def failing(self) -> Path:
        """`place` on a mount whose writes fail when there is no space."""
        return self.demo.mount(2, "--fail-on-nospace", "--timeout", "10") / "loop"


def near(one: int, other: int) -> bool:
    return abs(one - other) <= SLACK


# ---- R ----

def R_until_the_disk_is_mounted(loop: OnLoop) -> None:
    content = loop.random.randbytes(2 * MIB)
    write_durably(loop.place / "r", content)
    loop.cs.stop()
    loop.unmount()
    before = tree(loop.point)
    log = loop.log
    environment = loop.demo.lib.environment(loop.cs.part["host_file"])
    loop.cs.start(log=log)
    loop.wait_letters(there="R")
    text = loop.demo.cairn("stat").stdout
    check("Flag R:" in text and str(loop.repository) in text, "stat does not say what R means")
    check("flag R" in log.read_text(), f"its log: {log.read_text()}")
    check_equal(tree(loop.point), before, "what lies below the mount point")
    # Another one started meanwhile, and an administrator, change nothing there either.
    run("timeout", "3", "cairn-csd", "-r", loop.repository, good=False,
        env={**environment, "PATH": loop.demo.environment["PATH"]})
    check_equal(tree(loop.point), before, "what lies below the mount point")
    check_equal(read_error(loop.demo.mount(1, "--timeout", "4") / "loop" / "r"), errno.EIO,
                "errno of reading the only copy")
    run("mount", loop.device, loop.point)
    check(loop.cs.wait_serving(), "it was killed")
    loop.wait_letters(absent="R")
    loop.wait_active()
    loop.demo.remount()
    check_equal((loop.place / "r").read_bytes() == content, True, "the file is what was written")
    (loop.place / "r").unlink()
    loop.cs.stop()
    loop.cs.serve()


def tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


# ---- a full disk ----

def is_filled_to_its_last_block(loop: OnLoop) -> None:
    """What AVAIL told is what could be written: through the mount, until ENOSPC."""
    wait_until(lambda: loop.cs.stat()["used_bytes"] == 0, 60, "nothing is in use")
    place = loop.failing()
    told = loop.free()
    space = loop.cs.stat()["space_bytes"]
    # Places in chunks for all of it: new chunks are not placed on a drive that is nearly full.
    files = [place / f"fill{number}" for number in range(told // CHUNK + 2)]
    for file in files:
        write_durably(file, bytes(BLOCK))
    written = sum(fill(file, loop.random) for file in files)
    left = loop.free()
    print(f"    AVAIL was {told / MIB:.1f} MiB of {space / MIB:.0f}; {written / MIB:.1f} MiB were "
          f"written; AVAIL is {left / MIB:.1f} MiB", flush=True)
    check(written <= told, f"{written} bytes were written, only {told} were free")
    check(written >= told - SLACK, f"only {written} bytes of {told} free ones could be written")
    check(left <= SLACK, f"{left} bytes are free, and nothing can be written")
    full_and_alive(loop, place, files)


def fill(file: Path, generator: random.Random) -> int:
    """Appends until ENOSPC or the end of the chunk; what is durable."""
    durable = BLOCK
    block = generator.randbytes(MIB)
    descriptor = os.open(file, os.O_WRONLY)
    try:
        for size in (MIB, BLOCK):
            while durable + size <= CHUNK:
                try:
                    at = durable
                    while at < durable + size:
                        at += os.pwrite(descriptor, block[at - durable:size], at)
                    os.fsync(descriptor)
                except OSError as error:
                    check_equal(error.errno, errno.ENOSPC, "errno of a write to a full drive")
                    os.ftruncate(descriptor, durable)
                    break
                durable += size
    finally:
        close_full(descriptor)
    return durable


def close_full(descriptor: int) -> None:
    """What could not be written was said by write or fsync; close may say it again."""
    try:
        os.close(descriptor)
    except OSError as error:
        check_equal(error.errno, errno.ENOSPC, "errno of close")


def full_and_alive(loop: OnLoop, place: Path, files: list[Path]) -> None:
    """It is read, restarted, inspected; a writer waits; deletes give the space back."""
    size = files[0].stat().st_size
    content = files[0].read_bytes()
    check_equal(len(content), size, "bytes of the first file")
    loop.cs.kill_and_wait()
    loop.cs.check_repository()
    loop.cs.serve()
    loop.wait_active()
    check_equal((loop.demo.mount(0) / "loop" / files[0].name).read_bytes() == content, True,
                "the first file after a kill of the full CS is what was written")
    # The last one has room in its chunk, so that no other drive is taken for it.
    last = loop.place / files[-1].name
    end = last.stat().st_size
    waiting = threading.Thread(target=overwrite_durably, args=(last, end, content[:MIB]),
                               daemon=True)
    waiting.start()
    waiting.join(3)
    check(waiting.is_alive(), "a write of more than there is ended")
    for file in files[:-1]:
        file.unlink()
    waiting.join(60)
    check(not waiting.is_alive(), "a write still waits although there is space again")
    loop.demo.remount()
    check_equal(last.read_bytes()[end:] == content[:MIB], True, "what waited is there")
    last.unlink()
    wait_until(lambda: loop.cs.stat()["used_bytes"] == 0, 60, "the space of removed files is free")


def gives_the_space_back(loop: OnLoop) -> None:
    told = loop.free()
    again = loop.failing() / "again"
    content = loop.random.randbytes(told // 2 // MIB * MIB)
    write_durably(again, content)
    check_equal(loop.free() <= told - len(content), True, "AVAIL counts what was written")
    again.unlink()
    wait_until(lambda: loop.cs.stat()["used_bytes"] == 0, 60, "nothing is in use")
    now = loop.free()
    check(near(now, told), f"AVAIL is {now} after the same was deleted, it was {told}")


def foreign_files_count(loop: OnLoop) -> None:
    """V5.3.1-1: what others write to the filesystem is not free."""
    told = loop.free()
    size = 64 * MIB
    free_there = shutil.disk_usage(loop.point).free
    (loop.point / "foreign").write_bytes(bytes(size))
    fits = free_there - size
    now = loop.free()
    # What the data file has already is its own.
    check(now <= told, "AVAIL grew")
    check(told - now in (0, *range(size - MIB, size + MIB))
          or now <= fits + loop.cs.data.stat().st_size,
          f"AVAIL went from {told} to {now} by a foreign file of {size}")
    (loop.point / "foreign").unlink()
    wait_until(lambda: near(loop.free(), told), 30, "AVAIL is back")


# ---- a read-only disk ----

def H_when_its_filesystem_becomes_read_only(loop: OnLoop) -> None:
    """As the kernel does after an I/O error: what was acknowledged is there after a repair."""
    content = loop.random.randbytes(3 * MIB)
    write_durably(loop.place / "before", content)
    run("mount", "-o", "remount,abort", loop.point, good=False)
    try:
        (loop.point / "probe").touch()
        raise Skip("the kernel does not make a filesystem read-only when asked to")
    except OSError as error:
        check_equal(error.errno, errno.EROFS, "errno of the filesystem")
    failing = loop.demo.mount(3, "--timeout", "4", "--soft") / "loop"
    check(write_error(failing / "during") != 0, "a write to a read-only disk succeeded")
    loop.wait_letters(there="H")
    check_equal(loop.cs.state()["serving"], False, "it serves")
    (loop.demo.mount(0) / "others").write_bytes(b"goes on")
    loop.demo.unmount(3)
    loop.cs.end()
    loop.unmount()
    run("e2fsck", "-fy", loop.device, good=False)
    run("mount", loop.device, loop.point)
    loop.cs.check_repository()
    loop.cs.serve()
    loop.wait_letters(absent="HhSRT")
    loop.wait_active()
    loop.demo.remount()
    check_equal((loop.place / "before").read_bytes() == content, True, "the file is as before")


def write_error(path: Path) -> int:
    try:
        write_durably(path, b"x" * 100_000)
    except OSError as error:
        return error.errno
    return 0


SCENARIOS = [R_until_the_disk_is_mounted, is_filled_to_its_last_block, gives_the_space_back,
             foreign_files_count, H_when_its_filesystem_becomes_read_only]


def run_all(results: Results, demo: Cluster, place: Workplace, only: str) -> None:
    chosen = [scenario for scenario in SCENARIOS if only in scenario.__name__]
    if not chosen:
        return
    missing = None
    try:
        require_loops()
    except Skip as reason:
        missing = reason
    if missing is not None:
        for scenario in chosen:
            results.scenario(scenario.__name__, skip, missing)
        return
    loop = OnLoop(demo, place)
    try:
        for scenario in chosen:
            if not results.scenario(scenario.__name__, scenario, loop):
                return
    finally:
        loop.cs.end()
        if loop.point.is_mount():
            loop.unmount()


def skip(reason: Skip) -> None:
    raise reason

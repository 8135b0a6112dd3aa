"""Scenarios of drive_faults.py about journals: a lost or damaged one (S), and what one on an SSD is
worth to a slow drive."""

import os
import random
import re
import threading
import time
from pathlib import Path

from cs_process import ChunkServer, add_chunk_server
from fault_flags import BLOCK, Flags, Stored, overwrite_durably, write_durably
from harness import check, check_equal, wait_until

JOURNAL_MB = 32
LARGE_MB = 256  # more than is written in SECONDS
SLOW = "write-delay=5ms flush-delay=5ms serial=on bandwidth=80M"  # about a hard disk
SPEEDUP_MIN = 2
SSD_SHARE_MIN = 0.3  # other work on this machine varies from one second to the next
SECONDS = 3
HEARTBEATS = 3  # seconds after which stat knows of everything
FILE_BLOCKS = 2048


# ---- S ----

def with_pending_batches(flags: Flags) -> tuple[ChunkServer, Stored]:
    """A killed CS with a journal elsewhere that it will have to read."""
    stored = flags.new_file()
    cs, _ = stored.piece("data")
    flags.demo.cairn("configure-cs", "-r", cs.repository, "-a", flags.local / f"ssd{cs.number}",
                     "-s", str(JOURNAL_MB))
    for number in range(20):
        change(stored, number)
    cs.kill_and_wait()
    return cs, stored


def change(stored: Stored, number: int) -> None:
    """A small write into the first data piece."""
    fresh = bytes([number]) * 5000
    at = number * 7000 + 100
    overwrite_durably(stored.path, at, fresh)
    stored.content = stored.content[:at] + fresh + stored.content[at + 5000:]


def stays_out(flags: Flags, cs: ChunkServer, stored: Stored, letter: str = "S") -> None:
    """Loudly; nothing old is served."""
    cs.start()
    text = flags.wait_letters(cs, there=letter)
    check(f"Flag {letter}:" in text, f"stat does not say what {letter} means")
    check_equal(cs.state()["serving"], False, "it serves")
    check("NOT SERVING" in cs.log_tail(), f"its log: {cs.log_tail()}")
    status = flags.demo.cairn("configure-cs", "-r", cs.repository, "--status").stdout
    check(f"flag {letter}" in status, status)
    stored.check()
    flags.others_work()
    cs.end()


def is_back(flags: Flags, cs: ChunkServer, stored: Stored) -> None:
    cs.serve()
    flags.wait_well(cs)
    check(cs.state()["serving"], "it does not serve")
    stored.check()
    flags.demo.cairn("configure-cs", "-r", cs.repository, "-a", cs.repository, "-s", "64")
    cs.stop()
    cs.check_repository()
    cs.serve()
    flags.wait_well(cs)


def ring_file(flags: Flags, cs: ChunkServer) -> Path:
    return flags.local / f"ssd{cs.number}" / "cairn-journal"


def S_when_the_journal_is_gone(flags: Flags) -> None:
    cs, stored = with_pending_batches(flags)
    file = ring_file(flags, cs)
    away = file.with_name("away")
    file.rename(away)
    stays_out(flags, cs, stored)
    check(not file.exists(), "a journal was made anew")
    away.rename(file)
    is_back(flags, cs, stored)


def damaged(flags: Flags, cs: ChunkServer, stored: Stored, at: int) -> None:
    """64 bytes of the ring's file."""
    file = os.open(ring_file(flags, cs), os.O_RDWR)
    try:
        before = os.pread(file, 64, at)
        os.pwrite(file, bytes(byte ^ 0x55 for byte in before), at)
        os.fsync(file)
        stays_out(flags, cs, stored)
        os.pwrite(file, before, at)
        os.fsync(file)
    finally:
        os.close(file)
    is_back(flags, cs, stored)


def S_when_its_header_is_damaged(flags: Flags) -> None:
    cs, stored = with_pending_batches(flags)
    damaged(flags, cs, stored, 0)


def S_when_the_middle_of_the_ring_is_damaged(flags: Flags) -> None:
    cs, stored = with_pending_batches(flags)
    batches = cs.inspect("--journal")["batches"]
    check(len(batches) >= 5, f"only {len(batches)} batches are pending")
    damaged(flags, cs, stored, (1 + batches[len(batches) // 2]["at"]) * BLOCK)


def S_when_the_journal_is_an_older_one(flags: Flags) -> None:
    """As from a snapshot of the SSD: what was acknowledged since is not in it."""
    cs, stored = with_pending_batches(flags)
    file = ring_file(flags, cs)
    old = file.read_bytes()
    cs.serve()
    flags.wait_well(cs)
    for number in range(20, 30):
        change(stored, number)
    flags.demo.cairn("configure-cs", "-r", cs.repository, "--commit")
    for number in range(30, 40):
        change(stored, number)
    cs.kill_and_wait()
    new = file.read_bytes()
    file.write_bytes(old)
    stays_out(flags, cs, stored)
    file.write_bytes(new)
    is_back(flags, cs, stored)


def a_damaged_ring_in_the_repository(flags: Flags) -> None:
    """It is a part of the drive: H."""
    stored = flags.new_file()
    cs, _ = stored.piece("data")
    flags.demo.cairn("configure-cs", "-r", cs.repository, "-a", cs.repository, "-s", JOURNAL_MB)
    for number in range(20):
        change(stored, number)
    cs.kill_and_wait()
    batches = cs.inspect("--journal")["batches"]
    check(len(batches) >= 5, f"only {len(batches)} batches are pending")
    at = batch_offset(flags, cs, batches[len(batches) // 2])
    cs.flip(at)
    stays_out(flags, cs, stored, "H")
    cs.flip(at)
    cs.serve()
    flags.wait_well(cs)
    stored.check()


def batch_offset(flags: Flags, cs: ChunkServer, batch: dict) -> int:
    """Its first block in the data file."""
    text = flags.demo.cairn("inspect", cs.repository).stdout
    place = re.search(r"in the data file at block (\d+)", text)
    check(place is not None, f"the ring is not in the data file: {text}")
    return int(place.group(1)) + batch["at"]


# ---- a slow drive ----

class SlowDrive:
    """One CS of its own tier whose drive is slowed down."""

    def __init__(self, flags: Flags, number: int):
        self.flags = flags
        self.cs = add_chunk_server(flags.demo, number, flags.demo.dir / f"cs{number}", "-t", "3",
                                   allow_faults=True)
        self.cs.serve()
        wait_until(lambda: self.cs.stat()["status"] == "active", 30, "it is active")
        self.place = flags.demo.mount(0) / "slow"
        self.place.mkdir()
        flags.demo.cairn("set-attr", self.place, "replicas=1", "tier=3")

    def configure(self, *words: object) -> None:
        self.flags.demo.cairn("configure-cs", "-r", self.cs.repository, *words)

    def file(self, name: str) -> Path:
        path = self.place / name
        if not path.exists():
            write_durably(path, bytes(FILE_BLOCKS * BLOCK))
        return path

    def speed(self, writers: int, faults: str = SLOW) -> float:
        """Acknowledged 4 KiB writes (write + fsync) a second, of so many writers."""
        counts = [0] * writers
        end = [0.0]

        def work(number: int, path: Path) -> None:
            generator = random.Random(number)
            block = generator.randbytes(BLOCK)
            with path.open("r+b", buffering=0) as file:
                while time.monotonic() < end[0]:
                    os.pwrite(file.fileno(), block, generator.randrange(FILE_BLOCKS) * BLOCK)
                    os.fsync(file.fileno())
                    counts[number] += 1
        paths = [self.file(f"w{number}") for number in range(writers)]
        self.configure("--commit")
        self.cs.fault(faults)
        end[0] = time.monotonic() + SECONDS
        threads = [threading.Thread(target=work, args=(number, path))
                   for number, path in enumerate(paths)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.cs.fault("none")
        return sum(counts) / SECONDS

    def counters(self) -> tuple[int, int]:
        """RMW and JRMW; stat -v and stat --json agree."""
        def agreed() -> tuple[int, int] | None:
            shown = self.flags.verbose(self.cs)
            entry = self.cs.stat()
            same = (int(shown["RMW"]), int(shown["JRMW"])) == (entry["rmw"], entry["jrmw"])
            return (entry["rmw"], entry["jrmw"]) if same else None
        return wait_until(agreed, 20, "stat -v and stat --json say the same")

    def expect(self, before: tuple[int, int], rmw: int, jrmw: int, what: str) -> tuple[int, int]:
        """Both as they must be then, when the heartbeats have told."""
        wanted = (before[0] + rmw, before[1] + jrmw)
        wait_until(lambda: self.counters() == wanted, 10,
                   f"{what}: RMW, JRMW {wanted} after {before}")
        return wanted

    def unaligned(self, size: int, writes: int) -> None:
        """1 KiB off a block."""
        for number in range(writes):
            overwrite_durably(self.file("counted"), number * 32 * BLOCK + 1024, b"z" * size)


def an_ssd_journal_speeds_a_slow_drive_up(slow: SlowDrive) -> None:
    """To what the same CS does on the SSD alone: on a drive that is not slowed."""
    figures = {}
    on_ssd = slow.flags.local / "ssd-slow"
    for name, faults, words in (
            ("no journal", SLOW, ("-d",)),
            ("journal on the drive", SLOW, ("-a", slow.cs.repository, "-s", LARGE_MB)),
            ("journal on an SSD", SLOW, ("-a", on_ssd, "-s", LARGE_MB)),
            ("all on an SSD", "none", ("-a", slow.cs.repository, "-s", LARGE_MB))):
        slow.configure(*words)
        figures[name] = [slow.speed(writers, faults) for writers in (1, 8)]
        print(f"    4 KiB write + fsync, {name}: 1 writer {figures[name][0]:.0f}/s, 8 writers "
              f"{figures[name][1]:.0f}/s", flush=True)
    for number, writers in enumerate((1, 8)):
        here = figures["journal on an SSD"][number]
        factor = here / figures["no journal"][number]
        share = here / figures["all on an SSD"][number]
        print(f"    {writers} writers: {factor:.1f} times as fast by a journal on an SSD, "
              f"{share:.2f} of all on an SSD", flush=True)
        check(factor >= SPEEDUP_MIN, f"{writers} writers: only {factor:.2f} times as fast")
        check(share >= SSD_SHARE_MIN, f"{writers} writers: {share:.2f} of the SSD's speed")


def what_the_journal_took_comes_home(slow: SlowDrive) -> None:
    """Slowly; and the files are what was written, without the journal too."""
    path = slow.file("home")
    content = random.Random(9).randbytes(FILE_BLOCKS * BLOCK)
    slow.cs.fault(SLOW)
    for at in range(0, len(content), 16 * BLOCK):
        overwrite_durably(path, at, content[at:at + 16 * BLOCK])
    slow.configure("--commit")
    check_equal(slow.cs.state()["journal"]["backlog_bytes"], 0, "what is only in the journal")
    slow.cs.fault("none")
    slow.configure("-d")
    slow.flags.demo.remount()
    check_equal(path.read_bytes() == content, True, "the file is what was written")


def rmw_counters_tell_the_truth(slow: SlowDrive) -> None:
    """V7.7-2, exactly."""
    slow.configure("-a", slow.flags.local / "ssd-slow", "-s", JOURNAL_MB)
    slow.file("counted")
    now = slow.counters()
    slow.unaligned(1024, 40)
    now = slow.expect(now, 0, 40, "40 of 1 KiB, journaled")
    slow.unaligned(4096, 10)
    now = slow.expect(now, 0, 10, "10 blocks that lie on two")
    slow.unaligned(25 * BLOCK, 7)
    now = slow.expect(now, 7, 0, "7 that are too large for the journal")
    slow.configure("-d")
    slow.unaligned(1024, 40)
    now = slow.expect(now, 0, 40, "40 of 1 KiB without a journal, that may come to RMW")
    for number in range(20):
        overwrite_durably(slow.file("counted"), number * 8 * BLOCK, b"w" * 2 * BLOCK)
    time.sleep(HEARTBEATS)
    check_equal(slow.counters(), now, "RMW, JRMW after whole blocks")


JOURNALS = [S_when_the_journal_is_gone, S_when_its_header_is_damaged,
            S_when_the_middle_of_the_ring_is_damaged, S_when_the_journal_is_an_older_one,
            a_damaged_ring_in_the_repository]
SLOW_DRIVE = [an_ssd_journal_speeds_a_slow_drive_up, what_the_journal_took_comes_home,
              rmw_counters_tell_the_truth]

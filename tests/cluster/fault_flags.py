"""Scenarios of drive_faults.py: each letter of the flags is provoked on a running cluster of
2+1 and seen in `cairn stat` and `cairn stat --json`; what clients read is right all the while."""

import errno
import json
import os
import random
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from cs_process import ChunkServer, add_chunk_server
from harness import Cluster, check, check_equal, wait_until

LETTER_SECONDS = 30
HEAL_SECONDS = 60
ANSWER_SECONDS = 5  # an administrator's patience
HANG_LIMIT = 3
FOUND_SECONDS = 10
BLOCK = 4096


def write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def overwrite_durably(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), content, at)
        os.fsync(file.fileno())


@contextmanager
def small_writes(path: Path):
    """Overwrites 4 KiB blocks of the file, durably, one after the other."""
    stop = threading.Event()

    def work() -> None:
        generator = random.Random(1)
        blocks = path.stat().st_size // BLOCK
        while not stop.is_set():
            overwrite_durably(path, generator.randrange(blocks) * BLOCK,
                              generator.randbytes(BLOCK))
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(120)
        check(not thread.is_alive(), "a write does not end")


class Flags:
    """The chunk servers 1 to 4 of the cluster; each scenario leaves them well."""

    def __init__(self, demo: Cluster, local: Path):
        self.demo = demo
        self.local = local
        self.random = random.Random(3)
        self.files = 0
        self.servers = [ChunkServer(demo, number) for number in (1, 2, 3, 4)]
        self.unchecked: ChunkServer | None = None
        for cs in self.servers:
            cs.take_over()
            cs.serve()
        self.demo.wait_cs("active", len(self.servers))

    def start_anew(self) -> None:
        """A scenario failed: the next one shall not suffer from that."""
        for cs in self.servers:
            cs.end()
            cs.serve()
        self.demo.wait_cs("active", len(self.servers))

    def end(self) -> None:
        for cs in [*self.servers, self.unchecked]:
            if cs is not None:
                cs.end()

    # ---- what is shown ----

    def shown_in_text(self, cs: ChunkServer) -> tuple[str, str]:
        """The FLAGS of its line, and all of cairn stat."""
        text = self.demo.cairn("stat").stdout
        line = next(line.split() for line in text.splitlines() if line.split()[:1] == [str(cs.id)])
        return line[-3], text

    def wait_letters(self, cs: ChunkServer, there: str = "", absent: str = "") -> str:
        """Of both; the text of stat."""
        def shown() -> str:
            in_json = cs.flags()
            in_text, text = self.shown_in_text(cs)
            good = all(letter in in_json and letter in in_text for letter in there)
            bad = any(letter in in_json or letter in in_text for letter in absent)
            return text if good and not bad else ""
        return wait_until(shown, LETTER_SECONDS,
                          f"CS {cs.id} with flags {there!r}, without {absent!r}")

    def wait_well(self, cs: ChunkServer) -> None:
        self.wait_letters(cs, absent="HhSRT")
        wait_until(lambda: cs.stat()["status"] == "active", LETTER_SECONDS, f"CS {cs.id} is active")

    def verbose(self, cs: ChunkServer) -> dict[str, str]:
        """Its line of the second table of stat -v."""
        lines = self.demo.cairn("stat", "-v").stdout.splitlines()
        start = next(i for i, line in enumerate(lines) if "DAMAGED" in line)
        line = next(line.split() for line in lines[start:] if line.split()[:1] == [str(cs.id)])
        return dict(zip(lines[start].split(), line))

    # ---- files ----

    def new_file(self, size: int = 3_000_000) -> "Stored":
        self.files += 1
        path = self.demo.mount(0) / f"file{self.files}"
        content = self.random.randbytes(size)
        write_durably(path, content)
        return Stored(self, path, content)

    def impatient(self, path: Path) -> Path:
        """The same file on a mount that answers with an error soon."""
        point = self.demo.mount(1, "--timeout", "4")
        return point / path.relative_to(self.demo.mount(0))

    def others_work(self) -> None:
        """Files are written and read, and the administrator is answered, in good time."""
        began = time.monotonic()
        stored = self.new_file(100_000)
        check(time.monotonic() - began < 20, f"a write took {time.monotonic() - began:.0f} s")
        stored.check()
        began = time.monotonic()
        self.demo.stat()
        check(time.monotonic() - began < ANSWER_SECONDS, "cairn stat waits")


class Stored:
    """A file of the cluster, and what must be in it."""

    def __init__(self, flags: Flags, path: Path, content: bytes):
        self.flags = flags
        self.path = path
        self.content = content
        chunk = json.loads(flags.demo.cairn("--json", "info", path).stdout)["chunks"][0]
        self.chunk = chunk["id"]
        self.pieces = chunk["pieces"]

    def piece(self, kind: str) -> tuple[ChunkServer, str]:
        """The first of the kind: where it is and its name."""
        piece = next(piece for piece in self.pieces if piece["kind"] == kind)
        servers = self.flags.servers
        cs = next(cs for cs in servers if cs.id == piece["cs"])
        return cs, f"{self.chunk}.{piece['index']}"

    def check(self) -> None:
        """As a mount without memory reads it."""
        self.flags.demo.remount()
        check_equal(self.path.read_bytes() == self.content, True,
                    f"{self.path} is what was written")


# ---- letters of health ----

def healthy(flags: Flags) -> None:
    """J, C, c, and D where the filesystem can do it."""
    flags.new_file()
    for cs in flags.servers:
        flags.demo.cairn("configure-cs", "-r", cs.repository, "--commit")
        direct = "D" if cs.state()["direct"] else ""
        flags.wait_letters(cs, there="JCc" + direct, absent="HhSRT" + ("" if direct else "D"))


def c_while_there_is_something_to_commit(flags: Flags) -> None:
    stored = flags.new_file()
    cs, _ = stored.piece("data")
    with small_writes(stored.path):
        flags.wait_letters(cs, there="JC", absent="c")
        wait_until(lambda: cs.stat()["journal_backlog_bytes"] > 0, 20, "BACKLOG is shown")
    flags.wait_letters(cs, there="JCc")
    wait_until(lambda: cs.stat()["journal_backlog_bytes"] == 0, 20, "BACKLOG is 0 again")


def neither_checksums_nor_journal(flags: Flags) -> None:
    """make-cs -S --no-journal. The reader is not given rotten bytes even so."""
    cs = flags.unchecked = add_chunk_server(flags.demo, 5, flags.demo.dir / "cs5", "-S",
                                            "--no-journal", "-t", "1")
    cs.serve()
    flags.wait_letters(cs, absent="JCcHhSRT")
    wait_until(lambda: cs.stat()["status"] == "active", LETTER_SECONDS, "it is active")
    place = flags.demo.mount(0) / "unchecked"
    place.mkdir()
    flags.demo.cairn("set-attr", place, "replicas=1", "tier=1")
    content = flags.random.randbytes(500_000)
    write_durably(place / "file", content)
    cs.stop()
    chunk = json.loads(flags.demo.cairn("--json", "info", place / "file").stdout)["chunks"][0]["id"]
    cs.flip(cs.blocks(f"{chunk}.0")[3][1])
    cs.serve()
    wait_until(lambda: cs.stat()["status"] == "active", LETTER_SECONDS, "it is active")
    error = read_error(flags.impatient(place / "file"))
    check_equal(error, errno.EIO, "errno of reading a rotten only copy")
    scrub = flags.demo.cairn("scrub", "now", place / "file", good=False)
    check_equal(scrub.returncode, 1, "exit code of a scrub that found damage")
    flags.wait_letters(cs, there="h", absent="C")
    (place / "file").unlink()
    flags.wait_letters(cs, absent="h")


def read_error(path: Path) -> int:
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno
    return 0


# ---- h ----

def h_when_a_read_meets_a_rotten_block(flags: Flags) -> None:
    """The reader has the right bytes, the flag appears, the block is healed."""
    stored = flags.new_file()
    cs, piece = stored.piece("data")
    cs.stop()
    cs.flip(cs.blocks(piece)[5][1])
    cs.serve()
    flags.wait_well(cs)
    cs.fault("write-delay=4s")  # healing takes long enough to be seen
    stored.check()
    text = flags.wait_letters(cs, there="h", absent="H")
    check("Flag h:" in text, "stat does not say what h means")
    check_equal(flags.verbose(cs)["DAMAGED"], "1", "DAMAGED")
    cs.fault("none")
    wait_healed(flags, cs, 1)
    stored.check()
    cs.stop()
    cs.check_repository()
    cs.serve()


def wait_healed(flags: Flags, cs: ChunkServer, blocks: int) -> None:
    def healed() -> bool:
        now = flags.verbose(cs)
        return now["DAMAGED"] == "0" and int(now["HEALED"]) >= blocks
    wait_until(healed, HEAL_SECONDS, f"{blocks} blocks are healed")
    flags.wait_letters(cs, absent="h")


def h_when_the_scrub_finds_rot(flags: Flags) -> None:
    """In parity, which nobody reads."""
    stored = flags.new_file()
    cs, piece = stored.piece("parity")
    cs.stop()
    for _, disk in cs.blocks(piece)[10:14]:
        cs.flip(disk)
    cs.serve()
    flags.wait_well(cs)
    cs.fault("write-delay=4s")
    scrub = flags.demo.cairn("scrub", "now", stored.path, good=False)
    check_equal(scrub.returncode, 1, "exit code of a scrub that found damage")
    check(str(cs.id) in scrub.stdout, f"the scrub does not name the CS: {scrub.stdout}")
    flags.wait_letters(cs, there="h")
    cs.fault("none")
    wait_healed(flags, cs, 4)
    flags.demo.cairn("scrub", "now", stored.path)
    cs.stop()
    cs.check_repository()
    cs.serve()


def rot_of_too_many_pieces_is_an_error(flags: Flags) -> None:
    """Never wrong bytes; a write over it makes it good again."""
    stored = flags.new_file()
    servers = []
    for kind in ("data", "parity"):
        cs, piece = stored.piece(kind)
        cs.stop()
        cs.flip(next(disk for block, disk in cs.blocks(piece) if block == 7))
        cs.serve()
        servers.append(cs)
    for cs in servers:
        flags.wait_well(cs)
    error = read_error(flags.impatient(stored.path))
    check_equal(error, errno.EIO, "errno of reading what cannot be rebuilt")
    flags.wait_letters(servers[0], there="h")
    # Stripe 0: the rotten rows are those of block 7 of each of its two cells.
    fresh = flags.random.randbytes(BLOCK)
    for cell in (0, 1):
        at = (cell << 20) + 7 * BLOCK
        overwrite_durably(stored.path, at, fresh)
        stored.content = stored.content[:at] + fresh + stored.content[at + BLOCK:]
    stored.check()
    for cs in servers:
        flags.wait_letters(cs, absent="h")


# ---- H ----

def H_when_a_write_fails(flags: Flags) -> None:
    stored = flags.new_file()
    cs, _ = stored.piece("data")
    cs.fault("fail=writes,flushes")
    overwrite_durably(stored.path, 0, b"x" * BLOCK)
    stored.content = b"x" * BLOCK + stored.content[BLOCK:]
    text = flags.wait_letters(cs, there="H")
    check("Flag H:" in text and "Input/output error" in text, "stat does not say what H means")
    check(f"CS {cs.id} at {cs.repository}: " in text, "stat does not say where it is")
    told = f"CS#{cs.id} has reported hard error on {cs.repository} (H)"
    wait_until(lambda: told in flags.demo.cairn("get-event").stdout, LETTER_SECONDS, "the event")
    check_equal(cs.state()["serving"], False, "it serves")
    stored.check()
    flags.others_work()
    cs.end()
    cs.serve()
    flags.wait_well(cs)


def h_and_H_when_a_sector_cannot_be_read(flags: Flags) -> None:
    """A latent error: the reader has the right bytes, the blocks move elsewhere, the CS goes on."""
    stored = flags.new_file()
    cs, piece = stored.piece("data")
    cs.stop()
    disk = cs.blocks(piece)[20][1]
    cs.serve()
    flags.wait_well(cs)
    cs.fault(f"fail-range={disk}+2")
    stored.check()
    flags.wait_letters(cs, there="H")
    flags.demo.cairn("scrub", "now", stored.path, good=False)
    wait_until(lambda: flags.verbose(cs)["DAMAGED"] == "0", HEAL_SECONDS, "the blocks moved")
    check(int(flags.verbose(cs)["HEALED"]) >= 2, "HEALED does not count them")
    check(int(flags.verbose(cs)["IO_ERRORS"]) >= 1, "IO_ERRORS does not count")
    check_equal(cs.state()["serving"], True, "it serves")
    flags.demo.cairn("scrub", "now", stored.path)  # exit code 0: the bad spot is not used now
    stored.check()
    cs.stop()
    cs.serve()
    flags.wait_well(cs)


def a_drive_that_cannot_be_read(flags: Flags) -> None:
    """Every read fails: clients have the right bytes from the others."""
    stored = flags.new_file()
    cs, _ = stored.piece("data")
    cs.fault("fail=reads")
    stored.check()
    flags.wait_letters(cs, there="H")
    flags.others_work()
    cs.fault("none")
    cs.end()
    cs.serve()
    flags.wait_well(cs)
    stored.check()


# ---- T ----

def T_when_the_drive_hangs(flags: Flags) -> None:
    stored = flags.new_file()
    cs, _ = stored.piece("data")
    cs.stop()
    cs.serve("", "--hang-limit", str(HANG_LIMIT))
    flags.wait_well(cs)
    cs.fault("stall=on")
    began = time.monotonic()
    overwrite_durably(stored.path, 0, b"y" * BLOCK)
    stored.content = b"y" * BLOCK + stored.content[BLOCK:]
    check(time.monotonic() - began < 30, "a write waits for the drive that hangs")
    text = flags.wait_letters(cs, there="T")
    check("Flag T:" in text, "stat does not say what T means")
    began = time.monotonic()
    check_equal(cs.state()["flag"], "T", "what the control door says")
    check(time.monotonic() - began < 1, "the control door waits for the drive")
    flags.others_work()
    stored.check()
    cs.end()
    cs.serve()
    flags.wait_well(cs)


# ---- somewhere else ----

def an_only_copy_at_another_port(flags: Flags) -> None:
    """Its port was taken while it was away: a file that is open is written and read there."""
    place = flags.demo.mount(0) / "elsewhere"
    place.mkdir()
    flags.demo.cairn("set-attr", place, "replicas=1")
    path = place / "file"
    write_durably(path, flags.random.randbytes(1_000_000))
    stored = Stored(flags, path, path.read_bytes())
    cs, _ = stored.piece("replica")
    before = cs.stat()["address"]
    host, port = before.rsplit(":", 1)
    with path.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"1" * BLOCK, 0)
        os.fsync(file.fileno())
        cs.stop()
        with socket.socket() as taken:
            # Somebody who takes connections and says nothing.
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind((host, int(port)))
            taken.listen()
            cs.serve()
            flags.wait_well(cs)
            check(cs.stat()["address"] != before, "it is where it was")
            # Not here: it waits for ever if it is not found.
            writer = threading.Thread(target=overwrite_durably, args=(path, 0, b"2" * BLOCK),
                                      daemon=True)
            writer.start()
            writer.join(FOUND_SECONDS)
            check(not writer.is_alive(), "it is not found")
    stored.content = b"2" * BLOCK + stored.content[BLOCK:]
    check_equal(path.read_bytes() == stored.content, True, "what the same mount reads")
    stored.check()


SCENARIOS = [healthy, c_while_there_is_something_to_commit, neither_checksums_nor_journal,
             h_when_a_read_meets_a_rotten_block, h_when_the_scrub_finds_rot,
             rot_of_too_many_pieces_is_an_error, H_when_a_write_fails,
             h_and_H_when_a_sector_cannot_be_read, a_drive_that_cannot_be_read,
             T_when_the_drive_hangs, an_only_copy_at_another_port]

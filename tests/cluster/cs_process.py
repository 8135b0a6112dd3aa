"""A chunk server of a demo that the test runs itself: in the foreground, so that its end and
its last words are known; with armed fault points (common/base/fault_point.h)."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import csd_control
from harness import BIN, Cluster, check, run

START_SECONDS = 60
POLL = 0.01


def add_chunk_server(demo: Cluster, number: int, repository: Path, *options: str,
                     allow_faults: bool = False) -> "ChunkServer":
    """One more of the demo, on a host of its own; made (`options` are for make-cs), not started."""
    part = demo.lib.parts[f"cs:{number}"] = {
        "name": f"cs:{number}", "kind": "cs", "repo": str(repository),
        "host_file": str(demo.lib.etc / "hosts" / f"host{number}")}
    if allow_faults:
        part["options"] = ["--allow-faults"]
    demo.lib.save()
    demo.lib.make_cs(part, *options)
    return ChunkServer(demo, number)


class ChunkServer:
    """Owned by one thread, but for kill(). Every end of the process is explained, or a failure."""

    def __init__(self, demo: Cluster, number: int):
        self.demo = demo
        self.lib = demo.lib
        self.number = number
        self.part = self.lib.parts[f"cs:{number}"]
        self.repository = Path(self.part["repo"])
        self.words = demo.dir / "logs" / f"cs{number}.stderr"
        self.process: subprocess.Popen | None = None
        self.killed = False  # by us
        self.armed = ""

    @property
    def id(self) -> int:
        return self.part["id"]

    @property
    def data(self) -> Path:
        return self.repository / "data"

    def take_over(self) -> None:
        """Ends the one that the demo started."""
        check(self.lib.stop(self.part), f"cs:{self.number} did not end by itself")

    # ---- life ----

    def start(self, fault: str = "", *options: str, log: Path | None = None) -> None:
        """Does not wait. `fault` is CAIRN_FAULT."""
        check(self.process is None, f"cs:{self.number} runs")
        environment = self.lib.environment(self.part["host_file"])
        if fault:
            environment["CAIRN_FAULT"] = fault
        self.armed, self.killed = fault, False
        if log is None:
            log = self.repository / "logs" / "log"
            log.parent.mkdir(exist_ok=True)
        with self.words.open("wb") as words:
            self.process = subprocess.Popen(
                [BIN / "cairn-csd", "-r", self.repository, "-l", log, *self.part.get("options", []),
                 *options], env=environment, stdin=subprocess.DEVNULL, stdout=words, stderr=words)

    def serve(self, fault: str = "", *options: str) -> None:
        """Started, and it serves."""
        self.start(fault, *options)
        check(self.wait_serving(), f"cs:{self.number} was killed while it started")

    def wait_serving(self, seconds: float = START_SECONDS) -> bool:
        """False: a fault point or kill() ended it first."""
        end = time.monotonic() + seconds
        while not self.ended():
            state = self.state()
            if state is not None and state["serving"]:
                return True
            check(time.monotonic() < end, f"cs:{self.number} does not serve after {seconds} s: "
                                          f"{(state or {}).get('failure')!r}")
            time.sleep(POLL)
        return False

    def ended(self) -> bool:
        """It was killed, as it should be. Any other end is an AssertionError."""
        if self.process is None:
            return True
        code = self.process.poll()
        if code is None:
            return False
        self.process = None
        said = self.words.read_text(errors="replace")
        check(code == -signal.SIGKILL and (self.killed or "fault point" in said),
              f"cs:{self.number} (armed {self.armed!r}) ended by itself with {code}: "
              f"{said[-600:]!r}; its log: {self.log_tail()}")
        return True

    def wait_end(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > end:
                return False
            time.sleep(POLL)
        return True

    def died_at(self, point: str) -> bool:
        """The last process was killed there."""
        return f"fault point {point}," in self.words.read_text(errors="replace")

    def kill(self) -> None:
        process = self.process
        if process is not None and process.poll() is None:
            self.killed = True
            process.kill()

    def kill_and_wait(self) -> None:
        self.kill()
        check(self.wait_end(10), f"cs:{self.number} does not end after kill -9")

    def stop(self, seconds: float = 30) -> bool:
        """SIGTERM. False: a fault point ended it meanwhile."""
        process = self.process
        check(process is not None, f"cs:{self.number} does not run")
        process.terminate()
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"cs:{self.number} does not end {seconds} s after SIGTERM: "
                                 f"{self.log_tail()}") from None
        if code == 0:
            self.process = None
            return True
        check(self.ended(), "it ended")
        return False

    def end(self) -> None:
        """Whatever it does: no process is left."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    # ---- what it says ----

    def state(self) -> dict | None:
        """Through the control door; None when nobody answers there."""
        try:
            answer = csd_control.ask(self.repository, op="status")
        except (OSError, AssertionError, ValueError):
            return None
        return answer["state"] if answer["ok"] else None

    def try_ask(self, **request) -> dict | None:
        """None when it ended meanwhile."""
        try:
            return csd_control.ask(self.repository, **request)
        except (OSError, AssertionError, ValueError):
            return None

    def fault(self, plan: str, device: str = "data") -> None:
        csd_control.fault(self.repository, device, plan)

    def stat(self) -> dict:
        """Its entry of cairn stat --json."""
        return next(cs for cs in self.demo.stat()["cs"] if cs["id"] == self.id)

    def flags(self) -> str:
        """As cairn stat shows them: what it says of itself, and what the MDS heard last."""
        entry = self.stat()
        return entry["flags"] + entry["trouble"]

    def log_tail(self, lines: int = 8) -> str:
        log = self.repository / "logs" / "log"
        if not log.exists():
            return "(no log)"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

    # ---- the stopped repository ----

    def inspect(self, *words: object, good: bool = True) -> dict:
        check(self.process is None, f"cs:{self.number} runs")
        result = run(BIN / "cairn", "--json", "inspect", self.repository, *words, good=False,
                     env=self.demo.environment)
        bad = f"inspect of cs:{self.number}: {(result.stdout + result.stderr)[-1500:]}"
        check(result.stdout.startswith("{") and (not good or result.returncode == 0), bad)
        return json.loads(result.stdout)

    def check_repository(self) -> int:
        """Every stored block is right; how many there are."""
        found = self.inspect("--check")
        check(found["findings"] == [], f"cs:{self.number}: {found['findings'][:5]}")
        return found["checked"]["blocks"]

    def blocks(self, piece: str) -> list[tuple[int, int]]:
        """(block of the piece, block of the data file). Stopped by SIGTERM: all are at home."""
        stored = self.inspect("--piece", piece)["chosen"][0]["stored"]
        return [(block["block"], block["disk"]) for block in stored]

    def flip(self, disk_block: int, at: int = 100) -> None:
        """A bit of the data file rots; the page cache, too."""
        file = os.open(self.data, os.O_RDWR)
        try:
            offset = disk_block * 4096 + at
            old = os.pread(file, 1, offset)
            os.pwrite(file, bytes([old[0] ^ 0x10]), offset)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)

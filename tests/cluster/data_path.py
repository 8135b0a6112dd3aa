#!/usr/bin/env python3
"""The data path when chunk servers die, hang and come back: writers go on at once, what a server
missed is brought to it again, chunks below their minimum are mended elsewhere, and every choice of
enough pieces reads the same bytes. A full run: --mib 1024 --seconds 600."""

import itertools
import os
import random
import signal
import statistics
import threading
import time
from pathlib import Path

from harness import (Cluster, Results, arguments, check, check_equal, digest, main, processes,
                     wait_until)
from overwriters import Load

MIB = 1 << 20
BLOCK = 4096
REPAIR_SECONDS = 60


class Prober(threading.Thread):
    """4 KiB writes with fsync, one after the other, somewhere in a file; how long each took."""

    def __init__(self, path: Path, size: int, seed: int):
        super().__init__(daemon=True)
        self.path = path
        self.size = size
        self.random = random.Random(seed)
        self.model: dict[int, bytes] = {}
        self.times: list[float] = []
        self.begun = threading.Event()
        self.stopping = threading.Event()
        self.error: OSError | None = None

    def run(self) -> None:
        file = os.open(self.path, os.O_RDWR)
        try:
            while not self.stopping.is_set():
                at = self.random.randrange(self.size // BLOCK) * BLOCK
                data = self.random.randbytes(BLOCK)
                began = time.monotonic()
                os.pwrite(file, data, at)
                os.fsync(file)
                self.times.append(time.monotonic() - began)
                self.model[at] = data
                self.begun.set()
        except OSError as error:
            self.error = error
        finally:
            os.close(file)

    def finish(self, seconds: float = 60) -> None:
        self.stopping.set()
        self.join(seconds)
        check(not self.is_alive(), "a write with fsync does not end")
        check(self.error is None, f"a write failed: {self.error}")
        with self.path.open("rb") as file:
            for at, data in self.model.items():
                file.seek(at)
                check(file.read(BLOCK) == data, f"{self.path}: the block at {at} is not what was "
                                                "acknowledged")

    def said(self) -> str:
        ordered = sorted(self.times)
        return (f"{len(ordered)} writes, p50 {statistics.median(ordered) * 1000:.1f} ms, "
                f"p99 {ordered[len(ordered) * 99 // 100] * 1000:.0f} ms, "
                f"longest {ordered[-1] * 1000:.0f} ms")


def unhealthy(cluster: Cluster) -> int:
    chunks = cluster.stat()["cluster"]["chunks"]
    return sum(count for state, count in chunks.items() if state not in ("healthy", "void"))


def wait_healthy(cluster: Cluster, seconds: float = REPAIR_SECONDS) -> None:
    wait_until(lambda: unhealthy(cluster) == 0, seconds, "all chunks healthy")


def fill(path: Path, mebibytes: int, seed: int) -> None:
    generator = random.Random(seed)
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(generator.randbytes(MIB))
        file.flush()
        os.fsync(file.fileno())


class Story:
    """4+2 on six servers (and a few spare ones later): the steps build on each other."""

    def __init__(self, cluster: Cluster, mebibytes: int, seconds: int):
        self.cluster = cluster
        self.seconds = seconds
        self.root = cluster.mount(0)
        self.big = self.root / "big"
        self.mebibytes = mebibytes
        self.digest = ""

    def pid(self, server: int) -> tuple[int, int]:
        pid = self.cluster.lib.pid(self.cluster.lib.parts[f"cs:{server}"])
        check(pid is not None, f"cs:{server} does not run")
        started = processes.start_time(pid)
        check(started is not None, f"cs:{server} does not run")
        return pid, started

    def written_by(self, server: int) -> int:
        number = self.cluster.lib.parts[f"cs:{server}"]["id"]
        return next(cs for cs in self.cluster.stat()["cs"] if cs["id"] == number)["bytes_written"]

    # ---- the steps ----

    def every_choice_of_pieces_reads_the_same(self) -> None:
        fill(self.big, self.mebibytes, 1)
        self.digest = digest(self.big)
        for pair in itertools.combinations(range(1, 7), 2):
            names = [f"cs:{number}" for number in pair]
            self.cluster.kill(*names)
            self.cluster.remount()
            check_equal(digest(self.big), self.digest, f"the file without {names}")
            self.cluster.start(*names)
            self.cluster.wait_cs("active", 6)

    def a_killed_server_costs_a_writer_no_second(self) -> None:
        self.stall(lambda: self.cluster.kill("cs:3"), 1.0)
        self.cluster.start("cs:3")
        wait_healthy(self.cluster)

    def a_stopped_server_costs_a_writer_no_three(self) -> None:
        pid, started = self.pid(4)
        try:
            self.stall(lambda: processes.send(pid, started, signal.SIGSTOP), 3.0)
        finally:
            processes.send(pid, started, signal.SIGCONT)
        wait_healthy(self.cluster)

    def stall(self, strike, most: float) -> None:
        path = self.root / "probed"
        fill(path, 16, 2)
        prober = Prober(path, 16 * MIB, 3)
        prober.start()
        check(prober.begun.wait(30), "the first write does not end")
        before = len(prober.times)
        wait_until(lambda: len(prober.times) > before + 50 or prober.error, 60, "writes go on")
        strike()
        struck = len(prober.times)
        wait_until(lambda: len(prober.times) > struck + 200 or prober.error, 60,
                   "writes go on after the failure")
        prober.finish()
        print(f"    {prober.said()}", flush=True)
        check(max(prober.times) <= most,
              f"the longest write took {max(prober.times):.2f} s, more than {most} s")

    def a_server_that_returns_gets_what_it_missed(self) -> None:
        self.cluster.kill("cs:2")
        generator = random.Random(5)
        with self.big.open("r+b") as file:
            for at in (0, self.mebibytes // 2):
                file.seek(at * MIB)
                file.write(generator.randbytes(MIB))
            file.flush()
            os.fsync(file.fileno())
        self.digest = digest(self.big)
        self.cluster.start("cs:2")
        self.cluster.wait_cs("active", 6)
        wait_healthy(self.cluster)
        copied = self.written_by(2)
        # Two regions of a MiB (and what was under way in other files), not all it has.
        check(copied < self.mebibytes * MIB // 8,
              f"{copied // MIB} MiB were copied to a server that missed two")
        for other in (5, 6):
            self.cluster.kill(f"cs:{other}")
        self.cluster.remount()
        check_equal(digest(self.big), self.digest, "the file, read with the pieces that returned")
        self.cluster.start("cs:5", "cs:6")
        self.cluster.wait_cs("active", 6)
        wait_healthy(self.cluster)

    def below_the_minimum_pieces_are_made_elsewhere(self) -> None:
        path = self.root / "pending"
        fill(path, 8, 6)
        victims = self.holders()[:2]
        prober = Prober(path, 8 * MIB, 7)
        prober.start()
        check(prober.begun.wait(30), "the first write does not end")
        self.cluster.kill(*[f"cs:{number}" for number in victims])
        struck = len(prober.times)
        wait_until(lambda: len(prober.times) > struck + 20 or prober.error, 30,
                   "writes go on while two of six servers are dead")
        prober.finish()
        print(f"    {prober.said()}", flush=True)
        self.cluster.start(*[f"cs:{number}" for number in victims])
        self.cluster.wait_cs("active", 8)
        wait_healthy(self.cluster)

    def holders(self) -> list[int]:
        """The servers with a piece of the only chunk."""
        ids = {self.cluster.lib.parts[f"cs:{number}"]["id"]: number for number in range(1, 9)}

        def six() -> list[int] | None:
            having = [ids[cs["id"]] for cs in self.cluster.stat()["cs"] if cs["pieces_written"]]
            return having if len(having) == 6 else None
        return wait_until(six, 30, "six servers with a piece")

    def overwrites_go_on_while_servers_die(self) -> None:
        generator = random.Random(11)
        end = time.monotonic() + self.seconds
        kills = 0
        with Load(self.root / "load", 4, 12) as load:
            while time.monotonic() < end:
                victim = generator.randrange(1, 7)
                self.cluster.kill(f"cs:{victim}")
                kills += 1
                time.sleep(generator.random())  # the length of an outage is part of the load
                self.cluster.start(f"cs:{victim}")
                self.cluster.wait_cs("active", 6)
                if generator.random() < 0.5:
                    wait_healthy(self.cluster)
            for writer in load.writers:
                check(writer.error is None, f"a write failed: {writer.error}")
        wait_healthy(self.cluster)
        done = sum(writer.operations for writer in load.writers)
        print(f"    {done} overwrites, {kills} kills", flush=True)
        self.cluster.remount()
        for writer in load.writers:
            writer.verify()


def body(results: Results, keep: bool, mebibytes: int, seconds: int) -> None:
    with Cluster(mds=1, cs=6, encoding="4+2", keep=keep) as cluster:
        story = Story(cluster, mebibytes, seconds)
        for step in (story.every_choice_of_pieces_reads_the_same,
                     story.a_killed_server_costs_a_writer_no_second,
                     story.a_stopped_server_costs_a_writer_no_three,
                     story.a_server_that_returns_gets_what_it_missed,
                     story.overwrites_go_on_while_servers_die):
            results.scenario(step.__name__, step)
    with Cluster(mds=1, cs=8, encoding="4+2", keep=keep) as cluster:
        story = Story(cluster, mebibytes, seconds)
        results.scenario("below_the_minimum_pieces_are_made_elsewhere",
                         story.below_the_minimum_pieces_are_made_elsewhere)


if __name__ == "__main__":
    options = arguments(__doc__, mib=(64, "size of the big file"),
                        seconds=(20, "of overwrites beside kills"))
    outcome = Results()
    main(outcome, lambda: body(outcome, options.keep, options.mib, options.seconds))

#!/usr/bin/env python3
"""Chunk servers are killed again and again: at any moment, and at every armed fault point of
the store in turn, while files are written, overwritten, cut and deleted at random on one copy
and on 2+1. What must be in each file is known (file_models.py) and read through another mount;
repositories of killed servers are inspected; in the end everything is deleted and no byte may
be in use."""

import contextlib
import faulthandler
import json
import os
import queue
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from cs_process import ChunkServer, add_chunk_server
from file_models import Load, MountGate, Writer
from harness import (FAILURES, Cluster, Results, Skip, arguments, check, check_equal, main,
                     processes, wait_until)
from kill_lanes import Lane, Reading, Tally

JOURNAL_MB = 32
WRITERS_ONE_COPY = 9
WRITERS_ENCODED = 4
READERS = 4
BETWEEN_READS = 0.01
READ_PATIENCE = 0.5
MOUNT_KILL_EVERY = 12  # rounds of all
ALL_AT_ONCE_EVERY = 3  # of those
SETTLE_SECONDS = 60
HANG_SECONDS = 90  # of a round
MAKE = ["store.make.rows", "store.make.ring", "store.superblock.begin", "store.make.superblock"]


class Story:
    def __init__(self, demo: Cluster, local: Path, rounds: int, seed: int):
        self.demo = demo
        self.local = local
        self.rounds = rounds
        self.seed = seed
        self.tally = Tally()
        self.gate = MountGate()
        self.reading = Reading()
        self.reader = demo.lib.parts["client:2"]
        self.writer_part = demo.lib.parts["client:1"]
        self.mount = Path(self.writer_part["mount"])
        self.other = Path(self.reader["mount"])
        self.load = Load([])
        self.lanes: list[Lane] = []
        self.made: ChunkServer | None = None
        self.free_at_first: dict[int, int] = {}
        self.done = 0

    # ---- preparation ----

    def take_over(self) -> None:
        """Three journals: in the repository, elsewhere, none."""
        ssd = [self.local / "a", self.local / "b"]
        inside = [{"on": True, "directory": "", "mb": JOURNAL_MB},
                  {"on": True, "directory": "", "mb": JOURNAL_MB + 8}]
        outside = [{"on": True, "directory": str(place), "mb": JOURNAL_MB} for place in ssd]
        none = [{"on": False, "directory": "", "mb": JOURNAL_MB},
                {"on": False, "directory": "", "mb": JOURNAL_MB + 8}]
        self.lanes = [Lane(self.demo, number, journals, self.tally, self.seed)
                      for number, journals in ((1, inside), (2, outside), (3, none))]
        for lane in self.lanes:
            lane.cs.take_over()
            lane.cs.serve()
            self.bring_journal_back(lane)
        self.demo.wait_cs("active", 3)
        self.small_reader()
        self.free_at_first = self.free_bytes()
        encoded = self.mount / "encoded"
        (self.mount / "copy").mkdir()
        encoded.mkdir()
        self.demo.cairn("set-attr", encoded, "encoding=2+1")

    def bring_journal_back(self, lane: Lane) -> None:
        answer = lane.cs.try_ask(op="journal", **lane.journals[0])
        check(answer is not None and answer["ok"], f"the journal of {lane.cs.number}: {answer}")

    def small_reader(self) -> None:
        """The second mount keeps next to nothing in memory: what it reads comes from the disks."""
        self.reader["options"] = ["--cache-size", "16"]
        self.new_reader()

    def new_reader(self) -> None:
        check(self.demo.lib.stop(self.reader), "the second mount did not end by itself")
        self.demo.lib.start(self.reader)

    def free_bytes(self) -> dict[int, int]:
        """Of each, when nothing is in use any more and all is at home."""
        wait_until(lambda: all(lane.cs.stat()["used_bytes"] == 0 for lane in self.lanes),
                   SETTLE_SECONDS, "nothing is in use")
        for lane in self.lanes:
            answer = lane.cs.try_ask(op="commit")
            check(answer is not None and answer["ok"], f"commit: {answer}")
        return {lane.cs.id: lane.cs.state()["free_bytes"] for lane in self.lanes}

    # ---- a store is made ----

    def killed_while_it_is_made(self) -> None:
        """Interrupted anywhere, it is made again; at last it serves, and its file grows."""
        self.made = add_chunk_server(self.demo, 4, self.demo.dir / "cs4", "-t", "1")
        for point in MAKE:
            self.made.start(f"{point}:1")
            check(not self.made.wait_serving(), f"{point} was not passed")
            check(self.made.died_at(point), f"not killed at {point}: {self.made.words.read_text()}")
            self.tally.count(self.tally.kills, point)
        self.made.serve("store.grow:1")
        place = self.mount / "grown"
        place.mkdir()
        self.demo.wait_cs("active", 4)
        self.demo.cairn("set-attr", place, "replicas=1", "tier=1")
        content = random.Random(4).randbytes(300_000)
        writer = threading.Thread(target=self.write_durably, args=(place / "file", content))
        writer.start()
        died = self.made.wait_end(20)
        check(died and self.made.died_at("store.grow"), "store.grow was not passed")
        self.tally.count(self.tally.kills, "store.grow")
        self.made.serve()
        writer.join(60)
        check(not writer.is_alive(), "the write does not end")
        check_equal((self.other / "grown" / "file").read_bytes(), content, "the file")
        (place / "file").unlink()
        wait_until(lambda: self.made.stat()["used_bytes"] == 0, SETTLE_SECONDS, "its space is free")
        self.made.stop()
        self.made.check_repository()

    @staticmethod
    def write_durably(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    # ---- rounds ----

    def begin_load(self) -> None:
        writers = [Writer(self.mount / "copy", self.other / "copy", f"c{i}", self.seed + i,
                          self.gate) for i in range(WRITERS_ONE_COPY)]
        writers += [Writer(self.mount / "encoded", self.other / "encoded", f"e{i}",
                           self.seed + 100 + i, self.gate, leaving=0.12)
                    for i in range(WRITERS_ENCODED)]
        self.load = Load(writers)
        self.load.start()

    def verify_always(self, outcomes: queue.Queue, stop: threading.Event, seed: int) -> None:
        """Reads one file after the other, whatever is killed meanwhile."""
        generator = random.Random(seed)
        while not stop.is_set():
            try:
                self.load.check()
                with self.reading.reader():
                    compared = generator.choice(self.load.writers).verify(READ_PATIENCE)
            except FAILURES as failure:
                outcomes.put(("a reader", 0.0, failure))
                return
            self.tally.verified += compared
            self.tally.reads += compared != 0
            time.sleep(BETWEEN_READS)

    def run_rounds(self, results: Results) -> None:
        """Lanes in parallel; the mount is killed in between, now and then everything at once."""
        outcomes: queue.Queue = queue.Queue()
        stop = threading.Event()
        for lane in self.lanes:
            lane.cs.kill_and_wait()
            lane.start()
        threads = [threading.Thread(target=self.run_lane, args=(lane, outcomes, stop), daemon=True)
                   for lane in self.lanes]
        threads += [threading.Thread(target=self.verify_always, args=(outcomes, stop, number),
                                     daemon=True) for number in range(READERS)]
        for thread in threads:
            thread.start()
        good = True
        while good and self.done < self.rounds:
            name, seconds, error = self.next_outcome(outcomes)
            self.done += 1
            good = results.scenario(f"round {self.done}: {name} after {seconds:.1f} s",
                                    self.give, error)
            if good and self.done % MOUNT_KILL_EVERY == 0:
                together = self.done // MOUNT_KILL_EVERY % ALL_AT_ONCE_EVERY == 0
                what = "kill -9 of everything" if together else "kill -9 of the mount"
                good = results.scenario(what, self.kill_the_mount, together)
        stop.set()
        for thread in threads:
            thread.join(120)

    @staticmethod
    def next_outcome(outcomes: queue.Queue) -> tuple[str, float, Exception | None]:
        try:
            return outcomes.get(timeout=HANG_SECONDS)
        except queue.Empty:
            faulthandler.dump_traceback(sys.stdout, all_threads=True)
            return "no server", HANG_SECONDS, AssertionError("all rounds hang; who waits: above")

    def run_lane(self, lane: Lane, outcomes: queue.Queue, stop: threading.Event) -> None:
        while not stop.is_set():
            began = time.monotonic()
            name, error = f"cs:{lane.cs.number} {lane.plan}", None
            try:
                lane.one_round()
            except FAILURES as failure:
                error = failure
            outcomes.put((name, time.monotonic() - began, error))
            if error is not None:
                return

    @staticmethod
    def give(error: Exception | None) -> None:
        if error is not None:
            raise error

    def kill_the_mount(self, together: bool) -> None:
        before = self.load.operations
        wait_until(lambda: self.load.operations > before + 5, 60, "the writers work")
        with self.reading.nobody():  # a reader would wait for the lease of the killed mount
            self.kill_and_remount(together)
        wait_until(lambda: not self.gate.parked, 90, "the writers go on")
        self.load.check()

    def kill_and_remount(self, together: bool) -> None:
        self.gate.open.clear()
        pid = self.demo.lib.pid(self.writer_part)
        started = processes.start_time(pid)
        if together:
            for lane in self.lanes:
                lane.cs.kill()
        processes.send(pid, started, signal.SIGKILL)
        check(processes.wait_gone(pid, started, 20), "the mount does not end after kill -9")
        self.load.wait_parked()
        self.demo.lib.start(self.writer_part)
        self.gate.open.set()

    # ---- the end ----

    def all_is_there(self) -> None:
        """Through a new mount, with all servers in their last life but one."""
        for lane in self.lanes:
            lane.cs.kill_and_wait()
            lane.cs.serve()  # no fault point is armed any more
        self.load.stop()
        for lane in self.lanes:
            lane.cs.kill_and_wait()
            lane.cs.serve()
        self.new_reader()
        self.tally.verified += sum(writer.verify() for writer in self.load.writers)

    def parity_is_right(self) -> None:
        """Without each server in turn: the encoded files are decoded."""
        encoded = [writer for writer in self.load.writers if writer.exists and
                   writer.root.name == "encoded" and self.is_whole(writer.path)]
        if not encoded:
            raise Skip("every encoded file lost a piece to a long restart")
        for lane in self.lanes:
            lane.cs.kill_and_wait()
            self.new_reader()
            self.tally.verified += sum(writer.verify() for writer in encoded)
            lane.cs.serve()
            self.demo.wait_cs("active", 3)
        print(f"    {len(encoded)} encoded files decoded without each server in turn", flush=True)

    def is_whole(self, path: Path) -> bool:
        """No piece is missing by the map."""
        chunks = self.demo_json("info", path)["chunks"]
        return all(piece["state"] != "missing" for chunk in chunks for piece in chunk["pieces"])

    def demo_json(self, *words: object) -> dict:
        return json.loads(self.demo.cairn("--json", *words).stdout)

    def killed_while_it_heals(self) -> None:
        """A rotten block: the reader gets the right bytes, and healing may be killed anywhere."""
        path = self.mount / "encoded" / "rots"
        content = random.Random(5).randbytes(3_000_000)
        self.write_durably(path, content)
        chunk = self.demo_json("info", path)["chunks"][0]
        piece = next(piece for piece in chunk["pieces"] if piece["kind"] == "data")
        lane = next(lane for lane in self.lanes if lane.cs.id == piece["cs"])
        lane.cs.stop()
        name = f"{chunk['id']}.{piece['index']}"
        rotten = lane.cs.blocks(name)[:3]
        for _, disk in rotten:
            lane.cs.flip(disk)
        damaged = lane.cs.inspect("--check", good=False)["checked"]["damaged"]
        check_equal(damaged, len(rotten), "damaged blocks that inspect sees")
        for point in ("store.heal.checked", "store.heal.durable"):
            lane.cs.serve(f"{point}:1")
            self.demo.wait_cs("active", 3)
            self.new_reader()
            check_equal((self.other / "encoded" / "rots").read_bytes(), content, "what is read")
            died = lane.cs.wait_end(60)
            check(died and lane.cs.died_at(point), f"not killed at {point}")
            self.tally.count(self.tally.kills, point)
        lane.cs.serve()
        self.demo.wait_cs("active", 3)
        self.new_reader()
        check_equal((self.other / "encoded" / "rots").read_bytes(), content, "what is read at last")
        self.demo.cairn("scrub", "now", path, good=False)  # a read ends at the first rotten block
        wait_until(lambda: lane.cs.state()["damaged_blocks"] == 0, 60, "the block is healed")
        lane.cs.stop()
        lane.cs.check_repository()
        lane.cs.serve()

    def repositories_are_right(self) -> None:
        for lane in self.lanes:
            lane.cs.stop()
            blocks = lane.cs.check_repository()
            check(blocks > 0, "there is nothing to inspect")
            lane.cs.serve()

    def nothing_is_in_use(self) -> None:
        """All is deleted: every block is free again, and no piece is left."""
        self.demo.wait_cs("active", 3)
        for name in ("copy", "encoded"):
            shutil.rmtree(self.mount / name)
        for lane in self.lanes:
            self.bring_journal_back(lane)
        check_equal(self.free_bytes(), self.free_at_first, "free bytes")
        for lane in self.lanes:
            lane.cs.stop()
            found = lane.cs.inspect("--check")["repository"]
            check_equal((found["pieces"], found["used_bytes"]), (0, 0), "pieces and their bytes")

    def close(self) -> None:
        self.gate.open.set()
        for writer in self.load.writers:
            writer.stop()
        for cs in [lane.cs for lane in self.lanes] + [self.made]:
            if cs is not None:
                cs.end()

    def print_tally(self) -> None:
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.tally.kills.items()))
        total = sum(self.tally.kills.values()) + sum(self.tally.unreached.values())
        print(f"    {total} ends of a chunk server: {kills}", flush=True)
        if self.tally.unreached:
            print(f"    not passed in time: {self.tally.unreached}", flush=True)
        print(f"    {self.load.operations} operations, {self.load.syncs} fsyncs, "
              f"{self.tally.reads} files read, {self.tally.verified >> 20} MiB, "
              f"{self.tally.inspected} repositories inspected", flush=True)


def body(results: Results, options) -> None:
    with contextlib.ExitStack() as stack:
        local = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cairn-local-")))
        demo = stack.enter_context(Cluster(mds=1, cs=3, clients=2, encoding="2+1",
                                           keep=options.keep))
        demo.cairn("set-attr", "--convert", "-p", "/", "replicas=1")
        story = Story(demo, local, options.rounds, options.seed)
        stack.callback(story.close)
        steps = [story.take_over, story.killed_while_it_is_made]
        if not all(results.scenario(step.__name__, step) for step in steps):
            return
        story.begin_load()
        story.run_rounds(results)
        story.print_tally()
        if results.failed:
            return
        for step in (story.all_is_there, story.parity_is_right, story.killed_while_it_heals,
                     story.repositories_are_right, story.nothing_is_in_use):
            results.scenario(step.__name__, step)
            if results.failed:
                return


if __name__ == "__main__":
    options = arguments(__doc__, rounds=(100, "kills of chunk servers"), seed=(1, "of the load"))
    outcome = Results()
    main(outcome, lambda: body(outcome, options))

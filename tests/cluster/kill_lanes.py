"""Kills of a chunk server in one life after the other, for store_crash.py: at any moment, at
every fault point of the store in turn, and ends in order."""

import contextlib
import itertools
import random
import threading
import time
from dataclasses import dataclass, field

from cs_process import ChunkServer
from harness import Cluster

# How long a server may run until its fault point is passed. Else it is killed like that.
PATIENCE = 2.5
PATIENCE_SWITCH = 6
INSPECT_EVERY = 5   # rounds of one server

# Name -> passages before the kill, at most.
BATCH = {"store.batch.begin": 30, "store.batch.flushed": 30, "store.batch.applied": 30}
HOME = {"store.home.fetched": 2, "store.home.run": 10, "store.home.written": 2,
        "store.checkpoint.flushed": 2}
CHECKPOINT = {"store.checkpoint.begin": 2, "store.checkpoint.rows": 2,
              "store.checkpoint.durable": 2, "store.checkpoint.released": 2}
SWITCH = {"store.switch.made": 2, "store.switch.drained": 2, "store.superblock.begin": 2,
          "store.switch.superblock": 2, "store.switch.rows": 2, "store.switch.resumed": 2,
          "store.switch.done": 2}
START = {"store.start.flushed": 1, "store.start.applied": 1, "store.start.rows": 1,
         "store.start.durable": 1}
DIRECT = {"store.direct.written": 8, "store.direct.flushed": 8}


@dataclass
class Plan:
    """How one life of a server ends."""
    point: str = ""       # "": at any moment
    count: int = 1
    gently: bool = False  # SIGTERM

    @property
    def fault(self) -> str:
        return f"{self.point}:{self.count}" if self.point else ""

    def __str__(self) -> str:
        return self.fault or ("stop" if self.gently else "kill -9")


@dataclass
class Tally:
    kills: dict[str, int] = field(default_factory=dict)
    unreached: dict[str, int] = field(default_factory=dict)
    inspected: int = 0
    verified: int = 0  # bytes
    reads: int = 0     # of files

    def count(self, table: dict[str, int], name: str) -> None:
        table[name] = table.get(name, 0) + 1


class Reading:
    """Readers, or nobody."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.readers = 0
        self.closed = False

    @contextlib.contextmanager
    def reader(self):
        with self.changed:
            self.changed.wait_for(lambda: not self.closed)
            self.readers += 1
        try:
            yield
        finally:
            with self.changed:
                self.readers -= 1
                self.changed.notify_all()

    @contextlib.contextmanager
    def nobody(self):
        with self.changed:
            self.closed = True
            self.changed.wait_for(lambda: self.readers == 0)
        try:
            yield
        finally:
            with self.changed:
                self.closed = False
                self.changed.notify_all()


class Lane:
    """One chunk server and its rounds, in a thread of its own."""

    def __init__(self, demo: Cluster, number: int, journals: list[dict], tally: Tally,
                 seed: int):
        self.cs = ChunkServer(demo, number)
        self.tally = tally
        self.random = random.Random(1000 * number + seed)
        self.journals = journals  # the requests that move its journal to and fro
        self.rounds = 0
        self.plans = self.endless_plans()
        self.plan = Plan()

    def points(self) -> dict[str, int]:
        small = self.journals[0]["on"]
        outside = bool(self.journals[0]["directory"])
        return {**BATCH, **CHECKPOINT, **START, **SWITCH, **(HOME if small else {}),
                **(DIRECT if outside else {})}

    def endless_plans(self):
        """Each point in turn, and between them kills at any moment and ends in order."""
        order = list(self.points().items())
        self.random.shuffle(order)
        for turn in itertools.count():
            for number, (point, most) in enumerate(order):
                yield Plan(point, self.random.randint(1, most))
                if number % 2 == turn % 2:
                    yield Plan()
                if number % 7 == 3:
                    yield Plan(gently=True)

    def start(self) -> None:
        """Up to the next life that serves; fault points of the start kill before."""
        self.plan = next(self.plans)
        while self.plan.point in START:
            self.cs.start(self.plan.fault)
            serves = self.cs.wait_serving()
            self.note(serves)
            if serves:
                self.cs.kill_and_wait()
            self.plan = next(self.plans)
        for _ in range(3):
            self.cs.start(self.plan.fault)
            if self.cs.wait_serving():
                return
            self.note(False)  # passed while it started
            self.plan = Plan()
        raise AssertionError(f"cs:{self.cs.number} dies again and again while it starts")

    def note(self, unreached: bool) -> None:
        table = self.tally.unreached if unreached else self.tally.kills
        self.tally.count(table, self.plan.point or str(self.plan))

    def one_round(self) -> str:
        """It dies, is looked at and comes back."""
        plan = self.plan
        self.end_life()
        self.rounds += 1
        if self.rounds % INSPECT_EVERY == 0:
            self.cs.check_repository()
            self.tally.inspected += 1
        self.start()
        return str(plan)

    def end_life(self) -> None:
        plan = self.plan
        if plan.gently:
            time.sleep(self.random.random() * 0.5)
            self.cs.stop()
            self.note(False)
            return
        if not plan.point:
            time.sleep(self.random.random() * 0.8)
            self.cs.kill_and_wait()
            self.note(False)
            return
        provoke = threading.Thread(target=self.provoke, args=(plan.point,), daemon=True)
        provoke.start()
        died = self.cs.wait_end(PATIENCE_SWITCH if plan.point in SWITCH else PATIENCE)
        if not died:
            self.cs.kill_and_wait()
        self.note(not died)
        provoke.join(30)

    def provoke(self, point: str) -> None:
        """Makes the server come to the point; its answer may never come."""
        if point in BATCH or point in DIRECT:
            return  # the load does
        time.sleep(self.random.random() * 0.5)
        if point not in SWITCH:
            self.cs.try_ask(op="commit")
            self.cs.try_ask(op="commit")
            return
        # Two of these at least are changes.
        for request in (self.journals[1], self.journals[0], self.journals[1]):
            if self.cs.try_ask(op="journal", **request) is None:
                return

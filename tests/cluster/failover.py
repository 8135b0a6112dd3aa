#!/usr/bin/env python3
"""The master dies, is stopped, is cut off: two mounts under load notice nothing but a short wait.
Every answer they get is judged by a model (history.py, load.py): nothing is lost, nothing is done
twice, nothing old is read, no call fails, and none takes 3 s."""

import json
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

from harness import (BIN, Cluster, Results, arguments, check, check_equal, main, run, wait_until)
from history import ROOT
from load import Load, quantile
from register import Register

STALL_SECONDS = 3.0
DEAF_STALL_SECONDS = 5.0  # a lease runs out first
# What the group may take to go on: far above what is measured, so that the report says by how much.
GO_ON_SECONDS = 30
CHILDREN = 3  # chunk servers: a 2+1 file needs them
SHORT_ROUNDS, SHORT_PAUSE, LONG_PAUSE = 8, 6, 30


class Story:
    def __init__(self, cluster: Cluster, load: Load, local: Path):
        self.cluster = cluster
        self.load = load
        self.local = local
        self.longest: list[float] = []

    def kill_the_master(self, number: int) -> None:
        master = self.cluster.wait_avail(GO_ON_SECONDS)
        # A moment that differs from round to round, so that kills hit different steps.
        time.sleep(0.5 + random.Random(number).random())
        killed = time.monotonic_ns()
        self.cluster.mds[master].kill()
        self.load.progress(killed, GO_ON_SECONDS, f"after kill -9 of MDS#{master + 1}")
        now = self.cluster.wait_master(GO_ON_SECONDS)
        check(now != master, "the dead one is the master")
        self.cluster.mds[master].start()
        self.cluster.wait_avail(GO_ON_SECONDS)
        self.settle(f"round {number}")

    def settle(self, where: str, bound: float = STALL_SECONDS) -> None:
        longest = self.load.judge(where)
        self.longest.append(longest)
        print(f"    {where}: longest call {longest:.2f} s", flush=True)
        check(longest < bound, f"a call took {longest:.2f} s")

    def stop_the_master(self, seconds: float) -> None:
        """SIGSTOP, SIGCONT. It may hold requests of before, and of the time it did not see pass."""
        master = self.cluster.wait_avail(GO_ON_SECONDS)
        mds = self.cluster.mds[master]
        with Register(self.cluster, master, self.cluster.mount(0), self.local) as register:
            stopped = time.monotonic_ns()
            mds.pause()
            try:
                self.load.progress(stopped, GO_ON_SECONDS, f"after SIGSTOP of {mds.name}")
                others = [m for i, m in enumerate(self.cluster.mds) if i != master]
                state = self.stat_of(*others)
                check(not any(m["master"] for m in state["mds"] if m["id"] == mds.id),
                      "the stopped one is shown as the master")
                time.sleep(max(0.0, seconds - (time.monotonic_ns() - stopped) / 1e9))
                check(register.written(stopped) > 0, "nothing was written meanwhile")
            finally:
                mds.resume()
            resumed = time.monotonic_ns()
            wait_until(lambda: register.refusals(resumed) > 0, 10,
                       "the stopped one refuses what it was asked, or hangs up")
            # Whoever knows only the old one is sent on, and reads the truth.
            wait_until(lambda: self.stat_of(mds) is not None, 10, "the old one names the master")
            self.cluster.wait_avail(GO_ON_SECONDS)
            register.judge(f"SIGSTOP for {seconds} s")
        self.settle(f"SIGSTOP for {seconds} s")

    def stat_of(self, *some) -> dict | None:
        """`cairn stat` of somebody who knows only these MDS."""
        place = self.local / "etc"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.cluster.environment["CAIRN_ETC"], place)
        name = self.cluster.environment["CAIRN_CLUSTER"]
        listed = place / "clusters" / name / "bs.list"
        listed.write_text("".join(f"{mds.address}\n" for mds in some))
        result = run(BIN / "cairn", "stat", "--json", good=False,
                     env={**self.cluster.environment, "CAIRN_ETC": str(place)})
        return json.loads(result.stdout) if result.returncode == 0 else None

    def cut_the_master_off(self) -> None:
        """From the other MDS, not from the clients."""
        self.cut("cut off", lambda master, others: self.cluster.separate([master], others),
                 STALL_SECONDS)

    def make_the_master_deaf(self) -> None:
        """It is heard and hears none of the other MDS: they believe it lives, so it has to see by
        itself that its lease ran out, and only then do they begin to wait for it."""
        def deafen(master: int, others: list[int]) -> None:
            for other in others:
                self.cluster.cut_one_way(other, master)
        self.cut("deaf", deafen, DEAF_STALL_SECONDS)

    def cut(self, what: str, separate, bound: float) -> None:
        master = self.cluster.wait_avail(GO_ON_SECONDS)
        others = [i for i in range(len(self.cluster.mds)) if i != master]
        with Register(self.cluster, master, self.cluster.mount(0), self.local) as register:
            cut = time.monotonic_ns()
            separate(master, others)
            try:
                self.load.progress(cut, GO_ON_SECONDS, "after the cut")
                self.cluster.wait_master(GO_ON_SECONDS, other_than=master)
                wait_until(lambda: register.refusals(cut) > 0, GO_ON_SECONDS,
                           "the old master steps down")
                down = time.monotonic_ns()
                time.sleep(2)
                check_equal(register.answers(down + 500_000_000), 0, "answers of the old master")
                check(register.written(down) > 0, "nothing was written meanwhile")
            finally:
                self.cluster.heal()
            now = self.cluster.wait_avail(GO_ON_SECONDS)
            check(now != master, "the one that was cut off deposed the new master afterwards")
            register.judge(what)
        self.settle(what, bound)

    def everything_is_there(self) -> None:
        self.load.judge("end")
        self.load.pause()
        self.load.collect()
        model = self.load.model
        roots = sum(1 for name in model.names.values() if name.value == ROOT)
        check_equal(inodes_below(self.load.roots[0]), roots + model.inodes(), "inodes of the load")
        wanted = 1 + inodes_below(self.cluster.mount(0))
        have = -1

        def equal() -> bool:
            nonlocal have
            have = self.cluster.stat()["cluster"]["inodes"]
            return have == wanted
        try:
            wait_until(equal, 30, "the inodes of removed files are gone")
        except AssertionError:
            check_equal(have, wanted, "inodes (more: made twice or not removed; less: lost)")
        self.load.go()
        self.cluster.cairn("check-mds")
        self.events_tell_of_masters()
        calls = sorted(self.load.seconds)
        print(f"    {model.operations} operations and {model.looked} looks judged; {len(calls)} "
              f"calls: p50 {quantile(calls, 0.5) * 1e3:.2f} ms, p99 "
              f"{quantile(calls, 0.99) * 1e3:.1f} ms, max {calls[-1]:.2f} s", flush=True)
        longest = sorted(self.longest)
        print(f"    longest call of each of {len(longest)} faults: p50 {quantile(longest, 0.5):.2f}"
              f" s, p99 {quantile(longest, 0.99):.2f} s, max {longest[-1]:.2f} s", flush=True)

    def events_tell_of_masters(self) -> None:
        text = self.cluster.cairn("get-event", "-n", "1000", "--json").stdout
        said = [event["message"] for event in json.loads(text)["events"]
                if "became master" in event["message"]]
        known = {f"MDS#{mds.id} at {mds.address} became master" for mds in self.cluster.mds}
        check(set(said) <= known, f"events of unknown masters: {set(said) - known}")
        wanted = min(len(self.longest), 20)  # each fault made another one the master
        check(len(said) > wanted, f"{len(said)} events of new masters after {wanted} changes")


def inodes_below(root: Path) -> int:
    return len({os.lstat(os.path.join(directory, name)).st_ino
                for directory, names, files in os.walk(root) for name in names + files})


def kills_and_stops(results: Results, keep: bool, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="cairn-local-") as local, \
            Cluster(mds=3, cs=CHILDREN, clients=2, keep=keep) as cluster:
        mounts = [cluster.mount(0), cluster.mount(1)]
        with Load(mounts, Path(local), data=True) as load:
            story = Story(cluster, load, Path(local))
            for number in range(rounds):
                if not results.scenario(f"round {number}: kill -9 of the master",
                                        story.kill_the_master, number):
                    return
            pause = SHORT_PAUSE if rounds <= SHORT_ROUNDS else LONG_PAUSE
            if results.scenario(f"SIGSTOP of the master for {pause} s", story.stop_the_master,
                                pause):
                results.scenario("everything is there", story.everything_is_there)


def partitions(results: Results, keep: bool, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="cairn-local-") as local, \
            Cluster(mds=3, cs=CHILDREN, clients=2, networks=True, keep=keep) as cluster:
        mounts = [cluster.mount(0), cluster.mount(1)]
        with Load(mounts, Path(local), data=True) as load:
            story = Story(cluster, load, Path(local))
            for number in range(1 if rounds <= SHORT_ROUNDS else 10):
                if not (results.scenario(f"partition {number}: the master is cut off",
                                         story.cut_the_master_off) and
                        results.scenario(f"partition {number}: the master is deaf",
                                         story.make_the_master_deaf)):
                    return
            results.scenario("everything is there after partitions", story.everything_is_there)


def body(results: Results, keep: bool, rounds: int) -> None:
    kills_and_stops(results, keep, rounds)
    results.scenario("partitions", partitions, results, keep, rounds)


if __name__ == "__main__":
    options = arguments(__doc__, rounds=(SHORT_ROUNDS, "kills of the master; 200 is the full run"))
    outcome = Results()
    main(outcome, lambda: body(outcome, options.keep, options.rounds))

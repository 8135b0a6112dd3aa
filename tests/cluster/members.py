#!/usr/bin/env python3
"""The group of MDS changes under load: members join, lose their disk or the middle of their log,
fall away and come back, are removed, get new addresses. The load (load.py) notices nothing as long
as a majority is there; without one nothing is answered, and it goes on by itself when it is
back."""

import json
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

from harness import (Cluster, Mds, Results, arguments, check, check_equal, main, processes,
                     wait_until)
from load import Load

STALL_SECONDS = 3.0
JOIN_SECONDS = 60
# What a call may wait for a majority to come back, and one more election.
BACK_SECONDS = 20
REFUSED = 4  # exit code of what was refused for safety


class Story:
    """The steps build on each other: one group goes through all of them."""

    def __init__(self, cluster: Cluster, local: Path):
        self.cluster = cluster
        self.local = local
        self.steps = 0

    # ---- tools ----

    def load(self) -> Load:
        self.steps += 1
        top = f"load{self.steps}"
        (self.local / top).mkdir()
        return Load([self.cluster.mount(0), self.cluster.mount(1)], self.local / top, top=top,
                    seed=self.steps, data=True)

    def end(self, load: Load, what: str, stall: float = STALL_SECONDS) -> None:
        """After a step: the load saw only the truth, and all replicas are equal."""
        load.progress(time.monotonic_ns(), BACK_SECONDS, what)
        time.sleep(0.5)  # of load after it
        longest = load.judge(what)
        self.digests_agree()
        print(f"    {what}: longest call {longest:.2f} s", flush=True)
        check(longest < stall, f"a call took {longest:.2f} s")

    def digests_agree(self) -> None:
        """Of those that run: check-mds says so by its exit code, 8 when some did not answer."""
        down = any(mds.pid is None for mds in self.cluster.mds)
        result = self.cluster.cairn("check-mds", good=False)
        check_equal(result.returncode, 8 if down else 0, f"check-mds: {result.stdout}")

    def master(self) -> Mds:
        return self.cluster.mds[self.cluster.wait_master(JOIN_SECONDS)]

    def followers(self) -> list[Mds]:
        master = self.master()
        return [mds for mds in self.cluster.mds if mds is not master and mds.pid is not None]

    def avail(self, count: int | None = None) -> None:
        self.cluster.wait_avail(JOIN_SECONDS, count)

    def status_of(self, mds: Mds) -> str:
        return next((m["status"] for m in self.cluster.members() if m["id"] == mds.id), "gone")

    def event(self, *words: str) -> bool:
        text = self.cluster.cairn("get-event", "-n", "1000", "--json").stdout
        return any(all(word in event["message"] for word in words)
                   for event in json.loads(text)["events"])

    def forget(self, mds: Mds) -> None:
        """It was removed: its process ends by itself; its directory goes."""
        wait_until(lambda: mds.pid is None, 20, f"{mds.name} ends after its removal")
        shutil.rmtree(mds.repository)
        self.cluster.mds.remove(mds)
        del self.cluster.lib.parts[mds.name]
        self.cluster.lib.save()

    def waits(self, call) -> threading.Event:
        """Runs a call of the mount that must wait; the event tells when it ended, well."""
        ended = threading.Event()

        def body() -> None:
            call()
            ended.set()
        threading.Thread(target=body, daemon=True).start()
        return ended

    # ---- steps ----

    def grows_from_one_to_three(self) -> None:
        with self.load() as load:
            for count in (2, 3):
                added = self.cluster.add_mds()
                check_equal(added.id, count, "id of the new member")
                self.avail(count)
            self.end(load, "grown to three")
        text = self.cluster.cairn("stat").stdout
        check("MDS nodes: 3 of 3" in text, text)

    def one_of_three_falls_away_and_returns(self) -> None:
        with self.load() as load:
            lost = self.followers()[0]
            lost.kill()
            wait_until(lambda: self.status_of(lost) == "unavail", 15, "it is shown as unavail")
            self.end(load, "one of three is down")
            lost.start()
            self.avail()
            self.end(load, "one of three is back")

    def a_stopped_follower_is_stale(self) -> None:
        with self.load() as load:
            lost = self.followers()[-1]
            lost.pause()
            try:
                quiet = ("didn't accept commits for", f"MDS#{lost.id} ({lost.address})")
                wait_until(lambda: self.event(*quiet), 40, "the event of a member that is silent")
                lag = ("lags behind for more than 1000 rounds", f"MDS#{lost.id} ({lost.address})")
                wait_until(lambda: self.event(*lag), 40, "the event of a member that lags behind")
                check(self.status_of(lost) != "avail", "a stopped MDS is shown as avail")
            finally:
                lost.resume()
            self.avail()
            self.end(load, "a follower was stopped")

    def a_wiped_disk(self) -> None:
        """rm-mds, make-mds: as the guide has it."""
        with self.load() as load:
            lost = self.followers()[0]
            number = lost.id
            lost.kill()
            shutil.rmtree(lost.repository)
            self.cluster.cairn("rm-mds", number)
            self.forget_files(lost)
            added = self.cluster.add_mds()
            check(added.id > number, f"id {added.id} was used before")
            self.avail()
            self.end(load, "a member on a new disk")

    def forget_files(self, mds: Mds) -> None:
        mds.repository.mkdir(exist_ok=True)
        self.forget(mds)

    def a_damaged_log(self) -> None:
        with self.load() as load:
            lost = self.followers()[0]
            lost.kill()
            damage(lost.repository / "log")
            lost.start()
            self.avail()
            said = f"MDS#{lost.id} ({lost.address}) state is outdated and will do a full resync"
            check(said in lost.log() or self.event(said), f"nobody says: {said}")
            self.end(load, "a damaged log")

    def a_lost_log(self) -> None:
        with self.load() as load:
            lost = self.followers()[-1]
            lost.kill()
            shutil.rmtree(lost.repository / "log")
            lost.start()
            self.avail()
            self.end(load, "a lost log")

    def lost_log_and_tables(self) -> None:
        """All that is left is who it was: it may have promised things, so it must ask first."""
        with self.load() as load:
            lost = self.followers()[0]
            lost.kill()
            shutil.rmtree(lost.repository / "log")
            shutil.rmtree(lost.repository / "db")
            lost.start()
            self.avail()
            self.end(load, "log and tables lost")

    def the_example_of_the_guide(self) -> None:
        """3 MDS, one fails, one is added: 4 with one down. One more failure: 2 of 4 are no
        majority. (V3.1-2)"""
        first = self.followers()[0]
        first.kill()
        self.cluster.add_mds()
        self.avail(3)
        second = [mds for mds in self.followers() if mds is not first][0]
        before = self.cluster.mount(0) / "before"
        before.write_text("before")
        second.kill()
        ended = self.waits(lambda: (self.cluster.mount(0) / "without-majority").mkdir())
        self.says_no_majority(4)
        check(not ended.is_set(), "2 of 4 MDS acknowledged a change")
        second.start()
        check(ended.wait(BACK_SECONDS), "the change did not go on when the majority was back")
        self.avail(3)
        check((self.cluster.mount(1) / "without-majority").is_dir(), "the change is not there")
        check_equal(before.read_text(), "before", "what was there before")
        # The dead one goes at once, as the guide advises.
        self.cluster.cairn("rm-mds", first.id)
        self.forget(first)
        self.avail()
        self.digests_agree()

    def says_no_majority(self, of: int) -> None:
        def said() -> str | None:
            result = self.cluster.cairn("stat", good=False)
            return result.stderr if result.returncode != 0 else None
        text = wait_until(said, 20, "stat fails without a majority")
        check("majority" in text and "down" in text, f"stat does not say why: {text}")
        check(f"of {of} MDS" in text, f"stat does not count: {text}")

    def removals_that_are_refused(self) -> None:
        dead = self.followers()[0]
        dead.kill()
        wait_until(lambda: self.status_of(dead) == "unavail", 15, "it is shown as unavail")
        alive = self.master()
        for wrong, code, word in ((alive.id, REFUSED, "needed"), (99, 3, "99")):
            result = self.cluster.cairn("rm-mds", wrong, good=False)
            check_equal(result.returncode, code, f"exit code of rm-mds {wrong}")
            check(word in result.stderr, f"rm-mds {wrong} does not say why: {result.stderr}")
        check_equal(len(self.cluster.members()), len(self.cluster.mds), "members")
        dead.start()
        self.avail()

    def the_master_is_removed(self) -> None:
        with self.load() as load:
            self.cluster.add_mds()
            self.avail()
            old = self.master()
            self.cluster.cairn("rm-mds", old.id)
            wait_until(lambda: self.master() is not old, JOIN_SECONDS, "another master")
            now = self.master()
            check(self.event(f"MDS#{now.id} at {now.address} became master"), "no event of it")
            self.forget(old)
            self.avail()
            self.end(load, "the master was removed")

    def two_of_five_fall_away(self) -> None:
        with self.load() as load:
            while len(self.cluster.mds) < 5:
                self.cluster.add_mds()
                self.avail()
            lost = self.followers()[:2]
            for mds in lost:
                mds.kill()
            self.end(load, "two followers of five are down")
            for mds in lost:
                mds.start()
            self.avail()
            lost = [self.master(), self.followers()[0]]
            for mds in lost:
                mds.kill()
            self.end(load, "master and a follower of five are down")
            for mds in lost:
                mds.start()
            self.avail()
            self.end(load, "all five are back")

    def three_of_five_fall_away(self) -> None:
        """Nothing is acknowledged, a clear message, and all goes on by itself."""
        with self.load() as load:
            lost = [self.master(), *self.followers()[:2]]
            for mds in lost:
                mds.kill()
            began = time.monotonic_ns()
            self.says_no_majority(5)
            time.sleep(2)
            load.collect()
            ended = [start for start, end in load.calls if start > began + 1_500_000_000]
            check(not ended, f"{len(ended)} calls were answered without a majority")
            for mds in lost[1:]:
                mds.start()
            self.avail(4)
            self.end(load, "a majority is back", stall=30)
            lost[0].start()
            self.avail()
            self.digests_agree()

    def new_addresses(self) -> None:
        """V3.5.6: all are stopped, told the new addresses of all, started."""
        first = self.cluster.mount(0) / "renumbered"
        first.mkdir()
        nodes = []
        for mds in self.cluster.mds:
            port = mds.address.rsplit(":", 1)[1]
            nodes += ["-n", f"{mds.id}@127.0.0.{10 + mds.id}:{port}"]
        for index in (0, 1):
            self.cluster.unmount(index)
        for mds in self.cluster.mds:
            mds.stop()
        for mds in self.cluster.mds:
            self.cluster.cairn("configure-mds", "-r", mds.repository, *nodes)
        for mds in self.cluster.mds:
            part = self.cluster.lib.parts[mds.name]
            part["address"] = f"127.0.0.{10 + mds.id}:{mds.address.rsplit(':', 1)[1]}"
        self.cluster.lib.save()
        for mds in self.cluster.mds:
            mds.start()
        self.avail()
        wanted = sorted(mds.address for mds in self.cluster.mds)
        wait_until(lambda: sorted(m["address"] for m in self.cluster.members()) == wanted, 20,
                   f"stat shows the addresses {wanted}")  # moved one at a time
        self.restart_the_others()
        check((self.cluster.mount(0) / "renumbered").is_dir(), "what was there is not")
        with self.load() as load:
            self.master().kill()
            self.end(load, "a master died at its new address")
        for mds in self.cluster.mds:
            if mds.pid is None:
                mds.start()
        self.avail()
        self.digests_agree()

    def restart_the_others(self) -> None:
        """Chunk servers and mounts read bs.list anew."""
        names = self.cluster.lib.names("cs")
        for name in names:
            part = self.cluster.lib.parts[name]
            pid = self.cluster.lib.pid(part)
            processes.stop(pid, processes.start_time(pid), 10)
            self.cluster.lib.start(part)
        self.cluster.wait_cs("active", len(names))
        for index in (0, 1):
            self.cluster.mount(index)


def damage(log: Path) -> None:
    """Flips a byte in the middle of what was written into the largest segment."""
    segment = max(log.glob("*.log"), key=written_bytes)
    size = written_bytes(segment)
    check(size > 16384, f"{segment} has only {size} bytes")
    with segment.open("r+b") as file:
        file.seek(size // 2)
        byte = file.read(1)
        file.seek(size // 2)
        file.write(bytes([byte[0] ^ 0x40]))
        os.fsync(file.fileno())


def written_bytes(segment: Path) -> int:
    """Without the zeros at the end."""
    return len(segment.read_bytes().rstrip(b"\0"))


STEPS = [Story.grows_from_one_to_three, Story.one_of_three_falls_away_and_returns,
         Story.a_stopped_follower_is_stale, Story.a_wiped_disk, Story.a_damaged_log,
         Story.a_lost_log, Story.lost_log_and_tables, Story.the_example_of_the_guide,
         Story.removals_that_are_refused, Story.the_master_is_removed,
         Story.two_of_five_fall_away, Story.three_of_five_fall_away, Story.new_addresses]


def body(results: Results, keep: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="cairn-local-") as local, \
            Cluster(mds=1, cs=3, clients=2, keep=keep) as cluster:
        story = Story(cluster, Path(local))
        for step in STEPS:
            if not results.scenario(step.__name__, step, story):
                break  # the later steps stand on this one


if __name__ == "__main__":
    options = arguments(__doc__)
    outcome = Results()
    main(outcome, lambda: body(outcome, options.keep))

#!/usr/bin/env python3
"""The write journal of a running chunk server is added, resized, moved and destroyed under a load
of small durable writes, killed at random meanwhile, lost, and refused where it must be. One copy of
everything: what a chunk server loses nobody can hide."""

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from csd_control import fault, state
from harness import (BIN, Demo, Results, arguments, check, check_equal, main, processes, run,
                     wait_until)
from overwriters import Load

WRITERS = 4
WARM_UP = 40      # operations before something is done to the journal
KILL_ROUNDS = 16
MOUNTED_SECONDS = 15  # a journal that appears is found within
JOURNAL_FILES = {"cairn-journal", "cairn-journal.owner"}


class Story:
    def __init__(self, demo: Demo, local: Path):
        self.demo = demo
        self.ssd = local / "ssd"
        self.ssd.mkdir()
        self.repo = demo.dir / "cs1"
        self.other = demo.dir / "cs2"
        self.loads = 0

    # ---- helpers ----

    def configure(self, *words: object, good: bool = True, repo: Path | None = None):
        return self.demo.cairn("configure-cs", "-r", repo or self.repo, *words, good=good)

    def journal(self) -> dict:
        """What the daemon says; on, directory, bytes, ..."""
        return state(self.repo)["journal"]

    def expect_journal(self, on: bool, directory: str | Path, mb: int | None = None) -> None:
        now = self.journal()
        check_equal((now["on"], now["directory"]), (on, str(directory)), "the journal")
        if mb is not None:
            check_equal(now["bytes"], mb << 20, "its size")

    def load(self) -> Load:
        self.loads += 1
        return Load(self.demo.mount / "load", WRITERS, self.loads)

    def under_load(self, *words: object) -> None:
        """configure-cs with these words while others write; all of theirs is there after."""
        load = self.load()
        with load:
            wait_until(lambda: load.operations > WARM_UP, 60, "the writers work")
            before = load.operations
            self.configure(*words)
            wait_until(lambda: load.operations > before + WARM_UP, 60, "the writers go on")
        load.check()
        self.demo.remount()
        load.check()

    def flags(self, number: int = 1) -> str:
        repo = str(self.demo.dir / f"cs{number}")
        identity = json.loads((Path(repo) / "cs.conf").read_text())["cs_id"]
        return next(cs["flags"] for cs in self.demo.stat()["cs"] if cs["id"] == identity)

    def restart(self, part: str = "cs:1") -> None:
        self.demo.kill(part)
        self.demo.start(part)
        self.demo.wait_cs("active", 2)

    def files_in(self, directory: Path) -> set[str]:
        return {path.name for path in directory.iterdir()} if directory.exists() else set()

    # ---- a live journal ----

    def add(self) -> None:
        self.under_load("-a", self.ssd / "cs1", "-s", 64, "-T", "ssd")
        self.expect_journal(True, self.ssd / "cs1", 64)
        check_equal(self.files_in(self.ssd / "cs1"), JOURNAL_FILES, "files of the journal")
        check_equal(json.loads((self.repo / "cs.conf").read_text())["tune"], "ssd", "tune")
        wait_until(lambda: "J" in self.flags(), 10, "flag J")

    def grow(self) -> None:
        self.under_load("-s", 160)
        self.expect_journal(True, self.ssd / "cs1", 160)

    def shrink(self) -> None:
        # As the guide spells it: the data, not the repository.
        self.configure("-s", 96, repo=self.repo / "data")
        self.under_load("-s", 32)
        self.expect_journal(True, self.ssd / "cs1", 32)

    def move(self) -> None:
        self.under_load("-a", self.ssd / "elsewhere" / "cs1", "-s", 64)
        self.expect_journal(True, self.ssd / "elsewhere" / "cs1", 64)
        check_equal(self.files_in(self.ssd / "cs1"), set(), "what is left of the old journal")

    def survives_a_restart(self) -> None:
        load = self.load()
        with load:
            wait_until(lambda: load.operations > WARM_UP, 60, "the writers work")
            self.restart()
            before = load.operations
            wait_until(lambda: load.operations > before + WARM_UP, 90, "the writers go on")
        load.check()
        self.expect_journal(True, self.ssd / "elsewhere" / "cs1", 64)

    def commit_makes_it_clean(self) -> None:
        self.configure("--commit")
        wait_until(lambda: self.journal()["clean"], 10, "the journal is clean")
        wait_until(lambda: "c" in self.flags(), 10, "flag c")

    def destroy(self) -> None:
        self.under_load("-d")
        self.expect_journal(False, "")
        check_equal(self.files_in(self.ssd / "elsewhere" / "cs1"), set(), "what is left")
        wait_until(lambda: "J" not in self.flags(), 10, "no flag J")

    def in_the_repository(self) -> None:
        self.under_load("-a", self.repo, "-s", 96)
        self.expect_journal(True, "", 96)
        self.under_load("-s", 48)
        self.expect_journal(True, "", 48)

    def offline(self) -> None:
        self.demo.kill("cs:1")
        for words, journal in ((("-a", self.ssd / "cs1", "-s", 64), (True, self.ssd / "cs1")),
                               (("-s", 32), (True, self.ssd / "cs1")),
                               (("-d",), (False, "")),
                               (("-a", self.ssd / "cs1", "-s", 64), (True, self.ssd / "cs1"))):
            self.configure(*words)
            shown = json.loads(self.configure("--status", "--json").stdout)
            check(not shown["running"], "it does not run")
            check_equal((shown["journal"]["on"], shown["journal"]["directory"]),
                        (journal[0], str(journal[1])), f"after {words}")
        self.demo.start("cs:1")
        self.demo.wait_cs("active", 2)
        self.expect_journal(True, self.ssd / "cs1", 64)

    # ---- refusals ----

    def refused(self, repo: Path, *words: object, say: tuple[str, ...]) -> None:
        before = self.journal()
        result = self.configure(*words, good=False, repo=repo)
        check(result.returncode != 0, f"{words} was not refused")
        for word in say:
            check(word in result.stderr, f"{word!r} is not in {result.stderr!r}")
        after = self.journal()
        check_equal((after["on"], after["directory"], after["bytes"]),
                    (before["on"], before["directory"], before["bytes"]), "the journal")

    def refusals(self) -> None:
        self.refused(self.other, "-a", self.ssd / "cs1", "-s", 64, say=("CS 1025", "Nothing"))
        self.refused(self.repo, "-a", self.other / "j", "-s", 64, say=(str(self.other),))
        self.refused(self.repo, "-a", self.ssd / "big", "-s", 262144, say=("does not fit",))
        check(not (self.ssd / "big").exists(), "a directory was made for a refused journal")
        self.refused(self.repo, "-a", self.ssd / "x", "-s", 1, say=("-s 1",))
        self.refused(self.repo, "-d", "-s", 64, say=("exclude",))
        made = self.demo.cairn("make-cs", "-r", self.ssd.parent / "cs9", "-j", self.ssd / "cs1",
                               "-s", 64, good=False)
        check(made.returncode != 0 and "CS 1025" in made.stderr, made.stderr)
        check(not (self.ssd.parent / "cs9").exists(), "a repository was made")

    # ---- kills ----

    def kills(self) -> None:
        """Ended at any moment of any change: a journal that is one of the two, and every
        acknowledged write."""
        generator = random.Random(11)
        load = self.load()
        with load:
            for number in range(KILL_ROUNDS):
                self.kill_during_a_change(generator, number)
                before = load.operations
                wait_until(lambda: load.operations > before + 10, 120,
                           f"the writers go on after kill {number}")
        load.check()
        self.demo.remount()
        load.check()

    def kill_during_a_change(self, generator: random.Random, number: int) -> None:
        now = self.journal()
        words, wanted = generator.choice([
            (["-a", self.ssd / f"k{number}", "-s", "192"], (True, str(self.ssd / f"k{number}"))),
            (["-d"], (False, "")),
            (["-a", self.repo, "-s", "64"], (True, "")),
            (["-s", str(generator.choice([32, 64, 96]))], (True, now["directory"])),
        ])
        with subprocess.Popen([BIN / "cairn", "configure-cs", "-r", self.repo, *words],
                              env=self.demo.environment, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as change:
            time.sleep(generator.random() * 0.25)
            self.end_it(gently=generator.random() < 0.3)
            change.wait(60)
        self.demo.start("cs:1")
        self.demo.wait_cs("active", 2)
        after = self.journal()
        found = (after["on"], after["directory"])
        # A resize in place goes through the repository.
        allowed = [(now["on"], now["directory"]), wanted, (now["on"], "")]
        check(found in allowed, f"after {words}: {found}, not one of {allowed}")

    def end_it(self, gently: bool) -> None:
        """By SIGTERM, which finishes or leaves what is under way, or as a power cut would."""
        if not gently:
            self.demo.kill("cs:1")
            return
        pid = processes.find("cairn-csd", str(self.repo),
                             {"CAIRN_ETC": str(self.demo.dir / "etc")})
        started = processes.start_time(pid)
        os.kill(pid, signal.SIGTERM)
        check(processes.wait_gone(pid, started, 10), "it does not end on SIGTERM")

    # ---- the journal's drive fails ----

    def wait_letter(self, letter: str, seconds: float = 20) -> None:
        wait_until(lambda: letter in self.flags(), seconds, f"flag {letter} of CS 1")

    def lost(self) -> None:
        self.configure("-a", self.ssd / "gone", "-s", 64)
        self.demo.kill("cs:1")
        (self.ssd / "gone").rename(self.ssd / "away")
        self.demo.start("cs:1")
        self.wait_letter("S")
        shown = self.configure("--status").stdout
        check("flag S" in shown and str(self.ssd / "gone") in shown, shown)
        check(not (self.ssd / "gone").exists(), "a journal was made anew")
        check_equal(state(self.repo)["serving"], False, "it serves")
        refused = self.configure("-d", good=False)
        check(refused.returncode != 0, "the lost journal could be destroyed as if it were empty")
        # As when its SSD is mounted at last: it serves by itself.
        (self.ssd / "away").rename(self.ssd / "gone")
        self.demo.wait_cs("active", 2, MOUNTED_SECONDS)
        wait_until(lambda: "S" not in self.flags(), 10, "no flag S of a CS that serves")
        self.expect_journal(True, self.ssd / "gone", 64)
        self.demo.remount()
        self.everything_is_still_there()

    def fails(self) -> None:
        load = self.load()
        with load:
            wait_until(lambda: load.operations > WARM_UP, 60, "the writers work")
            fault(self.repo, "journal", "fail=writes,flushes")
            self.wait_letter("S")
            self.restart()
            before = load.operations
            wait_until(lambda: load.operations > before + WARM_UP, 120, "the writers go on")
        load.check()
        check("S" not in self.flags(), "flag S after the restart")

    def everything_is_still_there(self) -> None:
        self.demo.remount()
        run("sh", "-c", f"cat {self.demo.mount}/load/* >/dev/null")


STEPS = [Story.add, Story.grow, Story.shrink, Story.move, Story.survives_a_restart,
         Story.commit_makes_it_clean, Story.destroy, Story.in_the_repository, Story.offline,
         Story.refusals, Story.kills, Story.lost, Story.fails, Story.everything_is_still_there]


def body(results: Results, keep: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="cairn-local-") as local, \
            Demo("--cs", "2", "--replicas", "1", "--cs-size", "2G", "--allow-faults",
                 keep=keep) as demo:
        story = Story(demo, Path(local))
        for step in STEPS:
            if not results.scenario(step.__name__, step, story):
                break  # the later steps stand on this one
        if keep:
            shutil.copytree(local, Path(os.fspath(demo.dir) + "-local"), dirs_exist_ok=True)


if __name__ == "__main__":
    options = arguments(__doc__)
    outcome = Results()
    main(outcome, lambda: body(outcome, options.keep))

#!/usr/bin/env python3
"""What a chunk server does whose drive is in trouble: it stays, says so with the letter of the
guide in its flags (H S R T), serves nothing wrong, and can be asked and stopped. 2+1 on 4 chunk
servers: the data is readable all the while."""

import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from csd_control import fault, state
from harness import (BIN, Demo, Results, Skip, arguments, check, check_equal, main, processes, run,
                     wait_until)

HANG_LIMIT = 3
HOME_SECONDS = 15  # a repository that appears is found within


class Story:
    def __init__(self, demo: Demo, local: Path):
        self.demo = demo
        self.local = local
        self.repo = demo.dir / "cs1"
        self.id = json.loads((self.repo / "cs.conf").read_text())["cs_id"]
        self.content = os.urandom(3 << 20)

    # ---- helpers ----

    def shown(self) -> dict:
        return next(cs for cs in self.demo.stat()["cs"] if cs["id"] == self.id)

    def wait_letter(self, letter: str, seconds: float = 20) -> dict:
        wait_until(lambda: letter in self.shown()["flags"], seconds, f"flag {letter}")
        return self.shown()

    def wait_well(self, seconds: float = 30) -> None:
        def well() -> bool:
            cs = self.shown()
            return cs["status"] == "active" and not set("HSRT") & set(cs["flags"])
        wait_until(well, seconds, "the chunk server is well")

    def pid(self) -> int:
        pid = processes.find("cairn-csd", str(self.repo),
                             {"CAIRN_ETC": str(self.demo.dir / "etc")})
        check(pid is not None, "cairn-csd does not run")
        return pid

    def terminate(self, seconds: float) -> None:
        pid = self.pid()
        started = processes.start_time(pid)
        os.kill(pid, signal.SIGTERM)
        check(processes.wait_gone(pid, started, seconds), f"it does not end in {seconds} s")

    def start(self, *options: str) -> subprocess.CompletedProcess:
        """Of the daemon, as the demo starts it, with more options."""
        return run(BIN / "cairn-csd", "-r", self.repo, "-D", *options, env=self.environment(),
                   seconds=30)

    def environment(self) -> dict[str, str]:
        return {**self.demo.environment,
                "CAIRN_HOST_ID_FILE": str(self.demo.dir / "etc" / "hosts" / "host1")}

    def reads(self) -> None:
        self.demo.remount()
        check_equal((self.demo.mount / "file").read_bytes(), self.content, "the file")

    def write(self) -> None:
        path = self.demo.mount / "file"
        with path.open("wb") as file:
            file.write(self.content)
            file.flush()
            os.fsync(file.fileno())

    def write_until_it_is_asked(self, letter: str) -> None:
        """Chunks of new files have pieces on three of the four servers, whichever."""
        def seen() -> bool:
            if letter in self.shown()["flags"]:
                return True
            path = self.demo.mount / f"more{time.monotonic_ns()}"
            with path.open("wb") as file:
                file.write(bytes(3 << 20))
                file.flush()
                os.fsync(file.fileno())
            return False
        wait_until(seen, 60, f"flag {letter}")

    # ---- T ----

    def a_drive_that_hangs(self) -> None:
        self.write()
        self.terminate(10)
        self.start("--allow-faults", "--hang-limit", str(HANG_LIMIT))
        self.wait_well()
        fault(self.repo, "data", "stall=on")
        content, self.content = self.content, os.urandom(3 << 20)
        began = time.monotonic()
        self.write()
        check(time.monotonic() - began < 30, "a write waits for the hanging drive")
        check(content != self.content, "the same bytes twice")
        self.write_until_it_is_asked("T")
        cs = self.wait_letter("T")
        check("has not answered" in cs.get("failure", ""), str(cs))
        began = time.monotonic()
        told = state(self.repo)
        check(time.monotonic() - began < 1, "the control door waits for the drive")
        check_equal((told["serving"], told["flag"]), (False, "T"), "what the control door says")
        self.reads()

    def that_hangs_is_stopped_in_time(self) -> None:
        check(state(self.repo)["oldest_request_ms"] > HANG_LIMIT * 1000, "nothing hangs")
        self.terminate(5)
        self.demo.start("cs:1")
        self.wait_well()
        self.reads()

    def a_daemon_that_was_stopped_is_no_drive_that_hangs(self) -> None:
        self.terminate(10)
        self.start("--allow-faults", "--hang-limit", str(HANG_LIMIT))
        self.wait_well()
        fault(self.repo, "data", "write-delay=20ms flush-delay=20ms serial=on")
        self.content = os.urandom(3 << 20)
        pid = self.pid()
        try:
            os.kill(pid, signal.SIGSTOP)
            self.write()  # without it
            time.sleep(HANG_LIMIT + 2)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.wait_well()
        time.sleep(2)
        check("T" not in self.shown()["flags"], "flag T after a pause")
        self.terminate(10)
        self.demo.start("cs:1")
        self.wait_well()

    # ---- H ----

    def a_write_error(self) -> None:
        fault(self.repo, "data", "fail=writes,flushes")
        self.write()
        self.write_until_it_is_asked("H")
        cs = self.wait_letter("H")
        check("Input/output error" in cs.get("failure", ""), str(cs))
        self.reads()
        shown = self.demo.cairn("configure-cs", "-r", self.repo, "--status").stdout
        check("flag H" in shown, shown)
        refused = self.demo.cairn("configure-cs", "-r", self.repo, "-s", 96, good=False)
        check("does not serve" in refused.stderr, refused.stderr)
        self.terminate(10)
        self.demo.start("cs:1")
        self.wait_well()

    def a_lost_store_is_never_made_anew(self) -> None:
        for part in ("data", "index"):
            self.terminate(10)
            (self.repo / part).rename(self.repo / f"{part}.away")
            remark = self.start().stderr
            check(f"{part} is gone" in remark, f"without {part}: {remark!r}")
            self.wait_letter("H")
            check(not (self.repo / part).exists(), f"{part} was made anew")
            self.reads()
            (self.repo / f"{part}.away").rename(self.repo / part)
        self.terminate(10)
        self.demo.start("cs:1")
        self.wait_well()

    def a_read_only_filesystem(self) -> None:
        if os.geteuid() != 0:
            raise Skip("mounting needs root")
        self.terminate(10)
        if run("mount", "--bind", self.repo, self.repo, good=False).returncode != 0:
            self.demo.start("cs:1")
            raise Skip("no bind mounts here")
        try:
            run("mount", "-o", "remount,bind,ro", self.repo)
            remark = self.start().stderr
            check("read-only" in remark, remark)
            cs = self.wait_letter("H")
            check("read-only" in cs.get("failure", ""), str(cs))
            self.terminate(5)
        finally:
            run("umount", self.repo)
        self.demo.start("cs:1")
        self.wait_well()

    # ---- R ----

    def a_repository_that_is_not_mounted(self) -> None:
        self.terminate(10)
        away = self.local / "away"
        self.repo.rename(away)
        # A mount point without its mount.
        self.repo.mkdir()
        log = self.local / "csd.log"
        remark = self.start("-l", str(log)).stderr
        check("is not there" in remark, remark)
        cs = self.wait_letter("R")
        check(str(self.repo) in cs.get("failure", ""), str(cs))
        check_equal(list(self.repo.iterdir()), [], "what was made below the mount point")
        check("flag R" in log.read_text(), log.read_text())
        self.reads()
        self.repo.rmdir()
        away.rename(self.repo)
        self.wait_well(HOME_SECONDS)
        check("is there now" in log.read_text(), log.read_text())
        self.reads()

    def nor_anything_below_it_is_written(self) -> None:
        """Also without -l and in the foreground; SIGTERM ends it."""
        self.terminate(10)
        away = self.local / "away"
        self.repo.rename(away)
        with subprocess.Popen([BIN / "cairn-csd", "-r", self.repo, "-l", self.repo / "logs" / "x"],
                              env=self.environment(), stderr=subprocess.PIPE, text=True) as csd:
            self.wait_letter("R")
            csd.terminate()
            told = csd.communicate(timeout=5)[1]
        check("flag R" in told, told)
        check(not self.repo.exists(), "something was made at the repository's path")
        away.rename(self.repo)
        self.demo.start("cs:1")
        self.wait_well()

    def another_repository_is_not_taken_for_it(self) -> None:
        self.terminate(10)
        away = self.local / "away"
        self.repo.rename(away)
        log = self.local / "csd2.log"
        self.start("-l", str(log))
        self.wait_letter("R")
        # That of another chunk server, as if two disks were swapped.
        self.repo.mkdir()
        (self.repo / "cs.conf").write_bytes((self.demo.dir / "cs2" / "cs.conf").read_bytes())
        wait_until(lambda: "not of CS" in log.read_text(), HOME_SECONDS, "it says so")
        check_equal({path.name for path in self.repo.iterdir()}, {"cs.conf"}, "what was made")
        (self.repo / "cs.conf").unlink()
        self.repo.rmdir()
        away.rename(self.repo)
        self.wait_well(HOME_SECONDS)
        self.terminate(10)
        self.demo.start("cs:1")
        self.wait_well()

    def what_never_was_there_is_an_error(self) -> None:
        result = run(BIN / "cairn-csd", "-r", self.local / "nowhere", good=False,
                     env=self.environment(), seconds=20)
        check_equal(result.returncode, 1, "exit code")
        check("cairn make-cs" in result.stderr, result.stderr)
        second = run(BIN / "cairn-csd", "-r", self.repo, good=False, env=self.environment(),
                     seconds=20)
        check_equal(second.returncode, 1, "exit code of a second one")
        check("in use by process" in second.stderr, second.stderr)


STEPS = [Story.a_drive_that_hangs, Story.that_hangs_is_stopped_in_time,
         Story.a_daemon_that_was_stopped_is_no_drive_that_hangs, Story.a_write_error,
         Story.a_lost_store_is_never_made_anew, Story.a_read_only_filesystem,
         Story.a_repository_that_is_not_mounted, Story.nor_anything_below_it_is_written,
         Story.another_repository_is_not_taken_for_it, Story.what_never_was_there_is_an_error]


def body(results: Results, keep: bool) -> None:
    # Beside the demo: a repository is moved there and back.
    with Demo("--cs", "4", "--encoding", "2+1", "--cs-size", "2G", "--allow-faults",
              keep=keep) as demo, tempfile.TemporaryDirectory(prefix="cairn-local-") as local:
        story = Story(demo, Path(local))
        for step in STEPS:
            if not results.scenario(step.__name__, step, story):
                break  # the later steps stand on this one


if __name__ == "__main__":
    options = arguments(__doc__)
    outcome = Results()
    main(outcome, lambda: body(outcome, options.keep))

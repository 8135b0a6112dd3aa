#!/usr/bin/env python3
"""All chunk servers die under a load of small durable writes: at once, and one after the other with
pauses in which pieces are dropped, chunks held and repairs begun. What `cairn inspect` puts
together from all their repositories is what was acknowledged; from fewer, what it does not name
lost is; nothing in a repository is changed; afterwards the cluster goes on with it."""

import hashlib
import json
import os
import random
import secrets
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

from harness import (BIN, Demo, Results, arguments, check, check_equal, demo_cluster, digest, main,
                     processes, run, wait_until)

SERVERS = 7
BLOCK = 4096
BLOCKS = 600
REPORT_MAX = 4000


def repository(demo: Demo, number: int) -> Path:
    return demo.dir / f"cs{number}"


def names() -> list[str]:
    return [f"cs:{number}" for number in range(1, SERVERS + 1)]


class Writer:
    """Overwrites blocks of one file, each durable before the next; knows what must be there."""

    def __init__(self, path: Path):
        self.file = os.open(path, os.O_RDWR)
        self.inode = os.fstat(self.file).st_ino
        self.blocks = {}
        self.under_way = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self) -> None:
        draw = random.Random(4711)
        while not self.ended.is_set():
            at = draw.randrange(BLOCKS)
            content = draw.randbytes(BLOCK)
            self.under_way = (at, content)
            try:
                os.pwrite(self.file, content, at * BLOCK)
                os.fsync(self.file)
            except OSError:
                return  # everybody was away for too long: it may be there or not
            self.blocks[at] = content
            self.under_way = None

    def judge(self, file: bytes, begin: bytes, lost: set[int] = frozenset()) -> None:
        at_work = self.under_way
        for at in set(range(BLOCKS)) - lost:
            got = file[at * BLOCK:(at + 1) * BLOCK]
            legal = [self.blocks.get(at, begin[at * BLOCK:(at + 1) * BLOCK])]
            if at_work is not None and at_work[0] == at:
                legal.append(at_work[1])
            check(got in legal, f"block {at} is not what was acknowledged")


class Story:
    def __init__(self, demo: Demo, local: Path, seed: int):
        self.demo = demo
        self.local = local
        self.draw = random.Random(seed)
        self.sparse = 0
        self.wanted = {}  # inode -> (size, digest), of files nobody writes
        self.begin = os.urandom(BLOCKS * BLOCK)
        self.writer = None

    def inspect(self, *words: object, **options):
        return run(BIN / "cairn", "inspect", *words, env=self.demo.environment, **options)

    def files_of_every_kind(self) -> None:
        mount = self.demo.mount
        for index, size in enumerate((1, 4096, 70_000, 1_100_000, 5_000_000, 300 << 20)):
            with (mount / f"file{index}").open("wb") as file:
                for begin in range(0, size, 1 << 20):
                    file.write(os.urandom(min(size - begin, 1 << 20)))
        with (mount / "sparse").open("wb") as file:
            file.truncate(600 << 20)
            file.seek(400 << 20)
            file.write(os.urandom(3 * BLOCK))
        (mount / "changing").write_bytes(self.begin)
        os.sync()
        # Written in its middle: nobody could know which pieces of that chunk never were.
        self.sparse = (mount / "sparse").stat().st_ino
        for path in mount.iterdir():
            if path.name != "changing":
                self.wanted[path.stat().st_ino] = (path.stat().st_size, digest(path))

    def a_running_server_is_refused(self) -> None:
        refused = self.inspect(repository(self.demo, 1), good=False)
        check_equal(refused.returncode, 1, "exit code")
        check("is running" in refused.stderr and "Stop" in refused.stderr, refused.stderr)

    def write(self) -> None:
        self.writer = Writer(self.demo.mount / "changing")
        self.writer.thread.start()

    def all_die_at_once(self) -> None:
        self.write()
        end = time.monotonic() + 3  # so that much is on its way home
        wait_until(lambda: len(self.writer.blocks) > 100 and time.monotonic() > end, 60,
                   "100 durable writes")
        self.demo.kill(*names())

    def die_in_turn(self, pause: float) -> None:
        """Some notice that others are away, the master among them, before they die."""
        self.begin = (self.demo.mount / "changing").read_bytes()
        self.write()
        time.sleep(self.draw.uniform(0.3, 1.5))
        library = demo_cluster.Cluster(self.demo.dir)
        library.require()
        found = [library.pid(library.part(name)) for name in names()]
        alive = [(pid, processes.start_time(pid)) for pid in found]
        self.draw.shuffle(alive)
        for pid, started in alive:
            check(processes.send(pid, started, signal.SIGKILL), f"process {pid} does not run")
            time.sleep(self.draw.uniform(0, pause))
        for pid, started in alive:
            check(processes.wait_gone(pid, started, 10), f"process {pid} does not end")

    def extract(self, numbers: list[int], out: Path, *words: object) -> dict:
        done = self.inspect(*[repository(self.demo, number) for number in numbers],
                            "--extract-files", out, "--json", *words, good=False)
        check(done.returncode in (0, 1), f"exit code {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def explain(self, inodes: list[int], out: Path) -> None:
        """For whoever has to find out why something is lost, or wrong."""
        for inode in inodes:
            facts = json.loads((out / f"inode-{inode}.json").read_text())
            print(f"inode {inode}:", json.dumps(facts)[:REPORT_MAX], flush=True)
            for number in range(1, SERVERS + 1):
                pieces = json.loads(self.inspect(repository(self.demo, number), "--pieces",
                                                 "--json").stdout)["pieces"]
                for piece in pieces:
                    if piece.get("inode") == inode:
                        print(f"cs{number}:", json.dumps(piece)[:REPORT_MAX], flush=True)

    def check_whole(self, found: dict, out: Path) -> None:
        lost = found["extracted"]["lost_bytes"]
        if lost != 0:
            self.explain([file["inode"] for file in found["files"] if not file["whole"]], out)
        check_equal(lost, 0, "lost bytes")

    def lost_blocks(self, out: Path) -> set[int]:
        """Of the file that is written; what is absent behind its end is lost, too."""
        path = out / f"inode-{self.writer.inode}"
        if not path.exists():
            return set(range(BLOCKS))
        lost = set(range(path.stat().st_size // BLOCK, BLOCKS))
        for run_of in json.loads(path.with_suffix(".json").read_text())["lost"]:
            first = run_of["offset"] // BLOCK
            lost |= set(range(first, first + run_of["bytes"] // BLOCK))
        return lost

    def judge_extracted(self, out: Path, lost: set[int] = frozenset()) -> None:
        path = out / f"inode-{self.writer.inode}"
        file = path.read_bytes() if path.exists() else b""
        try:
            self.writer.judge(file, self.begin, lost)
        except AssertionError:
            self.explain([self.writer.inode], out)
            raise

    def compare(self, out: Path, without: set[int] = frozenset()) -> None:
        for inode, (size, wanted) in self.wanted.items():
            if inode in without:
                continue
            whole = hashlib.sha256()
            with (out / f"inode-{inode}").open("rb") as file:
                os.truncate(file.name, size)
                while part := file.read(1 << 20):
                    whole.update(part)
            check_equal(whole.hexdigest(), wanted, f"content of inode {inode}")

    def all_repositories_give_all_files(self) -> None:
        before = {path: digest(path) for path in repository(self.demo, 1).rglob("*")
                  if path.is_file()}
        out = self.local / "all"
        found = self.extract(list(range(1, SERVERS + 1)), out)
        self.check_whole(found, out)
        check_equal(found["extracted"]["files"], len(self.wanted) + 1, "files")
        self.compare(out)
        self.judge_extracted(out)
        after = {path: digest(path) for path in repository(self.demo, 1).rglob("*")
                 if path.is_file()}
        check_equal(after, before, "the files of a repository that was inspected")
        shutil.rmtree(out)

    def enough_repositories_give_all_files(self) -> None:
        for lost in ((2, 6), (1, 3)):
            out = self.local / "some"
            left = [number for number in range(1, SERVERS + 1) if number not in lost]
            self.extract(left, out, "--assume-unwritten")
            self.compare(out, {self.sparse})
            shutil.rmtree(out)
            self.nothing_wrong_comes_without(lost[0])

    def nothing_wrong_comes_without(self, lost: int) -> None:
        """A piece may have been dropped before its server died: then not all can be had. (With one
        more repository lost there may be nothing left of a write: then nobody could know.)"""
        out = self.local / "few"
        left = [number for number in range(1, SERVERS + 1) if number != lost]
        self.extract(left, out, "--inode", self.writer.inode)
        try:
            self.judge_extracted(out, self.lost_blocks(out))
        except AssertionError as error:
            raise AssertionError(f"without repository {lost}: {error}") from error
        shutil.rmtree(out)

    def deaths_in_turn(self, pause: float) -> None:
        self.die_in_turn(pause)
        out = self.local / "turn"
        every = list(range(1, SERVERS + 1))
        found = self.extract(every, out, "--inode", self.writer.inode)
        self.check_whole(found, out)
        self.judge_extracted(out)
        shutil.rmtree(out)
        for lost in self.draw.sample(every, 3):
            self.nothing_wrong_comes_without(lost)
        self.the_cluster_goes_on()

    def every_block_of_every_server_is_right(self) -> None:
        for number in range(1, SERVERS + 1):
            found = json.loads(self.inspect(repository(self.demo, number), "--check", "--pieces",
                                            "--journal", "--json").stdout)
            check_equal(found["findings"], [], f"findings at cs{number}")
            check_equal(found["checked"]["pieces"], len(found["pieces"]), "pieces")

    def pieces_come_out_with_their_facts(self) -> None:
        out = self.local / "pieces"
        self.inspect(repository(self.demo, 2), "--extract", out)
        facts = [json.loads(path.read_text()) for path in out.glob("*.json")]
        check(len(facts) > 0, "nothing was extracted")
        for one in facts:
            data = out / f"{one['piece']}.data"
            check(data.stat().st_size >= one["settled_blocks"] * BLOCK, str(one))
            check_equal(one["missing_blocks"], 0, f"missing of {one['piece']}")
        again = self.inspect(repository(self.demo, 2), "--extract", out, good=False)
        check("is there already" in again.stderr, again.stderr)
        self.inspect(repository(self.demo, 2), "--extract", out, "--resume")

    def the_cluster_goes_on(self) -> None:
        self.demo.start(*names())
        self.demo.wait_cs("active", SERVERS, 60)
        self.writer.ended.set()
        self.writer.thread.join(60)
        check(not self.writer.thread.is_alive(), "the writer still waits")
        self.writer.judge((self.demo.mount / "changing").read_bytes(), self.begin)


def body(results: Results, keep: bool, seed: int) -> None:
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="cairn-test-") as local, \
            Demo("--cs", str(SERVERS), "--cs-size", "2G", keep=keep) as demo:
        story = Story(demo, Path(local), seed)
        for scenario in (story.files_of_every_kind, story.a_running_server_is_refused,
                         story.all_die_at_once, story.every_block_of_every_server_is_right,
                         story.all_repositories_give_all_files,
                         story.enough_repositories_give_all_files,
                         story.pieces_come_out_with_their_facts, story.the_cluster_goes_on):
            if not results.scenario(scenario.__name__, scenario):
                return
        for pause in (0.03, 0.1, 0.3):
            name = f"deaths_with_pauses_of_up_to_{pause * 1000:.0f}_ms"
            if not results.scenario(name, story.deaths_in_turn, pause):
                return


if __name__ == "__main__":
    options = arguments(__doc__, seed=(0, "of the deaths; 0: another one each time"))
    outcome = Results()
    chosen = options.seed or secrets.randbelow(1_000_000) + 1
    main(outcome, lambda: body(outcome, options.keep, chosen))

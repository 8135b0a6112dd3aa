#!/usr/bin/env python3
"""A load on the names of a mount whose every answer is kept and judged (history.py).

Worker: a process of its own on one mount. It works in its own directory and, under names that
begin with its own, in a directory shared by all, one call at a time, and looks at the others' names
there. Each call is a line of its record: what, from when to when, how it ended. It does not judge;
it stops at the first answer that its next steps cannot stand on.

Load: the workers of one run, their pauses, and the model that reads their records.
"""

import errno
import json
import os
import random
import select
import stat
import subprocess
import sys
import time
from array import array
from pathlib import Path

from harness import check, wait_until
from history import Model, Operation, Value

SHARED = "shared"
NAMES = 12              # of a kind and a directory: names come and go
WARM_UP_BYTES = 10_000  # of a worker's record: about a hundred calls
PAUSE_SECONDS = 60
STOPPED = 3


def value_of(path: str) -> Value:
    """What a name is, as the model says it. FileNotFoundError when it is not."""
    status = os.lstat(path)
    name = os.path.basename(path)
    if stat.S_ISDIR(status.st_mode):
        return ("dir", status.st_ino)
    if stat.S_ISLNK(status.st_mode):
        return ("link", os.readlink(path))
    if "-x" in name:
        with open(path) as file:
            return ("data", file.read())
    return ("file", status.st_ino, status.st_nlink, status.st_mtime_ns)


class Worker:
    """Names: WORKER-KIND NUMBER, kind f(ile), s(ymlink), d(irectory), x (data)."""

    def __init__(self, name: str, root: Path, record: Path, seed: int, data: bool):
        self.name = name
        self.root = str(root)
        self.random = random.Random(seed)
        self.record = record.open("a", buffering=1)
        self.data = data
        self.orders = open(0, "rb", buffering=0)  # select() sees what readline() left
        self.inodes: dict[str, int] = {}    # my names that exist; inode of files, else 0
        self.homes = [f"{name}/a", f"{name}/b", SHARED]
        self.count = 0
        self.others: list[str] = []

    def note(self, kind: str, path: str, start: int, end: int, error: int, **more) -> None:
        self.record.write(json.dumps([kind, path, start, end, error, more]) + "\n")

    def call(self, function, *words, **options) -> tuple[int, int, int, object]:
        """(start, end, errno, result)."""
        start = time.monotonic_ns()
        try:
            result, error = function(*words, **options), 0
        except OSError as failure:
            result, error = None, failure.errno or errno.EIO
        return start, time.monotonic_ns(), error, result

    def aux(self, function, *words):
        """A call that changes no name but may stall like any other; its failure is a finding."""
        start, end, error, result = self.call(function, *words)
        self.note("aux", function.__name__, start, end, error)
        if error:
            self.stop(f"{function.__name__}: {os.strerror(error)}")
        return result

    def stop(self, why: str) -> None:
        print(f"stopped {why}", flush=True)
        sys.exit(STOPPED)

    def change(self, kind: str, function, path: str, *words, wanted: int = 0, to: str = "",
               tag=None) -> bool:
        start, end, error, _ = self.call(function, *words)
        self.note(kind, path, start, end, error, to=to, tag=tag)
        if error != wanted:
            self.stop(f"{kind} {path} {to}: errno {error}, not {wanted}")
        return error == 0

    def full(self, path: str) -> str:
        return f"{self.root}/{path}"

    # ---- what it does ----

    def pick(self, kind: str, there: bool) -> str | None:
        prefixes = tuple(f"{home}/{self.name}-{kind}" for home in self.homes)
        names = [f"{prefix}{n}" for prefix in prefixes for n in range(NAMES)]
        names = [n for n in names if (n in self.inodes) == there]
        return self.random.choice(names) if names else None

    def tag(self) -> int:
        self.count += 1
        return self.count

    def create(self) -> None:
        path = self.pick("f", False)
        if path is None:
            return
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        start, end, error, descriptor = self.call(os.open, self.full(path), flags, 0o644)
        seen = None
        if not error:
            status = self.aux(os.fstat, descriptor)
            seen = [status.st_ino, status.st_mtime_ns]
            self.inodes[path] = status.st_ino
            self.aux(os.close, descriptor)
        self.note("create", path, start, end, error, seen=seen)
        if error:
            self.stop(f"create {path}: errno {error}")

    def mkdir(self) -> None:
        path = self.pick("d", False)
        if path is None:
            return
        start, end, error, _ = self.call(os.mkdir, self.full(path))
        inode = None if error else self.aux(os.lstat, self.full(path)).st_ino
        self.note("mkdir", path, start, end, error, seen=inode)
        if error:
            self.stop(f"mkdir {path}: errno {error}")
        self.inodes[path] = 0

    def symlink(self) -> None:
        path = self.pick("s", False)
        target = f"{self.name}:{self.tag()}"
        if path and self.change("symlink", os.symlink, path, target, self.full(path), tag=target):
            self.inodes[path] = 0

    def link(self) -> None:
        path, to = self.pick("f", True), self.pick("f", False)
        if path and to and self.change("link", os.link, path, self.full(path), self.full(to),
                                       to=to):
            self.inodes[to] = self.inodes[path]

    def rename(self) -> None:
        kind = self.random.choice("fffsd")
        path, to = self.pick(kind, True), self.pick(kind, self.random.random() < 0.3)
        if not path or not to or path == to:
            return
        if kind == "f" and self.inodes.get(to) == self.inodes[path]:
            return
        if self.change("rename", os.rename, path, self.full(path), self.full(to), to=to):
            self.inodes[to] = self.inodes.pop(path)

    def unlink(self) -> None:
        path = self.pick(self.random.choice("ffs"), True)
        if path and self.change("unlink", os.unlink, path, self.full(path)):
            del self.inodes[path]

    def rmdir(self) -> None:
        path = self.pick("d", True)
        if path and self.change("rmdir", os.rmdir, path, self.full(path)):
            del self.inodes[path]

    def utime(self) -> None:
        path, tag = self.pick("f", True), self.tag()
        if path:
            self.change("utime", lambda p: os.utime(p, ns=(tag, tag)), path, self.full(path),
                        tag=tag)

    def write(self) -> None:
        path = f"{self.name}/a/{self.name}-x{self.random.randrange(3)}"
        text = f"{self.name}:{self.tag()}"
        self.change("write", self.write_durably, path, self.full(path), text, tag=text)

    @staticmethod
    def write_durably(path: str, text: str) -> None:
        with open(path, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def must_fail(self) -> None:
        path = self.pick("f", True)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        if path and self.random.random() < 0.5:
            self.change("create", os.open, path, self.full(path), flags, wanted=errno.EEXIST)
        path = self.pick("f", False)
        if path:
            self.change("unlink", os.unlink, path, self.full(path), wanted=errno.ENOENT)

    # ---- what it looks at ----

    def look(self) -> None:
        path = self.random.choice([self.pick("f", True), self.pick("s", True),
                                   self.pick("f", False), *self.others])
        if not path:
            return
        start, end, error, seen = self.call(value_of, self.full(path))
        self.note("stat", path, start, end, error, seen=seen)

    def list(self) -> None:
        path = self.random.choice([SHARED, SHARED, *self.homes])
        start, end, error, names = self.call(os.listdir, self.full(path))
        self.note("list", path, start, end, error, seen=names)
        if path == SHARED and not error:
            self.others = [f"{SHARED}/{n}" for n in names
                           if not n.startswith(f"{self.name}-") and "-x" not in n]

    def work(self) -> None:
        steps = {self.create: 20, self.mkdir: 4, self.symlink: 5, self.link: 6, self.rename: 16,
                 self.unlink: 18, self.rmdir: 3, self.utime: 8, self.look: 16, self.list: 6,
                 self.must_fail: 3}
        if self.data:
            steps[self.write] = 2
        functions, weights = list(steps), list(steps.values())
        while True:
            if select.select([self.orders], [], [], 0)[0] and not self.obey():
                return
            self.random.choices(functions, weights)[0]()

    def obey(self) -> bool:
        """Waits while told to. False: the run is over."""
        while True:
            word = self.orders.readline().strip()
            if word == b"pause":
                print("paused", flush=True)
            else:
                return word == b"go"


class Load:
    """`mounts`: one worker each. Workers write into the cluster's directory `top`."""

    def __init__(self, mounts: list[Path], local: Path, top: str = "load", seed: int = 1,
                 data: bool = False, reused_inodes: bool = False):
        self.roots = [mount / top for mount in mounts]
        self.local = local
        self.seed = seed
        self.data = data
        self.model = Model(reused_inodes)
        self.seconds = array("d")                  # of every call
        self.calls: list[tuple[int, int]] = []     # start, end of those since judge()
        self.workers: list[subprocess.Popen] = []
        self.read: list[int] = []

    def __enter__(self) -> "Load":
        self.model.add_root(SHARED)
        (self.roots[0] / SHARED).mkdir(parents=True)
        for number, root in enumerate(self.roots):
            name = f"w{number}"
            for home in (f"{name}/a", f"{name}/b"):
                (root / home).mkdir(parents=True)
            for path in (name, f"{name}/a", f"{name}/b"):
                self.model.add_root(path, name)
            command = [sys.executable, "-B", __file__, name, str(root), str(self.file(number)),
                       str(self.seed * 100 + number), "data" if self.data else ""]
            self.workers.append(subprocess.Popen(command, stdin=subprocess.PIPE, text=True,
                                                 stdout=subprocess.PIPE))
            self.read.append(0)
        wait_until(lambda: all(self.size(number) > WARM_UP_BYTES for number in
                               range(len(self.workers))), 60, "the load begins")
        return self

    def __exit__(self, *_) -> None:
        for worker in self.workers:
            worker.kill()
            worker.communicate()

    def file(self, number: int) -> Path:
        return self.local / f"record{number}"

    def size(self, number: int) -> int:
        if self.workers[number].poll() is not None:
            check(False, self.why_stopped(number))
        return self.file(number).stat().st_size if self.file(number).exists() else 0

    # ---- reading ----

    def collect(self) -> None:
        """Feeds the model with what was recorded since."""
        for number, worker in enumerate(self.workers):
            if not self.file(number).exists():
                continue
            with self.file(number).open("rb") as file:
                file.seek(self.read[number])
                data = file.read()
            data = data[:data.rfind(b"\n") + 1]
            self.read[number] += len(data)
            for line in data.splitlines():
                self.take(f"w{number}", json.loads(line))

    def take(self, worker: str, line: list) -> None:
        kind, path, start, end, error, more = line
        self.calls.append((start, end))
        self.seconds.append((end - start) / 1e9)
        if kind == "aux":
            if error:
                self.model.say(f"{worker}: {path} ended with errno {error}")
            return
        seen = more.get("seen")
        if kind == "stat" and seen is not None:
            seen = tuple(seen)
        self.model.feed(Operation(worker, kind, path, start, end, error, more.get("to") or "",
                                  more.get("tag"), seen))

    def progress(self, since: int, seconds: float, what: str) -> None:
        """Every worker ended a call that began after `since` (monotonic ns)."""
        def all_did() -> bool:
            return all(self.last_start(number) > since for number in range(len(self.workers)))
        wait_until(all_did, seconds, f"{what}: the load goes on")

    def last_start(self, number: int) -> int:
        size = self.size(number)
        with self.file(number).open("rb") as file:
            file.seek(max(0, size - 8192))
            lines = file.read().split(b"\n")[:-1]
        return json.loads(lines[-1])[2] if lines else 0

    def why_stopped(self, number: int) -> str:
        said = self.workers[number].stdout.read() if self.workers[number].poll() is not None else ""
        self.collect()
        return f"worker {number} {said.strip() or 'died'}; findings: {self.model.findings}"

    # ---- judging ----

    def order(self, word: str) -> None:
        for worker in self.workers:
            worker.stdin.write(word + "\n")
            worker.stdin.flush()

    def pause(self) -> None:
        self.order("pause")
        for number, worker in enumerate(self.workers):
            readable, _, _ = select.select([worker.stdout], [], [], PAUSE_SECONDS)
            check(bool(readable), f"worker {number} did not end its call in {PAUSE_SECONDS} s")
            said = worker.stdout.readline().strip()
            check(said == "paused", f"worker {number} {said or self.why_stopped(number)}")

    def go(self) -> None:
        self.order("go")

    def judge(self, where: str) -> float:
        """Stops the load, judges every answer, compares what each mount shows, goes on. The
        longest call since the last time, in seconds."""
        self.pause()
        self.collect()
        self.model.judge_looks()
        for root in self.roots:
            self.model.compare(read_tree(root), f"{where}, {root}")
        check(not self.model.findings, f"{where}: " + "; ".join(self.model.findings))
        self.model.compact()
        longest = max((end - start) / 1e9 for start, end in self.calls)
        self.calls.clear()
        self.go()
        return longest


def quantile(values: list[float], share: float) -> float:
    """`values` sorted."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def read_tree(root: Path) -> dict[str, Value]:
    result: dict[str, Value] = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = os.path.join(directory, name)
            result[os.path.relpath(path, root)] = value_of(path)
    return result


if __name__ == "__main__":
    Worker(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]),
           sys.argv[5] == "data").work()

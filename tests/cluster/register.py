"""One value that one mount writes and a probe reads at one MDS only, while that MDS is stopped, cut
off or deposed. Whatever the probe was told must be a value of the time between its question and
the answer: an MDS that is not the master any more and answers from its tables is found.

The value is the mtime of a directory: it needs no lease, so no client's cache has a part in it.
"""

import os
import subprocess
import threading
import time
from pathlib import Path

from harness import BIN, Cluster, check, wait_until
from history import Model, Operation

NAME = "register"


class Register:
    """The writer is a thread here, the probe a process. `at`: index of the MDS that is asked."""

    def __init__(self, cluster: Cluster, at: int, mount: Path, local: Path):
        self.cluster = cluster
        self.at = at
        self.path = mount / f"{NAME}-{time.monotonic_ns()}"
        self.output = local / "probe"
        self.writes: list[Operation] = []
        self.failure = ""
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.write, daemon=True)
        self.probe: subprocess.Popen | None = None

    def __enter__(self) -> "Register":
        self.path.mkdir()
        command = [BIN / "cairn-mds-probe", "-c", self.cluster.environment["CAIRN_CLUSTER"], "--at",
                   self.cluster.mds[self.at].address, "--inode", str(self.path.stat().st_ino),
                   "--others", ",".join(mds.address for i, mds in enumerate(self.cluster.mds)
                                        if i != self.at)]
        self.write_one(1)
        self.thread.start()
        with self.output.open("w") as output:
            self.probe = subprocess.Popen(command, stdout=output, env=self.cluster.environment)
        wait_until(lambda: self.answers() > 20, 10, "the probe is answered by the master")
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self.thread.join()
        self.probe.terminate()
        self.probe.wait(timeout=10)

    def write(self) -> None:
        tag = 1
        while not self.over.is_set() and not self.failure:
            tag += 1
            self.write_one(tag)
            time.sleep(0.002)

    def write_one(self, tag: int) -> None:
        start, error = time.monotonic_ns(), 0
        try:
            os.utime(self.path, ns=(tag, tag))
        except OSError as failure:
            error = failure.errno
            self.failure = f"writing {tag}: {failure}"
        self.writes.append(Operation("writer", "write", NAME, start, time.monotonic_ns(), error,
                                     tag=tag))

    def reads(self) -> list[tuple[int, int, int, int]]:
        """(sent, answered, code, value)."""
        text = self.output.read_text()
        lines = text[:text.rfind("\n") + 1].splitlines()
        return [tuple(int(word) for word in line.split()) for line in lines]

    def answers(self, since: int = 0) -> int:
        return sum(1 for sent, _, code, _ in self.reads() if code == 0 and sent > since)

    def refusals(self, since: int) -> int:
        return sum(1 for _, answered, code, _ in self.reads() if code and answered > since)

    def written(self, since: int) -> int:
        return sum(1 for op in self.writes if op.start > since and not op.error)

    def judge(self, where: str) -> None:
        """With the writer at rest; it does not go on."""
        self.over.set()
        self.thread.join()
        check(not self.failure, f"{where}: {self.failure}")
        model = Model()
        for op in self.writes:
            model.feed(op)
        for sent, answered, code, value in self.reads():
            if code == 0:
                model.feed(Operation("probe", "stat", NAME, sent, answered, 0,
                                     seen=("data", value)))
        model.judge_looks()
        check(not model.findings, f"{where}: stale answers: " + "; ".join(model.findings[:5]))
        longest = max((op.end - op.start) / 1e9 for op in self.writes)
        print(f"    {where}: {len(self.writes)} writes (longest {longest:.2f} s), {model.looked} "
              f"answers of {self.cluster.mds[self.at].name} judged", flush=True)

#!/usr/bin/env python3
"""fio writes and verifies while chunk servers and another client are killed and started again.

Four jobs, two of them with O_DIRECT: offsets and sizes of 512 B to 1 MiB, every block read back
and compared (verify=crc32c). A second mount writes too and is killed now and then. Nothing may
differ and nothing may fail. The runs on record: docs/testing.md."""

import json
import random
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from harness import Cluster, Results, Skip, arguments, check, main, run, wait_until

JOB_MIB = 48
SIZES = "512/15:1536/10:4k/25:4608/5:20k/15:64k/15:256k/10:1m/5"
UNSETTLED = ("degraded", "urgent", "blocked", "pending", "offline", "replicating")
OUTAGE_SECONDS = 3.0  # at most; the length of an outage is part of the load


def pieces(encoding: str) -> tuple[int, int]:
    """How many chunk servers a chunk needs, and how many may be away while writes go on."""
    if "+" not in encoding:
        return int(encoding), max((int(encoding) - 1) // 2, 1)
    data, parity = encoding.split("+")
    return int(data) + int(parity), max(int(parity) - 1, 1)


class Fio:
    """One fio with its jobs in a directory, until its time is over."""

    def __init__(self, directory: Path, out: Path, seconds: float, seed: int):
        directory.mkdir(exist_ok=True)
        self.out = out
        base = [f"--directory={directory}", f"--size={JOB_MIB}M", "--rw=randwrite",
                f"--bssplit={SIZES}", "--verify=crc32c", "--verify_fatal=1", "--verify_backlog=64",
                "--do_verify=1", "--ioengine=psync", "--loops=1000000", "--fallocate=none",
                f"--runtime={seconds:.0f}", "--random_generator=lfsr", f"--randseed={seed}",
                "--verify_state_save=0", "--fsync=32"]
        words = ["fio", "--output-format=json", f"--output={out}", *base]
        for number in range(4):
            words += [f"--name=job{number}", f"--direct={number % 2}"]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        text=True, start_new_session=True)

    def runs(self) -> bool:
        return self.process.poll() is None

    def result(self, seconds: float) -> dict:
        _, said = self.process.communicate(timeout=seconds)
        check(self.process.returncode == 0, f"fio ended with {self.process.returncode}: {said}")
        jobs = json.loads(self.out.read_text()[self.out.read_text().index("{"):])["jobs"]
        for job in jobs:
            check(job["error"] == 0, f"{job['jobname']}: error {job['error']}")
        return {"written": sum(job["write"]["io_bytes"] for job in jobs),
                "compared": sum(job["read"]["io_bytes"] for job in jobs)}

    def end(self) -> None:
        if self.runs():
            self.process.kill()
        self.process.wait()


class OtherClient:
    """Writes on the second mount; what it does is lost with it."""

    def __init__(self, cluster: Cluster):
        self.cluster = cluster
        self.ended = threading.Event()
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        path = self.cluster.mount(1) / "other"
        path.mkdir(exist_ok=True)
        self.thread = threading.Thread(target=self.work, args=(path / "file",), daemon=True)
        self.thread.start()

    def work(self, path: Path) -> None:
        draw = random.Random(7)
        try:
            with path.open("wb", buffering=0) as file:
                while not self.ended.is_set():
                    file.seek(draw.randrange(32 << 20))
                    file.write(draw.randbytes(draw.randrange(1, 1 << 18)))
        except OSError:
            return  # its mount was killed

    def kill(self) -> None:
        self.cluster.kill("client:2")
        self.thread.join(60)
        check(not self.thread.is_alive(), "a write on a killed mount does not end")

    def stop(self) -> None:
        self.ended.set()
        self.thread.join(120)
        check(not self.thread.is_alive(), "a write on the second mount does not end")


def strike(cluster: Cluster, draw: random.Random, servers: int, away: int) -> int:
    """Some servers die and come back."""
    victims = [f"cs:{number}" for number in
               draw.sample(range(1, servers + 1), draw.randint(1, max(away, 1)))]
    cluster.kill(*victims)
    time.sleep(draw.random() * OUTAGE_SECONDS)
    cluster.start(*victims)
    cluster.wait_cs("active", servers, 60)
    return len(victims)


def settled(cluster: Cluster) -> bool:
    chunks = cluster.stat()["cluster"]["chunks"]
    return all(chunks[state] == 0 for state in UNSETTLED)


def verified(cluster: Cluster, servers: int, away: int, seconds: int, local: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"    seed {seed}", flush=True)
    draw = random.Random(seed)
    mount = cluster.mount(0)
    other = OtherClient(cluster)
    other.start()
    fio = Fio(mount / "fio", local / "fio.json", seconds, seed)
    kills = clients = 0
    try:
        while fio.runs():
            kills += strike(cluster, draw, servers, away)
            if draw.random() < 0.2:
                other.kill()
                other.start()
                clients += 1
            if draw.random() < 0.3:
                wait_until(lambda: settled(cluster) or not fio.runs(), 120, "everything repaired")
            time.sleep(draw.random())
        done = fio.result(300)
    finally:
        fio.end()
        other.stop()
    print(f"    {done['written'] >> 20} MiB written, {done['compared'] >> 20} MiB compared, "
          f"{kills} chunk servers and {clients} clients killed", flush=True)
    check(done["compared"] > 0, "fio compared nothing")
    wait_until(lambda: settled(cluster), 120, "everything repaired")


def body(results: Results, keep: bool, encoding: str, seconds: int) -> None:
    try:
        run("fio", "--version")
    except FileNotFoundError as error:
        raise Skip("fio is not installed") from error
    servers, away = pieces(encoding)
    with tempfile.TemporaryDirectory(prefix="cairn-test-") as local, \
            Cluster(mds=1, cs=servers, clients=2, encoding=encoding, keep=keep) as cluster:
        results.scenario(f"fio_verifies_{encoding.replace('+', '_')}_while_parts_die",
                         lambda: verified(cluster, servers, away, seconds, Path(local)))


if __name__ == "__main__":
    options = arguments(__doc__, encoding=("4+2", "M+N, or a number of copies"),
                        seconds=(20, "of fio"))
    outcome = Results()
    main(outcome, lambda: body(outcome, options.keep, options.encoding, options.seconds))

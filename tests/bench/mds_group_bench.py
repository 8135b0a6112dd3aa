#!/usr/bin/env python3
"""What a group of MDS costs and how fast it is, in one run on one machine.

  mds_group_bench.py ops [--seconds 5] [--runs 3] [--groups 1,3]
      operations a second with 1 and 64 clients, one group beside the other, in turn (medians)
  mds_group_bench.py failover [--kills 50]
      from kill -9 of the master to the next commit
  mds_group_bench.py restart [--inodes 1000000,10000000]
      start of an MDS with so many inodes; its memory

Needs: ninja -C build/release cairn cairn-mdsd cairn-mds-bench (restart: cairn-mds-fill). --dir is
on the disk that is to be measured; --programs: other programs than the last build's.
"""

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mds_group import BIN, Group

LOADS = [(1, 1), (64, 1), (64, 16)]  # clients, operations of each under way


def median(rows: list[dict], key: str) -> float:
    return statistics.median(row[key] for row in rows)


def ops(options: argparse.Namespace, place: Path) -> None:
    counts = [int(word) for word in options.groups.split(",")]
    groups = [Group(place / f"g{count}", count, options.programs) for count in counts]
    for group in groups:
        group.__enter__()
    try:
        print(f"| clients x depth | MDS | ops/s | p50 us | p99 us | fsyncs/op of the master | "
              f"slots/flush | CPU s/1000 ops of all MDS | ops/s against {counts[0]} MDS |")
        print("|---|---|---|---|---|---|---|---|---|")
        for clients, depth in LOADS:
            words = ("--clients", str(clients), "--depth", str(depth), "--seconds",
                     str(options.seconds))
            rows: list[list[dict]] = [[] for _ in groups]
            for _ in range(options.runs):
                for group, found in zip(groups, rows):
                    found.append(group.load(*words))
            alone = median(rows[0], "ops_per_s")
            for count, found in zip(counts, rows):
                cpu = statistics.median(row["cpu_s"] / row["ops"] * 1000 for row in found)
                rate = median(found, "ops_per_s")
                print(f"| {clients} x {depth} | {count} | {rate:,.0f} | "
                      f"{median(found, 'p50_us'):,.0f} | {median(found, 'p99_us'):,.0f} | "
                      f"{median(found, 'fsyncs_per_op'):.3f} | "
                      f"{median(found, 'slots_per_flush'):.1f} | {cpu:.3f} | {rate / alone:.2f} |",
                      flush=True)
    finally:
        for group in groups:
            group.__exit__()


def first_commit(trace: Path, killed: int, door: int) -> float:
    """Seconds from the kill to the first commit that another MDS answered."""
    answered = [int(words[1]) for words in (line.split() for line in trace.open())
                if int(words[1]) > killed and int(words[2]) != door]
    return (min(answered) - killed) / 1e9


def failover(options: argparse.Namespace, place: Path) -> None:
    trace = place / "trace"
    times: list[float] = []
    with Group(place / "g", 3, options.programs) as group:
        for number in range(options.kills):
            master = group.wait_avail(3)
            load = subprocess.Popen(
                group.load_command("--clients", "8", "--seconds", "5", "--trace", str(trace)),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=group.environment)
            time.sleep(1 + 0.013 * number)
            killed = time.monotonic_ns()
            group.end(master, signal.SIGKILL)
            said, failed = load.communicate()
            if load.returncode != 0:
                raise RuntimeError(f"cairn-mds-bench: {failed} {said}")
            times.append(first_commit(trace, killed, master))
            group.start(master)
            print(f"{number}: {times[-1]:.3f} s", file=sys.stderr, flush=True)
    times.sort()
    shares = {"min": 0, "p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1}
    words = [f"{name} {times[min(len(times) - 1, int(len(times) * share))]:.2f} s"
             for name, share in shares.items()]
    print(f"kill -9 of the master to the next commit, {len(times)} kills: " + ", ".join(words))


def restart_once(group: Group) -> float:
    began = time.monotonic()
    group.start(0)
    group.wait_avail(1)
    return time.monotonic() - began


def restart(options: argparse.Namespace, place: Path) -> None:
    print("| inodes | tables, MiB | restart, s (median) | after kill -9 under load, s | "
          "RSS after start, MiB | RSS after load, MiB | anonymous | ops/s, 64 clients |")
    print("|---|---|---|---|---|---|---|---|")
    for inodes in (int(word) for word in options.inodes.split(",")):
        with Group(place / f"g{inodes}", 0, options.programs) as group:
            group.make()
            restart_once(group)  # a group of one that has its log; the fill goes on behind it
            group.end(0, signal.SIGTERM)
            subprocess.run([BIN / "cairn-mds-fill", "-r", group.repository(0), "--inodes",
                            str(inodes)], check=True, env=group.environment)
            restart_once(group)
            times = []
            for _ in range(options.runs):
                group.end(0, signal.SIGTERM)
                times.append(restart_once(group))
            fresh = group.memory(0)
            figures = group.load("--clients", "64", "--seconds", str(options.seconds))
            loaded = group.memory(0)
            state = group.stat()["cluster"]
            if state["inodes"] < inodes:
                raise RuntimeError(f"only {state['inodes']} inodes")
            load = subprocess.Popen(group.load_command("--clients", "64", "--seconds", "5",
                                                       "--patience", "30"),
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                    env=group.environment)
            time.sleep(3)
            group.end(0, signal.SIGKILL)
            crashed = restart_once(group)
            load.wait()
            tables = sum(f.stat().st_size for f in (group.repository(0) / "db").rglob("*"))
            mib = 1 << 20
            print(f"| {inodes:,} | {tables / mib:,.0f} | {statistics.median(times):.2f} | "
                  f"{crashed:.2f} | {fresh['VmRSS'] / mib:,.0f} | {loaded['VmRSS'] / mib:,.0f} | "
                  f"{loaded['RssAnon'] / mib:,.0f} | {figures['ops_per_s']:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["ops", "failover", "restart"])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--groups", default="1,3")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--inodes", default="1000000,10000000")
    parser.add_argument("--dir", type=Path, default=None)
    parser.add_argument("--programs", type=Path, default=BIN)
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="cairn-bench-", dir=options.dir))
    try:
        {"ops": ops, "failover": failover, "restart": restart}[options.what](options, place)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()

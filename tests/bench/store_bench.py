#!/usr/bin/env python3
"""The chunk store beside fio on the same filesystem, in one run.

    tests/bench/store_bench.py [DIR] [--rounds 3] [--seconds 4] [--only NAME ...] [--json FILE]

Each row runs the bare filesystem (fio) and the store in turn, `rounds` times, and prints medians,
the ratio and what the ratio should be. DIR (default: a new directory in the current one) lies on
the drive to be measured and is left empty.
Build first: ninja -C build/release cairn-store-bench
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "build" / "release" / "bin" / "cairn-store-bench"
FILE_MB = 1024
# A row with this option writes a file that is allocated and was never written, and ends before it
# is full.
FRESH_MB = 12288
FRESH = f"--size={FRESH_MB}M"


class Runner:
    def __init__(self, directory: Path, seconds: float):
        self.dir = directory
        self.seconds = seconds

    def fio(self, *options: str) -> dict:
        path = self.dir / "bare"
        command = ["fio", "--name=bare", f"--filename={path}", f"--size={FILE_MB}M", "--direct=1",
                   "--time_based", f"--runtime={self.seconds}", "--output-format=json",
                   "--randrepeat=0", "--norandommap", *options]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        job = json.loads(run.stdout)["jobs"][0]
        side = job["read"] if job["read"]["total_ios"] else job["write"]
        percentiles = side["clat_ns"].get("percentile", {})
        cpu = (job["usr_cpu"] + job["sys_cpu"]) / 100 * job["job_runtime"] / 1000
        return {"ops_per_s": side["iops"], "mib_per_s": side["bw_bytes"] / 2**20,
                # Of one after the other; with the flushes, which fio counts apart.
                "mean_us": 1e6 / max(side["iops"], 1e-9),
                "p99_us": percentiles.get("99.000000", 0) / 1000,
                "cpu_us_per_op": cpu / max(side["total_ios"], 1) * 1e6}

    def lay_out(self) -> None:
        command = ["fio", "--name=lay", f"--filename={self.dir / 'bare'}", f"--size={FILE_MB}M",
                   "--rw=write", "--bs=1M", "--direct=1", "--end_fsync=1", "--output-format=json"]
        subprocess.run(command, capture_output=True, check=True)

    def store(self, workload: str, *options: str, keep: bool = False) -> dict:
        directory = self.dir / "store"
        directory.mkdir(exist_ok=True)
        command = [str(BENCH), str(directory), workload, f"--seconds={self.seconds}", *options]
        if not any(option.startswith("--megabytes") for option in options):
            command.append(f"--megabytes={FILE_MB}")
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if not keep:
            shutil.rmtree(directory)
        if run.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {run.stderr}")
        return json.loads(run.stdout)


def uring(*options: str) -> list[str]:
    return ["--ioengine=io_uring", *options]


# name, what fio does, what the store does, which figure, the bound of the ratio store / bare
ROWS = [
    # On space that was written before, on both sides; then on space that was only allocated.
    ("stream write 1 MiB, depth 4", uring("--rw=write", "--bs=1M", "--iodepth=4", "--end_fsync=1"),
     ["stream-write", "--depth=4", "--warm"], "mib_per_s", (">=", 0.9)),
    ("stream write 1 MiB, depth 8", uring("--rw=write", "--bs=1M", "--iodepth=8", "--end_fsync=1"),
     ["stream-write", "--depth=8", "--warm"], "mib_per_s", (">=", 0.9)),
    ("stream write, fresh space",
     uring("--rw=write", "--bs=1M", "--iodepth=4", "--end_fsync=1", FRESH),
     ["stream-write", "--depth=4", f"--megabytes={FRESH_MB}"], "mib_per_s", None),
    ("stream read 1 MiB", uring("--rw=read", "--bs=1M", "--iodepth=4"),
     ["stream-read", "--depth=4"], "mib_per_s", (">=", 0.9)),
    ("4 KiB write + fdatasync, depth 1",
     ["--ioengine=psync", "--rw=randwrite", "--bs=4k", "--fdatasync=1"],
     ["write", "--depth=1"], "mean_us", ("<=", 1.3)),
    ("4 KiB O_DSYNC, depth 16",
     uring("--rw=randwrite", "--bs=4k", "--iodepth=16", "--sync=dsync"),
     ["write", "--depth=16"], "ops_per_s", None),
    ("4 KiB O_DSYNC, depth 64",
     uring("--rw=randwrite", "--bs=4k", "--iodepth=64", "--sync=dsync"),
     ["write", "--depth=64"], "ops_per_s", None),
    # What a program without group commit gets.
    ("depth 64 against one O_DSYNC stream",
     ["--ioengine=psync", "--rw=randwrite", "--bs=4k", "--sync=dsync"],
     ["write", "--depth=64"], "ops_per_s", (">=", 3.0)),
    ("4 KiB read, depth 1", uring("--rw=randread", "--bs=4k", "--iodepth=1"),
     ["read", "--depth=1"], "ops_per_s", (">=", 0.85)),
    ("4 KiB read, depth 16", uring("--rw=randread", "--bs=4k", "--iodepth=16"),
     ["read", "--depth=16"], "ops_per_s", (">=", 0.85)),
    ("4 KiB read, depth 64", uring("--rw=randread", "--bs=4k", "--iodepth=64"),
     ["read", "--depth=64"], "ops_per_s", (">=", 0.85)),
]


def median(runs: list[dict], figure: str) -> float:
    return statistics.median(run.get(figure, 0) for run in runs)


def compare(runner: Runner, rounds: int, only: list[str]) -> list[dict]:
    rows = []
    print(f"{'':34} {'bare':>10} {'store':>10} {'ratio':>6} {'bound':>8}   "
          "store: p50/p99 us, CPU us/op, written/byte, flushes/op")
    for name, fio, store, figure, bound in ROWS:
        if only and not any(word in name for word in only):
            continue
        bare_runs, store_runs = [], []
        for _ in range(rounds):
            if FRESH not in fio:
                runner.lay_out()
            bare_runs.append(runner.fio(*fio))
            (runner.dir / "bare").unlink()
            result = runner.store(*store)
            result["mean_us"] = 1e6 / result["ops_per_s"] if "--depth=1" in store else 0
            store_runs.append(result)
        bare, own = median(bare_runs, figure), median(store_runs, figure)
        ratio = own / bare
        good = bound is None or (ratio >= bound[1] if bound[0] == ">=" else ratio <= bound[1])
        said = "" if bound is None else f"{bound[0]} {bound[1]}"
        per_op = median(store_runs, "flushes") / max(median(store_runs, "ops"), 1)
        print(f"{name:34} {bare:10.1f} {own:10.1f} {ratio:6.2f} {said:>8} "
              f"{'' if good else 'MISSED':6} "
              f"{median(store_runs, 'p50_us'):.0f}/{median(store_runs, 'p99_us'):.0f}, "
              f"{median(store_runs, 'cpu_us_per_op'):.1f} "
              f"(bare {median(bare_runs, 'cpu_us_per_op'):.1f}), "
              f"{median(store_runs, 'bytes_written_per_byte'):.2f}, {per_op:.3f}", flush=True)
        rows.append({"name": name, "figure": figure, "bare": bare, "store": own, "ratio": ratio,
                     "good": good, "bare_runs": bare_runs, "store_runs": store_runs})
    return rows


def others(runner: Runner, pieces: int) -> dict:
    figures = {}
    create = runner.store("create", "--depth=16")
    figures["create + delete of 4 KiB pieces, depth 16, per s"] = create["ops_per_s"]
    made = runner.store("pieces", "--depth=64", f"--pieces={pieces}", keep=True)
    figures[f"make {pieces} pieces of 4 KiB, per s"] = made["ops_per_s"]
    figures[f"start with {pieces} pieces, s"] = runner.store("open")["open_s"]
    runner.store("kill", "--depth=64", keep=True)
    figures["start after kill -9 with a used journal, s"] = runner.store("open")["open_s"]
    for name, value in figures.items():
        print(f"{name:60} {value:12.3f}", flush=True)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--pieces", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="*", default=[],
                        help="rows whose name has one of these words")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not BENCH.exists():
        print("build first: ninja -C build/release cairn-store-bench", file=sys.stderr)
        return 2
    base = Path(options.directory) if options.directory else Path.cwd()
    with tempfile.TemporaryDirectory(prefix="store-bench-", dir=base) as name:
        runner = Runner(Path(name), options.seconds)
        rows = compare(runner, options.rounds, options.only)
        figures = {} if options.only else others(runner, options.pieces)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "figures": figures}, indent=1))
    return 0 if all(row["good"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

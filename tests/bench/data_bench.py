#!/usr/bin/env python3
"""The data path on a mount, by encoding, beside the directory the cluster lies in, in one run.

  tests/bench/data_bench.py [--runs 3] [--mib 1024] [--seconds 5] [--encodings 4+2 7+2 3:2]
                            [--json FILE]

Makes a cluster of its own (1 MDS, 10 chunk servers, one mount) with a directory for each encoding,
and runs fio there: 1 MiB streams (cold reads: a new mount, page cache dropped), the same with a
chunk server dead, 4 KiB writes with fsync of one job, 4 KiB random writes (in place) and cold
random reads of 16 jobs. Medians; CPU seconds are those of the whole machine, so daemons and the
FUSE client count. Amplification: bytes the chunk servers wrote or read for a byte of the
application. Needs root and fio.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from mount_bench import Meter, drop_caches, fio

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cluster"))
from harness import Cluster  # noqa: E402

SERVERS = 10
GIB = 1 << 30


class Place:
    """A directory to be measured; `cluster` is None for the bare one."""

    def __init__(self, name: str, directory: Path, cluster: Cluster | None):
        self.name = name
        self.dir = directory
        self.cluster = cluster

    def cold(self) -> None:
        if self.cluster is not None:
            self.cluster.remount()
        drop_caches()

    def moved(self) -> tuple[int, int]:
        """Bytes written and read by all chunk servers."""
        if self.cluster is None:
            return 0, 0
        servers = self.cluster.stat()["cs"]
        return (sum(cs["bytes_written"] for cs in servers),
                sum(cs["bytes_read"] for cs in servers))


class Bench:
    def __init__(self, mebibytes: int, seconds: float):
        self.mebibytes = mebibytes
        self.seconds = seconds

    def measure(self, place: Place, *words: str) -> dict:
        wrote, read = place.moved()
        with Meter() as meter:
            job = fio(f"--filename={place.dir / 'file'}", f"--size={self.mebibytes}M",
                      "--ioengine=psync", "--fallocate=none", "--invalidate=0", *words)
        wrote_after, read_after = place.moved()
        side = job["read"] if job["read"]["total_ios"] else job["write"]
        moved = side["io_bytes"]
        return {"MiB/s": side["bw_bytes"] / 2**20, "per s": side["iops"],
                "p50 us": side["clat_ns"].get("percentile", {}).get("50.000000", 0) / 1000,
                "CPU s/GiB": meter.cpu / (moved / GIB),
                "CPU us": meter.cpu / side["total_ios"] * 1e6,
                "written/byte": (wrote_after - wrote) / moved,
                "read/byte": (read_after - read) / moved}

    def timed(self, place: Place, *words: str) -> dict:
        return self.measure(place, "--time_based", f"--runtime={self.seconds}", *words)

    def run(self, place: Place) -> dict[str, dict]:
        rows = {}
        rows["stream write 1 MiB"] = self.measure(place, "--rw=write", "--bs=1M", "--end_fsync=1")
        place.cold()
        rows["stream read 1 MiB, cold"] = self.measure(place, "--rw=read", "--bs=1M")
        rows["4 KiB write+fsync, 1 job"] = self.timed(place, "--rw=randwrite", "--bs=4k",
                                                      "--fsync=1")
        rows["4 KiB random write, 16 jobs"] = self.timed(
            place, "--rw=randwrite", "--bs=4k", "--numjobs=16", "--group_reporting",
            "--end_fsync=1")
        place.cold()
        rows["4 KiB random read, cold, 16 jobs"] = self.timed(
            place, "--rw=randread", "--bs=4k", "--numjobs=16", "--group_reporting")
        if place.cluster is not None:
            place.cluster.kill("cs:1")
            place.cold()
            rows["stream read 1 MiB, cold, one server dead"] = self.measure(place, "--rw=read",
                                                                            "--bs=1M")
            place.cluster.start("cs:1")
            place.cluster.wait_cs("active", SERVERS)
        (place.dir / "file").unlink()
        return rows


UNITS = {"stream": "MiB/s", "4 KiB": "per s"}


def report(samples: dict[str, dict[str, list[dict]]]) -> None:
    names = list(samples)
    print("| row | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    rows = dict.fromkeys(row for runs in samples.values() for row in runs)
    for row in rows:
        unit = next(unit for start, unit in UNITS.items() if row.startswith(start))
        cpu = "CPU s/GiB" if unit == "MiB/s" else "CPU us"
        cells = []
        for name in names:
            runs = samples[name].get(row)
            if runs is None:
                cells.append("")
                continue
            middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            cells.append(f"{middle[unit]:,.0f} ({middle[cpu]:.1f}); "
                         f"{middle['written/byte']:.2f}, {middle['read/byte']:.2f}")
        print(f"| {row}, {unit} ({cpu}); written, read a byte | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--encodings", nargs="+", default=["4+2", "7+2", "3:2"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if shutil.which("fio") is None:
        sys.exit("data_bench: fio is not installed: apt-get install fio")
    bench = Bench(options.mib, options.seconds)
    samples: dict[str, dict[str, list[dict]]] = {}
    with Cluster(mds=1, cs=SERVERS, encoding="4+2") as cluster, \
            tempfile.TemporaryDirectory(prefix="cairn-bench-") as bare:
        places = [Place("bare", Path(bare), None)]
        for encoding in options.encodings:
            directory = cluster.mount(0) / encoding.replace(":", "-")
            directory.mkdir()
            kind = "encoding" if "+" in encoding else "replicas"
            subprocess.run([cluster.environment["PATH"].split(":")[0] + "/cairn", "set-attr",
                            directory, f"{kind}={encoding}"], env=cluster.environment, check=True,
                           stdout=subprocess.DEVNULL)
            places.append(Place(encoding, directory, cluster))
        for _ in range(options.runs):
            for place in places:
                for row, figures in bench.run(place).items():
                    samples.setdefault(place.name, {}).setdefault(row, []).append(figures)
    report(samples)
    if options.json:
        options.json.write_text(json.dumps(samples, indent=1))


if __name__ == "__main__":
    main()

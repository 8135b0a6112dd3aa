#!/usr/bin/env python3
"""First figures of a mount beside a local directory, in one run.

  tests/bench/mount_bench.py NAME=DIR [NAME=DIR ...] [--runs 3] [--size-mib 2048] [--remount CMD]

For each directory, in turn and repeated `--runs` times (medians are printed): sequential write
with a closing fsync and sequential cold read by fio (1 MiB blocks), 4 KiB write + fsync latency,
and create / stat / unlink rates of one thread. CPU seconds are those of the whole machine during
the measurement, so daemons and the FUSE client count. Needs root (drops the page cache) and fio.
`--remount NAME=CMD` runs CMD before cold reads of NAME.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")


def machine_cpu_seconds():
    with open("/proc/stat") as f:
        fields = [int(x) for x in f.readline().split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) / TICK


class Meter:
    def __enter__(self):
        self.cpu, self.wall = machine_cpu_seconds(), time.monotonic()
        return self

    def __exit__(self, *_):
        self.wall = time.monotonic() - self.wall
        self.cpu = machine_cpu_seconds() - self.cpu


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3\n")


def fio(*args):
    out = subprocess.run(["fio", "--output-format=json", "--name=job", *args], check=True,
                         capture_output=True, text=True).stdout
    return json.loads(out[out.index("{"):])["jobs"][0]


def sequential(directory, size_mib, remount):
    path = os.path.join(directory, "seq")
    common = [f"--filename={path}", "--bs=1M", f"--size={size_mib}M", "--ioengine=psync"]
    with Meter() as write:
        fio(*common, "--rw=write", "--end_fsync=1", "--fallocate=none")
    if remount:
        subprocess.run(remount, shell=True, check=True)
    drop_caches()
    with Meter() as read:
        fio(*common, "--rw=read", "--invalidate=0")
    os.unlink(path)
    gib = size_mib / 1024
    return {"seq write MiB/s": size_mib / write.wall, "seq write CPU s/GiB": write.cpu / gib,
            "seq read MiB/s": size_mib / read.wall, "seq read CPU s/GiB": read.cpu / gib}


def fsync_latency(directory, count):
    path = os.path.join(directory, "sync")
    block = os.urandom(4096)
    laps = []
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    with Meter() as meter:
        for i in range(count):
            begin = time.monotonic()
            os.pwrite(fd, block, i * 4096)
            os.fsync(fd)
            laps.append(time.monotonic() - begin)
    os.close(fd)
    os.unlink(path)
    laps.sort()
    return {"4 KiB write+fsync us (p50)": laps[count // 2] * 1e6,
            "4 KiB write+fsync us (p99)": laps[count * 99 // 100] * 1e6,
            "4 KiB write+fsync CPU us": meter.cpu / count * 1e6}


def metadata(directory, count):
    base = os.path.join(directory, "md")
    os.mkdir(base)
    names = [os.path.join(base, f"f{i}") for i in range(count)]
    result = {}

    def measure(name, operation):
        with Meter() as meter:
            for path in names:
                operation(path)
        result[f"{name}/s"] = count / meter.wall
        result[f"{name} CPU us"] = meter.cpu / count * 1e6

    measure("create", lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644)))
    measure("stat", os.stat)
    measure("unlink", os.unlink)
    os.rmdir(base)
    return result


def pairs(items):
    return dict(item.split("=", 1) for item in items)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="+", metavar="NAME=DIR")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size-mib", type=int, default=2048)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--fsyncs", type=int, default=1000)
    parser.add_argument("--remount", action="append", default=[], metavar="NAME=CMD")
    options = parser.parse_args()
    if shutil.which("fio") is None:
        sys.exit("mount_bench: fio is not installed: apt-get install fio")
    targets, remounts = pairs(options.targets), pairs(options.remount)
    samples = {name: {} for name in targets}
    for _ in range(options.runs):
        for name, directory in targets.items():
            work = os.path.join(directory, f"bench.{os.getpid()}")
            os.mkdir(work)
            figures = {}
            figures.update(sequential(work, options.size_mib, remounts.get(name)))
            figures.update(fsync_latency(work, options.fsyncs))
            figures.update(metadata(work, options.files))
            os.rmdir(work)
            for key, value in figures.items():
                samples[name].setdefault(key, []).append(value)
    names = list(targets)
    print("| figure (median of %d) | %s |" % (options.runs, " | ".join(names)))
    print("|---|" + "---|" * len(names))
    for key in next(iter(samples.values())):
        row = [statistics.median(samples[name][key]) for name in names]
        print("| %s | %s |" % (key, " | ".join(f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
                                              for value in row)))


if __name__ == "__main__":
    main()

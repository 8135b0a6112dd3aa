#!/usr/bin/env python3
"""A full cluster: writes wait or fail as mounted, everything else goes on, freed space is used."""

import errno
import os
import subprocess
import tempfile
from pathlib import Path

from harness import BIN, Demo, Results, arguments, check, main, run, wait_until

MIB = 1 << 20


def fill(path: Path) -> int:
    """Writes until the cluster refuses; the errno."""
    block = bytes(4 * MIB)
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
    try:
        while True:
            os.write(descriptor, block)
    except OSError as error:
        return error.errno
    finally:
        os.close(descriptor)


def free_bytes(mount: Path) -> int:
    facts = os.statvfs(mount)
    return facts.f_bavail * facts.f_frsize


def a_mount_that_shall_fail_gets_enospc(demo: Demo, failing: Path) -> None:
    got = fill(failing / "big")
    check(got == errno.ENOSPC, f"errno {got} instead of ENOSPC")


def the_cluster_warns(demo: Demo, failing: Path) -> None:
    # [ERR] when not a single byte can be allocated any more.
    space = next(line for line in demo.cairn("stat").stdout.splitlines()
                 if line.startswith("Space:"))
    check("[WARN]" in space or "[ERR]" in space, f"stat does not warn of the space: {space}")


def a_waiting_writer_can_be_killed(demo: Demo, failing: Path) -> None:
    writer = subprocess.Popen(["dd", "if=/dev/zero", f"of={demo.mount}/waits", "bs=1M",
                               "count=2000", "conv=fsync"], stderr=subprocess.DEVNULL)
    try:
        writer.wait(timeout=5)
        check(False, "a write of more than there is ended")
    except subprocess.TimeoutExpired:
        writer.kill()
        writer.wait(timeout=20)


def names_and_reads_go_on(demo: Demo, failing: Path) -> None:
    (failing / "directory").mkdir()
    check("big" in os.listdir(demo.mount), "the directory cannot be listed")
    with open(demo.mount / "big", "rb") as file:
        check(file.read(MIB) == bytes(MIB), "the big file cannot be read")


def removing_makes_room(demo: Demo, failing: Path) -> None:
    before = free_bytes(failing)
    (failing / "big").unlink()
    (failing / "waits").unlink(missing_ok=True)
    wait_until(lambda: free_bytes(failing) > before + 500 * MIB, 30, "space is back")
    run("dd", "if=/dev/zero", f"of={demo.mount}/again", "bs=1M", "count=200", "conv=fsync",
        seconds=60)


SCENARIOS = [a_mount_that_shall_fail_gets_enospc, the_cluster_warns, names_and_reads_go_on,
             a_waiting_writer_can_be_killed, removing_makes_room]


def body(results: Results, keep: bool) -> None:
    with Demo("--cs-size", "2G", keep=keep) as demo, tempfile.TemporaryDirectory() as other:
        failing = Path(other)
        run(BIN / "cairn-mount", "-c", demo.environment["CAIRN_CLUSTER"], failing,
            "--fail-on-nospace", env=demo.environment)
        try:
            for scenario in SCENARIOS:
                results.scenario(scenario.__name__, scenario, demo, failing)
        finally:
            run("umount", failing)


if __name__ == "__main__":
    options = arguments(__doc__)
    outcome = Results()
    main(outcome, lambda: body(outcome, options.keep))

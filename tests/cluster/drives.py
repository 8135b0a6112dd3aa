#!/usr/bin/env python3
"""Drives: prepare-drive on loop devices, hwflush-check against honest and lying devices, and
make-cs on partitions that begin where they should not."""

import os
from pathlib import Path

import flush_scenarios
import prepare_scenarios
from harness import Demo, Results, Skip, arguments, check, check_equal, main, run
from loops import Workplace, require_loops

SECTORS = 2048  # of a MiB
# Start and sectors. The first one begins as fdisk of old did, the second is large enough for
# --device, the third is as it should be.
PARTITIONS = [(63, 100 * SECTORS), (120 * SECTORS + 1, 1100 * SECTORS), (1300 * SECTORS + 8,
                                                                       100 * SECTORS)]
DRIVE_MIB = 1500


def make_cs_warns_of_a_partition_between_blocks(place: Workplace) -> None:
    """V2.5.2-6. Once, by name; it is made all the same."""
    drive = place.drive("unaligned.img", DRIVE_MIB)
    table = "".join(f"start={start}, size={size}\n" for start, size in PARTITIONS)
    run("sfdisk", "--quiet", drive, input="label: dos\n" + table)
    if not Path(f"{drive}p1").exists():
        run("partx", "-a", drive)  # a kernel that does not read tables of this kind
    with Demo("--cs", "1", "--replicas", "1", "--no-mount") as demo:
        for number in (1, 3):
            run("mkfs.ext4", "-q", f"{drive}p{number}")
            point = place.mount(f"{drive}p{number}", f"unaligned.mnt{number}")
            made = demo.cairn("make-cs", "-r", point / "cs", "--no-flush-check")
            expect_warning(made.stderr, drive, number)
            check((point / "cs" / "cs.conf").exists(), "no chunk server was made")
            run("umount", point)
        made = demo.cairn("make-cs", "-r", place.path / "raw", "--no-flush-check", "--device",
                          f"{drive}p2")
        expect_warning(made.stderr, drive, 2)
    place.detach(drive)


def expect_warning(said: str, drive: str, number: int) -> None:
    start = PARTITIONS[number - 1][0]
    warned = said.count(f"{drive}p{number} begins at sector {start} of {drive}")
    check_equal(warned, 0 if start % 8 == 0 else 1, f"warnings in {said!r}")
    check_equal(said.count("no multiple of 4 KiB"), warned, f"warnings in {said!r}")


def body(results: Results) -> None:
    with Workplace() as place:
        for scenario in prepare_scenarios.EVERYWHERE + flush_scenarios.EVERYWHERE:
            results.scenario(scenario.__name__, scenario, place)
        try:
            require_loops()
            missing = None
        except Skip as reason:
            missing = reason
        on_loops = [*flush_scenarios.ON_LOOPS, *prepare_scenarios.ON_LOOPS,
                    make_cs_warns_of_a_partition_between_blocks]
        for scenario in on_loops:
            results.scenario(scenario.__name__, run_or_skip, missing, scenario, place)


def run_or_skip(missing: Skip | None, scenario, place: Workplace) -> None:
    if missing is not None:
        raise missing
    scenario(place)


if __name__ == "__main__":
    os.environ.pop("CAIRN_CLUSTER", None)
    arguments(__doc__)
    outcome = Results()
    main(outcome, lambda: body(outcome), mounts=False)

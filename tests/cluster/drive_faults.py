#!/usr/bin/env python3
"""Drives in trouble under a running cluster: each letter of the flags, lost and damaged
journals, a full and a read-only filesystem, a slow drive with and without a journal on an SSD."""

import contextlib
import tempfile
from pathlib import Path

import fault_flags
import fault_journals
import fault_loops
from harness import Cluster, Results, arguments, main
from loops import Workplace


def wanted(scenarios: list, only: str) -> list:
    return [scenario for scenario in scenarios if only in scenario.__name__]


def flags_and_journals(results: Results, demo: Cluster, local: Path, only: str) -> None:
    on_flags = wanted(fault_flags.SCENARIOS + fault_journals.JOURNALS, only)
    slow_drive = wanted(fault_journals.SLOW_DRIVE, only)
    if not on_flags + slow_drive:
        return
    flags = fault_flags.Flags(demo, local)
    try:
        for scenario in on_flags:
            if not results.scenario(scenario.__name__, scenario, flags):
                flags.start_anew()
        if not slow_drive:
            return
        slow = fault_journals.SlowDrive(flags, 6)
        try:
            for scenario in slow_drive:
                results.scenario(scenario.__name__, scenario, slow)
        finally:
            slow.cs.end()
    finally:
        flags.end()
        for cs in flags.servers:
            demo.lib.start(cs.part)


def body(results: Results, keep: bool, only: str) -> None:
    with contextlib.ExitStack() as stack:
        local = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cairn-local-")))
        place = stack.enter_context(Workplace())
        demo = stack.enter_context(Cluster(mds=1, cs=4, clients=1, encoding="2+1", keep=keep,
                                           options=("--allow-faults",)))
        flags_and_journals(results, demo, local, only)
        fault_loops.run_all(results, demo, place, only)


if __name__ == "__main__":
    options = arguments(__doc__, only=("", "scenarios with this in their name"))
    outcome = Results()
    main(outcome, lambda: body(outcome, options.keep, options.only))

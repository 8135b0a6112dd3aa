#!/usr/bin/env python3
"""Drives: prepare-drive on loop devices, and hwflush-check against honest and lying devices."""

import os

import flush_scenarios
import prepare_scenarios
from harness import Results, Skip, arguments, main
from loops import Workplace, require_loops


def body(results: Results) -> None:
    with Workplace() as place:
        for scenario in prepare_scenarios.EVERYWHERE + flush_scenarios.EVERYWHERE:
            results.scenario(scenario.__name__, scenario, place)
        try:
            require_loops()
            missing = None
        except Skip as reason:
            missing = reason
        for scenario in flush_scenarios.ON_LOOPS + prepare_scenarios.ON_LOOPS:
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

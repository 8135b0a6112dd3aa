#!/usr/bin/env python3
"""The mounted filesystem behaves like one: the suites of tests/mount on a demo with two mounts."""

import re
import sys

from harness import ROOT, Demo, Results, Skip, arguments, check, main, run

MOUNT_TESTS = ROOT / "tests" / "mount"


def suite(demo: Demo, script: str, *words: object) -> None:
    path = MOUNT_TESTS / script
    if not path.exists():
        raise Skip(f"{path} is not there")
    result = run(sys.executable, path, *words, env=demo.environment, seconds=600, good=False)
    print("\n".join("    " + line for line in result.stdout.splitlines()), flush=True)
    summary = re.search(r"(\d+) passed, (\d+) failed", result.stdout)
    check(result.returncode == 0, f"exit code {result.returncode}: {result.stderr[-500:]}")
    check(summary is not None and int(summary.group(1)) > 0, "it passed nothing")


def body(results: Results, keep: bool) -> None:
    with Demo("--clients", "2", "--cs-size", "4G", keep=keep) as demo:
        first, second = demo.mount_number(1), demo.mount_number(2)
        results.scenario("posix_suite", suite, demo, "posix_suite.py", first)
        results.scenario("two_mounts", suite, demo, "two_mounts.py", first, second)
        results.scenario("fsx", suite, demo, "fsx.py", first, second)


if __name__ == "__main__":
    options = arguments(__doc__)
    outcome = Results()
    main(outcome, lambda: body(outcome, options.keep))

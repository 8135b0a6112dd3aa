"""Configures and builds the release preset, only what is asked for."""

import os
import subprocess
import sys
from pathlib import Path

from errors import DemoError

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "release"
BIN = BUILD / "bin"
PROGRAMS = ["cairn", "cairn-mdsd", "cairn-csd", "cairn-mount"]
GIB_PER_JOB = 1.5  # what one g++ of this tree may need


def jobs() -> int:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return max(1, min(os.cpu_count() or 1, int(memory / GIB_PER_JOB)))


def run(command: list[str], what: str) -> None:
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, check=False)
    if result.returncode != 0:
        tail = "\n".join(result.stdout.splitlines()[-40:])
        raise DemoError(f"{what} failed", tail, "Command: " + " ".join(command))


def build(targets: list[str]) -> None:
    """An empty list builds everything."""
    if not (BUILD / "build.ninja").exists():
        print("configuring ...", file=sys.stderr, flush=True)
        run(["cmake", "--preset", "release"], "configuring")
    print("building " + (" ".join(targets) or "everything") + " ...", file=sys.stderr, flush=True)
    run(["ninja", "-C", str(BUILD), f"-j{jobs()}", *targets], "building")


def require(programs: list[str]) -> None:
    absent = [name for name in programs if not (BIN / name).exists()]
    if absent:
        raise DemoError("not built: " + ", ".join(absent), f"They are not in {BIN}.",
                        "Repeat without --no-build.")

"""Mount points as the kernel sees them; nothing here looks into a mount that may hang."""

import os
import re
import subprocess
import time
from pathlib import Path

from errors import DemoError


def table() -> list[tuple[str, str, str]]:
    """(mount point, type, source) in the order of mounting."""
    rows = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), left.split(" ")[4])
        rows.append((point, right.split(" ")[0], right.split(" ")[1]))
    return rows


def is_mounted(point: Path) -> bool:
    return any(row[0] == str(point) for row in table())


def below(directory: Path) -> list[str]:
    prefix = str(directory) + "/"
    return [row[0] for row in table() if row[0] == str(directory) or row[0].startswith(prefix)]


def answers(point: Path, seconds: float = 5) -> bool:
    """A statfs in a process of its own: a dead mount must not take us with it."""
    try:
        result = subprocess.run(["stat", "-f", str(point)], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return False
    return result.returncode == 0


def unmount(point: Path, lazily: bool) -> bool:
    """True when nothing is mounted there any more."""
    for _ in range(50):
        if not is_mounted(point):
            return True
        if os.geteuid() == 0:
            command = ["umount", *(["-l"] if lazily else []), str(point)]
        else:
            command = ["fusermount3", "-u", *(["-z"] if lazily else []), str(point)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0 and not lazily:
            time.sleep(0.1)  # someone may just be closing his last file
    return not is_mounted(point)


def require_fuse() -> None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise DemoError("cannot mount", "/dev/fuse is missing or not accessible.",
                        "Load the module (modprobe fuse), give the container the device, "
                        "or use --no-mount.")

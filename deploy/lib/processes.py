"""Processes named by (pid, start time), so that a number that was given to another process in the
meantime is never killed."""

import os
import signal
import time
from pathlib import Path


def start_time(pid: int) -> int | None:
    """Clock ticks after boot; None when there is no such process (or only its zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold blanks and parentheses itself.
    fields = stat[stat.rindex(")") + 2:].split()
    return None if fields[0] in "ZX" else int(fields[19])


def alive(pid: int | None, started: int | None) -> bool:
    return pid is not None and started is not None and start_time(pid) == started


def find(program: str, argument: str, environment: dict[str, str]) -> int | None:
    """The process of `program` with this argument and these variables in its environment."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            if os.path.basename(os.fsdecode(words[0])) != program or argument.encode() not in words:
                continue
            have = set(Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if all(f"{k}={v}".encode() in have for k, v in environment.items()):
            if start_time(int(entry)) is not None:
                return int(entry)
    return None


def send(pid: int, started: int | None, number: signal.Signals) -> bool:
    """False when the process is gone."""
    if not alive(pid, started):
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_gone(pid: int | None, started: int | None, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while alive(pid, started):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def stop(pid: int, started: int | None, seconds: float) -> bool:
    """SIGTERM, and SIGKILL when it does not end in time. True when it ended by itself."""
    if not send(pid, started, signal.SIGTERM):
        return True
    if wait_gone(pid, started, seconds):
        return True
    send(pid, started, signal.SIGKILL)
    wait_gone(pid, started, 10)
    return False

#!/usr/bin/env python3
"""kill -9 of every process in turn under load, again and again. A writer fsyncs every file and
notes what must be there; the notes are outside the cluster. After each kill and restart the noted
files are compared."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import Demo, Results, arguments, check, digest, main, wait_until

SIZES = [1, 4095, 4096, 70_000, 1 << 20, 3_000_001, 9_000_000]
WARM_UP_FILES = 5
# What a mount may take to go on after a server came back.
RECOVERY_SECONDS = 60


def writer(root: Path, notes: Path, seed: int) -> None:
    """Runs as a process of its own until it is killed or the mount dies. A line of the notes is
    written only after fsync of the file (and of the overwritten part) returned."""
    generator = random.Random(seed)
    root.mkdir(exist_ok=True)
    with notes.open("a") as log:
        number = 0
        while True:
            path = root / f"{seed}-{number}"
            data = generator.randbytes(generator.choice(SIZES))
            try:
                with path.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                    note(log, path, data)
                    if number % 3 == 0 and len(data) > 5000:
                        data = overwrite(file, data, generator, log, path)
            except OSError as error:
                # The mount was killed under us: the round is over. Anything else is a finding.
                if error.errno in (errno.ENOTCONN, errno.ECONNABORTED):
                    return
                log.write(json.dumps({"error": f"{path}: {error}"}) + "\n")
                log.flush()
                raise
            number += 1


def note(log, path: Path, data: bytes) -> None:
    import hashlib
    log.write(json.dumps({"path": str(path), "sha256": hashlib.sha256(data).hexdigest()}) + "\n")
    log.flush()


def overwrite(file, data: bytes, generator: random.Random, log, path: Path) -> bytes:
    """Replaces a part in place. While it is under way a crash of the client may leave the old or
    the new bytes, and any mix of them: the note says so first."""
    at = generator.randrange(len(data) - 4000)
    new = data[:at] + generator.randbytes(4000) + data[at + 4000:]
    log.write(json.dumps({"path": str(path), "changing": True}) + "\n")
    log.flush()
    file.seek(at)
    file.write(new[at:at + 4000])
    file.flush()
    os.fsync(file.fileno())
    note(log, path, new)
    return new


def read_notes(notes: Path) -> tuple[dict[str, str], list[str]]:
    """Path -> checksum that must be found, without those being changed when the writer died."""
    expected: dict[str, str] = {}
    errors = []
    for line in notes.read_text().splitlines():
        entry = json.loads(line)
        if "error" in entry:
            errors.append(entry["error"])
        elif entry.get("changing"):
            expected.pop(entry["path"], None)
        else:
            expected[entry["path"]] = entry["sha256"]
    return expected, errors


def answers(mount: Path) -> bool:
    try:
        return subprocess.run(["ls", str(mount)], capture_output=True, timeout=20,
                              check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def one_round(demo: Demo, notes: Path, victim: str, number: int, expected: dict[str, str]) -> None:
    root = demo.mount / "crash"
    process = subprocess.Popen([sys.executable, "-B", __file__, "--writer", str(root), str(notes),
                                str(number)], stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: notes.exists() and len(notes.read_text().splitlines()) >= WARM_UP_FILES,
                   60, "the writer makes files")
        # A moment that differs from round to round, so that kills hit different steps.
        time.sleep(random.Random(number).random() * 0.5)
        demo.kill(victim)
        time.sleep(0.3)
        demo.start(victim)
        wait_until(lambda: answers(demo.mount), RECOVERY_SECONDS, f"mount answers after {victim}")
        if not victim.startswith("client"):
            before = len(notes.read_text().splitlines())
            wait_until(lambda: len(notes.read_text().splitlines()) > before or
                       process.poll() is not None, RECOVERY_SECONDS, "the writer goes on")
            check(process.poll() is None, "the writer died although the mount lives")
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    found, errors = read_notes(notes)
    check(not errors, f"the writer saw {errors[:3]}")
    expected.update(found)
    for path in list(expected):
        if path not in found and Path(path).name.startswith(f"{number}-"):
            del expected[path]
    if number % 3 == 0:
        demo.remount()
    # Everything of this round, and a sample of what earlier rounds left.
    earlier = random.Random(number).sample(sorted(set(expected) - set(found)),
                                           min(40, len(set(expected) - set(found))))
    for path in [*found, *earlier]:
        check(Path(path).exists(), f"{path} is gone, it was fsynced")
        check(digest(Path(path)) == expected[path], f"{path} has other bytes than were fsynced")


def body(results: Results, keep: bool, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="cairn-notes-") as local, \
            Demo("--cs", "7", "--encoding", "4+2", "--cs-size", "8G", keep=keep) as demo:
        victims = ["mds:1", *[f"cs:{i}" for i in range(1, 8)], "client:1"]
        expected: dict[str, str] = {}
        for number in range(rounds):
            victim = victims[number % len(victims)]
            notes = Path(local) / f"notes{number}"
            if not results.scenario(f"round {number}: kill -9 {victim}", one_round, demo, notes,
                                    victim, number, expected):
                break
        results.scenario("everything is there at the end", check_all, demo, expected)


def check_all(demo: Demo, expected: dict[str, str]) -> None:
    demo.remount()
    for path, checksum in expected.items():
        check(digest(Path(path)) == checksum, f"{path} has other bytes than were fsynced")
    print(f"    {len(expected)} fsynced files compared", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[1] == "--writer":
        writer(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
        sys.exit(0)
    options = arguments(__doc__, rounds=(50, "kills in all"))
    outcome = Results()
    main(outcome, lambda: body(outcome, options.keep, options.rounds))

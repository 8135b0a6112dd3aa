"""Real-process scenarios: a demo cluster of their own, named results, a summary line.

Each suite is a program: it prints "ok NAME", "FAIL NAME: reason" or "skip NAME: reason" a line and
ends with "N passed, N failed, N skipped"; exit code 1 when something failed.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "deploy" / "demo"
BIN = ROOT / "build" / "release" / "bin"
MESSAGE_MAX = 1000


class Skip(Exception):
    """The scenario cannot run here; says why."""


def check(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def check_equal(got: object, wanted: object, what: str) -> None:
    check(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


def wait_until(condition, seconds: float, what: str):
    """Polls; the value of the condition when it is true."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < end, f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def run(*words: object, seconds: float = 120, good: bool = True,
        **options) -> subprocess.CompletedProcess:
    command = [str(word) for word in words]
    result = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False,
                            **options)
    if good and result.returncode != 0:
        output = (result.stdout + result.stderr).strip()[-2000:]
        raise AssertionError(f"exit code {result.returncode} of {' '.join(command)}:\n{output}")
    return result


class Results:
    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def scenario(self, name: str, function, *arguments) -> bool:
        began = time.monotonic()
        try:
            function(*arguments)
        except Skip as reason:
            self.skipped += 1
            print(f"skip {name}: {reason}", flush=True)
            return False
        except (AssertionError, OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
            self.failed += 1
            print(f"FAIL {name}: {type(error).__name__}: {str(error)[:MESSAGE_MAX]}", flush=True)
            print("".join(traceback.format_tb(error.__traceback__)[-3:]), end="", flush=True)
            return False
        self.passed += 1
        print(f"ok {name} ({time.monotonic() - began:.1f} s)", flush=True)
        return True

    def end(self) -> int:
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        return 1 if self.failed else 0


class Demo:
    """A demo cluster in a directory of its own; taken down at the end, whatever happens."""

    def __init__(self, *options: str, keep: bool = False):
        self.options = options
        self.keep = keep
        self.dir = Path(tempfile.mkdtemp(prefix="cairn-test-"))
        self.environment: dict[str, str] = {}

    def __enter__(self) -> "Demo":
        try:
            self.demo("up", "--no-build", "--no-install", *self.options, seconds=300)
            self.read_environment()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        if self.keep:
            print(f"kept: {DEMO} --dir {self.dir} status", flush=True)
            return
        result = self.demo("down", seconds=120, good=False)
        if result.returncode != 0:
            # Loud, and the directory stays: removing it would reach through a mount.
            print(f"could not take down {self.dir}: {result.stderr}", flush=True)
        elif self.dir.exists():
            self.dir.rmdir()

    def demo(self, command: str, *words: str, **options) -> subprocess.CompletedProcess:
        return run(DEMO, command, "--dir", self.dir, *words, **options)

    def read_environment(self) -> None:
        text = run("env", "-i", "sh", "-c", f'eval "$({DEMO} env --dir {self.dir})"; env -0').stdout
        own = dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
        self.environment = {**os.environ, **own, "PATH": f"{BIN}:{os.environ['PATH']}"}

    @property
    def mount(self) -> Path:
        return Path(self.environment["MOUNT"])

    def mount_number(self, number: int) -> Path:
        return Path(self.environment["MOUNT" if number == 1 else f"MOUNT{number}"])

    def cairn(self, *words: object, **options) -> subprocess.CompletedProcess:
        return run(BIN / "cairn", *words, env=self.environment, **options)

    def stat(self) -> dict:
        return json.loads(self.cairn("stat", "--json").stdout)

    def kill(self, *parts: str) -> None:
        self.demo("kill", *parts)

    def start(self, *parts: str) -> None:
        self.demo("start", *parts)

    def remount(self, number: int = 1) -> None:
        """A clean end of the mount and a new one: nothing is left in any cache of the client."""
        point = self.mount_number(number)
        run("umount", point, seconds=60)
        self.start(f"client:{number}")
        # Else the tests would go on in the empty directory below.
        check(point.is_mount(), f"{point} is not mounted")

    def wait_cs(self, status: str, count: int, seconds: float = 30) -> None:
        wait_until(lambda: sum(cs["status"] == status for cs in self.stat()["cs"]) >= count,
                   seconds, f"{count} chunk servers {status}")


def digest(path: Path) -> str:
    checksum = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum.update(block)
    return checksum.hexdigest()


def tree_digests(root: Path) -> dict[str, str]:
    """Relative name -> sha256 of files, target of links, '' of directories."""
    result = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = Path(directory) / name
            relative = str(path.relative_to(root))
            if path.is_symlink():
                result[relative] = "-> " + os.readlink(path)
            else:
                result[relative] = "" if path.is_dir() else digest(path)
    return result


def check_same_tree(got: Path, wanted: Path) -> None:
    have, want = tree_digests(got), tree_digests(wanted)
    missing = sorted(set(want) - set(have))
    surplus = sorted(set(have) - set(want))
    different = sorted(name for name in set(have) & set(want) if have[name] != want[name])
    check(not missing and not surplus and not different,
          f"missing {missing[:5]}, surplus {surplus[:5]}, different {different[:5]}")


def require_fuse() -> None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise Skip("/dev/fuse is missing: nothing can be mounted here")


def require_program(name: str) -> None:
    if shutil.which(name) is None:
        raise Skip(f"{name} is not installed")


def arguments(description: str, **extra: tuple) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--keep", action="store_true", help="leave the cluster for inspection")
    for name, (default, text) in extra.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=text)
    return parser.parse_args()


def main(results: Results, body, mounts: bool = True) -> None:
    """Runs the suite; a cluster that does not come up is one failure."""
    # So that the cluster is taken down also when the suite is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if mounts:
            require_fuse()
        body()
    except Skip as reason:
        results.skipped += 1
        print(f"skip everything: {reason}", flush=True)
    except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
        results.failed += 1
        print(f"FAIL cluster: {error}", flush=True)
    sys.exit(results.end())

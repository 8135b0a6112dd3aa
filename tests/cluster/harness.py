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
sys.path.insert(0, str(ROOT / "deploy" / "lib"))
import cluster as demo_cluster  # noqa: E402
import processes  # noqa: E402
from errors import DemoError  # noqa: E402
from networks import OUTSIDE  # noqa: E402

DEMO = ROOT / "deploy" / "demo"
BIN = ROOT / "build" / "release" / "bin"
MESSAGE_MAX = 1000


FAILURES = (AssertionError, DemoError, OSError, subprocess.TimeoutExpired, ValueError, KeyError)


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
        except FAILURES as error:
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


class Servers:
    """A demo cluster in a directory of its own; taken down at the end, whatever happens. One MDS
    unless the options say otherwise."""

    def __init__(self, *options: str, keep: bool = False):
        self.options = options if "--mds" in options else ("--mds", "1", *options)
        self.keep = keep
        self.dir = Path(tempfile.mkdtemp(prefix="cairn-test-"))
        self.environment: dict[str, str] = {}

    def __enter__(self):
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


class Demo(Servers):
    @property
    def mount(self) -> Path:
        return Path(self.environment["MOUNT"])


class Mds:
    """One MDS of a Cluster. Everything here is done when it returns."""

    def __init__(self, cluster: "Cluster", part: dict):
        self._cluster = cluster
        self._part = part

    @property
    def name(self) -> str:
        return self._part["name"]

    @property
    def id(self) -> int:
        return self._part["id"]

    @property
    def address(self) -> str:
        return self._part["address"]

    @property
    def repository(self) -> Path:
        return Path(self._part["repo"])

    @property
    def pid(self) -> int | None:
        """None: it does not run."""
        return self._cluster.lib.pid(self._part)

    def log(self) -> str:
        return (self.repository / "logs" / "log").read_text(errors="replace")

    def start(self) -> None:
        """Returns when it answers; it need not have caught up."""
        self._cluster.lib.start(self._part)

    def kill(self) -> None:
        pid, started = self._running()
        processes.send(pid, started, signal.SIGKILL)
        check(processes.wait_gone(pid, started, 10), f"{self.name} does not end after kill -9")

    def stop(self, seconds: float = 10) -> None:
        """By SIGTERM: a master hands over first."""
        pid, started = self._running()
        processes.send(pid, started, signal.SIGTERM)
        check(processes.wait_gone(pid, started, seconds), f"{self.name} does not end on SIGTERM")

    def pause(self) -> None:
        processes.send(*self._running(), signal.SIGSTOP)

    def resume(self) -> None:
        processes.send(*self._running(), signal.SIGCONT)

    def _running(self) -> tuple[int, int]:
        pid = self.pid
        started = processes.start_time(pid) if pid is not None else None
        check(started is not None, f"{self.name} does not run")
        return pid, started


class Cluster(Servers):
    """A group of MDS, chunk servers and mounts. Indexes of MDS and mounts are from 0.

    `encoding`: M+N, or a number of copies.
    `networks`: each MDS in a network namespace of its own; cut(), isolate() and heal() need that.
    """

    def __init__(self, mds: int = 3, cs: int = 4, clients: int = 1, encoding: str = "2+1",
                 networks: bool = False, keep: bool = False, options: tuple[str, ...] = ()):
        if networks and (os.geteuid() != 0 or shutil.which("nsenter") is None):
            raise Skip("network namespaces need root and nsenter")
        more = ("--mds-networks",) if networks else ()
        kind = "--encoding" if "+" in encoding else "--replicas"
        super().__init__("--mds", str(mds), "--cs", str(cs), "--clients", str(clients),
                         kind, encoding, "--cs-size", "4G", *more, *options, keep=keep)
        self.lib = demo_cluster.Cluster(self.dir)
        self.mds: list[Mds] = []

    def __enter__(self):
        super().__enter__()
        self.lib.require()
        self.mds = [Mds(self, self.lib.parts[name]) for name in self.lib.names("mds")]
        return self

    # ---- the group ----

    def members(self) -> list[dict]:
        """The "mds" of stat: id, status, master, ... An AssertionError when there is no master."""
        return self.stat()["mds"]

    def master(self) -> int | None:
        """Its index; None while none answers."""
        result = self.cairn("stat", "--json", good=False)
        if result.returncode != 0:
            return None
        return self._master_of(json.loads(result.stdout)["mds"])

    def _master_of(self, members: list[dict]) -> int | None:
        masters = [mds["id"] for mds in members if mds["master"]]
        return next((i for i, mds in enumerate(self.mds) if [mds.id] == masters), None)

    def wait_master(self, seconds: float = 10, other_than: int | None = None) -> int:
        def found() -> tuple[int] | None:
            index = self.master()
            return None if index is None or index == other_than else (index,)
        return wait_until(found, seconds, "a master answers")[0]

    def wait_avail(self, seconds: float = 60, count: int | None = None) -> int:
        """Until all (`count`) MDS are avail voters and one is the master: its index."""
        wanted = len(self.mds) if count is None else count

        def good() -> tuple[int] | None:
            result = self.cairn("stat", "--json", good=False)
            members = json.loads(result.stdout)["mds"] if result.returncode == 0 else []
            able = len(demo_cluster.able_mds(members))
            index = self._master_of(members)
            return (index,) if able >= wanted and index is not None else None
        return wait_until(good, seconds, f"{wanted} MDS avail")[0]

    def add_mds(self) -> Mds:
        """Made, joined and started; wait_avail() tells when it is a voter."""
        part = self.lib.new_mds()
        self.lib.save()
        self.lib.make_mds(part)
        self.mds.append(Mds(self, part))
        return self.mds[-1]

    # ---- mounts ----

    def mount(self, index: int = 0, *options: str) -> Path:
        """Mounted when it returns, if it was not; one that does not exist yet is made.
        `options` are for cairn-mount."""
        name = f"client:{index + 1}"
        if name not in self.lib.parts:
            point = self.lib.dir / f"mnt{index + 1}"
            self.lib.parts[name] = {"name": name, "kind": "client", "mount": str(point),
                                    "made": True,
                                    "log": str(self.lib.dir / "logs" / f"client{index + 1}.log")}
            self.lib.save()
        part = self.lib.parts[name]
        if options:
            part["options"] = list(options)
        self.lib.start(part)
        return Path(part["mount"])

    def unmount(self, index: int = 0) -> None:
        part = self.lib.parts[f"client:{index + 1}"]
        check(self.lib.stop(part), f"{part['mount']} did not end by itself")

    def mount_log(self, index: int = 0) -> str:
        return Path(self.lib.parts[f"client:{index + 1}"]["log"]).read_text(errors="replace")

    # ---- faults of the network between MDS; None is everybody who is no MDS ----

    def cut(self, one: int | None, other: int | None) -> None:
        """Packets between the two are lost, silently."""
        self.lib.networks.cut(self._end(one), self._end(other))

    def cut_one_way(self, sender: int | None, receiver: int | None) -> None:
        self.lib.networks.cut_one_way(self._end(sender), self._end(receiver))

    def separate(self, *groups: list[int]) -> None:
        """MDS of different groups do not hear each other; all still reach clients."""
        for number, group in enumerate(groups):
            for later in groups[number + 1:]:
                for one in group:
                    for other in later:
                        self.cut(one, other)

    def isolate(self, index: int) -> None:
        """From everybody: MDS, chunk servers, clients."""
        self.lib.networks.isolate(self._end(index))

    def heal(self) -> None:
        self.lib.networks.heal()

    def _end(self, index: int | None) -> str:
        check(self.lib.networks is not None, "Cluster(networks=True) is needed")
        return OUTSIDE if index is None else self.mds[index].name


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
    except (AssertionError, DemoError, OSError, subprocess.TimeoutExpired) as error:
        results.failed += 1
        print(f"FAIL cluster: {error}", flush=True)
    sys.exit(results.end())

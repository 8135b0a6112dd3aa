"""One demo cluster: its directory, its parts (mds:1, cs:1 .. cs:N, client:1 ..), how each is
started, stopped and found again. DIR/state.json holds what cannot be derived; it is written before
anything is started, so that an `up` that died half way can still be taken down."""

import json
import os
import random
import shutil
import socket
import subprocess
import time
from pathlib import Path

import mounts
import processes
from build import BIN
from errors import DemoError
from networks import Networks

CLUSTER = "demo"
START_SECONDS = 60
ACTIVE_SECONDS = 30
JOIN_SECONDS = 60
STOP_SECONDS = 10


def free_port_pair(taken: set[int] = frozenset()) -> int:
    """A loopback port p with p and p + 1 free and p not taken, outside the range the kernel gives
    to clients."""
    for _ in range(1000):
        port = random.randrange(20000, 32000, 2)
        if port in taken:
            continue
        try:
            for number in (port, port + 1):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", number))
            return port
        except OSError:
            continue
    raise DemoError("no two free consecutive ports between 20000 and 32000")


def able_mds(members: list[dict]) -> list[dict]:
    """Of the "mds" of stat: the voters that this master heard and that are up to date. Right after
    its election a master calls everybody avail."""
    return [mds for mds in members if mds["status"] == "avail" and mds["role"] == "voter" and
            mds["uptime_ns"] > 0]


def owns_journal(part: dict) -> bool:
    """The journal directory of this chunk server is not somebody else's by now."""
    try:
        owner = json.loads((Path(part["journal"]) / "cairn-journal.owner").read_text())
        return owner["repository"] == part["repo"]
    except (KeyError, OSError, ValueError):
        return False


class Cluster:
    def __init__(self, directory: Path):
        self.dir = directory
        self.state: dict = {}

    # ---- state ----

    @property
    def state_file(self) -> Path:
        return self.dir / "state.json"

    @property
    def etc(self) -> Path:
        return self.dir / "etc"

    @property
    def parts(self) -> dict[str, dict]:
        return self.state["parts"]

    def names(self, kind: str) -> list[str]:
        return [name for name in self.parts if name.split(":")[0] == kind]

    def load(self) -> bool:
        try:
            self.state = json.loads(self.state_file.read_text())
        except FileNotFoundError:
            return False
        return True

    def require(self) -> None:
        if not self.load():
            raise DemoError(f"there is no demo in {self.dir}", "", "Start one: deploy/demo up", 3)

    def save(self) -> None:
        temporary = self.state_file.with_suffix(".new")
        temporary.write_text(json.dumps(self.state, indent=2) + "\n")
        os.replace(temporary, self.state_file)

    def part(self, name: str) -> dict:
        """"cs:3" is the third chunk server, "cs:1027" the one with that id."""
        kind, _, number = name.partition(":")
        for candidate in self.names(kind):
            if candidate == name or str(self.parts[candidate].get("id")) == number:
                return self.parts[candidate]
        raise DemoError(f"there is no '{name}'", "", "There are: " + " ".join(self.parts), 3)

    def name_of_mds(self, mds_id: int) -> str:
        return next(name for name in self.names("mds") if self.parts[name]["id"] == mds_id)

    # ---- commands ----

    def environment(self, host_file: str | None = None) -> dict[str, str]:
        result = {**os.environ, "CAIRN_ETC": str(self.etc), "CAIRN_CLUSTER": CLUSTER,
                  "PATH": f"{BIN}:{os.environ.get('PATH', '')}"}
        result.pop("CAIRN_HOST_ID_FILE", None)
        if host_file:
            result["CAIRN_HOST_ID_FILE"] = host_file
        return result

    @property
    def networks(self) -> Networks | None:
        state = self.state.get("networks")
        return Networks(state) if state else None

    def run(self, *words: str, host_file: str | None = None, stdin: str = "",
            seconds: float = START_SECONDS, where: list[str] | None = None) -> str:
        """`where`: words before the command, Networks.inside()."""
        try:
            result = subprocess.run([*(where or []), str(BIN / words[0]), *words[1:]], input=stdin,
                                    env=self.environment(host_file), capture_output=True,
                                    text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise DemoError(f"{words[0]} did not end in {seconds:.0f} s",
                            "", "Command: " + " ".join(words)) from None
        if result.returncode != 0:
            raise DemoError(f"{words[0]} failed (exit code {result.returncode})",
                            result.stderr.strip(), "Command: " + " ".join(words))
        return result.stdout

    def stat(self) -> dict:
        return json.loads(self.run("cairn", "stat", "--json"))

    def where(self, part: dict) -> list[str]:
        inside = self.networks is not None and part["kind"] == "mds"
        return self.networks.inside(part["name"]) if inside else []

    # ---- making ----

    def new_mds(self) -> dict:
        """A part with the next number and an address; nothing is made yet."""
        number = 1 + max([0, *(int(name.split(":")[1]) for name in self.names("mds"))])
        name = f"mds:{number}"
        taken = {int(self.parts[other]["address"].rsplit(":", 1)[1]) for other in self.names("mds")}
        host = "127.0.0.1" if self.networks is None else self.networks.address(name)
        part = {"name": name, "kind": "mds", "id": number, "repo": str(self.dir / f"mds{number}"),
                "address": f"{host}:{free_port_pair(taken)}"}
        self.parts[name] = part
        return part

    def make_mds(self, part: dict, password: str | None = None) -> None:
        """The first one of a new cluster, with its password, or one that joins."""
        if self.networks is not None:
            self.networks.add(part["name"])
            self.save()
        kind = ["-I"] if password else []
        self.run("cairn", "-c", CLUSTER, "make-mds", *kind, "-a", part["address"], "-r",
                 part["repo"], *(["-P"] if password else []), "--force",
                 stdin=password + "\n" if password else "", where=self.where(part))
        part["id"] = json.loads((Path(part["repo"]) / "mds.conf").read_text())["mds_id"]
        self.start(part)

    def make_cs(self, part: dict, *options: str) -> None:
        """`options` are for make-cs."""
        journal = ["-j", part["journal"]] if part.get("journal") else []
        if self.state.get("journal_mb"):
            journal += ["-s", str(self.state["journal_mb"])]
        self.run("cairn", "-c", CLUSTER, "make-cs", "-r", part["repo"], "--size",
                 self.state["cs_size"], *journal, *options, host_file=part["host_file"])
        part["id"] = json.loads((Path(part["repo"]) / "cs.conf").read_text())["cs_id"]

    # ---- parts ----

    def find(self, part: dict) -> int | None:
        program, argument = {"mds": ("cairn-mdsd", part.get("repo")),
                             "cs": ("cairn-csd", part.get("repo")),
                             "client": ("cairn-mount", part.get("mount"))}[part["kind"]]
        return processes.find(program, argument, {"CAIRN_ETC": str(self.etc)})

    def pid(self, part: dict) -> int | None:
        """The recorded process if it still is that one, else whoever serves the part now."""
        if processes.alive(part.get("pid"), part.get("start")):
            return part["pid"]
        return self.find(part)

    def running(self, part: dict) -> int | None:
        """Its pid if it serves. A client without its mount only writes back what it has."""
        pid = self.pid(part)
        if pid is not None and part["kind"] == "client":
            return pid if mounts.is_mounted(Path(part["mount"])) else None
        return pid

    def start(self, part: dict) -> None:
        if self.running(part) is not None:
            return
        pid = self.pid(part)
        if not processes.wait_gone(pid, processes.start_time(pid) if pid else None, STOP_SECONDS):
            raise DemoError(f"the old {part['name']} (pid {pid}) does not end", self.log_tail(part))
        if part["kind"] == "client":
            self.start_client(part)
        else:
            program = "cairn-mdsd" if part["kind"] == "mds" else "cairn-csd"
            self.run(program, "-r", part["repo"], "-D", *part.get("options", []),
                     host_file=part.get("host_file"), where=self.where(part))
        pid = self.find(part)
        if pid is None:
            raise DemoError(f"{part['name']} ended right after its start", self.log_tail(part))
        part["pid"], part["start"] = pid, processes.start_time(pid)
        self.save()

    def start_client(self, part: dict) -> None:
        point = Path(part["mount"])
        if mounts.is_mounted(point) and not mounts.unmount(point, lazily=True):
            raise DemoError(f"a dead mount at {point} could not be removed")
        point.mkdir(parents=True, exist_ok=True)
        self.run("cairn-mount", "-c", CLUSTER, str(point), "-l", part["log"],
                 *part.get("options", []))
        if not mounts.is_mounted(point):
            raise DemoError(f"cairn-mount ended well, but nothing is mounted at {point}",
                            self.log_tail(part))

    def stop(self, part: dict) -> bool:
        """True when it ended by itself."""
        pid = self.pid(part)
        gently = True
        if part["kind"] == "client":
            gently = self.stop_client(part, pid)
        elif pid is not None:
            gently = processes.stop(pid, processes.start_time(pid), STOP_SECONDS)
        part.pop("pid", None)
        part.pop("start", None)
        return gently

    def stop_client(self, part: dict, pid: int | None) -> bool:
        started = processes.start_time(pid) if pid is not None else None
        point = Path(part["mount"])
        # A dead process leaves a mount that only a lazy unmount takes away.
        gently = started is not None and mounts.unmount(point, lazily=False)
        if not gently:
            mounts.unmount(point, lazily=True)
        if processes.wait_gone(pid, started, STOP_SECONDS):
            return gently or pid is None
        return processes.stop(pid, started, STOP_SECONDS)

    def log_tail(self, part: dict) -> str:
        log = Path(part.get("log") or Path(part["repo"]) / "logs" / "log")
        try:
            return "\n".join(log.read_text(errors="replace").splitlines()[-10:])
        except OSError:
            return f"(no log at {log})"

    # ---- waiting ----

    def wait_active(self) -> None:
        wanted = len(self.names("cs"))
        end = time.monotonic() + ACTIVE_SECONDS
        while True:
            active = [cs for cs in self.stat()["cs"] if cs["status"] == "active"]
            if len(active) == wanted:
                return
            if time.monotonic() > end:
                raise DemoError(f"{len(active)} of {wanted} chunk servers are active",
                                f"after {ACTIVE_SECONDS} s", "Look: deploy/demo status")
            time.sleep(0.1)

    def wait_mds(self, wanted: int | None = None) -> int:
        """Until so many (all) MDS are avail voters and one is the master; the id of that."""
        wanted = wanted or len(self.names("mds"))
        end = time.monotonic() + JOIN_SECONDS
        while True:
            members = self.stat()["mds"]
            good = able_mds(members)
            masters = [mds["id"] for mds in members if mds["master"]]
            if len(good) == wanted and len(masters) == 1:
                return masters[0]
            if time.monotonic() > end:
                raise DemoError(f"{len(good)} of {wanted} MDS are available, masters: {masters}",
                                f"after {JOIN_SECONDS} s", "Look: deploy/demo status")
            time.sleep(0.1)

    # ---- removal ----

    def remove_files(self) -> None:
        """Only what a demo makes, and never through a mount."""
        still = mounts.below(self.dir)
        if still:
            raise DemoError("something is mounted inside: " + ", ".join(still), "",
                            "Unmount it and repeat: deploy/demo down")
        if self.networks is not None:
            self.networks.remove()
        for part in self.parts.values():
            if part["kind"] == "client":
                point = Path(part["mount"])
                if part["made"] and point.is_dir() and not os.listdir(point):
                    point.rmdir()
            else:
                shutil.rmtree(part["repo"], ignore_errors=True)
                if owns_journal(part):
                    shutil.rmtree(part["journal"], ignore_errors=True)
        for name in ("etc", "logs"):
            shutil.rmtree(self.dir / name, ignore_errors=True)
        (self.dir / "password").unlink(missing_ok=True)
        # Last: as long as it is there, `down` can be repeated.
        self.state_file.unlink(missing_ok=True)
        if not os.listdir(self.dir):
            self.dir.rmdir()

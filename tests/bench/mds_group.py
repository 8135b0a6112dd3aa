"""A group of MDS for benchmarks: no chunk servers, no mounts, processes that are our children."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "lib"))

from cluster import free_port_pair  # noqa: E402

BIN = ROOT / "build" / "release" / "bin"
TICK = os.sysconf("SC_CLK_TCK")
START_SECONDS = 600  # ten million inodes may have to be read


class Group:
    """`directory` must not exist; it is the caller's to remove."""

    def __init__(self, directory: Path, count: int, programs: Path = BIN):
        self.dir = directory
        self.programs = programs
        self.name = f"bench{count}"
        self.etc = directory / "etc"
        self.environment = {**os.environ, "CAIRN_ETC": str(self.etc)}
        self.environment.pop("CAIRN_CLUSTER", None)
        self.addresses: list[str] = []
        self.ids: list[int] = []
        self.processes: list[subprocess.Popen | None] = []
        self.count = count

    def __enter__(self) -> "Group":
        self.dir.mkdir(parents=True)
        try:
            for number in range(self.count):
                self.add()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        for number, process in enumerate(self.processes):
            if process is not None:
                process.send_signal(signal.SIGCONT)
                self.end(number, signal.SIGTERM)

    def repository(self, number: int) -> Path:
        return self.dir / f"mds{number + 1}"

    def cairn(self, *words: str, good: bool = True) -> str:
        result = subprocess.run([self.programs / "cairn", "-c", self.name, *words],
                                capture_output=True, text=True, env=self.environment, check=False)
        if result.returncode != 0 and good:
            raise RuntimeError(f"cairn {' '.join(words)}: {result.stderr}")
        return result.stdout if result.returncode == 0 else ""

    def make(self) -> int:
        """Made and not started: its number."""
        number = len(self.processes)
        taken = {int(address.rsplit(":", 1)[1]) for address in self.addresses}
        address = f"127.0.0.1:{free_port_pair(taken) if taken else free_port_pair()}"
        first = ["-I"] if number == 0 else []
        self.cairn("make-mds", *first, "-a", address, "-r", str(self.repository(number)), "--force")
        self.addresses.append(address)
        self.ids.append(json.loads((self.repository(number) / "mds.conf").read_text())["mds_id"])
        self.processes.append(None)
        return number

    def add(self) -> None:
        number = self.make()
        self.start(number)
        self.wait_avail(number + 1)

    def start(self, number: int) -> None:
        with (self.dir / f"mds{number + 1}.log").open("a") as log:
            self.processes[number] = subprocess.Popen(
                [self.programs / "cairn-mdsd", "-r", self.repository(number)], stdout=log,
                stderr=log, env=self.environment)

    def end(self, number: int, how: signal.Signals) -> None:
        process = self.processes[number]
        process.send_signal(how)
        process.wait()
        self.processes[number] = None

    def stat(self) -> dict | None:
        text = self.cairn("stat", "--json", good=False)
        return json.loads(text) if text else None

    def wait_avail(self, count: int) -> int:
        """The number of the master, when so many are voters and available."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            for number, process in enumerate(self.processes):
                if process is not None and process.poll() is not None:
                    log = (self.dir / f"mds{number + 1}.log").read_text()[-500:]
                    raise RuntimeError(f"MDS#{self.ids[number]} ended: {log}")
            state = self.stat()
            members = state["mds"] if state else []
            able = [m for m in members
                    if m["status"] == "avail" and m.get("role", "voter") == "voter"]
            masters = [m["id"] for m in members if m["master"]]
            if len(able) >= count and len(masters) == 1:
                return self.ids.index(masters[0])
            time.sleep(0.05)
        raise RuntimeError(f"{count} MDS are not available after {START_SECONDS} s")

    # ---- what it costs ----

    def cpu_seconds(self) -> float:
        """Of all its MDS, since their start."""
        total = 0.0
        for process in self.processes:
            if process is not None:
                text = Path(f"/proc/{process.pid}/stat").read_text()
                fields = text[text.rindex(")") + 2:].split()
                total += (int(fields[11]) + int(fields[12])) / TICK
        return total

    def memory(self, number: int) -> dict[str, int]:
        """VmRSS, VmHWM and RssAnon in bytes."""
        lines = Path(f"/proc/{self.processes[number].pid}/status").read_text().splitlines()
        wanted = ("VmRSS", "VmHWM", "RssAnon")
        return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines
                if line.split(":")[0] in wanted}

    def load_command(self, *words: str) -> list[str]:
        return [str(BIN / "cairn-mds-bench"), "-c", self.name, "--masters",
                ",".join(self.addresses), "--json", *words]

    def load(self, *words: str) -> dict:
        """One run of cairn-mds-bench, with the CPU seconds it cost the MDS."""
        cpu = self.cpu_seconds()
        result = subprocess.run(self.load_command(*words), capture_output=True, text=True,
                                env=self.environment, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"cairn-mds-bench: {result.stderr}")
        figures = json.loads(result.stdout)
        figures["cpu_s"] = self.cpu_seconds() - cpu
        return figures

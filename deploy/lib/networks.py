"""Each MDS in a network namespace of its own, all on one bridge with the host, where the chunk
servers, mounts and tools stay. For tests of partitions: cut() and isolate() lose packets without a
word, as a broken switch does. Needs root and ip(8), bridge(8).

A cut is a wrong hardware address for the other side: what is sent to it reaches nobody."""

import ipaddress
import random
import subprocess

from errors import DemoError

OUTSIDE = "outside"  # the host's end of the bridge
NOWHERE = "02:00:00:00:00:00"
HOST_NUMBER = 254


def run(*words: str, good: bool = True) -> str:
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    if good and result.returncode != 0:
        raise DemoError(f"{' '.join(words)} failed", result.stderr.strip(),
                        "Network namespaces need root and a kernel with veth and bridge.")
    return result.stdout


class Networks:
    """`state` is what the demo keeps of it: {"bridge", "prefix", "members": [name, ...]}."""

    def __init__(self, state: dict):
        self.state = state

    @staticmethod
    def plan() -> dict:
        taken = [ipaddress.ip_network(word, strict=False)
                 for word in run("ip", "-4", "-o", "addr").split() if "/" in word]
        for _ in range(1000):
            prefix = f"10.{random.randrange(128, 256)}.{random.randrange(256)}"
            subnet = ipaddress.ip_network(f"{prefix}.0/24")
            if not any(subnet.overlaps(other) for other in taken):
                return {"bridge": f"crn{random.randrange(16**8):08x}", "prefix": prefix,
                        "members": []}
        raise DemoError("no free private network was found")

    # ---- names and addresses ----

    def number(self, name: str) -> int:
        return HOST_NUMBER if name == OUTSIDE else int(name.split(":")[1])

    def address(self, name: str) -> str:
        return f"{self.state['prefix']}.{self.number(name)}"

    def namespace(self, name: str) -> str:
        return f"{self.state['bridge']}-{self.number(name)}"

    def port(self, name: str) -> str:
        """The bridge's end of the cable."""
        return f"{self.state['bridge']}p{self.number(name)}"

    def inside(self, name: str) -> list[str]:
        """Words that run a command where `name` lives."""
        return [] if name == OUTSIDE else ["nsenter", f"--net=/run/netns/{self.namespace(name)}"]

    def device(self, name: str) -> str:
        return self.state["bridge"] if name == OUTSIDE else "eth0"

    # ---- making and removing ----

    def make(self) -> None:
        bridge = self.state["bridge"]
        run("ip", "link", "add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        run("ip", "addr", "add", f"{self.address(OUTSIDE)}/24", "dev", bridge)
        run("ip", "link", "set", bridge, "up")

    def add(self, name: str) -> None:
        namespace, port = self.namespace(name), self.port(name)
        if name not in self.state["members"]:
            self.state["members"].append(name)
        run("ip", "netns", "add", namespace)
        run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        run("ip", "link", "set", port, "master", self.state["bridge"], "up")
        run(*self.inside(name), "ip", "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            run(*self.inside(name), "ip", "link", "set", device, "up")

    def remove(self) -> None:
        for name in self.state["members"]:
            run("ip", "netns", "del", self.namespace(name), good=False)
            run("ip", "link", "del", self.port(name), good=False)
        run("ip", "link", "del", self.state["bridge"], good=False)

    # ---- faults ----

    def cut_one_way(self, sender: str, receiver: str) -> None:
        run(*self.inside(sender), "ip", "neigh", "replace", self.address(receiver), "lladdr",
            NOWHERE, "nud", "permanent", "dev", self.device(sender))

    def join_one_way(self, sender: str, receiver: str) -> None:
        run(*self.inside(sender), "ip", "neigh", "del", self.address(receiver), "dev",
            self.device(sender), good=False)

    def cut(self, one: str, other: str) -> None:
        self.cut_one_way(one, other)
        self.cut_one_way(other, one)

    def join(self, one: str, other: str) -> None:
        self.join_one_way(one, other)
        self.join_one_way(other, one)

    def isolate(self, name: str) -> None:
        """From everybody; its own cable stays up, so that it is not told."""
        run("bridge", "link", "set", "dev", self.port(name), "state", "0")

    def rejoin(self, name: str) -> None:
        run("bridge", "link", "set", "dev", self.port(name), "state", "3")

    def heal(self) -> None:
        """Every cut and isolation ends."""
        everybody = [*self.state["members"], OUTSIDE]
        for name in self.state["members"]:
            self.rejoin(name)
        for sender in everybody:
            for receiver in everybody:
                if sender != receiver:
                    self.join_one_way(sender, receiver)

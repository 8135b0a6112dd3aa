"""Asks a running cairn-csd through its control door (common/cluster/control_protocol.h)."""

import json
import os
import socket
from pathlib import Path

from harness import check


def ask(repository: Path | str, seconds: float = 30, **request) -> dict:
    """The whole last answer: {"ok": True, "state": ...} or {"ok": False, "code": ..., ...}."""
    # Through a descriptor: the path may be longer than a socket's address.
    directory = os.open(repository, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(seconds)
            door.connect(f"/proc/self/fd/{directory}/control")
            door.sendall((json.dumps(request) + "\n").encode())
            with door.makefile() as lines:
                for line in lines:
                    answer = json.loads(line)
                    if "progress" not in answer:
                        return answer
    finally:
        os.close(directory)
    raise AssertionError(f"the control door of {repository} closed without an answer")


def state(repository: Path | str, **request) -> dict:
    answer = ask(repository, **(request or {"op": "status"}))
    check(answer["ok"], f"{request or 'status'}: {answer}")
    return answer["state"]


def fault(repository: Path | str, device: str, plan: str) -> None:
    """`device`: "data" or "journal". The daemon was started with --allow-faults."""
    state(repository, op="fault", device=device, plan=plan)

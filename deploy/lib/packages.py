"""Installs the Debian packages of packages.txt that are missing. Touches apt only then, so that it
works offline on a machine that has them all."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from errors import DemoError


def wanted(file: Path) -> list[str]:
    names = []
    for line in file.read_text().splitlines():
        name = line.split("#")[0].strip()
        if name:
            names.append(name)
    return names


def missing(names: list[str]) -> list[str]:
    result = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names],
                            capture_output=True, text=True, check=False)
    installed = {line.split()[0] for line in result.stdout.splitlines()
                 if line.endswith(" installed")}
    return [name for name in names if name not in installed]


def install(file: Path) -> None:
    if shutil.which("dpkg-query") is None:
        raise DemoError("cannot check the packages", "This is no Debian system (no dpkg-query).",
                        f"Install what {file} lists by hand and repeat with --no-install.")
    absent = missing(wanted(file))
    if not absent:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *absent]
    if os.geteuid() != 0:
        raise DemoError("packages are missing: " + " ".join(absent), "Only root may install them.",
                        "sudo " + " ".join(command))
    print("installing: " + " ".join(absent), file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for attempt in (command, ["apt-get", "update"], command):
        result = subprocess.run(attempt, env=environment, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, check=False)
        if attempt is command and result.returncode == 0:
            return
    raise DemoError("the packages could not be installed",
                    "\n".join(result.stdout.splitlines()[-5:]),
                    "Repeat when the package mirror can be reached: " + " ".join(command))

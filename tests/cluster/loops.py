"""Loop devices for tests: drives of sparse files, with their partitions and mounts.

Everything lies in a directory whose name has the process's id; what a killed run left behind is
taken down by the next one.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from harness import Skip, check, require_program, run

PREFIX = "cairn-drives-"
MIB = 1 << 20


def backing_files() -> dict[str, str]:
    """Kernel name of each loop device in use -> its file."""
    result = {}
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            result[entry.parents[1].name] = entry.read_text().strip()
        except OSError:
            pass  # detached meanwhile
    return result


def mounts_of(name: str) -> list[str]:
    """Where the device or its partitions are mounted, the newest last."""
    result = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        source = line.split(" - ")[1].split()[1]
        if source == f"/dev/{name}" or source.startswith(f"/dev/{name}p"):
            result.append(line.split()[4].replace("\\040", " "))
    return result


def take_down(name: str) -> None:
    for place in reversed(mounts_of(name)):
        run("umount", place, seconds=60)
    run("losetup", "-d", f"/dev/{name}")
    # A partition that the kernel was told of leaves its node where nobody removes nodes.
    for node in Path("/dev").glob(f"{name}p*"):
        if not Path(f"/sys/class/block/{node.name}").exists():
            node.unlink(missing_ok=True)


def clean_after_killed_runs() -> None:
    for directory in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        owner = directory.name[len(PREFIX):].split("-")[0]
        if not owner.isdigit() or Path(f"/proc/{owner}").exists():
            continue
        for name, file in backing_files().items():
            if file.startswith(f"{directory}/"):
                take_down(name)
        shutil.rmtree(directory)


def require_loops() -> None:
    if os.geteuid() != 0:
        raise Skip("loop devices and mounts need root")
    for program in ("losetup", "mkfs.ext4", "sfdisk", "blkid", "findmnt", "partx"):
        require_program(program)
    if not Path("/dev/loop-control").exists():
        raise Skip("there are no loop devices here")
    with tempfile.NamedTemporaryFile(prefix=PREFIX) as file:
        os.truncate(file.name, MIB)
        made = subprocess.run(["losetup", "-f", "--show", file.name], capture_output=True,
                              text=True, check=False)
        if made.returncode != 0:
            raise Skip(f"loop devices cannot be made here: {made.stderr.strip()}")
        run("losetup", "-d", made.stdout.strip())


class Workplace:
    """A directory with loop devices over files in it; all gone at the end."""

    def __enter__(self) -> "Workplace":
        clean_after_killed_runs()
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        return self

    def __exit__(self, *_) -> None:
        for name, file in backing_files().items():
            if file.startswith(f"{self.path}/"):
                take_down(name)
        shutil.rmtree(self.path)

    def drive(self, name: str, size_mib: int = 320) -> str:
        """A new empty drive: "/dev/loopN"."""
        file = self.path / name
        with file.open("wb") as image:
            image.truncate(size_mib * MIB)
        return self.attach(file)

    def attach(self, file: Path) -> str:
        return run("losetup", "-fP", "--show", file).stdout.strip()

    def detach(self, drive: str) -> None:
        take_down(Path(drive).name)

    def mount(self, device: str, name: str) -> Path:
        place = self.path / name
        place.mkdir(exist_ok=True)
        run("mount", device, place)
        check(place.is_mount(), f"{place} is not mounted")
        return place

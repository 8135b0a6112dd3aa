"""prepare-drive on loop devices: what it makes, what it says, and what it does not touch."""

import hashlib
import json
import os
import pty
import re
import stat
import subprocess

from harness import BIN, Skip, check, check_equal, run
from loops import MIB, Workplace

CAIRN = BIN / "cairn"
CLUSTER = "stor1"


def prepare(place: Workplace, drive: str, *words: object,
            good: bool = True) -> subprocess.CompletedProcess:
    return run(CAIRN, "-c", CLUSTER, "prepare-drive", drive, "--mount-root", place.path / "cairn",
               "--fstab-file", place.path / "fstab", *words, good=good, seconds=120,
               env={**os.environ, "CAIRN_ETC": str(place.path / "etc")})


def answer(place: Workplace, drive: str, line: str, *words: object) -> subprocess.CompletedProcess:
    """At a terminal."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, line.encode())
        return subprocess.run(
            [str(word) for word in (CAIRN, "-c", CLUSTER, "prepare-drive", drive, "--mount-root",
                                    place.path / "cairn", "--fstab-file", place.path / "fstab",
                                    *words)],
            stdin=theirs, capture_output=True, text=True, timeout=120, check=False)
    finally:
        os.close(ours)
        os.close(theirs)


def content(drive: str) -> str:
    checksum = hashlib.sha256()
    with open(drive, "rb") as device:
        while block := device.read(MIB):
            checksum.update(block)
    return checksum.hexdigest()


def refused(place: Workplace, drive: str, code: int, wanted: list[str], *words: object) -> None:
    """Refused, with these words, and nothing was changed."""
    whole = re.sub(r"(loop\d+)p\d+$", r"\1", drive)
    before = content(whole)
    result = prepare(place, drive, *words, good=False)
    check_equal(result.returncode, code, "exit code, with " + result.stderr)
    for word in wanted:
        check(word in result.stderr, f"{word!r} is not in {result.stderr!r}")
    check_equal(result.stdout, "", "output")
    check(content(whole) == before, "the drive was written to")


def facts(device: str) -> dict[str, str]:
    text = run("blkid", "-p", "-o", "export", device).stdout
    return dict(line.split("=", 1) for line in text.splitlines())


def table(drive: str) -> dict:
    return json.loads(run("sfdisk", "--json", drive).stdout)["partitiontable"]


def fstab_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("UUID=")]
    check_equal(len(lines), 1, "fstab lines in " + text)
    return lines[0]


def prepare_asks_and_says_what_the_guide_says(place: Workplace) -> None:
    drive = place.drive("asks.img")
    result = answer(place, drive, "y\n", "--noboot")
    check_equal(result.returncode, 0, "exit code, with " + result.stderr)
    wanted = [f"ALL data on {drive} will be completely destroyed. Are you sure to continue? [y]",
              f"Zeroing out beginning and end of {drive}...", f"Partitioning {drive}...",
              "Waiting for kernel...", f"Formatting {drive}p1 partition...", "Done!"]
    check_equal(result.stdout.splitlines()[:6], wanted, "output")
    found = facts(f"{drive}p1")
    check_equal((found["TYPE"], found["LABEL"]), ("ext4", "cairn-cs"), "filesystem")
    where = place.path / "cairn" / f"{CLUSTER}-cs1"
    check_equal(fstab_line(result.stdout),
                f"UUID={found['UUID']} {where} ext4 defaults,nofail,lazytime,noatime 0 0", "line")
    place.detach(drive)


def prepare_makes_one_aligned_partition(place: Workplace) -> None:
    drive = place.drive("aligned.img")
    # What was there before: two partitions, one with a filesystem.
    run("sfdisk", "--quiet", drive, input="label: dos\nstart=63, size=100000\nsize=50000\n")
    prepare(place, drive, "-y")
    made = table(drive)
    check_equal((made["label"], len(made["partitions"])), ("gpt", 1), "table")
    partition = made["partitions"][0]
    sector = made.get("sectorsize", 512)
    check_equal(partition["start"] * sector % MIB, 0, "start modulo 1 MiB")
    check_equal(partition["name"], f"cairn-cs {CLUSTER}", "name")
    check(partition["size"] * sector >= 318 * MIB - 2 * MIB, f"{partition['size']} sectors")
    run("e2fsck", "-fn", f"{drive}p1")
    place.detach(drive)


def prepare_wipes_the_beginning_and_the_end(place: Workplace) -> None:
    drive = place.drive("wiped.img")
    with open(drive, "r+b") as device:
        device.write(b"old" * 10000)
        device.seek(-10000, os.SEEK_END)
        device.write(b"old" * 3000)
        device.flush()
        os.fsync(device.fileno())
    prepare(place, drive, "-y")
    with open(drive, "rb") as device:
        check(b"oldold" not in device.read(MIB), "the beginning is as it was")
        device.seek(-MIB, os.SEEK_END)
        check(b"oldold" not in device.read(MIB), "the end is as it was")
    place.detach(drive)


def prepare_ssd_differs(place: Workplace) -> None:
    drive = place.drive("ssd.img")
    text = prepare(place, drive, "-y", "--ssd").stdout
    found = facts(f"{drive}p1")
    check_equal(found["LABEL"], "cairn-ssd", "label")
    partition = table(drive)["partitions"][0]
    check_equal((partition["start"] * 512 % (4 * MIB), partition["size"] * 512 % (4 * MIB)), (0, 0),
                "partition in blocks of 4 MiB")
    check(f"/{CLUSTER}-ssd1 " in fstab_line(text), text)
    check("make-cs" not in text, "an SSD for journals is no chunk server")
    place.detach(drive)


def prepare_without_a_terminal_needs_y(place: Workplace) -> None:
    drive = place.drive("terminal.img")
    refused(place, drive, 4, ["no terminal", "-y"])
    before = content(drive)
    for line in ("n\n", "\n", "yes please\n", " y\n"):
        result = answer(place, drive, line)
        check_equal(result.returncode, 4, f"exit code after {line!r}")
        check(content(drive) == before, f"written to after {line!r}")
    place.detach(drive)


def prepare_takes_whole_drives_only(place: Workplace) -> None:
    drive = place.drive("whole.img")
    prepare(place, drive, "-y")
    refused(place, f"{drive}p1", 2, [f"{drive}p1 is a partition of {drive}",
                                     f"prepare-drive {drive}"], "-y", "--force")
    for path, word in (("/dev/null", "not a block device"), ("/dev/no-such", "No such file")):
        result = prepare(place, path, "-y", good=False)
        check(result.returncode in (2, 3) and word in result.stderr, result.stderr)
    place.detach(drive)


def prepare_refuses_a_drive_in_use(place: Workplace) -> None:
    drive = place.drive("used.img")
    prepare(place, drive, "-y")
    mounted = place.mount(f"{drive}p1", "used.mnt")
    refused(place, drive, 1, [f"{drive}p1 is mounted at {mounted}"], "-y", "--force")
    run("umount", mounted)
    run("partx", "-d", drive)
    # The whole drive as a filesystem, without a table.
    run("mkfs.ext4", "-q", "-F", drive)
    mounted = place.mount(drive, "used.mnt")
    refused(place, drive, 1, [f"{drive} is mounted at {mounted}"], "-y", "--force")
    place.detach(drive)


def prepare_refuses_swap_in_use(place: Workplace) -> None:
    drive = place.drive("swap.img")
    run("mkswap", drive)
    if run("swapon", drive, good=False).returncode != 0:
        place.detach(drive)
        raise Skip("swap cannot be turned on here")
    try:
        refused(place, drive, 1, [f"{drive} is swap space in use"], "-y", "--force")
    finally:
        run("swapoff", drive)
    place.detach(drive)


def prepare_refuses_a_drive_somebody_holds(place: Workplace) -> None:
    drive = place.drive("held.img")
    descriptor = os.open(drive, os.O_RDONLY | os.O_EXCL)
    try:
        refused(place, drive, 1, ["is in use"], "-y", "--force")
    finally:
        os.close(descriptor)
    place.detach(drive)


def prepare_needs_force_for_a_drive_of_a_cluster(place: Workplace) -> None:
    drive = place.drive("label.img")
    prepare(place, drive, "-y")
    refused(place, drive, 4, ["belongs to a cluster", "cairn-cs", "--force"], "-y")
    # Also when the kernel does not show its partitions.
    run("partx", "-d", drive)
    refused(place, drive, 4, ["belongs to a cluster", "--force"], "-y")
    uuid = facts_of_first(drive)
    check_equal(prepare(place, drive, "-y", "--force").returncode, 0, "exit code with --force")
    check(facts(f"{drive}p1")["UUID"] != uuid, "it is the old filesystem")
    place.detach(drive)


def facts_of_first(drive: str) -> str:
    start = table(drive)["partitions"][0]["start"] * 512
    text = run("blkid", "-p", "-o", "value", "-s", "UUID", "-O", start, drive).stdout
    return text.strip()


def prepare_fstab_adds_the_line(place: Workplace) -> None:
    file = place.path / "fstab"
    file.write_text("# mounts of this machine\nproc /proc proc defaults 0 0")  # no newline
    file.chmod(0o640)
    first, second = place.drive("fstab1.img"), place.drive("fstab2.img")
    lines = []
    for number, drive in enumerate((first, second), 1):
        text = prepare(place, drive, "-y", "--fstab").stdout
        lines.append(fstab_line(text))
        check(f"/{CLUSTER}-cs{number} " in lines[-1], lines[-1])
    check_equal(file.read_text(), "# mounts of this machine\nproc /proc proc defaults 0 0\n" +
                "".join(line + "\n" for line in lines), "table")
    check_equal(stat.S_IMODE(file.stat().st_mode), 0o640, "mode of the table")
    left = sorted(path.name for path in place.path.glob("fstab*") if path.suffix != ".img")
    check_equal(left, ["fstab"], "files left beside the table")
    run("findmnt", "--verify", "--tab-file", file)
    where = place.path / "cairn" / f"{CLUSTER}-cs1"
    run("mount", "-T", file, where)
    options = run("findmnt", "-n", "-o", "OPTIONS", where).stdout
    check("noatime" in options and "lazytime" in options, options)
    run("umount", where)
    for drive in (first, second):
        place.detach(drive)
    file.unlink()


def prepare_fstab_that_cannot_be_written_says_so(place: Workplace) -> None:
    drive = place.drive("nofstab.img")
    result = run(CAIRN, "-c", CLUSTER, "prepare-drive", drive, "-y", "--fstab", "--fstab-file",
                 place.path / "no" / "fstab", "--mount-root", place.path / "cairn", good=False)
    check(result.returncode != 0, "exit code 0")
    check("Done!" in result.stdout and "UUID=" in result.stderr, result.stdout + result.stderr)
    place.detach(drive)


def prepare_without_a_cluster_leaves_its_name_open(place: Workplace) -> None:
    drive = place.drive("open.img")
    environment = {**os.environ, "CAIRN_ETC": str(place.path / "etc")}
    words = (CAIRN, "prepare-drive", drive, "-y", "--fstab-file", place.path / "fstab")
    asked = run(*words, "--fstab", good=False, env=environment)
    check_equal(asked.returncode, 2, "exit code of --fstab without a name")
    text = run(*words, env=environment).stdout
    check(" /cairn/<cluster>-cs1 ext4 " in fstab_line(text), text)
    check_equal(table(drive)["partitions"][0]["name"], "cairn-cs", "name of the partition")
    place.detach(drive)


def prepare_boot_is_not_supported(place: Workplace) -> None:
    drive = place.drive("boot.img")
    refused(place, drive, 1, ["bootable"], "-y", "--boot")
    place.detach(drive)


def prepare_needs_root(place: Workplace) -> None:
    drive = place.drive("root.img")
    result = run("setpriv", "--reuid", 65534, "--clear-groups", "--inh-caps=-all",
                 "--bounding-set=-all", CAIRN, "prepare-drive", drive, "-y", good=False,
                 env={"CAIRN_ETC": "/nonexistent", "PATH": os.environ["PATH"]})
    if "cannot execute" in result.stderr or "failed to execute" in result.stderr:
        place.detach(drive)
        raise Skip("the program's directory is closed to other users")
    check_equal(result.returncode, 6, "exit code, with " + result.stderr)
    check("root" in result.stderr, result.stderr)
    place.detach(drive)


def prepare_refuses_what_is_too_small(place: Workplace) -> None:
    drive = place.drive("small.img", 50)
    refused(place, drive, 1, ["50 MiB"], "-y")
    place.detach(drive)


def journal_size_reproduces_the_guide(place: Workplace) -> None:
    words = (CAIRN, "journal-size", "--ssd-speed", 1500, "--hdd-speed", 150, "--ssd-size", 512)
    text = run(*words).stdout
    check("up to 8 " in text and "51 GB" in text, text)
    sizes = json.loads(run(*words, "--json", "--hdds", 10).stdout)
    check_equal((sizes["hdds_per_ssd"], sizes["ssds"], sizes["journal_gb"]), (8, 2, 81), "sizes")


EVERYWHERE = [journal_size_reproduces_the_guide]
ON_LOOPS = [prepare_asks_and_says_what_the_guide_says, prepare_makes_one_aligned_partition,
            prepare_wipes_the_beginning_and_the_end, prepare_ssd_differs,
            prepare_without_a_terminal_needs_y, prepare_takes_whole_drives_only,
            prepare_refuses_a_drive_in_use, prepare_refuses_swap_in_use,
            prepare_refuses_a_drive_somebody_holds, prepare_needs_force_for_a_drive_of_a_cluster,
            prepare_fstab_adds_the_line, prepare_fstab_that_cannot_be_written_says_so,
            prepare_without_a_cluster_leaves_its_name_open, prepare_boot_is_not_supported,
            prepare_needs_root, prepare_refuses_what_is_too_small]

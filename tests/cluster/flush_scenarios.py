"""hwflush-check: what it says of devices that keep what they flushed, and of those that do not."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from harness import BIN, check, check_equal, require_program, run, wait_until
from loops import Workplace

CAIRN = BIN / "cairn"
# Ends with the suite, also when that is killed.
WITH_US = ["setpriv", "--pdeathsig", "KILL"]
LINE = re.compile(r"^id(\d+):(\d+) -> (\d+)$", re.MULTILINE)
READY = "write and flush in"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, place: Workplace, name: str, keep: bool = True):
        self.port = free_port()
        self.state = place.path / f"{name}.state"
        self.log = place.path / f"{name}.server.log"
        self.words = ["-l", "-p", self.port, "--bind", "127.0.0.1"]
        if keep:
            self.words += ["--state", self.state]
        self.process = None

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=10)

    def start(self) -> None:
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*WITH_US, *(str(word) for word in (CAIRN, "hwflush-check", *self.words))],
                stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: "waiting for clients" in self.said(), 10, "the server serves")

    def said(self) -> str:
        return self.log.read_text()

    def end(self, with_signal: int) -> int:
        self.process.send_signal(with_signal)
        code = self.process.wait(timeout=10)
        self.process = None
        return code

    def told(self) -> int:
        """The sum of all counters in its state."""
        return sum(int(counter) for counter in re.findall(r" \d+:(\d+)", self.state.read_text()))


def client_words(server: Server, directory: Path, *more: object) -> list[str]:
    words = (CAIRN, "hwflush-check", "-s", f"127.0.0.1:{server.port}", "-d", directory, "--size",
             1, *more)
    return [str(word) for word in words]


def check_once(server: Server, directory: Path, *more: object,
               **options) -> subprocess.CompletedProcess:
    return run(*client_words(server, directory, "--seconds", 1, *more), seconds=60, **options)


@contextlib.contextmanager
def running_client(place: Workplace, server: Server, directory: Path, *more: object, **options):
    """Flushing when it is given out; killed at the end."""
    log = place.path / "client.log"
    with log.open("w") as output:
        process = subprocess.Popen([*WITH_US, *client_words(server, directory, *more)],
                                   stdout=output, stderr=subprocess.STDOUT, **options)
    try:
        wait_until(lambda: READY in log.read_text() and server.told() > 100, 30, "it flushes")
        yield process
    finally:
        process.kill()
        process.wait(timeout=20)


def pairs(text: str) -> dict[int, tuple[int, int]]:
    """Thread -> counter on disk, counter on server."""
    return {int(n): (int(disk), int(told)) for n, disk, told in LINE.findall(text)}


def check_good(result: subprocess.CompletedProcess, threads: int) -> None:
    check_equal(result.returncode, 0, "exit code, with " + result.stderr)
    found = pairs(result.stdout)
    check_equal(len(found), threads, "lines")
    check(all(disk >= told > 0 for disk, told in found.values()), result.stdout)


def check_lost(result: subprocess.CompletedProcess, word: str) -> dict[int, tuple[int, int]]:
    check_equal(result.returncode, 1, "exit code, with " + result.stdout)
    check(word in result.stderr, f"{word!r} is not in {result.stderr!r}")
    check(READY not in result.stdout, "it wrote on")
    found = pairs(result.stdout)
    check(any(disk < told for disk, told in found.values()), result.stdout)
    return found


# ---- without root ----

def hwflush_takes_200_threads_and_no_more(place: Workplace) -> None:
    with Server(place, "many") as server:
        directory = place.path / "many"
        check_equal(check_once(server, directory, "-t", 200).returncode, 0, "exit code")
        check_good(check_once(server, directory, "-t", 200), 200)
        for threads in (0, 201):
            refused = check_once(server, directory, "-t", threads, good=False)
            check_equal(refused.returncode, 2, f"exit code of -t {threads}")
            check("1 to 200" in refused.stderr, refused.stderr)


def hwflush_wrong_words_are_refused(place: Workplace) -> None:
    for words in ([], ["-l", "-s", "x"], ["-s", "x"], ["-l", "-d", "/tmp"],
                  ["-s", "a:0", "-d", "x"], ["-s", "x", "-d", "x", "--fsync", "--direct"],
                  ["-s", "x", "-d", "x", "--state", "x"], ["-l", "-p", "0"]):
        refused = run(CAIRN, "hwflush-check", *words, good=False, seconds=20)
        check_equal(refused.returncode, 2, f"exit code of {words}")
        check(refused.stdout == "", refused.stdout)


def hwflush_a_killed_client_is_no_loss(place: Workplace) -> None:
    with Server(place, "killed") as server:
        directory = place.path / "killed"
        for mode in ("--direct", "--fsync"):
            with running_client(place, server, directory, "-t", 8, mode):
                pass
            check_good(check_once(server, directory, "-t", 8, mode), 8)


def hwflush_catches_a_device_that_drops_what_it_flushed(place: Workplace) -> None:
    require_program("gcc")
    shim = place.path / "lying.so"
    run("gcc", "-shared", "-fPIC", "-O1", "-o", shim, Path(__file__).parent / "lying_device.c",
        "-ldl")
    with Server(place, "lying") as server:
        one, many = place.path / "lying1", place.path / "lying8"
        lying = {**os.environ, "LD_PRELOAD": str(shim), "LYING_AFTER": "50"}
        check_once(server, one, "-t", 1, env=lying)
        found = check_lost(check_once(server, one, "-t", 1, good=False), "lost data")
        check_equal(found[0][0], 50, "counter on the disk")
        check(found[0][1] > 50, "the server was told no more")
        # The verdict stays until somebody says that this is another test.
        check_lost(check_once(server, one, "-t", 1, good=False), "lost data")
        check_equal(check_once(server, one, "-t", 1, "--new").returncode, 0, "exit code of --new")
        check_good(check_once(server, one, "-t", 1), 1)

        check_once(server, many, "-t", 8, env=lying)
        found = check_lost(check_once(server, many, "-t", 8, good=False), "lost data")
        check_equal(sum(disk for disk, _ in found.values()), 50, "counters on the disk")
        check("lost data" in server.said(), "the server does not say so")


def hwflush_a_file_that_vanished_counts_as_zero(place: Workplace) -> None:
    with Server(place, "vanished") as server:
        directory = place.path / "vanished"
        check_once(server, directory, "-t", 3)
        (directory / "id1.counter").unlink()
        found = check_lost(check_once(server, directory, "-t", 3, good=False), "lost data")
        check_equal(found[1][0], 0, "counter of the vanished file")
        check(all(found[i][0] >= found[i][1] for i in (0, 2)), "the others are as they were")


def hwflush_an_empty_place_is_no_proof_but_an_error(place: Workplace) -> None:
    with Server(place, "empty") as server:
        directory = place.path / "empty"
        check_once(server, directory, "-t", 2)
        shutil.rmtree(directory)
        check_lost(check_once(server, directory, "-t", 2, good=False), "not mounted")
        check(not directory.exists(), "something was made in the place of the missing mount")
        check_equal(check_once(server, directory, "-t", 2, "--new").returncode, 0, "exit code")


def hwflush_a_torn_record_leaves_the_one_before(place: Workplace) -> None:
    with Server(place, "torn") as server:
        directory = place.path / "torn"
        check_once(server, directory, "-t", 1)
        newest = server.told()
        file = directory / "id0.counter"
        slots = file.stat().st_size // 4096
        with file.open("r+b") as image:
            image.seek(newest % slots * 4096 + 2048)
            image.write(bytes(2048))
        found = check_lost(check_once(server, directory, "-t", 1, good=False), "lost data")
        check_equal(found[0], (newest - 1, newest), "counters")


def hwflush_a_server_that_goes_ends_the_check(place: Workplace) -> None:
    with Server(place, "goes") as server:
        directory = place.path / "goes"
        with running_client(place, server, directory, "-t", 4) as client:
            server.end(signal.SIGKILL)
            check_equal(client.wait(timeout=20), 5, "exit code")
            text = (place.path / "client.log").read_text()
            check("The server is gone" in text and "proves nothing" in text, text)
        # Nothing was told that is not on the device: the next run agrees with the old state.
        server.start()
        check_good(check_once(server, directory, "-t", 4), 4)


def hwflush_a_server_without_memory_says_so(place: Workplace) -> None:
    with Server(place, "memory", keep=False) as server:
        directory = place.path / "memory"
        check_once(server, directory, "-t", 2)
        check_good(check_once(server, directory, "-t", 2), 2)
        check_equal(server.end(signal.SIGTERM), 0, "exit code of the server")
        server.start()
        text = check_once(server, directory, "-t", 2).stdout
        check("never told of this directory" in text, text)


def hwflush_ends_cleanly_at_ctrl_c(place: Workplace) -> None:
    with Server(place, "ctrl-c") as server:
        directory = place.path / "ctrl-c"
        with running_client(place, server, directory, "-t", 4) as client:
            second = check_once(server, directory, "-t", 4, good=False)
            check_equal(second.returncode, 1, "exit code of a second client in one directory")
            check("at work in" in second.stderr, second.stderr)
            client.send_signal(signal.SIGINT)
            check_equal(client.wait(timeout=20), 0, "exit code of the client")
        text = (place.path / "client.log").read_text()
        check("all told to the server" in text, text)
        check_equal(server.end(signal.SIGINT), 0, "exit code of the server")


def hwflush_a_full_or_missing_place_is_an_error(place: Workplace) -> None:
    with Server(place, "bad") as server:
        file = place.path / "file"
        file.write_text("")
        refused = check_once(server, file / "x", good=False)
        check(refused.returncode != 0 and "file" in refused.stderr, refused.stderr)
        closed = free_port()
        nobody = run(CAIRN, "hwflush-check", "-s", f"127.0.0.1:{closed}", "-d", place.path / "x",
                     good=False, seconds=30)
        check_equal(nobody.returncode, 5, "exit code without a server")
        check(not (place.path / "x").exists(), "it began without a server")


# ---- with loop devices ----

def new_filesystem(place: Workplace, name: str) -> tuple[Path, str, Path]:
    """File, device, mount point."""
    device = place.drive(f"{name}.img", 64)
    run("mkfs.ext4", "-q", "-F", device)
    return place.path / f"{name}.img", device, place.mount(device, f"{name}.mnt")


def replug(place: Workplace, old: str, image: Path, name: str) -> Path:
    """The power is back: the device with what is in `image`, mounted at the same place."""
    place.detach(old)
    return place.mount(place.attach(image), f"{name}.mnt")


def hwflush_an_honest_device_passes(place: Workplace) -> None:
    image, device, mounted = new_filesystem(place, "honest")
    with Server(place, "honest") as server:
        with running_client(place, server, mounted / "test", "-t", 10):
            pass
        # What the device had when the client died, without what the kernel would write at umount.
        cut = place.path / "honest.cut"
        run("cp", "--sparse=always", image, cut)
        mounted = replug(place, device, cut, "honest")
        check_good(check_once(server, mounted / "test", "-t", 10), 10)


def hwflush_a_device_that_goes_back_in_time_is_caught(place: Workplace) -> None:
    image, device, mounted = new_filesystem(place, "back")
    with Server(place, "back") as server:
        with running_client(place, server, mounted / "test", "-t", 10) as client:
            client.send_signal(signal.SIGSTOP)
            older = place.path / "back.older"
            run("cp", "--sparse=always", image, older)
            before = server.told()
            client.send_signal(signal.SIGCONT)
            # Each thread goes on: at most one flush of each was under way.
            wait_until(lambda: server.told() > before + 200, 30, "it goes on")
        mounted = replug(place, device, older, "back")
        found = check_lost(check_once(server, mounted / "test", "-t", 10, good=False), "lost data")
        check_equal(len(found), 10, "lines")


EVERYWHERE = [hwflush_takes_200_threads_and_no_more, hwflush_wrong_words_are_refused,
              hwflush_a_killed_client_is_no_loss,
              hwflush_catches_a_device_that_drops_what_it_flushed,
              hwflush_a_file_that_vanished_counts_as_zero,
              hwflush_an_empty_place_is_no_proof_but_an_error,
              hwflush_a_torn_record_leaves_the_one_before,
              hwflush_a_server_that_goes_ends_the_check, hwflush_a_server_without_memory_says_so,
              hwflush_ends_cleanly_at_ctrl_c, hwflush_a_full_or_missing_place_is_an_error]
ON_LOOPS = [hwflush_an_honest_device_passes, hwflush_a_device_that_goes_back_in_time_is_caught]

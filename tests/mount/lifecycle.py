#!/usr/bin/env python3
"""The life of a mount, with cairn-memory-mount (no cluster needed): begin, interruption, end.

    lifecycle.py PATH-OF-cairn-memory-mount

Needs /dev/fuse and root. Prints one line a case and "N passed, N failed".
"""
import ctypes
import errno
import mmap
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

CASES = []
LIBC = ctypes.CDLL(None, use_errno=True)


def case(function):
    CASES.append(function)
    return function


def equal(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {got!r}, wanted {wanted!r}")


def is_mounted(directory):
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return any(line.split()[4] == directory for line in table)


def umount(directory):
    return subprocess.run(["umount", directory], capture_output=True, check=False).returncode


class Mount:
    def __init__(self, program, count=1):
        self.base = tempfile.mkdtemp(prefix="cairn-lifecycle.")
        self.directories = [os.path.join(self.base, str(i)) for i in range(count)]
        for directory in self.directories:
            os.mkdir(directory)
        self.process = subprocess.Popen([program, *self.directories], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        for _ in range(count):
            equal(self.process.stdout.readline(), "serving\n")
        self.d = self.directories[0]

    def freeze(self):
        self.process.send_signal(signal.SIGUSR1)
        time.sleep(0.1)

    def terminate(self, seconds=5):
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=seconds)
        return code, time.monotonic() - begin

    def clean(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for directory in self.directories:
            LIBC.umount2(directory.encode(), 2)  # MNT_DETACH
        shutil.rmtree(self.base, ignore_errors=True)


def until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("still not so")
        time.sleep(0.01)


@case
def umount_ends_the_process(mount):
    with open(f"{mount.d}/f", "wb") as file:
        file.write(b"x")
    equal(umount(mount.d), 0)
    equal(mount.process.wait(timeout=5), 0)


@case
def sigterm_unmounts_and_ends(mount):
    code, seconds = mount.terminate()
    equal(code, 0)
    assert seconds < 2, f"{seconds} s"
    equal(is_mounted(mount.d), False)


@case
def busy_mount_is_not_unmounted_by_umount(mount):
    with open(f"{mount.d}/f", "wb"):
        assert umount(mount.d) != 0
    equal(mount.process.poll(), None)
    equal(umount(mount.d), 0)
    equal(mount.process.wait(timeout=5), 0)


@case
def sigterm_ends_a_busy_mount(mount):
    held = os.open(f"{mount.d}/f", os.O_CREAT | os.O_RDWR)
    os.write(held, b"x" * 4096)
    code, seconds = mount.terminate()
    equal(code, 0)
    assert seconds < 4, f"{seconds} s"
    equal(is_mounted(mount.d), False)
    try:
        os.pread(held, 1, 1 << 20)
        raise AssertionError("read from a mount that ended")
    except OSError as error:
        assert error.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO), error
    try:
        os.close(held)
    except OSError:
        pass


@case
def sigterm_ends_a_mount_whose_cluster_hangs(mount):
    with open(f"{mount.d}/f", "wb") as file:
        file.write(b"x" * 4096)
    mount.freeze()
    reader = subprocess.Popen(["cat", f"{mount.d}/f"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    time.sleep(0.2)
    code, seconds = mount.terminate()
    equal(code, 0)
    assert seconds < 5, f"{seconds} s"
    reader.wait(timeout=5)


@case
def readers_of_a_hanging_cluster_can_be_killed(mount):
    with open(f"{mount.d}/f", "wb") as file:
        file.write(b"x" * 4096)
    mount.freeze()
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        reader = subprocess.Popen([sys.executable, "-c", "import signal, os, sys\n"
                                   "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
                                   "fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)\n"
                                   "import mmap\nprint('go', flush=True)\n"
                                   "os.preadv(fd, [mmap.mmap(-1, 4096)], 0)", f"{mount.d}/f"],
                                  stdout=subprocess.PIPE)
        equal(reader.stdout.readline(), b"go\n")
        time.sleep(0.2)
        equal(reader.poll(), None)
        begin = time.monotonic()
        reader.send_signal(number)
        equal(reader.wait(timeout=5), -number)
        assert time.monotonic() - begin < 1, "slow to die"


@case
def a_handled_signal_does_not_break_a_write(mount):
    """Programs do not expect EINTR from a file: the write goes on, and is whole."""
    fd = os.open(f"{mount.d}/f", os.O_CREAT | os.O_RDWR)
    mount.freeze()
    hits = []
    signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    threading.Timer(0.6, mount.freeze).start()
    written = LIBC.pwrite(fd, b"y" * 4096, 4096, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    equal(written, 4096)
    equal(os.pread(fd, 4096, 0), b"y" * 4096)
    os.close(fd)


@case
def a_second_fatal_signal_is_noticed(mount):
    with open(f"{mount.d}/f", "wb") as file:
        file.write(b"x" * 4096)
    mount.freeze()
    reader = subprocess.Popen([sys.executable, "-c", "import signal, os, sys, mmap\n"
                               "signal.signal(signal.SIGUSR1, lambda *_: None)\n"
                               "fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)\n"
                               "print('go', flush=True)\n"
                               "os.preadv(fd, [mmap.mmap(-1, 4096)], 0)", f"{mount.d}/f"],
                              stdout=subprocess.PIPE)
    equal(reader.stdout.readline(), b"go\n")
    time.sleep(0.2)
    reader.send_signal(signal.SIGUSR1)
    time.sleep(0.3)
    equal(reader.poll(), None)
    reader.send_signal(signal.SIGKILL)
    equal(reader.wait(timeout=3), -signal.SIGKILL)


@case
def blocked_data_blocks_nothing_else(mount):
    for i in range(3):
        with open(f"{mount.d}/{i}", "wb") as file:
            file.write(b"x")
    mount.freeze()
    writers = []
    for i in range(40):
        writer = threading.Thread(target=lambda i=i: os.pwrite(fds[i], b"z" * (1 << 20), 0))
        writers.append(writer)
    mount.freeze()
    fds = [os.open(f"{mount.d}/w{i}", os.O_CREAT | os.O_WRONLY) for i in range(40)]
    mount.freeze()
    for writer in writers:
        writer.start()
    time.sleep(0.3)
    begin = time.monotonic()
    equal(len(os.listdir(mount.d)), 43)
    os.unlink(f"{mount.d}/0")
    os.mkdir(f"{mount.d}/d")
    os.rename(f"{mount.d}/1", f"{mount.d}/d/1")
    os.statvfs(mount.d)
    assert time.monotonic() - begin < 1
    mount.freeze()
    for writer in writers:
        writer.join(timeout=10)
        assert not writer.is_alive()
    for i, fd in enumerate(fds):
        equal(os.stat(f"{mount.d}/w{i}").st_size, 1 << 20)
        os.close(fd)


@case
def pages_changed_by_mapping_survive_sigterm(mount):
    with open(f"{mount.d}/f", "wb") as file:
        file.write(bytes(1 << 20))
    fd = os.open(f"{mount.d}/f", os.O_RDWR)
    memory = mmap.mmap(fd, 1 << 20)
    memory[5000:5005] = b"dirty"
    other = os.open(f"{mount.directories[1]}/f", os.O_RDONLY)
    equal(os.pread(other, 5, 5000), b"dirty")
    os.close(other)
    memory.close()
    os.close(fd)


@case
def kill_leaves_a_dead_mount_that_can_be_cleared(mount):
    mount.process.kill()
    mount.process.wait()
    try:
        os.listdir(mount.d)
        raise AssertionError("a dead mount answered")
    except OSError as error:
        equal(error.errno, errno.ENOTCONN)
    equal(umount(mount.d), 0)


@case
def read_ahead_is_raised(mount):
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        device = next(line.split()[2] for line in table if line.split()[4] == mount.d)
    path = f"/sys/class/bdi/{device}/read_ahead_kb"

    def read():
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    until(lambda: read() == "4096")


@case
def ten_thousand_opens_leave_nothing_behind(mount):
    with open(f"{mount.d}/f", "wb") as file:
        file.write(b"x")
    descriptors = len(os.listdir(f"/proc/{mount.process.pid}/fd"))
    for _ in range(10_000):
        os.close(os.open(f"{mount.d}/f", os.O_RDONLY))
    equal(len(os.listdir(f"/proc/{mount.process.pid}/fd")), descriptors)


def main():
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        print("skipped: needs root and /dev/fuse")
        return 77
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    passed, failed = 0, 0
    for function in CASES:
        if wanted not in function.__name__:
            continue
        mount = Mount(sys.argv[1], count=2)
        # One of the two mounts ends by hand or with the process; the other must not keep it alive.
        if function.__name__ in ("umount_ends_the_process",
                                 "busy_mount_is_not_unmounted_by_umount"):
            umount(mount.directories[1])
        try:
            function(mount)
            passed += 1
            print(f"ok    {function.__name__}", flush=True)
        except Exception as error:  # a case may fail in any way; the others still run
            failed += 1
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if frame.filename == __file__]
            print(f"FAIL  {function.__name__}: {type(error).__name__}: {error} (lines {lines})",
                  flush=True)
        mount.clean()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

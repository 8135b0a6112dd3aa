#!/usr/bin/env python3
"""Two mounts of one cluster: each sees at once what the other did.

    two_mounts.py DIR DIR2 [PATTERN]      (or MOUNT and MOUNT2 in the environment)

DIR and DIR2 may be the same local directory: that proves that the cases are right.
"""
import errno
import mmap
import os
import random
import shutil
import sys
import threading
import time
import traceback

CASES = []
PAGE = 4096


def case(function):
    CASES.append(function)
    return function


def equal(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {repr(got)[:200]}, wanted {repr(wanted)[:200]}")


def write_file(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def run_all(*functions):
    """Runs each in a thread; raises what any of them raised."""
    errors = []

    def guarded(function):
        try:
            function()
        except Exception as error:  # reported by the main thread
            errors.append(error)
    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@case
def new_files_and_their_bytes(a, b):
    write_file(f"{a}/f", b"from a")
    equal(read_file(f"{b}/f"), b"from a")
    equal(os.stat(f"{b}/f").st_ino, os.stat(f"{a}/f").st_ino)
    write_file(f"{b}/g", b"from b")
    equal(sorted(os.listdir(a)), ["f", "g"])


@case
def names_that_were_missing_appear(a, b):
    for i in range(20):
        assert not os.path.exists(f"{b}/{i}")
        write_file(f"{a}/{i}", b"x")
        assert os.path.exists(f"{b}/{i}")
        os.unlink(f"{b}/{i}")
        assert not os.path.exists(f"{a}/{i}")


@case
def writes_reach_an_open_reader(a, b):
    write_file(f"{a}/f", bytes(100_000))
    writer = os.open(f"{a}/f", os.O_WRONLY)
    reader = os.open(f"{b}/f", os.O_RDONLY)
    prng = random.Random(3)
    model = bytearray(100_000)
    for _ in range(200):
        equal(os.pread(reader, 100_000, 0), bytes(model))
        offset = prng.randrange(95_000)
        data = prng.randbytes(prng.randrange(1, 5_000))
        os.pwrite(writer, data, offset)
        model[offset:offset + len(data)] = data
    equal(os.pread(reader, 100_000, 0), bytes(model))
    os.close(writer)
    os.close(reader)


@case
def both_write_in_turns(a, b):
    fds = [os.open(f"{a}/f", os.O_CREAT | os.O_RDWR), os.open(f"{b}/f", os.O_RDWR)]
    model = bytearray(20_000)
    os.pwrite(fds[0], bytes(model), 0)
    prng = random.Random(4)
    for i in range(200):
        offset = prng.randrange(19_000)
        data = prng.randbytes(prng.randrange(1, 900))
        os.pwrite(fds[i % 2], data, offset)
        model[offset:offset + len(data)] = data
        equal(os.pread(fds[(i + 1) % 2], 20_000, 0), bytes(model))
    for fd in fds:
        os.close(fd)


@case
def growth_is_seen_by_size_and_reads(a, b):
    writer = os.open(f"{a}/f", os.O_CREAT | os.O_WRONLY)
    reader = os.open(f"{b}/f", os.O_RDONLY)
    for i in range(100):
        os.write(writer, b"0123456789")
        equal(os.fstat(reader).st_size, 10 * (i + 1))
        equal(os.pread(reader, 20, 10 * i), b"0123456789")
    os.close(writer)
    os.close(reader)


@case
def fallocate_never_shortens(a, b):
    fds = [os.open(f"{d}/f", os.O_CREAT | os.O_RDWR) for d in (a, b)]
    for i in range(1, 60):
        run_all(lambda i=i: os.posix_fallocate(fds[0], 0, i * 5000),
                lambda i=i: os.pwrite(fds[1], b"data", i * 5001))
        equal(os.pread(fds[0], 4, i * 5001), b"data")
        equal(os.fstat(fds[1]).st_size, i * 5001 + 4)
    for fd in fds:
        os.close(fd)


@case
def truncation_is_seen(a, b):
    write_file(f"{a}/f", b"x" * 50_000)
    fd = os.open(f"{b}/f", os.O_RDWR)
    for size in (40_000, 8192, 8191, 5, 0, 30_000):
        equal(len(os.pread(fd, 100_000, 0)), os.stat(f"{a}/f").st_size)
        os.truncate(f"{a}/f", size)
        equal(len(os.pread(fd, 100_000, 0)), size)
    equal(os.pread(fd, 100, 0), bytes(100))
    os.ftruncate(fd, 3)
    equal(read_file(f"{a}/f"), bytes(3))
    os.close(fd)


@case
def appends_from_both_interleave(a, b):
    fds = [os.open(f"{d}/f", os.O_CREAT | os.O_WRONLY | os.O_APPEND) for d in (a, b)]
    lines = [b"line %03d of mount %d\n" % (i, i % 2) for i in range(200)]
    for i, line in enumerate(lines):
        os.write(fds[i % 2], line)
    equal(read_file(f"{a}/f"), b"".join(lines))
    equal(read_file(f"{b}/f"), b"".join(lines))
    for fd in fds:
        os.close(fd)


@case
def concurrent_appends_lose_nothing(a, b):
    def work(directory, name):
        def run():
            fd = os.open(f"{directory}/f", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            for i in range(100):
                os.write(fd, b"%s-%03d\n" % (name, i))
            os.close(fd)
        return run
    run_all(work(a, b"a1"), work(b, b"b1"), work(a, b"a2"), work(b, b"b2"))
    wanted = sorted(b"%s-%03d" % (n, i) for n in (b"a1", b"a2", b"b1", b"b2") for i in range(100))
    for d in (a, b):
        equal(sorted(read_file(f"{d}/f").split()), wanted)


@case
def concurrent_writers_of_disjoint_ranges(a, b):
    write_file(f"{a}/f", bytes(400_000))

    def work(directory, first):
        def run():
            prng = random.Random(first)
            fd = os.open(f"{directory}/f", os.O_RDWR)
            # Ranges of 1000 bytes: pages are shared by both writers.
            for i in prng.sample(range(first, 400, 2), 150):
                os.pwrite(fd, bytes([first + 1]) * 1000, i * 1000)
                equal(os.pread(fd, 1000, i * 1000), bytes([first + 1]) * 1000)
            os.close(fd)
        return run
    run_all(work(a, 0), work(b, 1))
    first, second = read_file(f"{a}/f"), read_file(f"{b}/f")
    equal(first == second, True)
    for i in range(400):
        piece = set(first[i * 1000:(i + 1) * 1000])
        equal(len(piece), 1)
        assert piece <= {0, i % 2 + 1}, f"range {i} has {piece}"


@case
def writers_who_also_stat_do_not_stop_each_other(a, b):
    """A stat by one turns the other's lease into a shared one while its pages are being written."""
    write_file(f"{a}/f", bytes(400_000))
    begin = time.monotonic()

    def work(directory, first):
        def run():
            prng = random.Random(first)
            fd = os.open(f"{directory}/f", os.O_RDWR)
            for _ in range(250):
                place = prng.randrange(first, 400, 2) * 1000
                os.pwrite(fd, bytes([first + 1]) * 1000, place)
                os.stat(f"{directory}/f")
                assert time.monotonic() - begin < 50, "too slow: they wait for each other"
            os.close(fd)
        return run
    run_all(work(a, 0), work(b, 1), work(a, 0), work(b, 1))
    equal(read_file(f"{a}/f"), read_file(f"{b}/f"))


@case
def readers_never_see_time_go_back(a, b):
    """A writer counts up in place; readers on both mounts must never see a smaller number."""
    write_file(f"{a}/f", (0).to_bytes(8, "little"))
    done = threading.Event()

    def write():
        fd = os.open(f"{a}/f", os.O_WRONLY)
        for i in range(1, 600):
            os.pwrite(fd, i.to_bytes(8, "little"), 0)
        os.close(fd)
        done.set()

    def read(directory):
        def run():
            fd = os.open(f"{directory}/f", os.O_RDONLY)
            last = 0
            while not done.is_set():
                now = int.from_bytes(os.pread(fd, 8, 0), "little")
                assert now >= last, f"{now} after {last}"
                last = now
            equal(int.from_bytes(os.pread(fd, 8, 0), "little"), 599)
            os.close(fd)
        return run
    run_all(write, read(a), read(b))


@case
def completed_writes_are_always_seen(a, b):
    """Ping-pong: each side waits, in a file, for the other's number and answers with the next."""
    write_file(f"{a}/f", bytes(16))

    def side(directory, mine, theirs):
        def run():
            fd = os.open(f"{directory}/f", os.O_RDWR)
            for i in range(1, 150):
                wanted = i if mine == 8 else i - 1
                while int.from_bytes(os.pread(fd, 8, theirs), "little") < wanted:
                    pass
                os.pwrite(fd, i.to_bytes(8, "little"), mine)
            os.close(fd)
        return run
    run_all(side(a, 0, 8), side(b, 8, 0))
    equal(read_file(f"{b}/f"), (149).to_bytes(8, "little") * 2)


@case
def rename_and_replace_are_seen(a, b):
    write_file(f"{a}/f", b"one")
    for i in range(50):
        write_file(f"{a}/new", b"%d" % i)
        os.rename(f"{a}/new", f"{a}/f")
        equal(read_file(f"{b}/f"), b"%d" % i)
        assert not os.path.exists(f"{b}/new")
    os.mkdir(f"{b}/d")
    os.rename(f"{a}/f", f"{a}/d/g")
    equal(os.listdir(f"{b}/d"), ["g"])
    os.rename(f"{b}/d", f"{b}/e")
    equal(read_file(f"{a}/e/g"), b"49")


@case
def attributes_are_seen(a, b):
    write_file(f"{a}/f", b"x")
    os.chmod(f"{a}/f", 0o751)
    equal(os.stat(f"{b}/f").st_mode & 0o777, 0o751)
    os.utime(f"{b}/f", ns=(10, 20))
    equal(os.stat(f"{a}/f").st_mtime_ns, 20)
    os.setxattr(f"{a}/f", "user.k", b"v")
    equal(os.getxattr(f"{b}/f", "user.k"), b"v")
    os.link(f"{b}/f", f"{b}/g")
    equal(os.stat(f"{a}/f").st_nlink, 2)
    with open(f"{a}/f", "ab") as file:
        file.write(b"more")
    equal(os.stat(f"{a}/g").st_mtime_ns, os.stat(f"{b}/g").st_mtime_ns)


@case
def unlinked_by_the_other_while_open(a, b):
    write_file(f"{a}/f", b"held")
    fd = os.open(f"{b}/f", os.O_RDWR)
    os.unlink(f"{a}/f")
    assert not os.path.exists(f"{b}/f")
    equal(os.pread(fd, 10, 0), b"held")
    os.pwrite(fd, b"HELD", 0)
    equal(os.pread(fd, 10, 0), b"HELD")
    equal(os.fstat(fd).st_nlink, 0)
    os.close(fd)


@case
def only_one_creates_exclusively(a, b):
    for i in range(50):
        winners = []

        def attempt(directory, name=i, winners=winners):
            def run():
                try:
                    os.close(os.open(f"{directory}/{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                    winners.append(directory)
                except FileExistsError:
                    pass
            return run
        run_all(attempt(a), attempt(b))
        equal(len(winners), 1)


@case
def creating_the_same_name_without_o_excl(a, b):
    for i in range(50):
        def work(directory, name=i):
            def run():
                fd = os.open(f"{directory}/{name}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
                os.write(fd, b"x")
                os.close(fd)
            return run
        run_all(work(a), work(b))
        equal(read_file(f"{a}/{i}"), b"xx")


@case
def mapped_pages_follow_writes_of_the_other(a, b):
    write_file(f"{a}/f", bytes(3 * PAGE))
    fd = os.open(f"{b}/f", os.O_RDONLY)
    with mmap.mmap(fd, 3 * PAGE, access=mmap.ACCESS_READ) as memory:
        writer = os.open(f"{a}/f", os.O_RDWR)
        for i in range(1, 100):
            os.pwrite(writer, bytes([i]) * 10, PAGE - 5)
            equal(memory[PAGE - 5:PAGE + 5], bytes([i]) * 10)
        os.close(writer)
    os.close(fd)


@case
def mapped_changes_reach_the_other(a, b):
    write_file(f"{a}/f", bytes(3 * PAGE))
    fd = os.open(f"{a}/f", os.O_RDWR)
    with mmap.mmap(fd, 3 * PAGE) as memory:
        for i in range(1, 60):
            memory[PAGE + i] = i
            equal(os.stat(f"{b}/f").st_size, 3 * PAGE)
            equal(read_file(f"{b}/f")[PAGE + i], i)
            os.utime(f"{b}/f")
            other = os.open(f"{b}/f", os.O_RDWR)
            os.pwrite(other, bytes([i]), 2 * PAGE + i)
            os.close(other)
            equal(memory[2 * PAGE + i], i)
    os.close(fd)


@case
def directories_removed_and_made_again(a, b):
    for i in range(30):
        os.mkdir(f"{a}/d")
        write_file(f"{b}/d/f", b"%d" % i)
        equal(read_file(f"{a}/d/f"), b"%d" % i)
        try:
            os.rmdir(f"{a}/d")
            raise AssertionError("removed a full directory")
        except OSError as error:
            equal(error.errno, errno.ENOTEMPTY)
        os.unlink(f"{a}/d/f")
        os.rmdir(f"{b}/d")
        assert not os.path.exists(f"{a}/d")


@case
def many_files_from_both(a, b):
    def work(directory, prefix):
        def run():
            for i in range(200):
                write_file(f"{directory}/{prefix}{i}", b"%d" % i)
        return run
    run_all(work(a, "a"), work(b, "b"))
    equal(sorted(os.listdir(a)), sorted(os.listdir(b)))
    equal(len(os.listdir(a)), 400)
    for i in range(200):
        equal(read_file(f"{b}/a{i}"), b"%d" % i)
        equal(read_file(f"{a}/b{i}"), b"%d" % i)


def main():
    arguments = sys.argv[1:]
    mounts = arguments[:2] or [os.environ.get("MOUNT"), os.environ.get("MOUNT2")]
    if len(mounts) != 2 or not all(mounts):
        print(__doc__, file=sys.stderr)
        return 2
    wanted = arguments[2] if len(arguments) > 2 else ""
    name = f"two.{os.getpid()}"
    os.mkdir(os.path.join(mounts[0], name))
    passed, failed = 0, 0
    for function in CASES:
        if wanted not in function.__name__:
            continue
        a, b = (os.path.join(mount, name, function.__name__) for mount in mounts)
        os.mkdir(a)
        try:
            function(a, b)
            passed += 1
            print(f"ok    {function.__name__}", flush=True)
        except Exception as error:  # a case may fail in any way; the others still run
            failed += 1
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if frame.filename == __file__]
            print(f"FAIL  {function.__name__}: {type(error).__name__}: {error} (lines {lines})",
                  flush=True)
        shutil.rmtree(a, ignore_errors=True)
    shutil.rmtree(os.path.join(mounts[0], name), ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

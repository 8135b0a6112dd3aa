#!/usr/bin/env python3
"""POSIX on one mount: a table of small named cases, each in its own directory.

    posix_suite.py DIR [PATTERN]      (or MOUNT=DIR in the environment)

Prints one line a case and "N passed, N failed"; exit code 1 when a case failed. DIR may be any
directory:
a local file system proves that the cases themselves are right.
"""
import ctypes
import errno
import fcntl
import mmap
import os
import random
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import traceback

CASES = []
LIBC = ctypes.CDLL(None, use_errno=True)
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2


class Skip(Exception):
    pass


def case(function):
    CASES.append(function)
    return function


def expect(condition, message="condition does not hold"):
    if not condition:
        raise AssertionError(message)


def equal(got, wanted):
    if got != wanted:
        got_text, wanted_text = repr(got), repr(wanted)
        raise AssertionError(f"got {got_text[:200]}, wanted {wanted_text[:200]}")


def raises(number, function, *arguments, **named):
    try:
        function(*arguments, **named)
    except OSError as error:
        if error.errno != number:
            raise AssertionError(f"got {errno.errorcode.get(error.errno)}, "
                                 f"wanted {errno.errorcode[number]}") from error
        return
    raise AssertionError(f"succeeded, wanted {errno.errorcode[number]}")


def write_file(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def pattern(size, seed=1):
    return random.Random(seed).randbytes(size)


def rename2(old, new, flags):
    at_fdcwd = -100
    if LIBC.renameat2(at_fdcwd, old.encode(), at_fdcwd, new.encode(), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


# ---- names ----

@case
def create_write_read(d):
    data = pattern(100_000)
    write_file(f"{d}/f", data)
    equal(read_file(f"{d}/f"), data)
    equal(os.stat(f"{d}/f").st_size, len(data))


@case
def create_exclusive_refuses_an_existing_name(d):
    write_file(f"{d}/f", b"x")
    raises(errno.EEXIST, os.open, f"{d}/f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)


@case
def missing_names_are_enoent(d):
    raises(errno.ENOENT, os.stat, f"{d}/none")
    raises(errno.ENOENT, os.open, f"{d}/none", os.O_RDONLY)
    raises(errno.ENOENT, os.unlink, f"{d}/none")
    raises(errno.ENOENT, os.mkdir, f"{d}/none/sub")
    write_file(f"{d}/none", b"now")
    equal(read_file(f"{d}/none"), b"now")


@case
def mkdir_rmdir_and_link_counts(d):
    os.mkdir(f"{d}/a")
    equal(os.stat(f"{d}/a").st_nlink, 2)
    os.mkdir(f"{d}/a/b")
    equal(os.stat(f"{d}/a").st_nlink, 3)
    raises(errno.ENOTEMPTY, os.rmdir, f"{d}/a")
    raises(errno.EEXIST, os.mkdir, f"{d}/a")
    os.rmdir(f"{d}/a/b")
    equal(os.stat(f"{d}/a").st_nlink, 2)
    os.rmdir(f"{d}/a")
    raises(errno.ENOENT, os.stat, f"{d}/a")


@case
def wrong_kinds_are_refused(d):
    write_file(f"{d}/f", b"x")
    os.mkdir(f"{d}/a")
    raises(errno.ENOTDIR, os.rmdir, f"{d}/f")
    raises(errno.EISDIR, os.unlink, f"{d}/a")
    raises(errno.ENOTDIR, os.stat, f"{d}/f/below")
    raises(errno.EISDIR, os.open, f"{d}/a", os.O_WRONLY)


@case
def rename_replaces_a_file(d):
    write_file(f"{d}/old", b"old")
    write_file(f"{d}/new", b"new")
    inode = os.stat(f"{d}/old").st_ino
    os.rename(f"{d}/old", f"{d}/new")
    equal(read_file(f"{d}/new"), b"old")
    equal(os.stat(f"{d}/new").st_ino, inode)
    raises(errno.ENOENT, os.stat, f"{d}/old")


@case
def rename_over_an_open_file_keeps_its_bytes(d):
    write_file(f"{d}/target", b"before")
    with open(f"{d}/target", "rb") as held:
        write_file(f"{d}/temp", b"after")
        os.rename(f"{d}/temp", f"{d}/target")
        equal(held.read(), b"before")
        equal(os.fstat(held.fileno()).st_nlink, 0)
    equal(read_file(f"{d}/target"), b"after")


@case
def rename_of_two_names_of_one_file_does_nothing(d):
    write_file(f"{d}/a", b"one")
    os.link(f"{d}/a", f"{d}/b")
    os.rename(f"{d}/a", f"{d}/b")
    equal(sorted(os.listdir(d)), ["a", "b"])
    equal(os.stat(f"{d}/a").st_nlink, 2)
    os.rename(f"{d}/a", f"{d}/a")
    equal(read_file(f"{d}/a"), b"one")


@case
def rename_over_links_and_into_other_directories(d):
    write_file(f"{d}/a", b"one")
    os.link(f"{d}/a", f"{d}/kept")
    os.symlink("kept", f"{d}/s")
    write_file(f"{d}/new", b"two")
    os.rename(f"{d}/new", f"{d}/a")
    equal(read_file(f"{d}/kept"), b"one")
    equal(os.stat(f"{d}/kept").st_nlink, 1)
    os.mkdir(f"{d}/sub")
    os.rename(f"{d}/a", f"{d}/sub/s")
    os.rename(f"{d}/s", f"{d}/sub/s")
    equal(os.readlink(f"{d}/sub/s"), "kept")
    raises(errno.ENOENT, os.rename, f"{d}/a", f"{d}/sub/s")


@case
def rename_directories(d):
    os.makedirs(f"{d}/a/b")
    os.mkdir(f"{d}/empty")
    write_file(f"{d}/a/b/f", b"x")
    raises(errno.EINVAL, os.rename, f"{d}/a", f"{d}/a/b/c")
    os.rename(f"{d}/a", f"{d}/empty")
    equal(read_file(f"{d}/empty/b/f"), b"x")
    os.mkdir(f"{d}/full")
    write_file(f"{d}/full/f", b"")
    raises(errno.ENOTEMPTY, os.rename, f"{d}/empty", f"{d}/full")
    write_file(f"{d}/file", b"")
    raises(errno.ENOTDIR, os.rename, f"{d}/empty", f"{d}/file")
    raises(errno.EISDIR, os.rename, f"{d}/file", f"{d}/empty")


@case
def rename_moves_link_counts_between_parents(d):
    os.makedirs(f"{d}/a/x")
    os.mkdir(f"{d}/b")
    os.rename(f"{d}/a/x", f"{d}/b/x")
    equal(os.stat(f"{d}/a").st_nlink, 2)
    equal(os.stat(f"{d}/b").st_nlink, 3)
    equal(os.stat(f"{d}/b/x/..").st_ino, os.stat(f"{d}/b").st_ino)


@case
def rename_with_flags(d):
    write_file(f"{d}/a", b"a")
    write_file(f"{d}/b", b"b")
    raises(errno.EEXIST, rename2, f"{d}/a", f"{d}/b", RENAME_NOREPLACE)
    rename2(f"{d}/a", f"{d}/b", RENAME_EXCHANGE)
    equal(read_file(f"{d}/a"), b"b")
    equal(read_file(f"{d}/b"), b"a")
    rename2(f"{d}/a", f"{d}/c", RENAME_NOREPLACE)
    equal(read_file(f"{d}/c"), b"b")
    raises(errno.ENOENT, rename2, f"{d}/c", f"{d}/none", RENAME_EXCHANGE)


@case
def hard_links(d):
    write_file(f"{d}/a", b"one")
    os.link(f"{d}/a", f"{d}/b")
    equal(os.stat(f"{d}/a").st_ino, os.stat(f"{d}/b").st_ino)
    equal(os.stat(f"{d}/a").st_nlink, 2)
    write_file(f"{d}/b", b"two two")
    equal(read_file(f"{d}/a"), b"two two")
    raises(errno.EEXIST, os.link, f"{d}/a", f"{d}/b")
    os.unlink(f"{d}/a")
    equal(os.stat(f"{d}/b").st_nlink, 1)
    equal(read_file(f"{d}/b"), b"two two")
    raises(errno.EPERM, os.link, d, f"{d}/dir")


@case
def symbolic_links(d):
    os.symlink("target/below", f"{d}/s")
    equal(os.readlink(f"{d}/s"), "target/below")
    st = os.lstat(f"{d}/s")
    expect(stat.S_ISLNK(st.st_mode))
    equal(st.st_size, len("target/below"))
    raises(errno.ENOENT, os.stat, f"{d}/s")
    write_file(f"{d}/f", b"through")
    os.symlink("f", f"{d}/t")
    equal(read_file(f"{d}/t"), b"through")
    os.symlink("loop", f"{d}/loop")
    raises(errno.ELOOP, os.stat, f"{d}/loop")
    long_target = "x" * 4000
    os.symlink(long_target, f"{d}/long")
    equal(os.readlink(f"{d}/long"), long_target)


@case
def symbolic_links_are_files_of_their_own(d):
    write_file(f"{d}/f", b"target")
    os.symlink("f", f"{d}/s")
    os.link(f"{d}/s", f"{d}/hard", follow_symlinks=False)
    equal(os.lstat(f"{d}/hard").st_ino, os.lstat(f"{d}/s").st_ino)
    equal(os.lstat(f"{d}/s").st_nlink, 2)
    os.unlink(f"{d}/s")
    equal(os.readlink(f"{d}/hard"), "f")
    equal(read_file(f"{d}/f"), b"target")
    raises(errno.ELOOP, os.open, f"{d}/hard", os.O_RDONLY | os.O_NOFOLLOW)
    raises(errno.EINVAL, os.readlink, f"{d}/f")
    raises(errno.EEXIST, os.symlink, "x", f"{d}/f")
    os.symlink("made", f"{d}/dangling")
    write_file(f"{d}/dangling", b"through")
    equal(read_file(f"{d}/made"), b"through")


@case
def long_and_odd_names(d):
    name = "n" * 255
    write_file(f"{d}/{name}", b"x")
    equal(os.listdir(d), [name])
    raises(errno.ENAMETOOLONG, os.open, f"{d}/{'n' * 256}", os.O_CREAT | os.O_WRONLY)
    os.unlink(f"{d}/{name}")
    for odd in (b"with space", b"new\nline", b"\xff\xfe not utf-8", "grüße".encode(), b"-rf",
                b"..."):
        path = os.path.join(d.encode(), odd)
        write_file(path, odd)
        equal(read_file(path), odd)
        equal(os.listdir(d.encode()), [odd])
        os.unlink(path)


@case
def unlinked_open_file_lives_on(d):
    fd = os.open(f"{d}/f", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"still here")
    os.unlink(f"{d}/f")
    equal(os.listdir(d), [])
    equal(os.fstat(fd).st_nlink, 0)
    os.write(fd, b", and growing")
    equal(os.pread(fd, 100, 0), b"still here, and growing")
    os.ftruncate(fd, 5)
    equal(os.pread(fd, 100, 0), b"still")
    os.fsync(fd)
    os.close(fd)


@case
def unlinked_open_file_keeps_its_other_names_and_attributes(d):
    fd = os.open(f"{d}/f", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"bytes")
    os.link(f"{d}/f", f"{d}/g")
    os.unlink(f"{d}/f")
    equal(os.fstat(fd).st_nlink, 1)
    equal(read_file(f"{d}/g"), b"bytes")
    os.unlink(f"{d}/g")
    os.fchmod(fd, 0o400)
    equal(stat.S_IMODE(os.fstat(fd).st_mode), 0o400)
    write_file(f"{d}/f", b"another")
    expect(os.stat(f"{d}/f").st_ino != os.fstat(fd).st_ino)
    equal(os.pread(fd, 10, 0), b"bytes")
    os.close(fd)


@case
def create_in_a_removed_directory(d):
    os.mkdir(f"{d}/gone")
    fd = os.open(f"{d}/gone", os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir(f"{d}/gone")
    try:
        os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
        raise AssertionError("made a file in a removed directory")
    except OSError as error:
        expect(error.errno in (errno.ENOENT, errno.ESTALE), errno.errorcode[error.errno])
    os.close(fd)


# ---- kinds, modes, times ----

@case
def fifo_and_socket_and_devices(d):
    os.mkfifo(f"{d}/pipe", 0o640)
    st = os.stat(f"{d}/pipe")
    expect(stat.S_ISFIFO(st.st_mode))
    equal(stat.S_IMODE(st.st_mode), 0o640)
    reader = os.open(f"{d}/pipe", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(f"{d}/pipe", os.O_WRONLY)
    os.write(writer, b"through the pipe")
    equal(os.read(reader, 100), b"through the pipe")
    os.close(reader)
    os.close(writer)
    os.mknod(f"{d}/regular", 0o600 | stat.S_IFREG)
    expect(stat.S_ISREG(os.stat(f"{d}/regular").st_mode))
    os.chdir(d)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    os.chdir("/")
    expect(stat.S_ISSOCK(os.stat(f"{d}/socket").st_mode))
    if os.geteuid() == 0:
        device = os.makedev(1, 3)
        os.mknod(f"{d}/null", 0o600 | stat.S_IFCHR, device)
        equal(os.stat(f"{d}/null").st_rdev, device)


@case
def modes_and_umask(d):
    old = os.umask(0o027)
    try:
        os.close(os.open(f"{d}/f", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(f"{d}/a", 0o777)
    finally:
        os.umask(old)
    equal(stat.S_IMODE(os.stat(f"{d}/f").st_mode), 0o640)
    equal(stat.S_IMODE(os.stat(f"{d}/a").st_mode), 0o750)
    os.chmod(f"{d}/f", 0o4755)
    equal(stat.S_IMODE(os.stat(f"{d}/f").st_mode), 0o4755)
    fd = os.open(f"{d}/read-only", os.O_CREAT | os.O_WRONLY, 0o444)
    os.write(fd, b"written through the creating descriptor")
    os.close(fd)


@case
def owners(d):
    if os.geteuid() != 0:
        raise Skip("needs root")
    write_file(f"{d}/f", b"x")
    os.chown(f"{d}/f", 1234, 2345)
    st = os.stat(f"{d}/f")
    equal((st.st_uid, st.st_gid), (1234, 2345))
    os.chown(f"{d}/f", -1, 3456)
    st = os.stat(f"{d}/f")
    equal((st.st_uid, st.st_gid), (1234, 3456))


@case
def setgid_directory_hands_its_group_down(d):
    if os.geteuid() != 0:
        raise Skip("needs root")
    os.mkdir(f"{d}/team")
    os.chown(f"{d}/team", 0, 4321)
    os.chmod(f"{d}/team", 0o2775)
    write_file(f"{d}/team/f", b"x")
    os.mkdir(f"{d}/team/sub")
    equal(os.stat(f"{d}/team/f").st_gid, 4321)
    equal(os.stat(f"{d}/team/sub").st_gid, 4321)
    equal(stat.S_IMODE(os.stat(f"{d}/team/sub").st_mode) & 0o2000, 0o2000)


@case
def permissions_are_checked_for_others(d):
    if os.geteuid() != 0:
        raise Skip("needs root")
    os.chmod(d, 0o755)
    write_file(f"{d}/secret", b"x")
    os.chmod(f"{d}/secret", 0o600)
    write_file(f"{d}/public", b"y")
    os.chmod(f"{d}/public", 0o644)
    script = (f"import os\nos.setgid(65534); os.setuid(65534)\n"
              f"assert open({d + '/public'!r}).read() == 'y'\n"
              f"for path, mode in (({d + '/secret'!r}, 'r'), ({d + '/public'!r}, 'w'), "
              f"({d + '/new'!r}, 'w')):\n"
              f"    try:\n        open(path, mode)\n    except PermissionError:\n        continue\n"
              f"    raise SystemExit('allowed: ' + path)\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd="/")
    if "Permission denied" in done.stderr and "public" in done.stderr:
        raise Skip("the path to the mount is closed to others")
    equal(done.returncode, 0)


@case
def write_clears_set_user_id(d):
    if os.geteuid() != 0:
        raise Skip("needs root")
    os.chmod(d, 0o777)
    write_file(f"{d}/f", b"x")
    os.chmod(f"{d}/f", 0o6777)
    script = (f"import os\nos.setgid(65534); os.setuid(65534)\n"
              f"fd = os.open({d + '/f'!r}, os.O_WRONLY)\nos.write(fd, b'y')\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd="/")
    if done.returncode != 0:
        raise Skip("the path to the mount is closed to others")
    equal(stat.S_IMODE(os.stat(f"{d}/f").st_mode) & 0o4000, 0)


@case
def utimens(d):
    write_file(f"{d}/f", b"x")
    os.utime(f"{d}/f", ns=(1_000_000_000_123_456_789, 1_500_000_000_987_654_321))
    st = os.stat(f"{d}/f")
    equal(st.st_atime_ns, 1_000_000_000_123_456_789)
    equal(st.st_mtime_ns, 1_500_000_000_987_654_321)
    os.utime(f"{d}/f", ns=(-1_000_000_001, -1))
    equal(os.stat(f"{d}/f").st_mtime_ns, -1)
    before = time.time_ns()
    os.utime(f"{d}/f")
    expect(abs(os.stat(f"{d}/f").st_mtime_ns - before) < 10**10)
    os.symlink("f", f"{d}/s")
    os.utime(f"{d}/s", ns=(5, 6), follow_symlinks=False)
    equal(os.lstat(f"{d}/s").st_mtime_ns, 6)


@case
def utimens_keeps_what_it_is_told_to_omit(d):
    path = f"{d}/f"
    write_file(path, b"x")
    os.utime(path, ns=(10**18, 2 * 10**18))
    at_fdcwd, now, omit = -100, (1 << 30) - 1, (1 << 30) - 2

    def set_times(*nanoseconds):
        spec = (ctypes.c_long * 4)(0, nanoseconds[0], 0, nanoseconds[1])
        equal(LIBC.utimensat(at_fdcwd, path.encode(), spec, 0), 0)
    set_times(omit, omit)
    equal((os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns), (10**18, 2 * 10**18))
    set_times(omit, now)
    st = os.stat(path)
    equal(st.st_atime_ns, 10**18)
    expect(abs(st.st_mtime_ns - time.time_ns()) < 10**10)


@case
def times_set_after_a_write_stay(d):
    fd = os.open(f"{d}/f", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"x" * 10_000)
    os.utime(fd, ns=(10**18, 2 * 10**18))
    os.fsync(fd)
    equal(os.fstat(fd).st_mtime_ns, 2 * 10**18)
    os.close(fd)
    equal(os.stat(f"{d}/f").st_mtime_ns, 2 * 10**18)


@case
def times_move_with_changes(d):
    write_file(f"{d}/f", b"x")
    first = os.stat(f"{d}/f")
    directory = os.stat(d)
    time.sleep(0.02)
    with open(f"{d}/f", "ab") as file:
        file.write(b"y")
    second = os.stat(f"{d}/f")
    expect(second.st_mtime_ns > first.st_mtime_ns, "write did not move mtime")
    expect(second.st_ctime_ns > first.st_ctime_ns, "write did not move ctime")
    time.sleep(0.02)
    os.chmod(f"{d}/f", 0o600)
    third = os.stat(f"{d}/f")
    equal(third.st_mtime_ns, second.st_mtime_ns)
    expect(third.st_ctime_ns > second.st_ctime_ns, "chmod did not move ctime")
    write_file(f"{d}/g", b"")
    expect(os.stat(d).st_mtime_ns > directory.st_mtime_ns,
           "create did not move the directory's mtime")


# ---- bytes ----

@case
def truncate_both_ways(d):
    data = pattern(10_000)
    write_file(f"{d}/f", data)
    os.truncate(f"{d}/f", 5_000)
    equal(read_file(f"{d}/f"), data[:5_000])
    os.truncate(f"{d}/f", 20_000)
    equal(read_file(f"{d}/f"), data[:5_000] + bytes(15_000))
    os.truncate(f"{d}/f", 0)
    equal(read_file(f"{d}/f"), b"")
    equal(os.stat(f"{d}/f").st_size, 0)


@case
def truncate_refusals(d):
    write_file(f"{d}/f", b"x")
    fd = os.open(f"{d}/f", os.O_RDONLY)
    raises(errno.EINVAL, os.ftruncate, fd, 0)
    os.close(fd)
    raises(errno.EISDIR, os.truncate, d, 0)
    raises(errno.ENOENT, os.truncate, f"{d}/none", 0)
    raises(errno.EINVAL, os.truncate, f"{d}/f", -1)
    equal(read_file(f"{d}/f"), b"x")


@case
def truncate_inside_pages_leaves_zeros(d):
    data = pattern(1_000_000)
    write_file(f"{d}/f", data)
    with open(f"{d}/f", "r+b") as file:
        file.truncate(123_457)
        file.seek(500_000)
        file.write(b"tail")
    equal(read_file(f"{d}/f"), data[:123_457] + bytes(500_000 - 123_457) + b"tail")


@case
def open_with_truncation(d):
    write_file(f"{d}/f", pattern(100_000))
    write_file(f"{d}/f", b"short")
    equal(read_file(f"{d}/f"), b"short")
    held = os.open(f"{d}/f", os.O_RDONLY)
    os.close(os.open(f"{d}/f", os.O_WRONLY | os.O_TRUNC))
    equal(os.fstat(held).st_size, 0)
    equal(os.read(held, 10), b"")
    os.close(held)


@case
def sparse_files(d):
    with open(f"{d}/f", "wb") as file:
        file.seek(3 << 30)
        file.write(b"far")
    st = os.stat(f"{d}/f")
    equal(st.st_size, (3 << 30) + 3)
    expect(0 < st.st_blocks * 512 < 64 << 20, f"{st.st_blocks} blocks for three bytes")
    fd = os.open(f"{d}/f", os.O_RDWR)
    os.fsync(fd)
    expect(0 < os.fstat(fd).st_blocks * 512 < 64 << 20, "more blocks after fsync")
    os.close(fd)
    with open(f"{d}/f", "rb") as file:
        equal(file.read(4096), bytes(4096))
        file.seek((3 << 30) - 5)
        equal(file.read(), bytes(5) + b"far")


@case
def blocks_follow_what_is_written_and_cut(d):
    write_file(f"{d}/dense", pattern(1_000_000))
    size = os.stat(f"{d}/dense").st_blocks * 512
    expect(1_000_000 <= size < 1_200_000, f"{size} bytes in blocks of a dense file of 1,000,000")
    os.truncate(f"{d}/dense", 100_000)
    expect(os.stat(f"{d}/dense").st_blocks * 512 < 300_000, "truncation frees no blocks")
    os.truncate(f"{d}/dense", 0)
    equal(os.stat(f"{d}/dense").st_blocks, 0)
    with open(f"{d}/hole", "wb") as file:
        file.truncate(1 << 30)
    expect(os.stat(f"{d}/hole").st_blocks * 512 < 1 << 20, "a hole has blocks")


@case
def seek_to_data_and_holes(d):
    """Any file system may tell a hole as data, none the other way round."""
    with open(f"{d}/f", "w+b", buffering=0) as file:
        file.truncate(1 << 30)
        file.seek(512 << 20)
        file.write(b"middle")
        fd = file.fileno()
        equal(os.lseek(fd, 512 << 20, os.SEEK_DATA), 512 << 20)
        expect(os.lseek(fd, 0, os.SEEK_DATA) <= 512 << 20, "data passed over")
        expect(os.lseek(fd, 512 << 20, os.SEEK_HOLE) >= (512 << 20) + 6, "data told as a hole")
        raises(errno.ENXIO, os.lseek, fd, 1 << 30, os.SEEK_DATA)


@case
def writes_at_odd_offsets(d):
    model = bytearray()
    prng = random.Random(7)
    with open(f"{d}/f", "w+b", buffering=0) as file:
        for _ in range(300):
            offset = prng.randrange(200_000)
            data = prng.randbytes(prng.randrange(1, 5_000))
            if len(model) < offset + len(data):
                model.extend(bytes(offset + len(data) - len(model)))
            model[offset:offset + len(data)] = data
            equal(os.pwrite(file.fileno(), data, offset), len(data))
        equal(os.pread(file.fileno(), len(model) + 10, 0), bytes(model))
    equal(read_file(f"{d}/f"), bytes(model))


@case
def large_file_in_large_pieces(d):
    piece = pattern(4 << 20)
    with open(f"{d}/f", "wb", buffering=0) as file:
        for _ in range(24):
            equal(file.write(piece), len(piece))
    with open(f"{d}/f", "rb", buffering=0) as file:
        for _ in range(24):
            equal(file.read(len(piece)), piece)
        equal(file.read(1), b"")


@case
def append(d):
    fds = [os.open(f"{d}/f", os.O_CREAT | os.O_WRONLY | os.O_APPEND) for _ in range(3)]
    for i in range(300):
        os.write(fds[i % 3], b"%04d\n" % i)
    for fd in fds:
        os.close(fd)
    equal(read_file(f"{d}/f"), b"".join(b"%04d\n" % i for i in range(300)))


@case
def append_ignores_the_position_and_can_be_read(d):
    fd = os.open(f"{d}/f", os.O_CREAT | os.O_RDWR | os.O_APPEND)
    os.write(fd, b"one")
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"two")
    equal(os.pread(fd, 10, 0), b"onetwo")
    equal(os.lseek(fd, 0, os.SEEK_CUR), 6)
    os.close(fd)


@case
def append_after_truncation_starts_at_the_new_end(d):
    fd = os.open(f"{d}/f", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"long first line")
    os.ftruncate(fd, 4)
    os.write(fd, b"er")
    os.truncate(f"{d}/f", 8)
    os.write(fd, b"!")
    os.close(fd)
    equal(read_file(f"{d}/f"), b"longer" + bytes(2) + b"!")


@case
def append_set_after_open(d):
    write_file(f"{d}/f", b"start")
    fd = os.open(f"{d}/f", os.O_RDWR)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    os.write(fd, b" end")
    equal(os.pread(fd, 100, 0), b"start end")
    os.close(fd)


@case
def threads_append_without_loss(d):
    def work(number):
        fd = os.open(f"{d}/f", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        for i in range(100):
            os.write(fd, b"%02d-%03d\n" % (number, i))
        os.close(fd)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = read_file(f"{d}/f").split()
    equal(sorted(lines), sorted(b"%02d-%03d" % (n, i) for n in range(4) for i in range(100)))


@case
def direct_io(d):
    try:
        fd = os.open(f"{d}/f", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise Skip("no O_DIRECT here") from error
        raise
    size = 1 << 20
    memory = mmap.mmap(-1, size)
    data = pattern(size)
    memory[:] = data
    equal(os.pwrite(fd, memory, 0), size)
    equal(os.pwrite(fd, memory, size), size)
    into = mmap.mmap(-1, size)
    equal(os.preadv(fd, [into], size), size)
    equal(into[:], data)
    equal(os.preadv(fd, [into], 2 * size), 0)
    os.close(fd)
    equal(read_file(f"{d}/f"), data * 2)


@case
def direct_writes_are_seen_by_cached_readers(d):
    write_file(f"{d}/f", b"a" * 16384)
    with open(f"{d}/f", "rb", buffering=0) as reader:
        equal(reader.read(16384), b"a" * 16384)
        fd = os.open(f"{d}/f", os.O_RDWR | os.O_DIRECT)
        memory = mmap.mmap(-1, 4096)
        memory[:] = b"b" * 4096
        os.pwrite(fd, memory, 4096)
        os.close(fd)
        equal(os.pread(reader.fileno(), 16384, 0), b"a" * 4096 + b"b" * 4096 + b"a" * 8192)


@case
def cached_readers_follow_a_direct_writer(d):
    """A direct writer counts up; a reader through the page cache never sees a smaller number."""
    write_file(f"{d}/f", bytes(4096))
    done = threading.Event()
    errors = []

    def read():
        fd = os.open(f"{d}/f", os.O_RDONLY)
        last = 0
        while not done.is_set():
            floor = written[0]
            now = int.from_bytes(os.pread(fd, 8, 0), "little")
            if now < last or now < floor:
                errors.append(f"read {now} after {last}, written {floor}")
                break
            last = now
        os.close(fd)
    written = [0]
    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    fd = os.open(f"{d}/f", os.O_WRONLY | os.O_DIRECT)
    memory = mmap.mmap(-1, 4096)
    for i in range(1, 1500):
        memory[:8] = i.to_bytes(8, "little")
        os.pwrite(fd, memory, 0)
        written[0] = i
    done.set()
    os.close(fd)
    for reader in readers:
        reader.join()
    equal(errors, [])


@case
def mmap_shared(d):
    write_file(f"{d}/f", bytes(100_000))
    with open(f"{d}/f", "r+b") as file:
        with mmap.mmap(file.fileno(), 0) as memory:
            memory[10:15] = b"hello"
            memory[99_990:99_995] = b"world"
            equal(os.pread(file.fileno(), 5, 10), b"hello")
            memory.flush()
            os.pwrite(file.fileno(), b"HELLO", 10)
            equal(memory[10:15], b"HELLO")
    data = read_file(f"{d}/f")
    equal(data[10:15], b"HELLO")
    equal(data[99_990:99_995], b"world")


@case
def mmap_changes_survive_unmapping_and_closing(d):
    write_file(f"{d}/f", bytes(1 << 20))
    fd = os.open(f"{d}/f", os.O_RDWR)
    memory = mmap.mmap(fd, 1 << 20)
    os.close(fd)
    memory[500_000:500_004] = b"kept"
    memory.close()
    equal(read_file(f"{d}/f")[500_000:500_004], b"kept")


@case
def mmap_follows_truncation_both_ways(d):
    with open(f"{d}/f", "w+b", buffering=0) as file:
        file.write(b"a" * 6000)
        with mmap.mmap(file.fileno(), 6000) as memory:
            memory[5999:6000] = b"z"
            file.truncate(5000)
            file.truncate(1 << 20)
            equal(memory[4999:6000], b"a" + bytes(1000))
            memory[5500:5501] = b"m"
            memory.flush()
        equal(os.pread(file.fileno(), 501, 5000), bytes(500) + b"m")
        equal(os.fstat(file.fileno()).st_size, 1 << 20)


@case
def mmap_private_keeps_changes_to_itself(d):
    write_file(f"{d}/f", b"original" * 1000)
    with open(f"{d}/f", "r+b") as file:
        with mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE) as memory:
            memory[0:8] = b"modified"
            equal(memory[0:8], b"modified")
    equal(read_file(f"{d}/f")[:8], b"original")


@case
def programs_run_from_here(d):
    shutil.copy("/bin/true", f"{d}/true")
    os.chmod(f"{d}/true", 0o755)
    equal(subprocess.run([f"{d}/true"], check=False, cwd="/").returncode, 0)


@case
def fsync_and_fdatasync(d):
    fd = os.open(f"{d}/f", os.O_CREAT | os.O_RDWR)
    for i in range(20):
        os.pwrite(fd, pattern(5000, i), i * 5000)
        os.fsync(fd) if i % 2 else os.fdatasync(fd)
    os.close(fd)
    directory = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)
    equal(read_file(f"{d}/f"), b"".join(pattern(5000, i) for i in range(20)))


@case
def synchronous_writes(d):
    for flag in (os.O_SYNC, os.O_DSYNC):
        fd = os.open(f"{d}/f", os.O_CREAT | os.O_WRONLY | os.O_TRUNC | flag)
        equal(os.write(fd, b"durable"), 7)
        os.close(fd)
        equal(read_file(f"{d}/f"), b"durable")


@case
def copies_by_the_kernel(d):
    data = pattern(3_000_000)
    write_file(f"{d}/a", data)
    source = os.open(f"{d}/a", os.O_RDONLY)
    target = os.open(f"{d}/b", os.O_CREAT | os.O_RDWR)
    left = len(data)
    while left > 0:
        left -= os.copy_file_range(source, target, left)
    equal(os.pread(target, len(data), 0), data)
    os.lseek(source, 0, os.SEEK_SET)
    os.ftruncate(target, 0)
    os.lseek(target, 0, os.SEEK_SET)
    left = len(data)
    while left > 0:
        left -= os.sendfile(target, source, None, left)
    equal(os.pread(target, len(data), 0), data)
    os.close(source)
    os.close(target)


@case
def fallocate_extends(d):
    fd = os.open(f"{d}/f", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"data")
    os.posix_fallocate(fd, 0, 1_000_000)
    equal(os.fstat(fd).st_size, 1_000_000)
    equal(os.pread(fd, 8, 0), b"data" + bytes(4))
    os.posix_fallocate(fd, 0, 100)
    equal(os.fstat(fd).st_size, 1_000_000)
    os.close(fd)


@case
def locks_within_one_mount(d):
    a = os.open(f"{d}/f", os.O_CREAT | os.O_RDWR)
    b = os.open(f"{d}/f", os.O_RDWR)
    fcntl.flock(a, fcntl.LOCK_EX)
    raises(errno.EAGAIN, fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(a, fcntl.LOCK_UN)
    fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(a)
    os.close(b)


# ---- extended attributes, file system, directories ----

@case
def user_xattrs(d):
    write_file(f"{d}/f", b"x")
    path = f"{d}/f"
    raises(errno.ENODATA, os.getxattr, path, "user.none")
    os.setxattr(path, "user.a", b"value")
    os.setxattr(path, "user.empty", b"")
    equal(os.getxattr(path, "user.a"), b"value")
    equal(os.getxattr(path, "user.empty"), b"")
    equal(sorted(n for n in os.listxattr(path) if n.startswith("user.")), ["user.a", "user.empty"])
    raises(errno.EEXIST, os.setxattr, path, "user.a", b"x", os.XATTR_CREATE)
    raises(errno.ENODATA, os.setxattr, path, "user.b", b"x", os.XATTR_REPLACE)
    os.setxattr(path, "user.a", b"new", os.XATTR_REPLACE)
    equal(os.getxattr(path, "user.a"), b"new")
    big = pattern(3000)
    os.setxattr(path, "user.big", big)
    equal(os.getxattr(path, "user.big"), big)
    os.removexattr(path, "user.a")
    raises(errno.ENODATA, os.removexattr, path, "user.a")
    os.setxattr(d, "user.dir", b"directory")
    equal(os.getxattr(d, "user.dir"), b"directory")
    os.rename(path, f"{d}/g")
    equal(os.getxattr(f"{d}/g", "user.big"), big)


@case
def xattrs_of_open_and_unlinked_files(d):
    fd = os.open(f"{d}/f", os.O_CREAT | os.O_RDWR)
    os.setxattr(fd, "user.a", b"one")
    os.unlink(f"{d}/f")
    os.setxattr(fd, "user.a", b"two")
    equal(os.getxattr(fd, "user.a"), b"two")
    os.close(fd)
    os.symlink("x", f"{d}/s")
    raises(errno.EPERM, os.setxattr, f"{d}/s", "user.a", b"x", 0, follow_symlinks=False)


@case
def statfs(d):
    st = os.statvfs(d)
    expect(st.f_blocks > 0 and st.f_bsize >= 512)
    expect(st.f_bavail <= st.f_bfree <= st.f_blocks, f"{st}")
    equal(st.f_namemax, 255)


@case
def readdir_of_5000_entries(d):
    names = {f"file-{i:05d}-{'x' * (i % 50)}" for i in range(5000)}
    for name in names:
        os.close(os.open(f"{d}/{name}", os.O_CREAT | os.O_WRONLY))
    listed = os.listdir(d)
    equal(len(listed), 5000)
    equal(set(listed), names)
    kinds = {entry.name: entry.is_file(follow_symlinks=False) for entry in os.scandir(d)}
    expect(all(kinds.values()))
    for name in names:
        os.unlink(f"{d}/{name}")
    equal(os.listdir(d), [])


@case
def readdir_while_names_go(d):
    for i in range(3000):
        write_file(f"{d}/{i}", b"")
    removed = 0
    for entry in os.scandir(d):
        os.unlink(f"{d}/{entry.name}")
        removed += 1
    equal(removed, 3000)
    equal(os.listdir(d), [])


@case
def dot_and_dot_dot(d):
    os.mkdir(f"{d}/a")
    equal(os.stat(f"{d}/a/.").st_ino, os.stat(f"{d}/a").st_ino)
    equal(os.stat(f"{d}/a/..").st_ino, os.stat(d).st_ino)
    out = subprocess.run(["ls", "-ai", f"{d}/a"], capture_output=True, text=True, check=True).stdout
    rows = {line.split()[1]: int(line.split()[0]) for line in out.splitlines()}
    equal(rows["."], os.stat(f"{d}/a").st_ino)
    equal(rows[".."], os.stat(d).st_ino)


@case
def deep_trees(d):
    path = d
    for i in range(60):
        path += f"/level{i}"
        os.mkdir(path)
    write_file(f"{path}/f", b"deep")
    equal(read_file(f"{path}/f"), b"deep")
    found = sum(len(files) for _, _, files in os.walk(d))
    equal(found, 1)
    shutil.rmtree(f"{d}/level0")
    equal(os.listdir(d), [])


# ---- programs ----

@case
def sqlite_wal_with_10000_inserts(d):
    db = sqlite3.connect(f"{d}/db", isolation_level=None)
    equal(db.execute("pragma journal_mode=wal").fetchone()[0], "wal")
    db.execute("pragma synchronous=normal")
    db.execute("create table t (id integer primary key, text text)")
    for start in range(0, 10_000, 100):
        db.execute("begin")
        db.executemany("insert into t values (?, ?)",
                       ((i, f"row {i} {'x' * (i % 97)}") for i in range(start, start + 100)))
        db.execute("commit")
    other = sqlite3.connect(f"{d}/db")
    equal(other.execute("select count(*), sum(id) from t").fetchone(), (10_000, 49_995_000))
    equal(other.execute("pragma integrity_check").fetchone()[0], "ok")
    other.close()
    db.close()


@case
def sqlite_rollback_journal(d):
    db = sqlite3.connect(f"{d}/db")
    db.execute("create table t (x)")
    for i in range(50):
        with db:
            db.execute("insert into t values (?)", (i,))
    equal(db.execute("select count(*) from t").fetchone()[0], 50)
    db.close()


@case
def tar_there_and_back(d):
    os.makedirs(f"{d}/src/sub")
    for i in range(200):
        write_file(f"{d}/src/sub/{i}", pattern(i * 37, i))
    os.symlink("sub/1", f"{d}/src/link")
    os.link(f"{d}/src/sub/2", f"{d}/src/hard")
    subprocess.run(["tar", "-C", f"{d}/src", "-cf", f"{d}/t.tar", "."], check=True)
    os.mkdir(f"{d}/dst")
    subprocess.run(["tar", "-C", f"{d}/dst", "-xf", f"{d}/t.tar"], check=True)
    subprocess.run(["diff", "-r", f"{d}/src", f"{d}/dst"], check=True)


@case
def a_waiting_reader_can_be_killed(d):
    os.mkfifo(f"{d}/pipe")
    child = subprocess.Popen(["cat", f"{d}/pipe"], stdout=subprocess.DEVNULL)
    time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    equal(child.wait(timeout=5), -signal.SIGKILL)


def main():
    arguments = sys.argv[1:]
    directory = arguments[0] if arguments else os.environ.get("MOUNT")
    if not directory:
        print(__doc__, file=sys.stderr)
        return 2
    wanted = arguments[1] if len(arguments) > 1 else ""
    base = os.path.join(os.path.realpath(directory), f"posix.{os.getpid()}")
    os.mkdir(base)
    passed, failed, skipped = 0, 0, 0
    for function in CASES:
        name = function.__name__
        if wanted not in name:
            continue
        place = os.path.join(base, name[:100])
        os.mkdir(place)
        begin = time.monotonic()
        try:
            function(place)
            passed += 1
            print(f"ok    {name} ({time.monotonic() - begin:.2f} s)", flush=True)
        except Skip as reason:
            skipped += 1
            print(f"skip  {name}: {reason}", flush=True)
        except Exception as error:  # a case may fail in any way; the others still run
            failed += 1
            where = traceback.extract_tb(error.__traceback__)
            line = [frame.lineno for frame in where if frame.filename == __file__]
            print(f"FAIL  {name}: {type(error).__name__}: {error} (lines {line})", flush=True)
        os.chdir("/")
        shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(base, ignore_errors=True)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

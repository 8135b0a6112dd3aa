#!/usr/bin/env python3
"""Random file operations against a model in memory, through one or two mounts of the same cluster.

    fsx.py [--seed N] [--ops N] [--files N] [--size BYTES] DIR [DIR2]      (or MOUNT and MOUNT2)

Each operation is checked at once: every read, through either mount and any kind of descriptor, must
give exactly the model's bytes. A failure prints the seed, the operation and the last operations
of the file.
"""
import argparse
import mmap
import os
import random
import sys

PAGE = 4096


class Mismatch(Exception):
    pass


class File:
    """One file with its model, held open through every mount."""

    def __init__(self, mounts, name):
        self.paths = [os.path.join(mount, name) for mount in mounts]
        self.model = bytearray()
        self.history = []
        os.close(os.open(self.paths[0], os.O_CREAT | os.O_EXCL | os.O_RDWR))
        self.fds = [os.open(path, os.O_RDWR) for path in self.paths]

    def close(self):
        for fd in self.fds:
            os.close(fd)
        os.unlink(self.paths[0])

    def put(self, offset, data):
        if len(self.model) < offset + len(data):
            self.model.extend(bytes(offset + len(data) - len(self.model)))
        self.model[offset:offset + len(data)] = data

    def check(self, got, offset, length, how):
        wanted = bytes(self.model[offset:offset + length])
        if got == wanted:
            return
        if len(got) != len(wanted):
            raise Mismatch(f"{how}: {len(got)} bytes at {offset}, wanted {len(wanted)}; "
                           f"the file has {len(self.model)}")
        first = next(i for i in range(len(got)) if got[i] != wanted[i])
        bad = sum(a != b for a, b in zip(got, wanted))
        raise Mismatch(f"{how}: {bad} of {len(got)} bytes differ, the first at {offset + first}: "
                       f"{got[first:first + 8].hex()}, wanted {wanted[first:first + 8].hex()}")


class Fuzz:
    def __init__(self, mounts, prng, limit):
        self.mounts = mounts
        self.prng = prng
        self.limit = limit
        self.operations = [
            (10, self.write), (4, self.append), (12, self.read), (3, self.truncate),
            (1, self.fsync),
            (2, self.reopen), (3, self.read_fresh), (3, self.map_read), (3, self.map_write),
            (2, self.direct_write), (2, self.direct_read), (2, self.stat), (1, self.truncate_path),
            (1, self.open_truncating), (1, self.rename_over),
        ]

    def pick(self):
        return self.prng.choices([op for _, op in self.operations],
                                 [weight for weight, _ in self.operations])[0]

    def size(self):
        return self.prng.choice((1, 7, 100, 511, 4095, 4096, 4097, 20_000, 65_536, 200_000,
                                 1_100_000))

    def range(self):
        offset = self.prng.randrange(self.limit)
        if self.prng.random() < 0.4:
            offset -= offset % PAGE
        return offset, max(1, min(self.size(), self.limit - offset))

    def side(self):
        return self.prng.randrange(len(self.mounts))

    def write(self, file):
        side, (offset, length) = self.side(), self.range()
        data = self.prng.randbytes(length)
        file.history.append(f"write mount {side} [{offset}, +{length})")
        done = os.pwrite(file.fds[side], data, offset)
        if done != length:
            raise Mismatch(f"wrote {done} of {length}")
        file.put(offset, data)

    def append(self, file):
        side, data = self.side(), self.prng.randbytes(min(self.size(), 100_000))
        if len(file.model) + len(data) > 2 * self.limit:
            return
        file.history.append(f"append mount {side} {len(data)} at {len(file.model)}")
        fd = os.open(file.paths[side], os.O_WRONLY | os.O_APPEND)
        os.write(fd, data)
        os.close(fd)
        file.put(len(file.model), data)

    def read(self, file):
        side, (offset, length) = self.side(), self.range()
        file.history.append(f"read mount {side} [{offset}, +{length})")
        file.check(os.pread(file.fds[side], length, offset), offset, length, f"read, mount {side}")

    def read_fresh(self, file):
        side = self.side()
        file.history.append(f"read whole mount {side}")
        with open(file.paths[side], "rb") as fresh:
            file.check(fresh.read(), 0, len(file.model) + 1, f"read whole, mount {side}")

    def truncate(self, file):
        side, size = self.side(), self.prng.randrange(self.limit)
        file.history.append(f"ftruncate mount {side} {len(file.model)} -> {size}")
        os.ftruncate(file.fds[side], size)
        self.resize(file, size)

    def truncate_path(self, file):
        side, size = self.side(), self.prng.randrange(self.limit)
        file.history.append(f"truncate mount {side} {len(file.model)} -> {size}")
        os.truncate(file.paths[side], size)
        self.resize(file, size)

    def open_truncating(self, file):
        side = self.side()
        file.history.append(f"O_TRUNC mount {side}")
        os.close(os.open(file.paths[side], os.O_WRONLY | os.O_TRUNC))
        self.resize(file, 0)

    @staticmethod
    def resize(file, size):
        if size < len(file.model):
            del file.model[size:]
        else:
            file.model.extend(bytes(size - len(file.model)))

    def fsync(self, file):
        side = self.side()
        file.history.append(f"fsync mount {side}")
        os.fsync(file.fds[side])

    def reopen(self, file):
        side = self.side()
        file.history.append(f"reopen mount {side}")
        os.close(file.fds[side])
        file.fds[side] = os.open(file.paths[side], os.O_RDWR)

    def stat(self, file):
        side = self.side()
        size = os.fstat(file.fds[side]).st_size
        file.history.append(f"stat mount {side}")
        if size != len(file.model):
            raise Mismatch(f"fstat, mount {side}: size {size}, wanted {len(file.model)}")

    def map_read(self, file):
        side = self.side()
        size = os.fstat(file.fds[side]).st_size
        if size == 0:
            return
        file.history.append(f"mmap read mount {side}")
        with mmap.mmap(file.fds[side], size, access=mmap.ACCESS_READ) as memory:
            offset = self.prng.randrange(size)
            length = min(self.size(), size - offset)
            file.check(memory[offset:offset + length], offset, length, f"mmap, mount {side}")

    def map_write(self, file):
        side = self.side()
        size = os.fstat(file.fds[side]).st_size
        if size == 0:
            return
        offset = self.prng.randrange(size)
        data = self.prng.randbytes(min(self.size(), size - offset))
        file.history.append(f"mmap write mount {side} [{offset}, +{len(data)})")
        with mmap.mmap(file.fds[side], size) as memory:
            memory[offset:offset + len(data)] = data
            if self.prng.random() < 0.5:
                memory.flush()
        file.put(offset, data)

    def direct_range(self):
        offset = self.prng.randrange(self.limit // PAGE) * PAGE
        return offset, self.prng.choice((PAGE, 4 * PAGE, 64 * PAGE, 300 * PAGE))

    def direct_write(self, file):
        side, (offset, length) = self.side(), self.direct_range()
        memory = mmap.mmap(-1, length)
        data = self.prng.randbytes(length)
        memory[:] = data
        file.history.append(f"direct write mount {side} [{offset}, +{length})")
        fd = os.open(file.paths[side], os.O_WRONLY | os.O_DIRECT)
        done = os.pwrite(fd, memory, offset)
        os.close(fd)
        if done != length:
            raise Mismatch(f"wrote {done} of {length} directly")
        file.put(offset, data)

    def direct_read(self, file):
        side, (offset, length) = self.side(), self.direct_range()
        memory = mmap.mmap(-1, length)
        file.history.append(f"direct read mount {side} [{offset}, +{length})")
        fd = os.open(file.paths[side], os.O_RDONLY | os.O_DIRECT)
        count = os.preadv(fd, [memory], offset)
        os.close(fd)
        file.check(memory[:count], offset, length, f"direct read, mount {side}")

    def rename_over(self, file):
        side = self.side()
        data = self.prng.randbytes(self.prng.choice((10, 5000)))
        file.history.append(f"replace by rename mount {side} {len(data)}")
        temp = file.paths[side] + ".new"
        with open(temp, "wb") as fresh:
            fresh.write(data)
        os.rename(temp, file.paths[side])
        for fd in file.fds:
            os.close(fd)
        file.fds = [os.open(path, os.O_RDWR) for path in file.paths]
        file.model = bytearray(data)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ops", type=int, default=3000)
    parser.add_argument("--files", type=int, default=3)
    parser.add_argument("--size", type=int, default=3_000_000)
    parser.add_argument("mounts", nargs="*")
    arguments = parser.parse_args()
    mounts = arguments.mounts or [os.environ[n] for n in ("MOUNT", "MOUNT2") if os.environ.get(n)]
    if not mounts:
        parser.error("say where: DIR [DIR2]")
    prng = random.Random(arguments.seed)
    fuzz = Fuzz(mounts, prng, arguments.size)
    files = [File(mounts, f"fsx.{os.getpid()}.{i}") for i in range(arguments.files)]
    for number in range(arguments.ops):
        file = prng.choice(files)
        operation = fuzz.pick()
        try:
            operation(file)
        except (Mismatch, OSError) as error:
            print(f"FAIL seed {arguments.seed} operation {number} ({operation.__name__}) on "
                  f"{file.paths[0]}: {error}")
            for line in file.history[-12:]:
                print(f"  {line}")
            return 1
    for file in files:
        file.check(open(file.paths[-1], "rb").read(), 0, len(file.model) + 1, "at the end")
        file.close()
    print(f"seed {arguments.seed}: {arguments.ops} operations through {len(mounts)} mount(s): "
          "1 passed, "
          f"0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

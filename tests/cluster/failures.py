#!/usr/bin/env python3
"""Chunk servers die and come back: what the encoding promises to survive is survived, what it does
not is an honest error in time, and nothing that was made durable is
lost. 4+2 on 7 chunk servers."""

import errno
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

from harness import (Demo, Results, arguments, check, check_equal, check_same_tree, main,
                     tree_digests, wait_until)

# A read(2) that cannot be answered must end within this: the mount's deadline of 30 s and a margin.
# The kernel asks more than once (read-ahead, then the page): the mount must not wait each time.
READ_SECONDS = 45


def make_tree(root: Path, seed: int) -> None:
    """Small and big files, odd sizes, links, a sparse one."""
    generator = random.Random(seed)
    sizes = [0, 1, 4095, 4096, 4097, 65537, 1 << 20, (4 << 20) + 5, 17_000_003]
    for directory in ("", "d", "d/e"):
        (root / directory).mkdir(parents=True, exist_ok=True)
        for number, size in enumerate(sizes):
            (root / directory / f"f{number}").write_bytes(generator.randbytes(size))
    for number in range(200):
        (root / "d" / f"small{number}").write_bytes(generator.randbytes(generator.randrange(9000)))
    os.symlink("../f3", root / "d" / "link")
    with (root / "sparse").open("wb") as file:
        file.seek(30_000_000)
        file.write(b"end")


def copy_durably(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True)
    for directory, _, files in os.walk(target):
        for name in files:
            path = Path(directory) / name
            if path.is_symlink():
                continue
            with path.open("rb") as file:
                os.fsync(file.fileno())


class Story:
    """The steps build on each other: one cluster goes through all of them."""

    def __init__(self, demo: Demo, local: Path):
        self.demo = demo
        self.local = local
        self.first = local / "first"
        self.second = local / "second"
        make_tree(self.first, 1)
        make_tree(self.second, 2)

    def copies_a_tree(self) -> None:
        copy_durably(self.first, self.demo.mount / "first")
        check_same_tree(self.demo.mount / "first", self.first)

    def survives_a_new_mount(self) -> None:
        self.demo.remount()
        check_same_tree(self.demo.mount / "first", self.first)

    def reads_without_two_servers(self) -> None:
        self.demo.kill("cs:2", "cs:5")
        self.demo.remount()
        check_same_tree(self.demo.mount / "first", self.first)

    def stat_names_the_dead(self) -> None:
        def seen() -> bool:
            down = [cs["id"] for cs in self.demo.stat()["cs"] if cs["status"] != "active"]
            return len(down) == 2
        wait_until(seen, 15, "two chunk servers not active in stat")
        cluster = self.demo.stat()["cluster"]
        check(cluster["status"] != "healthy", "the cluster calls itself healthy")
        check(len(cluster["reasons"]) > 0, "stat gives no reason")

    def writes_with_one_server_dead(self) -> None:
        # Five of six places are the minimum of 4+2: one dead server leaves six places.
        self.demo.start("cs:5")
        self.demo.wait_cs("active", 6)
        copy_durably(self.second, self.demo.mount / "second")
        check_same_tree(self.demo.mount / "second", self.second)

    def all_back_reads_all(self) -> None:
        self.demo.start("cs:2")
        self.demo.wait_cs("active", 7)
        self.demo.remount()
        check_same_tree(self.demo.mount / "first", self.first)
        check_same_tree(self.demo.mount / "second", self.second)

    def any_two_may_die(self) -> None:
        generator = random.Random(7)
        for _ in range(4):
            pair = generator.sample(range(1, 8), 2)
            names = [f"cs:{number}" for number in pair]
            self.demo.kill(*names)
            self.demo.remount()
            check_same_tree(self.demo.mount / "first", self.first)
            self.demo.start(*names)
            self.demo.wait_cs("active", 7)

    def too_many_dead_is_an_error_in_time(self) -> None:
        self.demo.kill("cs:1", "cs:2", "cs:3")
        self.demo.remount()
        errors = self.read_all(self.demo.mount / "first")
        check(len(errors) > 0, "three of seven servers dead and every file could be read")
        for path, number, seconds in errors:
            check_equal(number, errno.EIO, f"errno of reading {path}")
            check(seconds < READ_SECONDS, f"{path} failed only after {seconds:.0f} s")
        cluster = self.demo.stat()["cluster"]
        check(any("CS" in reason or "chunk" in reason for reason in cluster["reasons"]),
              f"stat does not say why: {cluster['reasons']}")

    def read_all(self, root: Path) -> list[tuple[str, int, float]]:
        """The first few files that cannot be read: (path, errno, seconds)."""
        errors = []
        for name, checksum in sorted(tree_digests(self.first).items()):
            if checksum == "" or checksum.startswith("-> ") or errors:
                continue
            began = time.monotonic()
            try:
                data = (root / name).read_bytes()
            except OSError as error:
                errors.append((name, error.errno, time.monotonic() - began))
                continue
            check_equal(data, (self.first / name).read_bytes(), f"bytes of {name}")
        return errors

    def back_again_is_readable(self) -> None:
        self.demo.start("cs:1", "cs:2", "cs:3")
        self.demo.wait_cs("active", 7)
        check_same_tree(self.demo.mount / "first", self.first)
        check_same_tree(self.demo.mount / "second", self.second)

    def removing_frees_the_space(self) -> None:
        def used() -> int:
            return sum(cs["used_bytes"] for cs in self.demo.stat()["cs"])
        wait_until(lambda: used() > 0, 15, "chunk servers report used space")
        shutil.rmtree(self.demo.mount / "first")
        shutil.rmtree(self.demo.mount / "second")
        wait_until(lambda: used() == 0, 60, "the space of removed files is free")


STEPS = [Story.copies_a_tree, Story.survives_a_new_mount, Story.reads_without_two_servers,
         Story.stat_names_the_dead, Story.writes_with_one_server_dead, Story.all_back_reads_all,
         Story.any_two_may_die, Story.too_many_dead_is_an_error_in_time,
         Story.back_again_is_readable, Story.removing_frees_the_space]


def body(results: Results, keep: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="cairn-local-") as local, \
            Demo("--cs", "7", "--encoding", "4+2", "--cs-size", "4G", keep=keep) as demo:
        story = Story(demo, Path(local))
        for step in STEPS:
            if not results.scenario(step.__name__, step, story):
                break  # the later steps stand on this one


if __name__ == "__main__":
    options = arguments(__doc__)
    outcome = Results()
    main(outcome, lambda: body(outcome, options.keep))

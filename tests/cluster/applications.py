#!/usr/bin/env python3
"""Programs people use every day, on the mount: git, make, SQLite, tar, rsync, dd, cp."""

import os
import random
import shutil
import sqlite3
import tempfile
from pathlib import Path

from harness import (ROOT, Demo, Results, arguments, check, check_equal, check_same_tree, digest,
                     main, require_program, run)

MAKEFILE = """OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))
program: $(OBJECTS)
\tcc -o $@ $(OBJECTS)
%.o: %.c
\tcc -O1 -c $< -o $@
"""


def git_clone_and_fsck(demo: Demo) -> None:
    require_program("git")
    clone = demo.mount / "clone"
    # As root in a test machine the owner of the source may be another user.
    git = ["git", "-c", "safe.directory=*"]
    run(*git, "clone", "--no-hardlinks", "--no-local", "-q", ROOT, clone, seconds=300)
    run(*git, "-C", clone, "fsck", "--full", "--strict", seconds=300)
    check_equal(run(*git, "-C", clone, "status", "--porcelain").stdout, "", "git status")
    (clone / "new").write_text("x\n")
    run(*git, "-C", clone, "add", "new")
    run(*git, "-C", clone, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "t")
    run(*git, "-C", clone, "gc", "-q", seconds=300)
    run(*git, "-C", clone, "fsck", "--full", seconds=300)


def make_a_c_project(demo: Demo) -> None:
    require_program("make")
    project = demo.mount / "project"
    project.mkdir()
    count = 30
    for number in range(count):
        (project / f"f{number}.c").write_text(
            f"int f{number}(int x) {{ return x + {number}; }}\n")
    calls = "\n".join(f"int f{n}(int); " for n in range(count))
    total = " + ".join(f"f{n}(0)" for n in range(count))
    (project / "main.c").write_text(
        f"#include <stdio.h>\n{calls}\nint main(void) {{ printf(\"%d\\n\", {total}); }}\n")
    (project / "Makefile").write_text(MAKEFILE)
    run("make", "-j2", "-C", project, seconds=300)
    check_equal(run(project / "program").stdout, f"{sum(range(count))}\n", "output of the program")
    again = run("make", "-j2", "-C", project).stdout
    check("up to date" in again, f"make builds again what is built: {again}")


def sqlite_database(demo: Demo) -> None:
    path = demo.mount / "test.db"
    for mode in ("delete", "wal"):
        database = sqlite3.connect(path)
        database.execute(f"pragma journal_mode={mode}")
        database.execute("pragma synchronous=full")
        database.execute("create table if not exists t (k integer primary key, mode text, v blob)")
        for number in range(200):
            with database:
                database.execute("insert into t (mode, v) values (?, ?)", (mode, os.urandom(3000)))
        database.close()
    database = sqlite3.connect(path)
    check_equal(database.execute("pragma integrity_check").fetchone(), ("ok",), "integrity_check")
    check_equal(database.execute("select count(*) from t").fetchone(), (400,), "rows")
    database.close()
    demo.remount()
    database = sqlite3.connect(path)
    check_equal(database.execute("pragma integrity_check").fetchone(), ("ok",), "after a new mount")
    database.close()


def tar_there_and_back(demo: Demo, local: Path) -> None:
    source = local / "tree"
    archive = demo.mount / "tree.tar"
    run("tar", "-C", local, "-cf", archive, "tree", seconds=300)
    unpacked = demo.mount / "unpacked"
    unpacked.mkdir()
    run("tar", "-C", unpacked, "-xf", archive, seconds=300)
    check_same_tree(unpacked / "tree", source)
    run("tar", "-C", unpacked, "--compare", "-f", archive, seconds=300)
    shutil.rmtree(unpacked)
    check(not unpacked.exists(), "rm -r left something")


def rsync_checksum(demo: Demo, local: Path) -> None:
    require_program("rsync")
    target = demo.mount / "rsync"
    run("rsync", "-a", f"{local}/tree/", f"{target}/", seconds=300)
    changes = run("rsync", "-a", "--checksum", "--dry-run", "--itemize-changes", f"{local}/tree/",
                  f"{target}/", seconds=300).stdout
    check_equal(changes, "", "what rsync would still copy")
    demo.remount()
    changes = run("rsync", "-a", "--checksum", "--dry-run", "--itemize-changes", f"{local}/tree/",
                  f"{target}/", seconds=300).stdout
    check_equal(changes, "", "what rsync would still copy after a new mount")


def dd_and_cp(demo: Demo, local: Path) -> None:
    big = local / "big"
    run("dd", "if=/dev/urandom", f"of={big}", "bs=1M", "count=200", seconds=120)
    target = demo.mount / "big"
    run("dd", f"if={big}", f"of={target}", "bs=1M", "conv=fsync", seconds=300)
    check_equal(target.stat().st_size, 200 << 20, "size")
    demo.remount()
    check_equal(digest(target), digest(big), "sha256 of 200 MiB")
    run("cp", "-a", target, demo.mount / "copy", seconds=300)
    check_equal(digest(demo.mount / "copy"), digest(big), "sha256 of a copy in the mount")
    usage = shutil.disk_usage(demo.mount)
    check(0 < usage.free <= usage.total, f"df: {usage}")


def make_tree(root: Path) -> None:
    generator = random.Random(3)
    for number in range(500):
        directory = root / f"d{number % 17}" / f"e{number % 3}"
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"f{number}"
        path.write_bytes(generator.randbytes(generator.choice([0, 100, 5000, 70_000])))
        path.chmod(0o600 + number % 64)
        os.utime(path, ns=(number * 10**9, number * 10**9 + 7))
    os.symlink("d1", root / "link")
    os.link(root / "d0" / "e0" / "f0", root / "hard")


def body(results: Results, keep: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="cairn-local-") as local, \
            Demo("--cs-size", "8G", keep=keep) as demo:
        make_tree(Path(local) / "tree")
        results.scenario("git clone, commit, gc, fsck", git_clone_and_fsck, demo)
        results.scenario("make -j2 of a C project", make_a_c_project, demo)
        results.scenario("SQLite, rollback journal and WAL", sqlite_database, demo)
        results.scenario("tar there and back", tar_there_and_back, demo, Path(local))
        results.scenario("rsync --checksum", rsync_checksum, demo, Path(local))
        results.scenario("dd and cp of 200 MiB", dd_and_cp, demo, Path(local))


if __name__ == "__main__":
    options = arguments(__doc__)
    outcome = Results()
    main(outcome, lambda: body(outcome, options.keep))

#!/usr/bin/env python3
"""Files get another encoding while they are in use: no byte, size or time changes, whoever writes
meanwhile and whatever dies; the space of the old data is given back. A full run: --mib 200
--kills 6."""

import itertools
import json
import os
import random
import signal
from pathlib import Path

from block_writers import BlockWriters
from harness import (Cluster, Results, arguments, check, check_equal, digest, main, processes,
                     wait_until)

MIB = 1 << 20
DEADLINE = 60
SETTING = "mds.convert.workers"
ENCODINGS = ("replicas=3", "encoding=2+1", "encoding=4+2")


def conversions(cluster: Cluster) -> dict:
    """What stat says of them; while no master answers, that everything waits."""
    result = cluster.cairn("stat", "--json", good=False)
    if result.returncode != 0:
        return {"waiting": 1, "under_way": 0, "files": [], "converted": 0, "paused": False}
    return json.loads(result.stdout)["conversions"]


def wait_converted(cluster: Cluster, seconds: float = DEADLINE) -> None:
    try:
        wait_until(lambda: conversions(cluster)["waiting"] == 0, seconds, "all files converted")
    except AssertionError as late:
        raise AssertionError(f"{late}; {conversions(cluster)}") from late


def wait_under_way(cluster: Cluster) -> list[dict]:
    """The files that somebody converts just now; empty: all was done before it could be seen."""
    def some() -> list | None:
        state = conversions(cluster)
        working = [file for file in state["files"] if file["worker"]]
        return [working] if working or state["waiting"] == 0 else None
    return wait_until(some, DEADLINE, "a file under conversion")[0]


def info(cluster: Cluster, path: Path) -> dict:
    return json.loads(cluster.cairn("info", path, "--json").stdout)


def random_file(path: Path, size: int, seed: int) -> None:
    generator = random.Random(seed)
    with path.open("wb") as file:
        while size > 0:
            size -= file.write(generator.randbytes(min(size, MIB)))
        file.flush()
        os.fsync(file.fileno())


def sparse_file(path: Path, size: int, seed: int) -> None:
    """Few blocks, none of them aligned, and a hole at the end."""
    generator = random.Random(seed)
    with path.open("wb") as file:
        for _ in range(8):
            file.seek(generator.randrange(size - 100_000))
            file.write(generator.randbytes(generator.randrange(1, 50_000)))
        file.truncate(size)
        file.flush()
        os.fsync(file.fileno())


class Tree:
    """Files of all kinds, and what they have to be like for ever."""

    def __init__(self, cluster: Cluster, root: Path, mebibytes: int, seed: int):
        self.cluster = cluster
        self.root = root
        (root / "deep" / "er").mkdir(parents=True)
        sizes = {"empty": 0, "byte": 1, "odd": 4095, "odder": 4097, "deep/third": 1_000_003,
                 "deep/er/some": 5 * MIB + 1, "deep/whole": 8 * MIB, "big": mebibytes * MIB + 17}
        for number, (name, size) in enumerate(sizes.items()):
            random_file(root / name, size, seed * 100 + number)
        sparse_file(root / "deep" / "sparse", 150 * MIB + 5, seed)
        self.names = [*sizes, "deep/sparse"]
        self.with_data = [name for name in self.names if name != "empty"]
        os.link(root / "deep" / "third", root / "linked")
        os.utime(root / "odd", ns=(10**18, 10**18 + 7))
        self.wanted = self.look(root)

    def look(self, root: Path) -> dict:
        result = {}
        for name in self.names:
            status = (root / name).stat()
            result[name] = (digest(root / name), status.st_size, status.st_mtime_ns,
                            status.st_ctime_ns, status.st_nlink, status.st_ino)
        return result

    def assign(self, attribute: str, *options: str) -> str:
        # A directory with an encoding goes back to replicas only when that is asked for.
        more = ("--convert",) if attribute.startswith("replicas") and not options else options
        return self.cluster.cairn("set-attr", *more, "-R", self.root, attribute).stdout

    def check_same(self, root: Path) -> None:
        found = self.look(root)
        for name in self.names:
            check_equal(found[name], self.wanted[name], f"{root / name}")

    def stored(self) -> set[str]:
        """The encodings that the files' data has."""
        return {info(self.cluster, self.root / name)["stored"]["encoding"].split(":")[0]
                for name in self.with_data}

    def check_stored(self, attribute: str) -> None:
        check_equal(self.stored(), {attribute}, "encodings of the data")


def pieces_of_files(cluster: Cluster, root: Path) -> int:
    """That the master knows below `root`, hard links once."""
    seen, count = set(), 0
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory) / name
            if path.is_symlink() or path.stat().st_ino in seen:
                continue
            seen.add(path.stat().st_ino)
            count += sum(piece["state"] == "current" for chunk in info(cluster, path)["chunks"]
                         for piece in chunk["pieces"])
    return count


def wait_space_given_back(cluster: Cluster, root: Path) -> None:
    wanted = pieces_of_files(cluster, root)

    def there() -> int:
        return sum(cs["pieces"] for cs in cluster.stat()["cs"])
    try:
        wait_until(lambda: there() == wanted, DEADLINE, "the old pieces are removed")
    except AssertionError as late:
        raise AssertionError(f"{late}: {there()} pieces, {wanted} belong to files") from late


def unhealthy(cluster: Cluster) -> int:
    chunks = cluster.stat()["cluster"]["chunks"]
    return sum(count for state, count in chunks.items() if state not in ("healthy", "void"))


class Story:
    """Seven servers, three MDS, two mounts: the second one reads what the first one wrote."""

    def __init__(self, cluster: Cluster, mebibytes: int, kills: int):
        self.cluster = cluster
        self.kills = kills
        self.mount = cluster.mount(0)
        self.other = cluster.mount(1)
        self.tree = Tree(cluster, self.mount / "tree", mebibytes, 1)

    @property
    def tree_elsewhere(self) -> Path:
        return self.other / "tree"

    def id_of(self, server: int) -> int:
        return self.cluster.lib.parts[f"cs:{server}"]["id"]

    def server_of(self, worker: str) -> int:
        """The number of the chunk server that `stat` names as a worker."""
        found = [number for number in range(1, 8) if worker == f"CS#{self.id_of(number)}"]
        check(len(found) == 1, f"{worker!r} is no chunk server")
        return found[0]

    def converted(self, attribute: str) -> None:
        self.tree.assign(attribute)
        self.over(attribute)

    def over(self, attribute: str) -> None:
        wait_converted(self.cluster)
        self.tree.check_stored(attribute)
        self.tree.check_same(self.tree_elsewhere)

    # ---- the scenarios ----

    def trees_become_another_encoding_and_nothing_changes(self) -> None:
        wait_space_given_back(self.cluster, self.mount)
        names = ("big", "deep/sparse")
        handles = [os.open(root / name, os.O_RDONLY) for name in names
                   for root in (self.tree.root, self.tree_elsewhere)]
        try:
            before = [os.pread(handle, 4 * MIB, 1000) for handle in handles]
            for attribute in ENCODINGS:
                converted = conversions(self.cluster)["converted"]
                said = self.tree.assign(attribute)
                check("stat" in said, f"set-attr does not say how to watch it: {said!r}")
                wait_converted(self.cluster)
                self.tree.check_stored(attribute)
                state = conversions(self.cluster)
                check_equal(state["converted"] - converted, len(self.tree.with_data),
                            f"files that stat says were converted to {attribute}")
                self.tree.check_same(self.tree_elsewhere)
                self.tree.check_same(self.tree.root)
                for handle, wanted in zip(handles, before):
                    check(os.pread(handle, 4 * MIB, 1000) == wanted,
                          f"a file that was open all the time reads otherwise in {attribute}")
                attributes = json.loads(self.cluster.cairn(
                    "get-attr", self.tree.root / "big", "--json").stdout)
                name, code = attribute.split("=")
                check(attributes["stored"][name].startswith(code), str(attributes))
                wait_space_given_back(self.cluster, self.mount)
        finally:
            for handle in handles:
                os.close(handle)

    def what_was_converted_survives_what_its_encoding_promises(self) -> None:
        wait_until(lambda: unhealthy(self.cluster) == 0, DEADLINE, "all chunks healthy")
        self.cluster.kill("cs:2", "cs:5")
        try:
            self.cluster.remount(2)
            self.tree.check_same(self.tree_elsewhere)
        finally:
            self.cluster.start("cs:2", "cs:5")
        self.wait_whole()

    def wait_whole(self) -> None:
        self.cluster.wait_cs("active", 7)
        wait_until(lambda: unhealthy(self.cluster) == 0, DEADLINE, "all chunks healthy")

    def applications_write_into_files_under_conversion(self) -> None:
        place = self.mount / "written"
        place.mkdir()
        with BlockWriters(place, self.other / "written", count=3, seed=7) as writers:
            for attribute in ENCODINGS:
                before = writers.operations
                self.cluster.cairn("set-attr", "--convert", "-R", place, attribute)
                wait_until(lambda least=before + 60: writers.operations > least or writers.error,
                           DEADLINE, "writers go on beside the conversion")
                check(writers.error is None, f"a writer failed: {writers.error}")
                wait_converted(self.cluster)
                for path in sorted(place.iterdir()):
                    stored = info(self.cluster, path)["stored"]["encoding"]
                    check_equal(stored.split(":")[0], attribute, f"encoding of {path}")
            wait_until(lambda least=writers.operations + 60: writers.operations > least
                       or writers.error, DEADLINE, "writers go on after it")
        writers.check()
        self.cluster.remount(2)
        writers.check()
        print(f"    {writers.operations} operations, {writers.reads} reads", flush=True)

    def caught(self) -> tuple[str, list[dict]]:
        """A conversion of the tree that has just begun: into what, and the files under way."""
        for attribute in itertools.islice(itertools.cycle(ENCODINGS), 20):
            if self.tree.stored() == {attribute}:
                continue
            self.tree.assign(attribute)
            working = wait_under_way(self.cluster)
            if working:
                return attribute, working
            wait_converted(self.cluster)  # faster than we can look
        raise AssertionError("no conversion was seen under way")

    def kill_at_once(self, server: int) -> None:
        part = self.cluster.lib.parts[f"cs:{server}"]
        pid = self.cluster.lib.pid(part)
        started = processes.start_time(pid) if pid is not None else None
        check(started is not None, f"{part['name']} does not run")
        processes.send(pid, started, signal.SIGKILL)
        check(processes.wait_gone(pid, started, DEADLINE), f"{part['name']} survives kill -9")

    def a_converter_is_killed_again_and_again(self) -> None:
        attribute, working = self.caught()
        kills = 0
        while working and kills < self.kills:
            server = self.server_of(working[0]["worker"])
            self.kill_at_once(server)
            kills += 1
            self.cluster.start(f"cs:{server}")
            self.cluster.wait_cs("active", 7)
            working = wait_under_way(self.cluster)
        print(f"    {kills} kills", flush=True)
        self.over(attribute)
        self.wait_whole()
        wait_space_given_back(self.cluster, self.mount)

    def a_server_that_converts_stops_at_once_when_it_is_told_to(self) -> None:
        attribute, working = self.caught()
        part = self.cluster.lib.parts[f"cs:{self.server_of(working[0]['worker'])}"]
        check(self.cluster.lib.stop(part), f"{part['name']} did not end by itself")
        try:
            # Its store was closed in order: no drive and no cluster held it up.
            log = Path(part["repo"], "logs", "log").read_text(errors="replace")
            last = [line.split("] ", 1)[-1] for line in log.splitlines()[-2:]]
            check_equal(last, ["stopped", "ended"], "its last words")
        finally:
            self.cluster.start(part["name"])
        self.over(attribute)
        self.wait_whole()

    def the_master_dies_during_it(self) -> None:
        attribute, _ = self.caught()
        master = self.cluster.wait_master()
        self.cluster.mds[master].kill()
        try:
            self.cluster.wait_master(DEADLINE)
            self.over(attribute)
        finally:
            self.cluster.mds[master].start()
            self.cluster.wait_avail()
        wait_space_given_back(self.cluster, self.mount)

    def a_dead_server_is_no_hindrance(self) -> None:
        """What it had is read from the others; what it has of the old data goes when it is back."""
        self.converted("encoding=4+2")
        self.kill_at_once(6)
        try:
            self.cluster.wait_cs("inactive", 1)
            self.converted("encoding=2+1")
        finally:
            self.cluster.start("cs:6")
        self.wait_whole()
        wait_space_given_back(self.cluster, self.mount)

    def it_is_paused_and_resumed(self) -> None:
        files = len(self.tree.with_data)
        self.converted("encoding=2+1")
        self.cluster.cairn("set-config", f"{SETTING}=0")
        try:
            self.tree.assign("encoding=4+2")
            state = conversions(self.cluster)
            check_equal((state["waiting"], state["under_way"], state["paused"]), (files, 0, True),
                        "files that wait, under way, paused")
            check("paused" in self.cluster.cairn("stat").stdout, "stat does not say paused")
            found = info(self.cluster, self.tree.root / "big")["conversion"]
            check(found["to"].startswith("encoding=4+2"), f"info says {found}")
            # Something that takes a while and needs the whole cluster.
            self.tree.check_same(self.tree_elsewhere)
            self.tree.check_stored("encoding=2+1")
            check_equal(conversions(self.cluster)["waiting"], files, "files that wait")
            self.cluster.cairn("set-config", f"{SETTING}=1")
            wait_under_way(self.cluster)
            self.cluster.cairn("set-config", f"{SETTING}=0")
            wait_until(lambda: conversions(self.cluster)["under_way"] == 0, DEADLINE,
                       "no file is under conversion")
            left = conversions(self.cluster)["waiting"]
            print(f"    paused with {left} of {files} left", flush=True)
            self.tree.check_same(self.tree_elsewhere)
            check_equal(conversions(self.cluster)["waiting"], left, "files that wait still")
            check_equal(self.tree.stored() == {"encoding=4+2"}, left == 0, "all were converted")
        finally:
            self.cluster.cairn("set-config", f"{SETTING}=default")
        self.over("encoding=4+2")
        check(not conversions(self.cluster)["paused"], "still paused")

    def without_conversion_old_data_stays(self) -> None:
        self.converted("encoding=4+2")
        self.tree.assign("replicas=3", "--no-convert")
        check_equal(conversions(self.cluster)["waiting"], 0, "files that wait")
        self.tree.check_stored("encoding=4+2")
        path = self.tree.root / "young"
        random_file(path, 1000, 9)
        check(info(self.cluster, path)["stored"]["encoding"].startswith("replicas=3"),
              "a new file does not get the new encoding")
        path.unlink()
        # A change of mind: what waits no more is not converted.
        self.cluster.cairn("set-config", f"{SETTING}=0")
        try:
            self.tree.assign("replicas=3")
            check_equal(conversions(self.cluster)["waiting"], len(self.tree.with_data),
                        "files that wait")
            self.tree.assign("encoding=4+2")
            check_equal(conversions(self.cluster)["waiting"], 0, "files that wait after all")
        finally:
            self.cluster.cairn("set-config", f"{SETTING}=default")
        self.tree.check_stored("encoding=4+2")

    def too_few_servers_are_told_and_do_no_harm(self) -> None:
        path = self.mount / "wide"
        random_file(path, 3 * MIB + 5, 21)
        wanted = digest(path)
        self.cluster.cairn("set-attr", path, "encoding=7+2")

        def trouble() -> str | None:
            return next((file["trouble"] for file in conversions(self.cluster)["files"]
                         if file["trouble"]), None)
        print(f"    {wait_until(trouble, DEADLINE, 'stat tells why')}", flush=True)
        check(info(self.cluster, path)["stored"]["encoding"].startswith("encoding=4+2"), "changed")
        check_equal(digest(self.other / "wide"), wanted, "the file")
        with (self.other / "wide").open("r+b") as file:
            file.seek(MIB)
            file.write(b"still written")
            file.flush()
            os.fsync(file.fileno())
        wanted = digest(self.other / "wide")
        check_equal(digest(path), wanted, "the file at the first mount")
        self.cluster.cairn("set-attr", path, "encoding=2+1")
        wait_converted(self.cluster)
        check_equal(digest(self.other / "wide"), wanted, "the file in 2+1")
        wait_space_given_back(self.cluster, self.mount)


def body(results: Results, keep: bool, mebibytes: int, kills: int) -> None:
    with Cluster(mds=3, cs=7, clients=2, encoding="4+2", keep=keep) as cluster:
        story = Story(cluster, mebibytes, kills)
        for step in (story.trees_become_another_encoding_and_nothing_changes,
                     story.what_was_converted_survives_what_its_encoding_promises,
                     story.without_conversion_old_data_stays,
                     story.applications_write_into_files_under_conversion,
                     story.a_converter_is_killed_again_and_again,
                     story.a_server_that_converts_stops_at_once_when_it_is_told_to,
                     story.the_master_dies_during_it,
                     story.a_dead_server_is_no_hindrance,
                     story.it_is_paused_and_resumed,
                     story.too_few_servers_are_told_and_do_no_harm):
            results.scenario(step.__name__, step)


if __name__ == "__main__":
    options = arguments(__doc__, mib=(96, "size of the big file"),
                        kills=(2, "of the chunk server that converts"))
    outcome = Results()
    main(outcome, lambda: body(outcome, options.keep, options.mib, options.kills))

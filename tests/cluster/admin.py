#!/usr/bin/env python3
"""The administrator's tool on a live cluster: attributes and chunks of paths in a mount, state,
events, passwords at a terminal, the mount helper, and the demo's own promises."""

import json
import os
import pty
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from harness import BIN, DEMO, Demo, Results, arguments, check, check_equal, main, run, wait_until


INTERRUPTED_ROUNDS = 15


def master(demo: Demo) -> dict:
    return next(mds for mds in demo.stat()["mds"] if mds["master"])


def attributes_in_a_mount(demo: Demo) -> None:
    text = demo.cairn("get-attr", demo.mount).stdout
    first = f"connected to MDS#{master(demo)['id']}\n"
    check(text.startswith(f"{first}File: '{demo.mount}'\nAttributes:\n"), text)
    check("encoding=4+2:5\n" in text and "failure-domain=host\n" in text, text)
    directory = demo.mount / "three"
    (directory / "below").mkdir(parents=True)
    demo.cairn("set-attr", "-R", directory, "replicas=3", "failure-domain=disk")
    for path in (directory, directory / "below"):
        check("replicas=3:2\n" in demo.cairn("get-attr", path).stdout, str(path))
    (directory / "file").write_text("x" * 10_000)
    check("replicas=3:2\n" in demo.cairn("get-attr", directory / "file").stdout, "inherited")
    # From the cluster's root, and with the cluster taken from the mount although none is named.
    check("replicas=3:2\n" in demo.cairn("get-attr", "-p", "/three").stdout, "-p /three")
    nameless = {key: value for key, value in demo.environment.items() if key != "CAIRN_CLUSTER"}
    run(BIN / "cairn", "get-attr", directory, env=nameless)
    wrong = run(BIN / "cairn", "-c", "other", "get-attr", directory, env=nameless, good=False)
    check_equal(wrong.returncode, 2, "a mount of another cluster than -c says")


def a_file_with_data_may_keep_its_encoding(demo: Demo) -> None:
    path = demo.mount / "kept"
    path.write_bytes(os.urandom(300_000))
    os.sync()
    wait_until(lambda: pieces(demo, path), 10, "the file has a chunk")
    result = demo.cairn("set-attr", "--no-convert", path, "replicas=2")
    check("keep" in result.stderr, f"no warning: {result.stderr!r}")
    check_equal(len(pieces(demo, path)), 6, "pieces of the file")


def pieces(demo: Demo, path: Path) -> list:
    chunks = json.loads(demo.cairn("info", path, "--json").stdout)["chunks"]
    return chunks[0]["pieces"] if chunks else []


def chunks_of_a_file(demo: Demo) -> None:
    path = demo.mount / "file"
    with path.open("wb") as file:
        file.write(os.urandom(6 << 20))
        os.fsync(file.fileno())
    found = json.loads(demo.cairn("info", path, "--json").stdout)
    check_equal(found["size"], 6 << 20, "size")
    check_equal(len(found["chunks"]), 1, "chunks")
    servers = [piece["cs"] for piece in found["chunks"][0]["pieces"]]
    check_equal(len(set(servers)), 6, f"chunk servers of the pieces {servers}")
    states = {piece["state"] for piece in found["chunks"][0]["pieces"]}
    check_equal(states, {"current"}, "piece states")
    text = demo.cairn("info", path).stdout
    check("parity" in text and "Chunk " in text, text)


def state_of_the_cluster(demo: Demo) -> None:
    state = demo.stat()
    check_equal(state["schema"], 1, "schema")
    check_equal(state["cluster"]["status"], "healthy", "status")
    check_equal(sum(mds["master"] for mds in state["mds"]), 1, "masters")
    check_equal([mds["id"] for mds in state["mds"]], [1, 2, 3], "ids of the MDS")
    for mds in state["mds"]:
        check(mds["role"] == "voter" and mds["status"] == "avail", str(mds))
        check(mds["memory_bytes"] > 0 and mds["uptime_ns"] > 0 and mds["host"] != "", str(mds))
    check_equal([cs["status"] for cs in state["cs"]], ["active"] * 7, "chunk servers")
    check_equal([cs["id"] for cs in state["cs"]], list(range(1025, 1032)), "ids")
    points = [client["mount_point"] for client in state["clients"]]
    check(str(demo.mount) in points, f"the mount is not in {points}")
    text = demo.cairn("stat").stdout
    for word in ("Cluster 'demo': healthy", "Space: [", "MDS nodes: 3 of 3", "CS nodes: 7 of 7",
                 "\nMDSID", f"\nM   {master(demo)['id']}  avail", "\nCSID", "\nCLID", "\nTIME"):
        check(word in text, f"{word!r} is not in:\n{text}")
    check("\x1b" not in text, "escape codes in stat")


def a_dead_server_is_shown_and_comes_back(demo: Demo) -> None:
    demo.kill("cs:4")
    demo.wait_cs("inactive", 1)
    state = demo.stat()["cluster"]
    check(state["status"] == "degraded" and state["reasons"], str(state))
    check(any("1028" in reason for reason in state["reasons"]), f"not named: {state['reasons']}")
    demo.start("cs:1028")
    wait_until(lambda: demo.stat()["cluster"]["status"] == "healthy", 30, "healthy again")
    messages = [event["message"] for event in
                json.loads(demo.cairn("get-event", "-n", "50", "--json").stdout)["events"]]
    check(any("1028" in message for message in messages), f"no event names it: {messages}")


def settings_of_the_cluster(demo: Demo) -> None:
    name = "mds.wd.verify_chunks"
    check_equal(demo.cairn("get-config").stdout, f"mds.convert.workers=2\n{name}=2\n", "defaults")
    check_equal(demo.cairn("set-config", f"{name}=5").stdout, f"{name}=5 (was 2)\n", "set")
    check_equal(demo.cairn("get-config", name).stdout, f"{name}=5\n", "what was set")
    settings = json.loads(demo.cairn("get-config", "--json").stdout)["settings"]
    found = next(setting for setting in settings if setting["name"] == name)
    check_equal((found["value"], found["default"]), ("5", "2"), str(found))
    told = f"Global configuration updated by request from 127.0.0.1: {name}=5"
    wait_until(lambda: told in demo.cairn("get-event", "-n", "5").stdout, 5, told)
    # It is in the log: the next master has it too.
    old = master(demo)["id"]
    demo.kill(f"mds:{old}")
    wait_until(lambda: master(demo)["id"] != old, 20, "another master")
    check_equal(demo.cairn("get-config", name).stdout, f"{name}=5\n", "at the next master")
    demo.start(f"mds:{old}")
    check_equal(demo.cairn("set-config", f"{name}=default").stdout, f"{name}=2 (was 5)\n", "back")


def scrub_of_a_tree(demo: Demo) -> None:
    tree = demo.mount / "scrubbed"
    tree.mkdir()
    for number in range(20):
        (tree / str(number)).write_bytes(os.urandom(100_000))
    os.sync()
    clean = json.loads(demo.cairn("scrub", "now", tree, "--json").stdout)
    check(clean["done"] and clean["damaged_blocks"] == 0 and clean["failure"] == "", str(clean))
    check(clean["pieces"] == clean["verified"] and clean["pieces"] >= 20 * 3, str(clean))
    check(clean["blocks"] >= 20 * 25, str(clean))
    text = demo.cairn("scrub", "now", "-p", "/scrubbed/7").stdout
    check("No damage was found." in text, text)
    begun = demo.cairn("scrub", "now", tree, "--no-wait").stdout
    job = begun.split()[1]
    wait_until(lambda: "done" in demo.cairn("scrub", "status", job).stdout, 20, "the scrub ends")
    check(job in demo.cairn("scrub", "status").stdout, "listed")


def damage_block(repository: Path, wanted: bytes) -> bool:
    """Flips a byte of every stored block that has this content; False when there is none."""
    found = False
    for path in repository.rglob("*"):
        if not path.is_file() or path.stat().st_size < len(wanted):
            continue
        with path.open("r+b") as file:
            position = 0
            while True:
                try:
                    position = os.lseek(file.fileno(), position, os.SEEK_DATA) & -4096
                except OSError:  # no more data
                    break
                end = os.lseek(file.fileno(), position, os.SEEK_HOLE)
                while position < end:
                    file.seek(position)
                    if file.read(len(wanted)) == wanted:
                        file.seek(position)
                        file.write(bytes([wanted[0] ^ 1]))
                        found = True
                    position += 4096
    return found


def scrub_finds_and_heals_damage(demo: Demo) -> None:
    demo.cairn("set-config", "mds.wd.verify_chunks=0")  # else it may be found before
    path = demo.mount / "damaged"
    content = os.urandom(1 << 20)
    path.write_bytes(content)
    os.sync()
    first = next(piece["cs"] for piece in pieces(demo, path) if piece["index"] == 0)
    time.sleep(2)  # a journal is applied
    demo.kill(f"cs:{first}")
    check(damage_block(demo.dir / f"cs{first - 1024}", content[:4096]), "the block was not found")
    demo.start(f"cs:{first}")
    wait_until(lambda: demo.stat()["cluster"]["status"] == "healthy", 30, "healthy again")
    found = demo.cairn("scrub", "now", path, good=False)
    check_equal(found.returncode, 1, found.stdout + found.stderr)
    check(f"piece 0 on CS {first}: 1 of " in found.stdout, found.stdout)

    def healed() -> bool:
        server = next(cs for cs in demo.stat()["cs"] if cs["id"] == first)
        return server["healed_blocks"] >= 1 and server["damaged_blocks"] == 0

    wait_until(healed, 30, "the block is written anew from the other pieces")
    clean = demo.cairn("scrub", "now", path)
    check("No damage was found." in clean.stdout, clean.stdout)
    check(path.read_bytes() == content, "what is read")
    demo.cairn("set-config", "mds.wd.verify_chunks=default")


def chunk_servers_have_what_the_map_says(demo: Demo) -> None:
    os.sync()

    def differing() -> list:
        return [(cs["id"], cs["pieces_written"], cs["pieces"]) for cs in demo.stat()["cs"]
                if cs["pieces_written"] != cs["pieces"]]

    wait_until(lambda: not differing(), 20, f"pieces of map and drive agree: {differing()}")
    for cs in demo.stat()["cs"]:
        check(cs["pieces_unique"] <= cs["pieces_written"] <= cs["pieces_mapped"], str(cs))
        check(cs["used_bytes"] + cs["free_bytes"] <= cs["space_bytes"], str(cs))


def services_of_the_host(demo: Demo) -> None:
    services = json.loads(demo.cairn("list-services", "--json").stdout)["services"]
    check_equal([s["state"] for s in services], ["running"] * 10, "states")
    found = {s["id"]: s["repository"] for s in services if s["type"] == "mds"}
    check_equal(found, {number: str(demo.dir / f"mds{number}") for number in (1, 2, 3)}, "MDS")
    lines = demo.cairn("list-services", "-M").stdout.splitlines()
    check_equal(len(lines), 4, f"lines of list-services -M: {lines}")
    demo.kill("cs:7")
    lines = demo.cairn("list-services", "-C").stdout.splitlines()
    check_equal(sum("stopped" in line for line in lines), 1, "stopped services")
    demo.start("cs:7")


def mds_that_agree(demo: Demo) -> None:
    found = json.loads(demo.cairn("check-mds", "--json").stdout)
    check_equal((found["result"], len(found["mds"])), ("agree", 3), str(found))
    check_equal(len({mds["digest"] for mds in found["mds"]}), 1, "digests")
    text = demo.cairn("check-mds").stdout
    check("All 3 MDS agree." in text, text)
    demo.kill("mds:3")
    silent = demo.cairn("check-mds", good=False)
    check_equal(silent.returncode, 8, silent.stdout)
    check("no digest" in silent.stdout, silent.stdout)
    demo.start("mds:3")
    wait_until(lambda: demo.cairn("check-mds", good=False).returncode == 0, 20, "all agree again")


def an_interrupted_make_mds_goes_on(demo: Demo) -> None:
    """Killed at any moment and repeated, it gets one id, and nothing is left over."""
    random = Random(1)
    lists = demo.dir / "etc/clusters/demo"
    before = [(lists / name).read_text() for name in ("bs.list", "services.list")]
    with tempfile.TemporaryDirectory(prefix="cairn-test-") as place:
        for number in range(INTERRUPTED_ROUNDS):
            repository = Path(place, str(number))
            command = [str(BIN / "cairn"), "make-mds", "-a", f"127.0.0.1:{free_port_pair()}", "-r",
                       str(repository), "--force"]
            for _ in range(random.randrange(4)):
                process = subprocess.Popen(command, env=demo.environment,
                                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(random.uniform(0, 0.05))
                process.kill()
                process.wait()
            if repository.exists() and (repository / "mds.joining").exists():
                check(not (repository / "lock").exists(), "something was started")
            if not finished(repository):
                run(*command, env=demo.environment)
            made = json.loads((repository / "mds.conf").read_text())
            check_equal(made["mds_id"], 4 + number, "id: each directory takes one")
            check_equal([peer["id"] for peer in made["peers"]], [1, 2, 3], "peers")
            check_equal([mds["id"] for mds in demo.stat()["mds"]], [1, 2, 3, made["mds_id"]], "ids")
            check("\nL " in demo.cairn("stat").stdout, "the new one is not marked as a learner")
            demo.cairn("rm-mds", made["mds_id"])
    after = [(lists / name).read_text() for name in ("bs.list", "services.list")]
    check_equal(after, before, "bs.list and services.list")


def finished(repository: Path) -> bool:
    return (repository / "mds.conf").exists() and not (repository / "mds.joining").exists()


def free_port_pair() -> int:
    sys.path.insert(0, str(BIN.parents[2] / "deploy" / "lib"))
    from cluster import free_port_pair as choose
    return choose()


def at_terminal(words: list[str], answers: list[str], environment: dict) -> tuple[int, str]:
    """Runs a command on a terminal of its own and types the answers at its prompts."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(words[0], words, environment)
    shown = b""
    waiting = list(answers)
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the end of a pseudo terminal
            break
        if not piece:
            break
        shown += piece
        if waiting and shown.rstrip().endswith(b":"):
            os.write(terminal, waiting.pop(0).encode() + b"\n")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown.decode()


def passwords_at_a_terminal(demo: Demo) -> None:
    password = Path(demo.environment["CAIRN_PASSWORD_FILE"]).read_text().strip()
    command = [str(BIN / "cairn"), "auth-node"]
    code, shown = at_terminal(command, [password], demo.environment)
    check_equal(code, 0, shown)
    check("Please enter password for cluster:" in shown, shown)
    check(password not in shown, "the password was echoed")
    code, shown = at_terminal(command, ["wrong"], demo.environment)
    check_equal(code, 6, shown)
    with tempfile.TemporaryDirectory() as place:
        environment = {**demo.environment, "CAIRN_ETC": f"{place}/etc"}
        make = [str(BIN / "cairn"), "-c", "new", "make-mds", "-I", "-a", "127.0.0.1:32100", "-r",
                f"{place}/mds", "-p", "--force"]
        code, shown = at_terminal(make, ["one", "two"], environment)
        check_equal(code, 2, shown)
        check(not Path(place, "mds").exists() and not Path(place, "etc").exists(), "made something")
        code, shown = at_terminal(make, ["one", "one"], environment)
        check_equal(code, 0, shown)
        key = Path(place, "etc/clusters/new/auth_digest.key")
        check_equal(key.stat().st_mode & 0o777, 0o600, "mode of the key")
        check("one" not in key.read_text(), "the password lies in the key file")


def mount_helper(demo: Demo) -> None:
    point = demo.dir / "helper"
    point.mkdir()
    run(BIN / "mount.fuse.cairn", "cairn://demo", point, "-o", "rw,nosuid,nodev,_netdev,noauto",
        env=demo.environment)
    try:
        fields = run("findmnt", "-n", "-o", "SOURCE,FSTYPE", point).stdout.split()
        check_equal(fields, ["cairn://demo", "fuse.cairn"], "findmnt")
        (point / "through-helper").write_text("x")
        check_equal((demo.mount / "through-helper").read_text(), "x", "seen by the other mount")
    finally:
        run("umount", point)
        point.rmdir()


def a_killed_mount_is_back_without_waiting(demo: Demo) -> None:
    path = demo.mount / "before"
    with path.open("wb") as file:
        file.write(b"durable" * 1000)
        os.fsync(file.fileno())
    demo.kill("client:1")
    began = time.monotonic()
    demo.start("client:1")
    check_equal(path.read_bytes(), b"durable" * 1000, "what was fsynced")
    path.write_bytes(b"new")
    check(time.monotonic() - began < 20, "a new mount had to wait for the dead one's lease")


def demo_says_it_is_up(demo: Demo) -> None:
    again = demo.demo("up", "--no-build", "--no-install")
    check("up already" in again.stdout, again.stdout)
    check_equal(demo.demo("status").returncode, 0, "exit code of status")
    bad = demo.demo("kill", "cs:99", good=False)
    check_equal(bad.returncode, 3, "exit code of killing what is not there")


def two_demos_side_by_side(demo: Demo) -> None:
    with Demo("--cs", "1", "--replicas", "1", "--cs-size", "2G") as other:
        (other.mount / "only-there").write_text("x")
        check(not (demo.mount / "only-there").exists(), "two clusters are one")
        check_equal(len(other.stat()["cs"]), 1, "chunk servers of the second")


def a_crashed_demo_can_be_taken_down(_: Demo) -> None:
    with tempfile.TemporaryDirectory(prefix="cairn-test-") as place:
        directory = Path(place, "demo")
        run(DEMO, "up", "--dir", directory, "--no-build", "--no-install", "--cs", "1", "--replicas",
            "1", "--cs-size", "2G")
        run(DEMO, "kill", "--dir", directory, "client:1", "mds:1", "cs:1")
        run(DEMO, "down", "--dir", directory)
        check(not directory.exists(), "something is left")
        left = subprocess.run(["findmnt", directory / "mnt"], capture_output=True, check=False)
        check(left.returncode != 0, "the dead mount is left")


SCENARIOS = [attributes_in_a_mount, a_file_with_data_may_keep_its_encoding, chunks_of_a_file,
             state_of_the_cluster, a_dead_server_is_shown_and_comes_back,
             settings_of_the_cluster, scrub_of_a_tree, scrub_finds_and_heals_damage,
             chunk_servers_have_what_the_map_says, services_of_the_host, mds_that_agree,
             an_interrupted_make_mds_goes_on, passwords_at_a_terminal, mount_helper,
             a_killed_mount_is_back_without_waiting, demo_says_it_is_up, two_demos_side_by_side,
             a_crashed_demo_can_be_taken_down]


def body(results: Results, keep: bool) -> None:
    with Demo("--mds", "3", "--cs-size", "4G", keep=keep) as demo:
        for scenario in SCENARIOS:
            results.scenario(scenario.__name__, scenario, demo)


if __name__ == "__main__":
    options = arguments(__doc__)
    outcome = Results()
    main(outcome, lambda: body(outcome, options.keep))

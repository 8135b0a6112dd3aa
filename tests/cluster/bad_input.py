#!/usr/bin/env python3
"""Wrong input: the message says what, why, the state now and the next step; the exit code is that
of the table (docs/man/cairn.md); nothing is changed. Needs servers but no mount."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import BIN, Demo, Results, arguments, check, check_equal, main, tree_digests

# name, arguments ({...} is filled in), stdin, exit code, words that stderr must contain
CASES = [
    ("unknown command", ["stats"], "", 2, ["CAIRN-100", "Did you mean 'stat'"]),
    ("unknown option", ["make-cs", "-r", "{new}", "--sise", "3G"], "", 2, ["--sise", "--size"]),
    ("no command", ["--json"], "", 2, ["cairn help"]),
    ("command of the guide not built", ["top"], "", 1, ["not built yet"]),
    ("unknown cluster, near name", ["-c", "demoo", "stat"], "", 3,
     ["demoo", "Did you mean 'demo'"]),
    ("bad cluster name", ["-c", "../x", "stat"], "", 2, ["letters, digits"]),
    ("surplus word", ["stat", "x"], "", 2, ["'x'"]),
    ("bad timeout", ["--timeout", "-1", "stat"], "", 2, ["timeout"]),
    ("make-mds joins an unknown cluster", ["-c", "new", "make-mds", "-r", "{new}", "-a",
                                           "127.0.0.1:{free}", "--force"], "", 3, ["-b ADDR"]),
    ("make-mds joins where nobody listens",
     ["-c", "new", "make-mds", "-r", "{new}", "-a", "127.0.0.1:{free}", "--force", "-b",
      "127.0.0.1:9,127.0.0.1:11"], "", 5, ["127.0.0.1:9", "127.0.0.1:11"]),
    ("make-mds joins with a wrong password",
     ["make-mds", "-r", "{new}", "-a", "127.0.0.1:{free}", "--force", "-P"], "wrong\n", 6,
     ["refused the password"]),
    ("make-mds joins and founds", ["-c", "new", "make-mds", "-I", "-b", "127.0.0.1:9", "-r",
                                   "{new}", "-a", "127.0.0.1:{free}"], "", 2, ["-I", "-b"]),
    ("rm-mds of no id", ["rm-mds", "first"], "", 2, ["'first'", "cairn stat"]),
    ("rm-mds of an unknown id", ["rm-mds", "99"], "", 3, ["MDS#99", "MDS#1"]),
    ("configure-mds of a running MDS", ["configure-mds", "-r", "{mds}", "-n", "1@127.0.0.1:4000"],
     "", 1, ["in use by process", "Stop"]),
    ("configure-mds with a bad address", ["configure-mds", "-r", "{mds}", "-n", "1"], "", 2,
     ["ID@ADDR"]),
    ("configure-mds where there is no MDS", ["configure-mds", "-r", "{new}", "-n", "1@127.0.0.1"],
     "", 3, ["{new}"]),
    ("make-mds without a name", ["make-mds", "-I", "-r", "{new}", "-a", "127.0.0.1"], "", 2,
     ["name"]),
    ("make-mds in a full directory", ["-c", "new", "make-mds", "-I", "-a", "127.0.0.1:{free}", "-r",
                                      "{full}", "--force"], "", 1, ["not empty", "{full}"]),
    ("make-mds at a taken port", ["-c", "new", "make-mds", "-I", "-a", "127.0.0.1:{taken}", "-r",
                                  "{new}", "--force"], "", 1,
     ["CAIRN-213", "{taken}", "cairn-mdsd"]),
    ("make-mds at a host name", ["-c", "new", "make-mds", "-I", "-a", "localhost", "-r", "{new}",
                                 "--force"], "", 2, ["localhost"]),
    ("make-mds at a foreign address", ["-c", "new", "make-mds", "-I", "-a", "192.0.2.1", "-r",
                                       "{new}", "--force"], "", 2, ["192.0.2.1"]),
    ("make-mds with an empty password", ["-c", "new", "make-mds", "-I", "-a", "127.0.0.1:{free}",
                                         "-r", "{new}", "--force", "-P"], "\n", 2, ["empty"]),
    ("make-cs in a full directory", ["make-cs", "-r", "{full}"], "", 1, ["not empty"]),
    ("make-cs in a file", ["make-cs", "-r", "{file}"], "", 1, ["not a directory"]),
    ("make-cs of tier 4", ["make-cs", "-r", "{new}", "-t", "4"], "", 2, ["tier 4"]),
    ("make-cs of bad size", ["make-cs", "-r", "{new}", "--size", "3X"], "", 2, ["3X"]),
    ("make-cs of tiny size", ["make-cs", "-r", "{new}", "--size", "1M"], "", 2, ["1M"]),
    ("make-cs at a taken port", ["make-cs", "-r", "{new}", "-a", "127.0.0.1:{taken}"], "", 1,
     ["{taken}"]),
    ("make-cs with a journal of no size", ["make-cs", "-r", "{new}", "-j", "{empty}"], "", 2,
     ["-s MB"]),
    ("make-cs with a tiny journal", ["make-cs", "-r", "{new}", "-s", "8"], "", 2,
     ["-s 8", "32 to 262144"]),
    ("make-cs with a journal of 2 G", ["make-cs", "-r", "{new}", "-s", "2G"], "", 2, ["-s 2G"]),
    ("make-cs with a journal that does not fit",
     ["make-cs", "-r", "{new}", "-j", "{empty}", "-s", "262144"], "", 1, ["does not fit"]),
    ("make-cs with a journal in another repository",
     ["make-cs", "-r", "{new}", "-j", "{mds}/x", "-s", "64"], "", 2, ["{mds}"]),
    ("make-cs with a journal in a file", ["make-cs", "-r", "{new}", "-j", "{file}", "-s", "64"], "",
     1, ["not a directory"]),
    ("make-cs with a journal and without", ["make-cs", "-r", "{new}", "--no-journal", "-s", "64"],
     "", 2, ["--no-journal"]),
    ("make-cs tuned for tape", ["make-cs", "-r", "{new}", "-T", "tape"], "", 2, ["-T tape", "ssd"]),
    ("make-cs on a file as device", ["make-cs", "-r", "{new}", "--device", "{file}"], "", 2,
     ["not a block device"]),
    ("make-cs checks and does not", ["make-cs", "-r", "{new}", "--flush-check",
                                     "--no-flush-check"], "", 2, ["flush-check"]),
    ("configure-cs without a wish", ["configure-cs", "-r", "{cs}"], "", 2, ["-a DIR", "--status"]),
    ("configure-cs with two wishes", ["configure-cs", "-r", "{cs}", "-d", "-s", "64"], "", 2,
     ["exclude"]),
    ("configure-cs adds without a size", ["configure-cs", "-r", "{cs}", "-a", "{empty}"], "", 2,
     ["-s MB"]),
    ("configure-cs adds in another repository",
     ["configure-cs", "-r", "{cs}", "-a", "{mds}", "-s", "64"], "", 2, ["{mds}"]),
    ("configure-cs adds what does not fit",
     ["configure-cs", "-r", "{cs}", "-a", "{empty}", "-s", "262144"], "", 1, ["does not fit"]),
    ("configure-cs of no repository", ["configure-cs", "-r", "{full}", "--status"], "", 3,
     ["{full}", "list-services"]),
    ("configure-cs of an MDS", ["configure-cs", "-r", "{mds}", "--status"], "", 3, ["{mds}"]),
    ("configure-cs tuned for tape", ["configure-cs", "-r", "{cs}", "-T", "tape"], "", 2, ["tape"]),
    ("auth-node with a wrong password", ["auth-node", "-P"], "wrong\n", 6, ["refused"]),
    ("auth-node without a password", ["auth-node", "-P"], "", 2, ["empty"]),
    ("auth-node where nobody listens", ["-c", "new", "auth-node", "-P", "-b", "127.0.0.1:{free}"],
     "x\n", 5, ["127.0.0.1:{free}"]),
    ("set-attr without attributes", ["set-attr", "-p", "/"], "", 2, ["name=value"]),
    ("set-attr of an unknown attribute", ["set-attr", "-p", "/", "replica=3"], "", 2,
     ["Did you mean 'replicas'"]),
    ("set-attr of a refused code", ["set-attr", "-p", "/", "encoding=3+3"], "", 2, ["encoding"]),
    ("set-attr of replicas 0", ["set-attr", "-p", "/", "replicas=0"], "", 2, ["replicas"]),
    ("set-attr of both", ["set-attr", "-p", "/", "replicas=3", "encoding=4+2"], "", 2, ["exclude"]),
    ("set-attr of an unknown path", ["set-attr", "-p", "/nowhere", "tier=0"], "", 3, ["/nowhere"]),
    ("set-attr outside a mount", ["set-attr", "/tmp", "tier=0"], "", 2, ["mount"]),
    ("get-attr of an unknown path", ["get-attr", "-p", "/nowhere"], "", 3, ["/nowhere"]),
    ("get-attr of no local file", ["get-attr", "{new}"], "", 3, ["{new}"]),
    ("info of an unknown path", ["info", "-p", "/nowhere"], "", 3, ["/nowhere"]),
    ("set-config without a setting", ["set-config"], "", 2, ["settings"]),
    ("set-config without a value", ["set-config", "mds.wd.verify_chunks"], "", 2, ["name=value"]),
    ("set-config of an unknown name", ["set-config", "mds.wd.verify_chunk=3"], "", 2,
     ["no setting 'mds.wd.verify_chunk'", "Did you mean 'mds.wd.verify_chunks'"]),
    ("set-config above the range", ["set-config", "mds.wd.verify_chunks=1001"], "", 2,
     ["mds.wd.verify_chunks=1001", "0 to 1000"]),
    ("set-config of no number", ["set-config", "mds.wd.verify_chunks=many"], "", 2, ["0 to 1000"]),
    ("set-config of nothing", ["set-config", "mds.wd.verify_chunks="], "", 2, ["0 to 1000"]),
    ("set-config twice", ["set-config", "mds.wd.verify_chunks=3", "mds.wd.verify_chunks=4"], "", 2,
     ["given twice"]),
    ("set-config of a good and a bad one", ["set-config", "mds.wd.verify_chunks=3", "x=1"], "", 2,
     ["no setting 'x'"]),
    ("get-config of an unknown name", ["get-config", "verify_chunks"], "", 2,
     ["Did you mean 'mds.wd.verify_chunks'"]),
    ("scrub of no kind", ["scrub"], "", 2, ["cairn help scrub"]),
    ("scrub of an unknown kind", ["scrub", "later"], "", 2, ["cairn help scrub"]),
    ("scrub now without a path", ["scrub", "now"], "", 2, ["path"]),
    ("scrub now of an unknown path", ["scrub", "now", "-p", "/nowhere"], "", 3, ["/nowhere"]),
    ("scrub now outside a mount", ["scrub", "now", "/tmp"], "", 2, ["mount"]),
    ("scrub status of no job", ["scrub", "status", "x"], "", 2, ["'x'"]),
    ("scrub status of an unknown job", ["scrub", "status", "1"], "", 3,
     ["scrub 1", "cairn scrub status"]),
    ("relative path from the root", ["set-attr", "-p", "x", "tier=0"], "", 2, ["'x'"]),
]

# The daemons and the mount say the same kind of thing.
DAEMON_CASES = [
    ("cairn-mdsd without a repository", ["cairn-mdsd", "-r", "{new}"], ["{new}"]),
    ("cairn-csd without a repository", ["cairn-csd", "-r", "{new}"], ["{new}"]),
    ("cairn-mdsd in a repository of a CS", ["cairn-mdsd", "-r", "{cs}"], ["mds.conf"]),
    ("second cairn-mdsd", ["cairn-mdsd", "-r", "{mds}"], []),
    ("second cairn-csd", ["cairn-csd", "-r", "{cs}"], []),
    ("cairn-mount of an unknown cluster", ["cairn-mount", "-c", "nobody", "{empty}"], ["nobody"]),
]


class Place:
    def __init__(self, demo: Demo, local: Path):
        self.demo = demo
        self.etc = demo.dir / "etc"
        (local / "full").mkdir()
        (local / "full" / "precious").write_text("x")
        (local / "file").write_text("x")
        (local / "empty").mkdir()
        address = demo.environment["CAIRN_MDS"]
        self.names = {"new": str(local / "new"), "full": str(local / "full"),
                      "file": str(local / "file"), "empty": str(local / "empty"),
                      "taken": address.rsplit(":", 1)[1], "free": str(free_port_pair()),
                      "mds": demo.environment["CAIRN_MDS1_REPOSITORY"],
                      "cs": demo.environment["CAIRN_CS1_REPOSITORY"]}
        self.local = local

    def picture(self) -> tuple:
        attributes = (self.demo.cairn("get-attr", "-p", "/", "--json").stdout,
                      self.demo.cairn("get-config", "--json").stdout)
        chunk_servers = sorted(cs["id"] for cs in self.demo.stat()["cs"])
        return tree_digests(self.local), tree_digests(self.etc), attributes, chunk_servers

    def fill(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace("{" + name + "}", value)
        return text


def free_port_pair() -> int:
    sys.path.insert(0, str(BIN.parents[2] / "deploy" / "lib"))
    from cluster import free_port_pair as choose
    return choose()


def one_case(place: Place, program: str, words: list[str], stdin: str, code: int | None,
             wanted: list[str]) -> None:
    before = place.picture()
    result = subprocess.run([str(BIN / program), *[place.fill(word) for word in words]],
                            input=stdin, env=place.demo.environment, capture_output=True,
                            text=True, timeout=60, check=False)
    told = result.stderr
    if code is None:
        check(result.returncode > 0, f"exit code {result.returncode}: {told}")
    else:
        check_equal(result.returncode, code, f"exit code, with stderr {told!r}")
    for word in wanted:
        check(place.fill(word) in told, f"{place.fill(word)!r} is not in {told!r}")
    check(told.strip() != "", "nothing was said")
    check("Traceback" not in told and "terminate called" not in told, told)
    check_equal(place.picture(), before, "what is there after the refused command")


def body(results: Results, keep: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="cairn-local-") as local, \
            Demo("--cs", "4", "--replicas", "3", "--cs-size", "2G", "--no-mount",
                 keep=keep) as demo:
        place = Place(demo, Path(local))
        for name, words, stdin, code, wanted in CASES:
            results.scenario(name, one_case, place, "cairn", words, stdin, code, wanted)
        for name, words, wanted in DAEMON_CASES:
            results.scenario(name, one_case, place, words[0], words[1:], "", None, wanted)


if __name__ == "__main__":
    os.environ.pop("CAIRN_CLUSTER", None)
    options = arguments(__doc__)
    outcome = Results()
    main(outcome, lambda: body(outcome, options.keep), mounts=False)

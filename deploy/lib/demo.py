"""The commands of deploy/demo."""

import argparse
import json
import os
import secrets
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

import build
import mounts
import packages
import processes
import self_check
from cluster import CLUSTER, Cluster
from errors import DemoError
from networks import Networks

GIB = 2**30
CS_SIZE_MAX = 20 * GIB
CS_SIZE_MIN = GIB
JOURNAL_MB = 64
MDS_COUNTS = (1, 3, 5)


def default_directory() -> Path:
    return Path("/var/lib/cairn-demo") if os.geteuid() == 0 else Path.home() / ".cairn-demo"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def pieces(options: argparse.Namespace) -> int:
    if options.replicas:
        return int(options.replicas.split(":")[0])
    data, _, parity = options.encoding.split(":")[0].partition("+")
    return int(data) + int(parity)


def check_options(options: argparse.Namespace) -> None:
    if options.mds not in MDS_COUNTS:
        raise DemoError(f"--mds {options.mds} is not one of 1, 3, 5",
                        "They decide by majority: of two none may be lost, of four only one.",
                        "Leave it out for 3.", 2)
    if options.mds_networks and os.geteuid() != 0:
        raise DemoError("--mds-networks needs root")
    if options.encoding and options.replicas:
        raise DemoError("--encoding and --replicas exclude each other", exit_code=2)
    if not options.replicas:
        options.encoding = options.encoding or "4+2"
    try:
        needed = pieces(options)
    except ValueError:
        raise DemoError("the encoding is not M+N or the replicas no number",
                        "", "As in: --encoding 4+2, --replicas 3", 2) from None
    options.hosts = options.hosts or options.cs
    if min(options.cs, options.hosts) < needed:
        raise DemoError(f"{options.cs} chunk servers on {options.hosts} hosts are too few",
                        f"Each chunk has {needed} pieces, each on a host of its own.",
                        f"Say --cs {needed + 1} or choose a narrower encoding.", 2)
    if options.journals and not options.journal_mb:
        options.journal_mb = JOURNAL_MB
    if not options.no_mount:
        mounts.require_fuse()


def cs_size(options: argparse.Namespace) -> str:
    if options.cs_size:
        return options.cs_size
    free = shutil.disk_usage(options.dir.parent).free
    size = min(CS_SIZE_MAX, int(free * 0.8 / options.cs))
    if size < CS_SIZE_MIN:
        raise DemoError(f"too little space for {options.cs} chunk servers",
                        f"{options.dir.parent} has {free / GIB:.1f} GB free.",
                        "Choose another place with --dir, or fewer with --cs.")
    return f"{size // GIB}G"


def lay_out(cluster: Cluster, options: argparse.Namespace) -> None:
    """Decides everything and writes it down; starts nothing."""
    cluster.dir.mkdir(parents=True, exist_ok=True)
    if any(cluster.dir.iterdir()):
        raise DemoError(f"{cluster.dir} is not empty and holds no demo", "",
                        "Name a new or empty directory: --dir DIR")
    parts: dict[str, dict] = {}
    cluster.state = {"schema": 1, "cluster": CLUSTER, "phase": "starting", "parts": parts}
    if options.mds_networks:
        cluster.state["networks"] = Networks.plan()
    for _ in range(options.mds):
        cluster.new_mds()
    for number in range(1, options.cs + 1):
        host = (number - 1) % options.hosts + 1
        part = parts[f"cs:{number}"] = {"kind": "cs", "repo": str(cluster.dir / f"cs{number}"),
                                        "host_file": str(cluster.etc / "hosts" / f"host{host}")}
        if options.allow_faults:
            part["options"] = ["--allow-faults"]
        if options.journals:
            part["journal"] = str(options.journals / f"cs{number}")
    for number in range(1, (0 if options.no_mount else options.clients) + 1):
        point = options.mount or cluster.dir / "mnt"
        point = point if number == 1 else Path(f"{point}{number}")
        parts[f"client:{number}"] = {"kind": "client", "mount": str(point),
                                     "made": not point.exists(),
                                     "log": str(cluster.dir / "logs" / f"client{number}.log")}
    for name, part in parts.items():
        part["name"] = name
    attribute = (f"replicas={options.replicas}" if options.replicas
                 else f"encoding={options.encoding}")
    cluster.state |= {"attribute": attribute, "cs_size": cs_size(options),
                      "journal_mb": options.journal_mb}
    (cluster.dir / "logs").mkdir()
    cluster.save()


def make_and_start(cluster: Cluster) -> None:
    password = secrets.token_urlsafe(16)
    secret = cluster.dir / "password"
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password + "\n")
    if cluster.networks is not None:
        cluster.networks.make()
    for number, name in enumerate(cluster.names("mds"), start=1):
        part = cluster.parts[name]
        say(f"making {name} at {part['address']}")
        cluster.make_mds(part, password if number == 1 else None)
        cluster.wait_mds(number)
    say(f"making {len(cluster.names('cs'))} chunk servers")
    for name in cluster.names("cs"):
        part = cluster.parts[name]
        cluster.make_cs(part)
        cluster.start(part)
    cluster.wait_active()
    cluster.run("cairn", "-c", CLUSTER, "set-attr", "-p", "/", cluster.state["attribute"],
                "failure-domain=host")
    for name in cluster.names("client"):
        part = cluster.parts[name]
        say(f"mounting at {part['mount']}")
        cluster.start(part)


def check_itself(cluster: Cluster) -> None:
    master = cluster.wait_mds()
    say(f"{len(cluster.names('mds'))} MDS are available, MDS#{master} is the master")
    if not cluster.names("client"):
        return
    client = cluster.parts["client:1"]
    root = Path(client["mount"]) / ".cairn-self-check"
    say("self-check: writing a small tree, mounting anew, comparing")
    expected = self_check.write_tree(root)
    self_check.compare(root, expected)
    cluster.stop(client)
    cluster.start(client)
    self_check.compare(root, expected)
    shutil.rmtree(root)


def up(cluster: Cluster, options: argparse.Namespace) -> int:
    if cluster.load():
        dead = [name for name, part in cluster.parts.items() if cluster.running(part) is None]
        if cluster.state["phase"] == "up" and not dead:
            print(f"The demo in {cluster.dir} is up already.")
            return 0
        raise DemoError(f"a demo in {cluster.dir} is not whole",
                        "It was not finished, or these do not run: " + " ".join(dead),
                        "Start them: deploy/demo start all    Remove it: deploy/demo down")
    check_options(options)
    if not options.no_install:
        packages.install(build.ROOT / "deploy" / "packages.txt")
    programs = [name for name in build.PROGRAMS
                if name != "cairn-mount" or not options.no_mount]
    if not options.no_build:
        build.build(programs)
    build.require(programs)
    lay_out(cluster, options)
    began = time.monotonic()
    try:
        make_and_start(cluster)
        check_itself(cluster)
    except BaseException:
        if not options.keep_failed:
            say("it did not work: taking it down again (--keep-failed keeps it)")
            take_down(cluster)
        raise
    cluster.state["phase"] = "up"
    cluster.save()
    print_what_to_try(cluster, time.monotonic() - began)
    return 0


def print_what_to_try(cluster: Cluster, seconds: float) -> None:
    demo = "deploy/demo" + ("" if cluster.dir == default_directory() else f" --dir {cluster.dir}")
    if not cluster.names("client"):
        print(f"The servers in {cluster.dir} are up ({seconds:.0f} s), nothing is mounted.\n"
              f'Use them: eval "$({demo} env)"; cairn stat    End: {demo} down')
        return
    mount = cluster.parts["client:1"]["mount"]
    servers = (f"{len(cluster.names('mds'))} MDS, {len(cluster.names('cs'))} chunk servers, "
               f"{cluster.state['attribute']}")
    master = cluster.name_of_mds(cluster.wait_mds())
    break_mds = "" if len(cluster.names("mds")) == 1 else f"""
             {demo} kill {master}; ls {mount}; cairn stat; {demo} start {master}   (the master)"""
    print(f"""
The demo is up and has checked itself ({seconds:.0f} s): {servers}.

  mount      {mount}
  try        eval "$({demo} env)"; cp -a /etc/services {mount}; cairn stat
             cairn info {mount}/services
  break      {demo} kill cs:3; cat {mount}/services | wc; cairn stat; {demo} start cs:3{break_mds}
  look       {demo} status
  end        {demo} down
""")


def take_down(cluster: Cluster) -> list[str]:
    """Names of parts that had to be killed. Clients first: they flush to the others."""
    killed = []
    # A process that was stopped (SIGSTOP) would not hear that it is to end.
    for part in cluster.parts.values():
        pid = cluster.pid(part)
        if pid is not None:
            processes.send(pid, processes.start_time(pid), signal.SIGCONT)
    for kind in ("client", "cs", "mds"):
        killed += [name for name in cluster.names(kind) if not cluster.stop(cluster.parts[name])]
    cluster.remove_files()
    return killed


def down(cluster: Cluster, _: argparse.Namespace) -> int:
    if not cluster.load():
        print(f"There is no demo in {cluster.dir}: nothing to do.")
        return 0
    for name in take_down(cluster):
        say(f"{name} did not end by itself and was killed")
    print(f"The demo in {cluster.dir} is down and removed.")
    return 0


def status(cluster: Cluster, _: argparse.Namespace) -> int:
    cluster.require()
    good = True
    for name, part in cluster.parts.items():
        pid = cluster.running(part)
        good = good and pid is not None
        where = part.get("mount") or part["repo"]
        mounted = ""
        if part["kind"] == "client" and pid is not None:
            mounted = "" if mounts.answers(Path(where)) else "  (does not answer)"
        print(f"{name:<10} {part.get('id', ''):<6} "
              f"{'pid ' + str(pid) if pid else 'not running':<14} {where}{mounted}")
    if any(cluster.pid(cluster.parts[name]) is not None for name in cluster.names("mds")):
        print()
        try:
            print(cluster.run("cairn", "stat"), end="")
        except DemoError as error:  # too few MDS: still a status
            print(error.why)
            good = False
    return 0 if good else 1


def kill(cluster: Cluster, options: argparse.Namespace) -> int:
    cluster.require()
    for name in options.names:
        part = cluster.part(name)
        pid = cluster.pid(part)
        started = processes.start_time(pid) if pid is not None else None
        if started is None or not processes.send(pid, started, signal.SIGKILL):
            raise DemoError(f"{part['name']} does not run", "",
                            f"Start it: deploy/demo start {name}", 3)
        if not processes.wait_gone(pid, started, 10):
            raise DemoError(f"{part['name']} (pid {pid}) does not end after kill -9")
        print(f"killed {part['name']} (pid {pid})")
    return 0


def start(cluster: Cluster, options: argparse.Namespace) -> int:
    cluster.require()
    names = options.names
    if names == ["all"]:
        names = cluster.names("mds") + cluster.names("cs") + cluster.names("client")
    for name in names:
        part = cluster.part(name)
        pid = cluster.running(part)
        if pid is not None:
            print(f"{part['name']} runs already (pid {pid})")
            continue
        cluster.start(part)
        print(f"started {part['name']} (pid {part['pid']})")
    if options.names == ["all"]:
        cluster.state["phase"] = "up"
        cluster.save()
    return 0


def env(cluster: Cluster, _: argparse.Namespace) -> int:
    cluster.require()
    values = {"CAIRN_CLUSTER": CLUSTER, "CAIRN_ETC": str(cluster.etc),
              "CAIRN_DEMO": str(cluster.dir),
              "CAIRN_MDS": ",".join(cluster.parts[name]["address"]
                                    for name in cluster.names("mds")),
              "CAIRN_PASSWORD_FILE": str(cluster.dir / "password")}
    for name, part in cluster.parts.items():
        kind, number = name.split(":")
        prefix = f"CAIRN_{kind.upper()}{number}"
        values[f"{prefix}_PID"] = str(cluster.pid(part) or "")
        if kind == "client":
            values["MOUNT" if number == "1" else f"MOUNT{number}"] = part["mount"]
        else:
            values[f"{prefix}_REPOSITORY"] = part["repo"]
        if kind == "mds":
            values[f"{prefix}_ADDRESS"] = part["address"]
    print(f"export PATH={shlex.quote(str(build.BIN))}:\"$PATH\"")
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="deploy/demo", description="A whole Cairn on this machine.",
        epilog="Several demos live side by side in different directories (--dir).")
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--dir", type=Path, default=argparse.SUPPRESS,
                       help=f"where it lives (default {default_directory()})")
    parser.add_argument("--dir", type=Path, default=default_directory(), help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    make = commands.add_parser("up", parents=[place],
                               help="install, build, make, start, mount, self-check")
    make.add_argument("--mds", type=int, default=3, help="metadata servers: 1, 3 or 5 (3)")
    make.add_argument("--cs", type=int, default=7, help="chunk servers (7)")
    make.add_argument("--hosts", type=int, default=0, help="hosts they pretend to be on (one each)")
    make.add_argument("--encoding", help="M+N of the root (4+2)")
    make.add_argument("--replicas", help="replicas of the root instead of an encoding")
    make.add_argument("--mount", type=lambda text: Path(text).absolute(),
                      help="mount point (DIR/mnt)")
    make.add_argument("--clients", type=int, default=1, help="mounts: DIR/mnt, DIR/mnt2, ... (1)")
    make.add_argument("--cs-size", help="space of each chunk server (20G or what fits)")
    make.add_argument("--journals", type=lambda text: Path(text).absolute(), metavar="DIR",
                      help="journals of the chunk servers in DIR/cs1, ...: on an SSD, say")
    make.add_argument("--journal-mb", type=int, metavar="MB",
                      help="size of each journal (64)")
    make.add_argument("--allow-faults", action="store_true",
                      help="faults of drives can be injected into the chunk servers (tests)")
    make.add_argument("--no-build", action="store_true", help="use the programs as they are")
    make.add_argument("--no-install", action="store_true", help="do not look for missing packages")
    make.add_argument("--no-mount", action="store_true", help="servers only")
    make.add_argument("--mds-networks", action="store_true",
                      help="each MDS in a network namespace of its own (tests of partitions)")
    make.add_argument("--keep-failed", action="store_true",
                      help="leave a failed start for inspection")
    commands.add_parser("down", parents=[place], help="stop and remove everything of it")
    commands.add_parser("status", parents=[place], help="processes and cairn stat")
    commands.add_parser("env", parents=[place], help='shell exports: eval "$(deploy/demo env)"')
    for name, text in (("kill", "kill -9 cs:3, mds:1, client:1"),
                       ("start", "start them again, or all")):
        command = commands.add_parser(name, parents=[place], help=text)
        command.add_argument("names", nargs="+", metavar="PART")
    return parser.parse_args(words)


COMMANDS = {"up": up, "down": down, "status": status, "kill": kill, "start": start, "env": env}


def main() -> int:
    options = parse(sys.argv[1:])
    options.dir = options.dir.absolute()
    try:
        return COMMANDS[options.command](Cluster(options.dir), options)
    except DemoError as error:
        print(error.text(), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output had enough. Nothing may be written any more, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())

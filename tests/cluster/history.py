"""What a load did to the names of a cluster, and whether the answers can be true.

Each name has one owner, who works alone and one operation at a time; others only look. So what a
name must be is known exactly after each operation of its owner, and what a look by somebody else
may have seen is every state the name had between the look's beginning and its end, but never an
older one than an earlier look saw (a register with one writer). A lost operation, one that was done
twice, and an answer from the past each contradict this.

Pure: operations in, findings out. Times are nanoseconds of one monotonic clock.
"""

import errno
from dataclasses import dataclass, field

# What a name is: None (absent) or a tuple that stat() and readlink() can tell.
#   ("file", inode, nlink, mtime_ns)  ("dir", inode)  ("link", target)  ("data", content)
# Targets and contents are unique in a run. A stat() finds the file first and its attributes after
# that, so the model keeps the two apart: a name is ("file", inode), a file is (nlink, mtime_ns).
Value = tuple | None

ROOT: Value = ("dir", 0)  # of directories that were there before
FINDINGS_MAX = 20


@dataclass
class Operation:
    """One call as its caller saw it. `error`: errno, 0 when it was done."""
    worker: str
    kind: str
    path: str
    start: int
    end: int
    error: int = 0
    to: str = ""
    tag: object = None       # utime: mtime; symlink: target; write: content
    seen: object = None      # create: (inode, mtime); mkdir: inode; looks: Value, names


@dataclass
class State:
    """A value of a name, from somewhere in [start, end] on."""
    start: int
    end: int
    value: Value


@dataclass
class Name:
    owner: str
    states: list[State] = field(default_factory=list)

    @property
    def value(self) -> Value:
        return self.states[-1].value


@dataclass
class File:
    names: set[str]
    states: list[State] = field(default_factory=list)


class Model:
    """Follows the operations of the owners; every finding is a sentence."""

    def __init__(self, reused_inodes: bool = False) -> None:
        """`reused_inodes`: on a filesystem that gives numbers of dead files to new ones."""
        self.reused_inodes = reused_inodes
        self.given: set[int] = set()
        self.names: dict[str, Name] = {}
        self.children: dict[str, set[str]] = {}
        self.files: dict[tuple[str, int], File] = {}      # by owner and inode
        # Of a name or file: when a look ended, and the newest state seen until then.
        self.floor: dict[object, list[tuple[int, int]]] = {}
        self.looks: list[Operation] = []
        self.findings: list[str] = []
        self.operations = 0
        self.looked = 0

    def add_root(self, path: str, owner: str = "") -> None:
        """A directory that was there before; `owner` "" when several work in it."""
        self.names[path] = Name(owner, [State(0, 0, ROOT)])
        self.children[path] = set()

    # ---- the owners' operations, in their order ----

    def feed(self, op: Operation) -> None:
        self.operations += 1
        if op.kind in ("stat", "list"):
            self.looks.append(op)
            return
        wanted = self.expected_error(op)
        if op.error != wanted:
            self.found(op, f"ended with errno {op.error}, must end with {wanted}")
            # What happened nobody knows: the names it spoke of are not judged any more.
            for path in filter(None, (op.path, op.to)):
                self.forget(path)
            return
        if op.error == 0:
            getattr(self, f"did_{op.kind}")(op)

    def value(self, path: str) -> Value:
        name = self.names.get(path)
        return name.value if name else None

    def expected_error(self, op: Operation) -> int:
        """By what the names are now. Only cases that the load makes are told apart."""
        now, target = self.value(op.path), self.value(op.to) if op.to else None
        if op.kind in ("create", "mkdir", "symlink"):
            return errno.EEXIST if now else 0
        if op.kind == "write":
            return 0
        if now is None:
            return errno.ENOENT
        if op.kind == "link":
            return errno.EEXIST if target else 0
        if op.kind == "rmdir":
            return errno.ENOTEMPTY if self.children.get(op.path) else 0
        if op.kind == "unlink":
            return errno.EISDIR if now[0] == "dir" else 0
        return 0

    def set(self, path: str, op: Operation, value: Value) -> None:
        name = self.names.get(path)
        if name is None:
            name = self.names[path] = Name(op.worker, [State(0, 0, None)])
        elif name.owner != op.worker:
            self.found(op, f"{path} belongs to {name.owner or 'nobody'}: the load is wrong")
        name.states.append(State(op.start, op.end, value))
        parent, _, last = path.rpartition("/")
        siblings = self.children.setdefault(parent, set())
        if value is None:
            siblings.discard(last)
        else:
            siblings.add(last)

    def did_create(self, op: Operation) -> None:
        inode, mtime = op.seen
        if inode in self.given and not self.reused_inodes:
            self.found(op, f"made inode {inode}, which was made before")
        self.given.add(inode)
        file = self.files.setdefault((op.worker, inode), File(set()))
        file.names = {op.path}
        file.states.append(State(op.start, op.end, (1, mtime)))
        self.set(op.path, op, ("file", inode))

    def did_mkdir(self, op: Operation) -> None:
        self.set(op.path, op, ("dir", op.seen))
        self.children[op.path] = set()

    def did_symlink(self, op: Operation) -> None:
        self.set(op.path, op, ("link", op.tag))

    def did_write(self, op: Operation) -> None:
        self.set(op.path, op, ("data", op.tag))

    def did_utime(self, op: Operation) -> None:
        self.stamp(op, self.value(op.path), op.tag)

    def did_link(self, op: Operation) -> None:
        value = self.value(op.path)
        self.file_of(op.worker, value).names.add(op.to)
        self.set(op.to, op, value)
        self.stamp(op, value)

    def did_unlink(self, op: Operation) -> None:
        value = self.value(op.path)
        self.set(op.path, op, None)
        self.release(op, op.path, value)

    def did_rmdir(self, op: Operation) -> None:
        self.set(op.path, op, None)
        self.children.pop(op.path, None)

    def did_rename(self, op: Operation) -> None:
        value, replaced = self.value(op.path), self.value(op.to)
        if value[0] == "file" and replaced == value:
            return  # two names of one file: POSIX does nothing
        self.set(op.path, op, None)
        self.set(op.to, op, value)
        if replaced is not None:
            self.release(op, op.to, replaced)
        if value[0] == "file":
            names = self.file_of(op.worker, value).names
            names.discard(op.path)
            names.add(op.to)
        elif value[0] == "dir":
            self.children[op.to] = self.children.pop(op.path)
            if self.children[op.to]:
                self.found(op, "moves a directory with entries: the model does not follow that")

    def file_of(self, owner: str, value: Value) -> File:
        return self.files[owner, value[1]]

    def release(self, op: Operation, path: str, value: Value) -> None:
        """`path` does not name `value` any more."""
        if value[0] == "file":
            self.file_of(op.worker, value).names.discard(path)
            self.stamp(op, value)

    def stamp(self, op: Operation, value: Value, mtime: object = None) -> None:
        """The file has other names now, or another time."""
        file = self.file_of(op.worker, value)
        kept = file.states[-1].value[1]
        file.states.append(State(op.start, op.end,
                                 (len(file.names), kept if mtime is None else mtime)))

    # ---- looks, when every operation before their end has been fed ----

    def judge_looks(self) -> None:
        looks, self.looks = sorted(self.looks, key=lambda op: op.end), []
        for op in looks:
            if op.error not in (0, errno.ENOENT):
                self.found(op, f"ended with errno {op.error}")
            elif op.kind == "list":
                self.judge_list(op)
            else:
                self.judge_stat(op)
        self.looked += len(looks)

    def judge_stat(self, op: Operation) -> None:
        kind = op.seen[0] if op.seen else None
        named = op.seen[:2] if kind == "file" else op.seen
        self.judge_name(op, op.path, lambda value: value == named, f"says {op.seen}")
        if kind != "file" or op.path not in self.names:
            return
        key = (self.names[op.path].owner, op.seen[1])
        file = self.files.get(key)
        if file is not None:
            self.judge_look(op, key, file.states,
                            lambda value: value == op.seen[2:], f"{op.path}: says {op.seen}")

    def judge_name(self, op: Operation, path: str, fits, said: str) -> None:
        if path in self.names:
            self.judge_look(op, path, self.names[path].states, fits, f"{path}: {said}")
        elif not fits(None):
            self.found(op, f"{path}: {said}, but nobody ever made it")

    def judge_look(self, op: Operation, key: object, states: list[State], fits, said: str) -> None:
        feasible = [i for i, state in enumerate(states) if fits(state.value)
                    and state.start <= op.end
                    and (i + 1 == len(states) or states[i + 1].end >= op.start)]
        floor = self.floor_at(key, op.start)
        newest = [i for i in feasible if i >= floor]
        if newest:
            self.note_floor(key, op.end, newest[0])
        elif feasible:
            self.found(op, f"{said}, which is older than what was seen before")
        else:
            around = [state.value for state in states if state.start <= op.end][-3:]
            self.found(op, f"{said}; it can only have been one of {around}")

    def judge_list(self, op: Operation) -> None:
        """Each name by itself: it must be there when it was all the time, and must not be when it
        was never."""
        if op.error:
            self.found(op, f"{op.path}: listing ended with errno {op.error}")
            return
        listed = list(op.seen)
        if len(listed) != len(set(listed)):
            double = sorted({n for n in listed if listed.count(n) > 1})
            self.found(op, f"{op.path}: listed twice: {double[:5]}")
        known = {path for path in self.names if path.rpartition("/")[0] == op.path}
        for path in sorted(known | {f"{op.path}/{n}" for n in listed}):
            here = path.rpartition("/")[2] in listed
            self.judge_name(op, path, lambda value, here=here: (value is not None) == here,
                            "is listed" if here else "is not listed")

    def floor_at(self, key: object, time: int) -> int:
        """The newest state that some look which ended before `time` had already seen."""
        return max((i for end, i in self.floor.get(key, []) if end < time), default=0)

    def note_floor(self, key: object, end: int, index: int) -> None:
        seen = self.floor.setdefault(key, [])
        if not seen or index > seen[-1][1]:
            seen.append((end, index))

    # ---- the tree as it is, while nobody works ----

    def compare(self, tree: dict[str, Value], where: str) -> None:
        """`tree`: everything below the roots, by path."""
        for path in sorted(set(tree) | set(self.names)):
            wanted = self.whole_value(path)
            have = tree.get(path)
            if wanted != have and not (wanted == ROOT and have):
                self.say(f"{where}: {path} is {have}, must be {wanted}")

    def whole_value(self, path: str) -> Value:
        value = self.value(path)
        if value is None or value[0] != "file":
            return value
        return (*value, *self.file_of(self.names[path].owner, value).states[-1].value)

    def inodes(self) -> int:
        """Files, links and directories that must exist, without those that were there before."""
        others = sum(1 for name in self.names.values()
                     if name.value and name.value[0] != "file" and name.value != ROOT)
        return sum(1 for file in self.files.values() if file.names) + others

    def compact(self) -> None:
        """After judge_looks() with nobody at work: the past is not needed any more."""
        for path in list(self.names):
            name = self.names[path]
            last = name.states[-1]
            if last.value is None:
                del self.names[path]
            else:
                name.states = [last]
        self.files = {key: File(file.names, file.states[-1:])
                      for key, file in self.files.items() if file.names}
        self.floor.clear()

    def forget(self, path: str) -> None:
        self.names.pop(path, None)

    def found(self, op: Operation, what: str) -> None:
        more = f" -> {op.to}" if op.to else ""
        self.say(f"{op.worker} {op.kind} {op.path}{more}: {what}")

    def say(self, finding: str) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)

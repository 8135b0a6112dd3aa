"""Writes a small real tree into a mount, makes it durable, and compares it after a new mount."""

import hashlib
import os
import random
from pathlib import Path

from errors import DemoError

SIZES = [0, 1, 511, 4095, 4096, 4097, 65536, 100_003, 1 << 20, (1 << 20) + 17, 9_000_001]


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def digest(path: Path) -> str:
    checksum = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum.update(block)
    return checksum.hexdigest()


def write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_tree(root: Path) -> dict[str, str]:
    """Relative name -> sha256 of what a reader must find."""
    expected = {}
    for directory in ("", "a", "a/b"):
        (root / directory).mkdir(exist_ok=True)
        for number, size in enumerate(SIZES):
            name = f"{directory}/f{number}".lstrip("/")
            data = content(hash_seed(name), size)
            write_durably(root / name, data)
            expected[name] = hashlib.sha256(data).hexdigest()
    with (root / "sparse").open("wb") as file:
        file.seek(5_000_000)
        file.write(b"end")
        os.fsync(file.fileno())
    expected["sparse"] = hashlib.sha256(bytes(5_000_000) + b"end").hexdigest()
    os.symlink("a/f3", root / "link")
    expected["link"] = expected["a/f3"]
    os.rename(root / "f1", root / "renamed")
    expected["renamed"] = expected.pop("f1")
    return expected


def hash_seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def compare(root: Path, expected: dict[str, str]) -> None:
    found = set()
    for directory, _, names in os.walk(root):
        found |= {os.path.relpath(os.path.join(directory, name), root) for name in names}
    if found != set(expected):
        raise DemoError("the self-check found other files than it wrote",
                        f"missing: {sorted(set(expected) - found)}, "
                        f"surplus: {sorted(found - set(expected))}")
    for name, checksum in expected.items():
        if digest(root / name) != checksum:
            raise DemoError(f"the self-check read other bytes than it wrote: {root / name}")

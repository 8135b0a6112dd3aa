"""Installs what is missing and builds: prepare.py [TARGET...] (none: everything)."""

import sys

import build
import packages
from errors import DemoError


def main() -> int:
    try:
        packages.install(build.ROOT / "deploy" / "packages.txt")
        build.build(sys.argv[1:])
    except DemoError as error:
        print(error.text(), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

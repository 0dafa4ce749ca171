"""`make address` and `make standalone`."""

import argparse
import sys
from pathlib import Path

from publishing import notebooks


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m publishing", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("address", help="write the repository's address into the chapters")
    standalone = commands.add_parser("standalone", help="write chapters that carry the library")
    standalone.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "standalone":
        for path in notebooks.write_standalone(options.folder):
            print(path)
        return 0
    try:
        address = notebooks.address()
        changed = notebooks.write_address(notebooks.chapters(), address)
    except ValueError as error:
        print(f"The address was not written: {error}.", file=sys.stderr)
        return 1
    print(f"{len(changed)} chapters were changed; the address is {address or 'not set'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

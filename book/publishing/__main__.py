"""What the Makefile calls: the site, what students get, the course to print, and its address."""

import argparse
import sys
import tempfile
from pathlib import Path

from publishing import build

EXTRAS = {
    "pdf": "print the whole course",
    "epub": "write the whole course for e-readers",
    "slides": "write slides of each chapter",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m publishing", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("site", help="build the site into _build/html")
    assignments = commands.add_parser("assignments", help="write the students' versions")
    assignments.add_argument("folder", type=Path)
    standalone = commands.add_parser("standalone", help="write chapters that carry the library")
    standalone.add_argument("folder", type=Path)
    for name, what in EXTRAS.items():
        commands.add_parser(name, help=what).add_argument("folder", type=Path)
    commands.add_parser("address", help="write the repository's address into the chapters")
    options = parser.parse_args(arguments)
    match options.command:
        case "site":
            return site()
        case "assignments":
            return write_assignments(options.folder)
        case "standalone":
            return write_standalone(options.folder)
        case name if name in EXTRAS:
            return write_extra(name, options.folder)
        case _:
            return write_address()


def site() -> int:
    """Build the site; one that is up to date is left as it is."""
    if not build.site():
        print("The site was not built. The one before it, if any, is as it was.", file=sys.stderr)
        return 1
    print(f"Open {build.ROOT / '_build' / 'html' / 'index.html'}")
    return 0


def write_assignments(folder: Path) -> int:
    """Write the students' versions: no PyTorch is needed, although the grader imports it."""
    from publishing.placeholders import placeholders

    with placeholders():
        from grading.course import Course
    with tempfile.TemporaryDirectory() as scratch:
        course = Course(Path(scratch))
        course.config.GenerateAssignment.no_database = True  # there is nothing to grade
        course.config.SaveCells.enabled = False
        course.release()
        for path in course.write_student_versions(folder):
            print(f"wrote {path}")
    return 0


def write_standalone(folder: Path) -> int:
    """Write the chapters that carry the library."""
    from publishing import notebooks

    for path in notebooks.write_standalone(folder):
        print(path)
    return 0


def write_extra(name: str, folder: Path) -> int:
    """Write the PDF, the EPUB or the slides; the site offers them from its next build on."""
    from publishing import paper, slides

    write = {"pdf": paper.write_pdf, "epub": paper.write_epub, "slides": slides.write}[name]
    try:
        written = write(folder)
    except (FileNotFoundError, RuntimeError) as error:
        print(f"Nothing was written: {error}.", file=sys.stderr)
        return 1
    for path in written:
        print(path)
    return 0


def write_address() -> int:
    """Write the repository's address into the chapters: as stated, or else as found."""
    from publishing import notebooks

    try:
        stated = notebooks.address()
        address = stated or notebooks.found_address()
        changed = notebooks.write_address(notebooks.chapters(), address)
    except ValueError as error:
        print(f"The address was not written: {error}.", file=sys.stderr)
        return 1
    if address and not stated:
        notebooks.state_address(address)
        print(f"_config.yml states {address} from now on: check it, and commit it.")
    print(f"{len(changed)} chapters were changed; the address is {address or 'not known'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

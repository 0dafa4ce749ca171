"""Find the submissions in a folder, and read of each only the text of its cells.

Names of files and metadata of cells change on the way through Colab and learning platforms. So an
assignment is known by the `# Task 2.1` lines in its code cells, and a student by the folder or the
file name.
"""

import json
import os
import re
import unicodedata
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import nbformat

TASK = re.compile(r"^\s*#\s*Task\s+(\d+)\.(\d+)\b", re.IGNORECASE)
TEST = re.compile(r"^\s*#\s*Test\s+(\d+)\.(\d+)\b", re.IGNORECASE)
LARGEST = 50 * 2**20  # bytes of a file


@dataclass(frozen=True)
class Cell:
    """A cell of a submission: nothing but what the student wrote."""

    kind: str  # "code" or "markdown"
    source: str

    def marker(self, pattern: re.Pattern) -> str | None:
        """The task's number, "2.1", if this is a code cell with such a first line."""
        found = self.kind == "code" and pattern.match(self.source)
        return f"{found[1]}.{found[2]}" if found else None


@dataclass(frozen=True)
class Submission:
    """What one student handed in for one assignment."""

    student: str
    assignment: str
    path: Path
    cells: tuple[Cell, ...]


class UnreadableError(ValueError):
    """A file is no submission; the message says why."""


def find(folder: Path, assignments: list[str]) -> tuple[list[Submission], list[str]]:
    """The newest submission of each student and assignment, and a line on each file left out.

    A folder within `folder` is a student, and holds that student's notebooks; a notebook that lies
    in `folder` itself is named after its student. `assignments` are names like
    "02_residual_blocks".

    Raises:
        FileNotFoundError: there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {folder}: name the one that holds the submissions, "
            "make grade SUBMISSIONS=folder"
        )
    paths = sorted(
        Path(root, name)
        for root, folders, names in os.walk(folder)
        for name in names + [name for name in folders if Path(root, name).is_symlink()]
        if not name.startswith(".")
    )
    if not paths:
        raise FileNotFoundError(f"nothing lies in {folder}")
    newest: dict[tuple[str, str], Submission] = {}
    left_out = []
    for path in sorted(paths, key=lambda path: (path.lstat().st_mtime, path)):
        name = path.relative_to(folder)
        try:
            cells = read(path)
            assignment = _assignment(cells, assignments)
            student = _student(name, assignment)
        except UnreadableError as error:
            left_out.append(f"{name}: {error}")
            continue
        earlier = newest.get((student, assignment))
        if earlier:
            left_out.append(
                f"{earlier.path.relative_to(folder)}: {student} handed in {assignment} again, in "
                f"{name}, which is newer and is graded"
            )
        newest[student, assignment] = Submission(student, assignment, path, cells)
    return sorted(newest.values(), key=lambda s: (s.assignment, s.student)), left_out


def read(path: Path) -> tuple[Cell, ...]:
    """The cells of a notebook file of any format since version 3.

    Raises:
        UnreadableError: it is none.
    """
    if path.is_symlink():
        raise UnreadableError("it is a link to another file, which is not followed")
    if not path.is_file():
        raise UnreadableError("it is not a file")
    if path.suffix != ".ipynb":
        raise UnreadableError("it is not a notebook: its name does not end in .ipynb")
    if path.stat().st_size > LARGEST:
        raise UnreadableError(f"it is larger than {LARGEST >> 20} MiB: clear the outputs")
    if not path.stat().st_size:
        raise UnreadableError("it is empty")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise UnreadableError("it is damaged: what is in it is not JSON") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing cell ids and the like do not matter here
            notebook = nbformat.from_dict(content)
            if notebook.nbformat < 4:
                notebook = nbformat.convert(notebook, 4)
            cells = [_cell(cell) for cell in notebook.cells]
    except Exception as error:
        raise UnreadableError("it is damaged: what is in it is not a notebook") from error
    return tuple(cells)


def _cell(cell) -> Cell:
    source = cell["source"]
    source = source if isinstance(source, str) else "".join(source)
    # A lone surrogate cannot be written again.
    source = source.encode(errors="replace").decode()
    return Cell("code" if cell["cell_type"] == "code" else "markdown", source)


def _assignment(cells: tuple[Cell, ...], assignments: list[str]) -> str:
    numbers = Counter(marker.partition(".")[0] for cell in cells if (marker := cell.marker(TASK)))
    if not numbers:
        raise UnreadableError(
            "no cell begins with a line like '# Task 2.1', so it cannot be told which assignment "
            "it is"
        )
    number = numbers.most_common(1)[0][0]
    for name in assignments:
        if name.startswith(f"{int(number):02d}_"):
            return name
    raise UnreadableError(f"there is no assignment {number}")


def _student(name: Path, assignment: str) -> str:
    """Who handed it in, by the folder, or by what is left of the file's name."""
    if len(name.parts) > 1:
        student = name.parts[0]
    else:
        student = re.sub(re.escape(assignment), " ", name.stem, flags=re.IGNORECASE)
        student = re.sub(r"\(\d+\)|\bcopy of\b", " ", student, flags=re.IGNORECASE)
    # One name has one spelling, and none that leads out of a folder or that nbgrader refuses.
    student = unicodedata.normalize("NFC", student)
    student = re.sub(r"[^\w .@'()-]", "_", student).strip(" ._-")
    if not student:
        raise UnreadableError(
            "the file's name does not say whose it is: put it into a folder with the student's name"
        )
    return student

"""Find the submissions in a folder, and read of each only the text of its cells.

Names of files and metadata of cells change on the way through Colab and learning platforms. So an
assignment is known by the `# Task 2.1` lines in its code cells, and a student by the folder or the
file name.
"""

import json
import os
import re
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import nbformat

from grading import names
from grading.apart import Apart, StoppedError

MARKER = re.compile(r"\s*#\s*(Task|Test)\s+([0-9]{1,3}\.[0-9]{1,3})\b", re.IGNORECASE)
TASK, TEST = "task", "test"
LARGEST = 50 * 2**20  # bytes of a file
CELLS = 1_000
TEXT = 4 * 2**20  # characters of all cells; the student version's library is 0.5 million
SAME_TIME = 60  # seconds: what a clone or an unpacked archive writes, in any order
GRADEBOOK = "gradebook.db"  # the folder that holds it is one of results


@dataclass(frozen=True)
class Cell:
    """A cell of a submission: nothing but what the student wrote."""

    kind: str  # "code" or "markdown"
    source: str

    def marker(self, kind: str) -> str | None:
        """The number, "2.1", if this is a code cell that begins with such a line.

        Before it there may be comments, and magics such as `%%time`. `kind` is `TASK` or `TEST`.
        """
        for line in self.source.splitlines() if self.kind == "code" else ():
            if found := MARKER.match(line):
                return found[2] if found[1].lower() == kind else None
            if line.strip() and line.strip()[0] not in "#%":
                return None
        return None

    def mentions(self, number: str) -> bool:
        """Whether any line is the `# Task` line of this number."""
        found = map(MARKER.match, self.source.splitlines())
        return any(one and one[1].lower() == TASK and one[2] == number for one in found)


@dataclass(frozen=True)
class Submission:
    """What one student handed in for one assignment."""

    student: str
    assignment: str
    path: Path
    cells: tuple[Cell, ...]


class UnreadableError(StoppedError):
    """A file is no submission; the message says why."""


def find(
    folder: Path, assignments: list[str], apart: Apart, output: Path | None = None
) -> tuple[list[Submission], list[str]]:
    """The latest submission of each student and assignment, and a line on each file left out.

    A folder within `folder` is a student, and holds that student's notebooks; a notebook that lies
    in `folder` itself is named after its student. `assignments` are names like
    "02_residual_blocks"; what lies in `output` is no submission.

    Raises:
        FileNotFoundError: there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {folder}: name the one that holds the submissions, "
            "make grade SUBMISSIONS=folder"
        )
    paths, left_out = _files(folder, output)
    if not paths and not left_out:
        raise FileNotFoundError(f"nothing lies in {folder}")
    attempts = defaultdict(list)
    for path in paths:
        name = path.relative_to(folder)
        try:
            cells = apart.do(read, path.absolute())  # the process may be in another folder
            assignment = _assignment(cells, assignments)
            if not (student := names.student(name, assignment)):
                raise UnreadableError(
                    "the file's name does not say whose it is: put it into a folder with the "
                    "student's name"
                )
            submission = Submission(student, assignment, path, cells)
            attempts[assignment, student].append((path.lstat().st_mtime, submission))
        except StoppedError as error:
            left_out.append(f"{name}: {error}")
        except OSError as error:
            left_out.append(f"{name}: it cannot be read ({error.strerror})")
    found = []
    for _, handed_in in sorted(attempts.items()):
        submission, earlier = _latest(folder, handed_in)
        found.append(submission)
        left_out += earlier
    return found, left_out


def _files(folder: Path, output: Path | None) -> tuple[list[Path], list[str]]:
    """All files that are not hidden, and a line on each folder that is left out."""
    paths, left_out = [], []

    def unreadable(error: OSError) -> None:
        name = Path(error.filename).relative_to(folder)
        left_out.append(f"{name}: the folder cannot be read ({error.strerror})")

    for root, folders, files in os.walk(folder, onerror=unreadable):
        links = [name for name in folders if Path(root, name).is_symlink()]
        folders[:] = sorted(name for name in folders if not _hidden(name) and name not in links)
        if GRADEBOOK in files or (output and Path(root).resolve() == output.resolve()):
            folders.clear()
            left_out.append(
                f"{Path(root).relative_to(folder)}: the folder holds results of grading"
            )
            continue
        paths += [Path(root, name) for name in sorted(files + links) if not _hidden(name)]
    return paths, left_out


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _latest(folder: Path, attempts: list[tuple[float, Submission]]) -> tuple[Submission, list[str]]:
    """The attempt that counts, and a line on each other one.

    It is the one that was saved last. Where times say nothing, because the files were written
    together, numbers in the names do: (10) comes after (2), and that after none. Of equal ones it
    is the one that lies less deep, not that in a folder `old`.
    """
    newest = max(time for time, _ in attempts)
    together = [one for time, one in attempts if newest - time < SAME_TIME]
    last = max(together, key=lambda one: (*_order(one.path), one.path))
    words = {re.sub(r"[\W\d_]+", "", one.path.stem).casefold() for one in together}
    if len(words) == 1 and sum(_order(one.path) == _order(last.path) for one in together) == 1:
        why = "which was saved at the same time, comes last by its name and is graded"
    else:
        why = (
            "which was saved at the same time and is graded; names do not tell either which of "
            "them is later, so leave only that one in the folder"
        )
    return last, [
        f"{one.path.relative_to(folder)}: {last.student} handed in {last.assignment} again, in "
        f"{last.path.relative_to(folder)}, "
        + (why if one in together else "which is newer and is graded")
        for _, one in attempts
        if one is not last
    ]


def _order(path: Path) -> tuple[list[int], int]:
    return list(map(int, re.findall("[0-9]{1,18}", path.stem))), -len(path.parts)


def read(path: Path) -> tuple[Cell, ...]:
    """The cells of a notebook file of any format since version 3.

    Raises:
        UnreadableError: it is none.
    """
    if path.is_symlink():
        raise UnreadableError("it is a link to another file, which is not followed")
    if not path.is_file():
        raise UnreadableError("it is not a file")
    if not names.NOTEBOOK.search(path.name):
        raise UnreadableError("it is not a notebook: its name does not end in .ipynb")
    if path.stat().st_size > LARGEST:
        raise UnreadableError(f"it is larger than {LARGEST >> 20} MiB: clear the outputs")
    if not path.stat().st_size:
        raise UnreadableError("it is empty")
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UnreadableError(f"it cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError):
        raise UnreadableError("it is damaged: what is in it is not JSON") from None
    try:
        if content["nbformat"] < 4:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # missing cell ids and the like do not matter here
                content = nbformat.convert(nbformat.from_dict(content), 4)
        cells = tuple(map(_cell, content["cells"]))
    except Exception as error:
        raise UnreadableError("it is damaged: what is in it is not a notebook") from error
    if len(cells) > CELLS:
        raise UnreadableError(f"it has {len(cells):,} cells: at most {CELLS:,} are graded")
    if (size := sum(len(cell.source) for cell in cells)) > TEXT:
        raise UnreadableError(
            f"its cells hold {size:,} characters without the outputs, and at most {TEXT:,} are "
            "graded: take out what is no answer"
        )
    return cells


def _cell(cell) -> Cell:
    source = cell["source"]
    source = source if isinstance(source, str) else "".join(source)
    # A lone surrogate cannot be written again.
    source = source.encode(errors="replace").decode()
    return Cell("code" if cell["cell_type"] == "code" else "markdown", source)


def _assignment(cells: tuple[Cell, ...], assignments: list[str]) -> str:
    markers = [cell.marker(TASK) for cell in cells]
    numbers = Counter(int(marker.partition(".")[0]) for marker in markers if marker)
    if not numbers:
        raise UnreadableError(
            "no cell begins with a line like '# Task 2.1', so it cannot be told which assignment "
            "it is"
        )
    number = numbers.most_common(1)[0][0]
    for name in assignments:
        if name.startswith(f"{number:02d}_"):
            return name
    raise UnreadableError(f"there is no assignment {number}")

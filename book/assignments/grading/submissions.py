"""Find the submissions in a folder, and read of each only the text of its cells.

Names of files and metadata of cells change on the way through Colab and learning platforms. So an
assignment is known by the `# Task 2.1` lines in its code cells, and a student by the folder or the
file name.
"""

import json
import re
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import nbformat

from grading import archives, names, platforms
from grading.apart import Apart, StoppedError
from grading.archives import LARGEST, File
from grading.platforms import Seen
from grading.roster import People, Roster

MARKER = re.compile(r"\s*#\s*(Task|Test)\s+([0-9]{1,3}\.[0-9]{1,3})\b", re.IGNORECASE)
TASK, TEST = "task", "test"
CELLS = 1_000
TEXT = 4 * 2**20  # characters of all cells; the student version's library is 0.5 million
SAME_TIME = 60  # seconds: what a clone or an unpacked archive writes, in any order


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
    """What one student handed in for one assignment.

    `name` is the file's path in what was handed in, where zips are folders; `seen` is what that
    says, `time` when it was saved.
    """

    student: str
    assignment: str
    name: PurePosixPath
    cells: tuple[Cell, ...]
    seen: Seen
    time: float


class Found(NamedTuple):
    """What `find` found.

    Args:
        submissions: those that are graded.
        left_out: a line on each file that is not.
        remarks: lines on how names were understood.
    """

    submissions: list[Submission]
    left_out: list[str]
    remarks: list[str]


class UnreadableError(StoppedError):
    """A file is no submission; the message says why."""


def find(
    source: Path,
    assignments: list[str],
    apart: Apart,
    output: Path | None = None,
    *,
    people: People | None = None,
    before: datetime | None = None,
) -> Found:
    """The latest submission of each student and assignment.

    `source` is a folder or a zip. Who handed in a file is known by what platforms call it
    (`platforms`). Where no platform is recognized, a folder within `source` is a student, and holds
    that student's notebooks; a notebook or zip that lies in `source` itself is named after its
    student. `assignments` are names like "02_residual_blocks"; what lies in `output` is no
    submission; of attempts after `before` none counts.

    Raises:
        FileNotFoundError: there is no such folder or zip, or nothing in it.
    """
    if not source.is_dir() and not (source.is_file() and names.ZIP.search(source.name)):
        raise FileNotFoundError(
            f"there is no folder or zip {source}: name the one that holds the submissions, "
            "make grade SUBMISSIONS=folder"
        )
    opened = archives.Archives(apart)
    files = opened.files(source, output)
    if not files and not opened.left_out:
        raise FileNotFoundError(f"nothing lies in {source}")
    paths = platforms.Paths(source.resolve().name, [file.name for file in files], assignments)
    left_out = opened.left_out + paths.left_out
    read_in, refused = _read_all(_bounded(files, paths, left_out), paths.seen, assignments, apart)
    left_out += refused
    people = people or People(Roster(), {})
    students = people.names([(_called(one), one.assignment, one.seen) for one in read_in])
    attempts = defaultdict(list)
    for one, student in zip(read_in, students, strict=True):
        if not student:
            left_out.append(
                f"{one.name}: the file's name does not say whose it is: put it into a folder with "
                "the student's name"
            )
        elif before and (said := _after(one, before)):
            left_out.append(f"{one.name}: {said}")
        else:
            attempts[one.assignment, student].append(replace(one, student=student))
    found = []
    for _, handed_in in sorted(attempts.items()):
        submission, earlier = _latest(handed_in)
        found.append(submission)
        left_out += earlier
    remarks = platforms.remarks(paths.seen)
    remarks += [
        f"{one.student}, {one.assignment}: {one.seen.platform} marks it as late"
        for one in found
        if one.seen.late
    ]
    if before and (unknown := [one for one in found if _known_time(one) is None]):
        remarks.append(
            f"Graded, although their platform does not say when they were handed in: "
            f"{len(unknown):,}, such as {unknown[0].name}"
        )
    return Found(found, left_out, remarks)


def _bounded(files: list[File], paths: platforms.Paths, left_out: list[str]) -> list[File]:
    """Those whose paths are understood; of a student's zip no more than it may hold."""
    held = Counter(
        file.name.parts[0]
        for file in files
        if not getattr(paths.seen.get(file.name), "platform", "")
        and names.NOTEBOOK.search(file.name.name)
        and names.ZIP.search(file.name.parts[0])
    )
    too_much = {zipped for zipped, count in held.items() if count > archives.FILES}
    left_out += [
        f"{zipped}: it holds {held[zipped]:,} notebooks, and at most {archives.FILES} of a student "
        "are read"
        for zipped in sorted(too_much)
    ]
    return [
        file for file in files if file.name in paths.seen and file.name.parts[0] not in too_much
    ]


def _read_all(
    files: list[File], seen: dict[PurePosixPath, Seen], assignments: list[str], apart: Apart
) -> tuple[list[Submission], list[str]]:
    """What was handed in, of students not yet named, and lines on what is no submission.

    Of all that somebody handed in and is no notebook, one line tells, if there is no notebook.
    """
    read_in, left_out, others, served = [], [], defaultdict(list), set()
    for file in files:
        one = seen[file.name]
        inside = len(PurePosixPath(one.rest).parts) - 1
        within = file.name.parts[: len(file.name.parts) - inside]  # of a student's own folder
        owner = (one.platform, one.student, one.id) if one.student else within
        try:
            if file.refused:
                raise UnreadableError(file.refused)
            cells = apart.do(read, file.path, file.members, file.name.name)
            served.add(owner)
            time = one.when.timestamp() if one.when else file.time
            assignment = _assignment(cells, assignments)
            read_in.append(Submission("", assignment, file.name, cells, one, time))
        except (StoppedError, OSError) as error:
            said = f"it cannot be read ({error.strerror})" if isinstance(error, OSError) else error
            line = f"{file.name}: {said}"
            if names.NOTEBOOK.search(file.name.name):
                served.add(owner)
                left_out.append(line)
            else:
                others[owner].append(line)
    apart.do(archives.forget)
    for owner, lines in others.items():
        if owner not in served:
            more = f" (so are {len(lines) - 1:,} more files beside it)" if len(lines) > 1 else ""
            left_out.append(lines[0] + more)
    return read_in, left_out


def _called(one: Submission) -> str:
    """The student's name, as the path says it."""
    if one.seen.student:
        return names.written(one.seen.student)
    return names.student(PurePosixPath(one.seen.rest), one.assignment)


def _known_time(one: Submission) -> float | None:
    """When it was handed in, if that can be told: many platforms' files have other times."""
    return one.time if one.seen.when or one.seen.times else None


def _after(one: Submission, before: datetime) -> str | None:
    """What to say of a submission that came later than this."""
    time = _known_time(one)
    if time is None or time <= before.timestamp():
        return None
    saved = datetime.fromtimestamp(time).isoformat(" ", "minutes")
    return f"it was saved at {saved}, after {before.isoformat(' ', 'minutes')}, and does not count"


def _latest(attempts: list[Submission]) -> tuple[Submission, list[str]]:
    """The attempt that counts, and a line on each other one.

    It is the one that was saved last. Where times say nothing, because the files were written
    together, numbers in the names do: (10) comes after (2), and that after none. Of equal ones it
    is the one that lies less deep, not that in a folder `old`.
    """
    newest = max(one.time for one in attempts)
    together = [one for one in attempts if newest - one.time < SAME_TIME]
    last = max(together, key=lambda one: (*_order(one.name), one.name))
    words = {re.sub(r"[\W\d_]+|LATE_", "", one.name.stem).casefold() for one in together}
    if len(words) == 1 and sum(_order(one.name) == _order(last.name) for one in together) == 1:
        why = "which was saved at the same time, comes last by its name and is graded"
    else:
        why = (
            "which was saved at the same time and is graded; names do not tell either which of "
            "them is later, so leave only that one in the folder"
        )
    return last, [
        f"{one.name}: {last.student} handed in {last.assignment} again, in {last.name}, "
        + (why if one in together else "which is newer and is graded")
        for one in attempts
        if one is not last
    ]


def _order(name: PurePosixPath) -> tuple[list[int], int]:
    return list(map(int, re.findall("[0-9]{1,18}", name.stem))), -len(name.parts)


def read(path: Path, members: tuple[int, ...] = (), name: str = "") -> tuple[Cell, ...]:
    """The cells of a notebook file of any format since version 3.

    `members` is where it is in the zip `path`, and `name` the file's own, if that is another.

    Raises:
        StoppedError: it is none.
    """
    if path.is_symlink():
        raise UnreadableError("it is a link to another file, which is not followed")
    if not path.is_file():
        raise UnreadableError("it is not a file")
    if not names.NOTEBOOK.search(name or path.name):
        raise UnreadableError("it is not a notebook: its name does not end in .ipynb")
    if not members and path.stat().st_size > LARGEST:
        raise UnreadableError(f"it is larger than {LARGEST >> 20} MiB: clear the outputs")
    try:
        written = archives.content(path, members, LARGEST) if members else path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"it cannot be read ({error.strerror})") from error
    if not written:
        raise UnreadableError("it is empty")
    try:
        content = json.loads(written)
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

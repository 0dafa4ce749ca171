"""How learning platforms name what they hand over: who, which attempt, and whether it is late.

To have another platform recognized, add a row to `PATTERNS`, with an example of a path and what it
says. The tests try every row on its examples.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import PurePosixPath

from grading.names import NOTEBOOK, ZIP

FILE = "[^/]+"
TAKEOUT = "(?:Takeout/)?(?:(?:Google )?Drive/)?Classroom/(?:Classes/)?"
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


@dataclass(frozen=True)
class Seen:
    """What the path of a file says.

    Args:
        student: the name, as the platform writes it; "" if the path does not say.
        platform: its name, "" if no pattern fits.
        id: the platform's number of the student.
        late: whether the platform marks it as late.
        when: when it was handed in, as the path says it.
        rest: what the path is within what the student handed in; all of it, if no pattern fits.
        person, times: as in `Pattern`.
    """

    student: str
    platform: str = ""
    id: str = ""
    late: bool = False
    when: datetime | None = None
    rest: str = ""
    person: bool = False
    times: bool = False


@dataclass(frozen=True)
class Pattern:
    """A row of the table.

    Args:
        platform: its name.
        path: a regular expression for the whole path of a file, where zips are folders. Groups are
            named `student`, `id`, `late`, `when` and `rest`, as in `Seen`. `{assignment}` stands
            for the name of an assignment, such as 02_residual_blocks or residual-blocks.
        examples: a path, and what it says.
        person: whether `id` is the same in every assignment, and not the submission's.
        times: whether the times of its files are those at which they were handed in, and not
            those of the download.
    """

    platform: str
    path: str
    examples: Mapping[str, Seen] = field(hash=False)
    person: bool = False
    times: bool = False


# Written after the code of Moodle (mod/assign/classes/downloader.php), Canvas
# (lib/content_zipper.rb) and downloads of the others. The first row that fits counts.
PATTERNS = [
    Pattern(  # a folder for each student, or all files in one; groups hand in under their name
        "Moodle",
        rf"(?P<student>{FILE}?)(?:_(?P<id>\d+))?_assignsubmission_[a-z]+(?:_?/|_)(?P<rest>.+)",
        {
            "Zoë Müller_4711_assignsubmission_file_/work/a.ipynb": Seen(
                "Zoë Müller", "Moodle", "4711", rest="work/a.ipynb"
            ),
            "Zoë Müller_4711_assignsubmission_file_a.ipynb": Seen(
                "Zoë Müller", "Moodle", "4711", rest="a.ipynb"
            ),
            "Group A_12_assignsubmission_file/a.zip/a.ipynb": Seen(
                "Group A", "Moodle", "12", rest="a.zip/a.ipynb"
            ),
        },
    ),
    Pattern(  # the name without spaces and capital letters: "Doe, Jane"
        "Canvas",
        rf"(?P<student>[^/\s]+?)(?:_(?P<late>LATE))?_(?P<id>\d+)_\d+_(?P<rest>{FILE}(?:/.+)?)",
        {
            "doejane_12345_678910_02_residual_blocks-2.ipynb": Seen(
                "doejane", "Canvas", "12345", rest="02_residual_blocks-2.ipynb"
            ),
            "doejane_LATE_12345_678910_a.ipynb": Seen(
                "doejane", "Canvas", "12345", late=True, rest="a.ipynb"
            ),
            "मित्रराम_7_8_a.zip/a.ipynb": Seen("मित्रराम", "Canvas", "7", rest="a.zip/a.ipynb"),
        },
        person=True,
    ),
    Pattern(  # students that the teacher is not to know
        "Canvas",
        rf"(?:(?P<late>LATE)_)?(?P<student>anon_[A-Za-z0-9]+)_\d+_(?P<rest>{FILE}(?:/.+)?)",
        {
            "LATE_anon_Xy3zQ_678910_a.ipynb": Seen(
                "anon_Xy3zQ", "Canvas", late=True, rest="a.ipynb"
            ),
        },
    ),
    Pattern(  # each attempt has its folder, or its files begin so
        "Brightspace",
        rf"(?P<id>\d+)-\d+ - (?P<student>{FILE}?) - (?P<when>{FILE}? \d{{3,4}}(?: [AP]M)?)"
        r"(?:/| - )(?P<rest>.+)",
        {
            "1234-5678 - Jane Doe - Oct 5, 2024 1010 PM/a.ipynb": Seen(
                "Jane Doe",
                "Brightspace",
                "1234",
                when=datetime(2024, 10, 5, 22, 10),
                rest="a.ipynb",
            ),
            "1234-5678 - 23304308 Doe - 05 March 2026 110 PM - a.ipynb": Seen(
                "23304308 Doe",
                "Brightspace",
                "1234",
                when=datetime(2026, 3, 5, 13, 10),
                rest="a.ipynb",
            ),
        },
    ),
    Pattern(  # in Drive, files that Classroom made for each student: "name - title"
        "Google Classroom",
        rf"{TAKEOUT}{FILE}/{FILE}/"
        rf"(?P<student>{FILE}) - (?P<rest>{FILE})",
        {
            "Takeout/Drive/Classroom/ML 1/Blocks/Jane Doe - 02_residual_blocks.ipynb": Seen(
                "Jane Doe", "Google Classroom", rest="02_residual_blocks.ipynb"
            ),
        },
        times=True,
    ),
    Pattern(  # a folder for each student
        "Google Classroom",
        rf"{TAKEOUT}{FILE}/{FILE}/(?P<student>{FILE})/(?P<rest>.+)",
        {
            "Takeout/Classroom/Classes/ML 1/Blocks/Jane Doe/a.ipynb": Seen(
                "Jane Doe", "Google Classroom", rest="a.ipynb"
            ),
        },
        times=True,
    ),
    Pattern(  # files that students named themselves
        "Google Classroom",
        rf"{TAKEOUT}{FILE}/{FILE}/(?P<rest>{FILE})",
        {
            "Takeout/Drive/Classroom/ML 1/Blocks/Jane.ipynb": Seen(
                "", "Google Classroom", rest="Jane.ipynb"
            ),
        },
        times=True,
    ),
    Pattern(  # `gh classroom clone student-repos`
        "GitHub Classroom",
        rf"(?P<slug>{FILE})-submissions/(?P=slug)-(?P<student>{FILE})/(?P<rest>.+)",
        {
            "blocks-submissions/blocks-octo-cat/a.ipynb": Seen(
                "octo-cat", "GitHub Classroom", rest="a.ipynb"
            ),
        },
    ),
    Pattern(  # repositories as GitHub zips them
        "GitHub Classroom",
        rf"{{assignment}}-(?P<student>{FILE}?)(?:-main|-master)?(?:\.zip)?/(?P<rest>.+)",
        {
            "02-residual-blocks-octo-cat-main.zip/02-residual-blocks-octo-cat-main/a.ipynb": Seen(
                "octo-cat",
                "GitHub Classroom",
                rest="02-residual-blocks-octo-cat-main/a.ipynb",
            ),
            "residual-blocks-octo-cat/a.ipynb": Seen(
                "octo-cat", "GitHub Classroom", rest="a.ipynb"
            ),
        },
        times=True,
    ),
]


class Paths:
    """What the path of each file says.

    What a student handed in can have any name, so only the beginning of a path counts: in the
    folder or zip itself, or in the folders and zips in it if all of these are exports, and no
    notebook lies beside them.

    Args:
        source: the name of the folder or zip that holds the files.
        names: the paths of all files in it.
        assignments: their names.

    `seen` has an entry for each file, but for those of `left_out`: a line on each zip that looks
    like an export beside others that do not.
    """

    def __init__(
        self, source: str, names: Iterable[PurePosixPath], assignments: Iterable[str]
    ) -> None:
        self.patterns = [(row, _compiled(row.path, tuple(assignments))) for row in PATTERNS]
        self.left_out: list[str] = []
        self.seen = self._level(source, {name: name for name in names})
        groups, loose = defaultdict(dict), False
        for name, seen in self.seen.items():
            first, *rest = PurePosixPath(seen.rest).parts
            if rest and not seen.platform:
                groups[first][name] = PurePosixPath(*rest)
            elif not seen.platform and NOTEBOOK.search(first):
                loose = True
        inside = {first: self._level(first, group) for first, group in groups.items()}
        students = {first: _students(level.values()) for first, level in inside.items()}
        everybody = _students(self.seen.values()).union(*students.values())
        if all(students.values()) and len(everybody) > 1 and not loose:
            for level in inside.values():
                self.seen |= level
            return
        for first, found in students.items():
            if len(found) > 1 and ZIP.search(first):
                platform = next(one.platform for one in inside[first].values() if one.platform)
                self.left_out.append(
                    f"{first}: it looks like what {platform} hands over, but what lies beside it "
                    "does not: grade it by itself, SUBMISSIONS=" + first
                )
                for name in groups[first]:
                    del self.seen[name]

    def _level(
        self, label: str, names: Mapping[PurePosixPath, PurePosixPath]
    ) -> dict[PurePosixPath, Seen]:
        """What the paths say that begin in a folder or zip called `label`."""
        if ZIP.search(label):
            label = ZIP.sub("", label)
            if {name.parts[:1] for name in names.values()} == {(label,)}:
                # An archiver packs a folder as a folder.
                names = {file: name.relative_to(label) for file, name in names.items()}
        return {file: self._match(label, name) for file, name in names.items()}

    def _match(self, label: str, name: PurePosixPath) -> Seen:
        for row, pattern in self.patterns:
            if found := pattern.fullmatch(f"{name}") or pattern.fullmatch(f"{label}/{name}"):
                said = {key: text or "" for key, text in found.groupdict().items()}
                return Seen(
                    said.get("student", ""),
                    row.platform,
                    said.get("id", ""),
                    bool(said.get("late")),
                    moment(said.get("when", "")),
                    said["rest"],
                    row.person,
                    row.times,
                )
        return Seen("", rest=f"{name}", times=True)


def _students(seen: Iterable[Seen]) -> set[tuple[str, str]]:
    """Those in an export; none where no pattern fits."""
    return {(one.student or one.rest, one.id) for one in seen if one.platform}


def moment(text: str) -> datetime | None:
    """The time in a path, such as "Oct 5, 2024 1010 PM" or "05 March 2026 110 PM"."""
    found = re.fullmatch(
        r"(?:(\d\d?) )?([A-Za-z]{3})[a-z]*\.? (?:(\d\d?), )?(\d{4}) (\d\d?)(\d\d)(?: ([AP])M)?",
        text,
    )
    if not found:
        return None
    before, month, after, year, hour, minute, half = found.groups()
    hour = int(hour) if not half else int(hour) % 12 + 12 * (half == "P")
    try:
        month = 1 + MONTHS.index(month.lower())
        return datetime(int(year), month, int(before or after), hour, int(minute))
    except (ValueError, TypeError):
        return None


@cache
def _compiled(path: str, assignments: tuple[str, ...]) -> re.Pattern:
    """The expression, with the assignments' names as GitHub writes them in addresses."""
    slugs = [name.replace("_", "-") for name in assignments]
    slugs += [slug.partition("-")[2] for slug in slugs]
    return re.compile(path.replace("{assignment}", f"(?:{'|'.join(map(re.escape, slugs))})"))


def remarks(seen: Mapping[PurePosixPath, Seen]) -> list[str]:
    """A line on each platform whose names were recognized, with an example."""
    files = defaultdict(list)
    for name, one in seen.items():
        if one.platform:
            files[one.platform].append((name, one))
    lines = []
    for platform, found in files.items():
        students = _students(one for _, one in found)
        late = len(_students(one for _, one in found if one.late))
        name, example = found[0]
        lines.append(
            f"Named as {platform} names them: {len(found):,} files of {len(students):,} students"
            + (f", {late:,} marked as late" if late else "")
            + f"; such as {name}, of {example.student or example.rest}"
        )
    return lines

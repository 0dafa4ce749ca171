"""What a run has said of each submission, as it was graded: `course/run.jsonl` among the results.

A run that was stopped is continued from it, and the reports of several are put together from it.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from grading.session import Limits
from grading.submissions import Submission


@dataclass(frozen=True)
class Graded:
    """A submission that was graded, and the notes on it."""

    student: str
    assignment: str
    file: str
    digest: str  # of all that its points depend on, but for the course's own code
    notes: list[str]


class Record:
    """The record of the last run that wrote its results to this folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "course" / "run.jsonl"

    def read(self) -> tuple[list[Graded], dict | None]:
        """What was graded, and, if the run came to its end, its "remarks" and "left_out"."""
        graded = []
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        for line in text.split("\n")[:-1]:  # what broke off has no end of its line
            content = json.loads(line)
            if "remarks" in content:
                return graded, content
            graded.append(Graded(**content))
        return graded, None

    def begin(self, kept: list[Graded]) -> None:
        """Begin a new one with what is kept of the last one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(_line(asdict(one)) for one in kept), encoding="utf-8")

    def add(self, graded: Graded) -> None:
        """Add what was graded."""
        self._append(asdict(graded))

    def end(self, remarks: list[str], left_out: list[str]) -> None:
        """Say that the run came to its end."""
        self._append({"remarks": remarks, "left_out": left_out})

    def _append(self, content: dict) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(content))


def _line(content: dict) -> str:
    return json.dumps(content) + "\n"  # in ASCII: any name passes


def digest(submission: Submission, tests: str, limits: Limits) -> str:
    """Of what a submission is and where it was, the assignment's source, and the limits."""
    one = submission
    content = one.student, one.assignment, f"{one.name}", one.seen, one.cells, tests, limits
    return hashlib.sha256(repr(content).encode(errors="surrogatepass")).hexdigest()

"""`make assignments` and `make grade SUBMISSIONS=folder`."""

import argparse
import sys
import tempfile
from pathlib import Path

import pandas as pd
from nbgrader.converters import NbGraderException
from tqdm import tqdm

from grading import confinement, submissions
from grading.course import SOURCES, Course
from grading.session import Limits, Workers


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m grading", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    release = commands.add_parser("release", help="write the student versions")
    release.add_argument("folder", type=Path)
    grade = commands.add_parser("grade", help="grade a folder of submissions")
    grade.add_argument("submissions", type=Path)
    grade.add_argument("--output", type=Path, default=Path("grades"), metavar="FOLDER")
    grade.add_argument("--confinement", default="bubblewrap", help=", ".join(confinement.KINDS))
    defaults = Limits()
    grade.add_argument("--cell-seconds", type=float, default=defaults.cell)
    grade.add_argument("--submission-seconds", type=float, default=defaults.submission)
    options = parser.parse_args(arguments)
    if options.command == "release":
        write_student_versions(options.folder)
        return 0
    try:
        limits = Limits(options.cell_seconds, options.submission_seconds)
        grade_folder(options.submissions, options.output, options.confinement, limits)
    except (FileNotFoundError, confinement.NoConfinementError) as error:
        print(f"Nothing was graded: {error}.", file=sys.stderr)
        return 1
    return 0


def write_student_versions(folder: Path) -> None:
    """One notebook an assignment in `folder`, without solutions and hidden tests."""
    with tempfile.TemporaryDirectory() as scratch:
        course = Course(Path(scratch))
        course.release()
        for path in course.write_student_versions(folder):
            print(f"wrote {path}")


def grade_folder(
    folder: Path, output: Path, kind: str, limits: Limits, sources: Path = SOURCES
) -> None:
    """Grade what lies in `folder`: gradebook.db, grades.csv, report.txt and feedback in `output`.

    Raises:
        FileNotFoundError: there is nothing to grade.
        NoConfinementError: submissions cannot be confined here.
    """
    confinement.check(kind)
    course = Course(output, sources)
    found, left_out = submissions.find(folder, course.assignments)
    course.release()
    notes, workers = {}, Workers(kind)
    try:
        for submission in (progress := tqdm(found, unit="submission", file=sys.stdout)):
            progress.set_postfix_str(f"{submission.student}, {submission.assignment}")
            try:
                notes[submission] = course.grade(submission, workers, limits)
            except (NbGraderException, OSError) as error:  # the others are graded all the same
                left_out.append(f"{submission.path.relative_to(folder)}: {error}")
    finally:
        workers.end()
    course.write_grades()
    report = _report(course.grades(), notes, left_out)
    (course.folder / "report.txt").write_text(report, encoding="utf-8")
    print(report)
    print(f"gradebook.db, grades.csv, report.txt and feedback are in {output}")


def _report(grades: pd.DataFrame, notes: dict, left_out: list[str]) -> str:
    lines = []
    for assignment, rows in grades.groupby("assignment"):
        table = rows.drop(columns="assignment").dropna(axis="columns", how="all")
        lines += [f"{assignment}", table.to_string(index=False, float_format="{:g}".format), ""]
    for submission, said in notes.items():
        if said:
            lines.append(f"{submission.student}, {submission.assignment} ({submission.path.name}):")
            lines += [f"  {note}" for note in said]
    if left_out:
        lines += ["", "Not graded:", *(f"  {line}" for line in left_out)]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

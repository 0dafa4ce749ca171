"""`make assignments` and `make grade SUBMISSIONS=folder`."""

import argparse
import sys
import tempfile
from pathlib import Path

import pandas as pd
from nbgrader.converters import NbGraderException
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from grading import confinement, names, submissions
from grading.apart import Apart
from grading.course import SOURCES, Course, assignments
from grading.names import one_line
from grading.session import Limits
from grading.submissions import Submission

STOPPED = 130  # the exit status of what Ctrl-C ended
NOTES = 30  # lines on one submission


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
    for stream in (sys.stdout, sys.stderr):  # a terminal may lack the letters of a name
        stream.reconfigure(errors="backslashreplace")
    if options.command == "release":
        write_student_versions(options.folder)
        return 0
    try:
        limits = Limits(options.cell_seconds, options.submission_seconds)
        stopped = grade_folder(options.submissions, options.output, options.confinement, limits)
    except (FileNotFoundError, confinement.NoConfinementError) as error:
        print(f"Nothing was graded: {error}.", file=sys.stderr)
        return 1
    except (OSError, SQLAlchemyError, NbGraderException) as error:
        print(f"The results cannot be written to {options.output}: {error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped before anything was graded.", file=sys.stderr)
        return STOPPED
    return STOPPED if stopped else 0


def write_student_versions(folder: Path) -> None:
    """One notebook an assignment in `folder`, without solutions and hidden tests."""
    with tempfile.TemporaryDirectory() as scratch:
        course = Course(Path(scratch))
        course.release()
        for path in course.write_student_versions(folder):
            print(f"wrote {path}")


def grade_folder(
    folder: Path, output: Path, kind: str, limits: Limits, sources: Path = SOURCES
) -> bool:
    """Grade what lies in `folder`: gradebook.db, grades.csv, report.txt and feedback in `output`.

    Returns whether it was stopped before the end by Ctrl-C. What was graded before stays.

    Raises:
        FileNotFoundError: there is nothing to grade.
        NoConfinementError: submissions cannot be confined here.
        OSError: the results cannot be written.
    """
    confinement.check(kind)
    apart = Apart()
    try:
        return _grade(folder, output, apart, kind, limits, sources)
    finally:
        apart.end()


def _grade(
    folder: Path, output: Path, apart: Apart, kind: str, limits: Limits, sources: Path
) -> bool:
    found, left_out = submissions.find(folder, assignments(sources), apart, output)
    course = Course(output, sources)
    remarks, notes, stopped = course.release(), {}, False
    students = [submission.student for submission in found]
    file_names = course.file_names(students)
    remarks += names.alike(students)
    try:
        for submission in (progress := tqdm(found, unit="submission", file=sys.stdout)):
            progress.set_postfix_str(f"{one_line(submission.student)}, {submission.assignment}")
            file_name = file_names[submission.student]
            try:
                notes[submission] = course.grade(submission, file_name, apart, kind, limits)
            except Exception as error:  # whatever it is, the others are graded all the same
                left_out.append(f"{submission.path.relative_to(folder)}: {error}")
    except KeyboardInterrupt:
        stopped = True
        left = len(found) - len(notes)
        remarks.append(f"Stopped: {left} of {len(found)} submissions were not graded")
    course.write_grades()
    report = _report(course.grades(), file_names, notes, remarks, left_out)
    course.write_report(report)
    print(report)
    print(f"gradebook.db, grades.csv, report.txt and feedback are in {output}")
    return stopped


def _report(
    grades: pd.DataFrame,
    file_names: dict[str, str],
    notes: dict[Submission, list[str]],
    remarks: list[str],
    left_out: list[str],
) -> str:
    """The table of points, and a line on everything that was odd, whoever chose its words."""
    lines = []
    grades["student"] = grades["student"].map(one_line)
    for assignment, rows in grades.groupby("assignment"):
        table = rows.drop(columns="assignment").dropna(axis="columns", how="all")
        lines += [f"{assignment}", table.to_string(index=False, float_format="{:g}".format), ""]
    for submission, said in notes.items():
        if said:
            student, name = one_line(submission.student), one_line(submission.path.name)
            lines.append(f"{student}, {submission.assignment} ({name}):")
            lines += [f"  {one_line(note)}" for note in said[:NOTES]]
            lines += [f"  … and {len(said) - NOTES:,} more"] * (len(said) > NOTES)
    lines += [""] + [one_line(remark) for remark in remarks]
    for name, file_name in file_names.items():
        if file_name != name:
            lines.append(f"{one_line(name)}: feedback is in the folder {file_name}")
    if left_out:
        lines += ["", "Not graded:", *(f"  {one_line(line)}" for line in left_out)]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""`make assignments` and `make grade SUBMISSIONS=folder`, or the zip that a platform hands over."""

import argparse
import contextlib
import sys
import tempfile
from datetime import date, datetime, time
from pathlib import Path

import pandas as pd
from nbgrader.converters import NbGraderException
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from grading import confinement, names, roster, submissions
from grading.apart import Apart
from grading.course import SOURCES, Course, assignments, numbers
from grading.names import one_line
from grading.roster import People, Roster, RosterError
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
    grade = commands.add_parser("grade", help="grade a folder or zip of submissions")
    grade.add_argument("submissions", type=Path)
    grade.add_argument("--output", type=Path, default=Path("grades"), metavar="FOLDER")
    grade.add_argument("--confinement", default="bubblewrap", help=", ".join(confinement.KINDS))
    grade.add_argument("--roster", type=Path, metavar="FILE", help="a CSV file: name,id,e-mail")
    grade.add_argument(
        "--before",
        type=_moment,
        metavar="TIME",
        help="the last attempt that counts: 2026-11-30 (that day included) or '2026-11-30 18:00'",
    )
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
        known = roster.read(options.roster) if options.roster else Roster()
        stopped = grade_folder(
            options.submissions,
            options.output,
            options.confinement,
            limits,
            known=known,
            before=options.before,
        )
    except (FileNotFoundError, RosterError, confinement.NoConfinementError) as error:
        print(f"Nothing was graded: {error}.", file=sys.stderr)
        return 1
    except (OSError, SQLAlchemyError, NbGraderException) as error:
        print(f"The results cannot be written to {options.output}: {error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped before anything was graded.", file=sys.stderr)
        return STOPPED
    return STOPPED if stopped else 0


def _moment(text: str) -> datetime:
    """A time; a date stands for the end of that day.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    with contextlib.suppress(ValueError):
        return datetime.combine(date.fromisoformat(text), time.max)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text} is no time: write 2026-11-30 or '2026-11-30 18:00'"
        ) from None


def write_student_versions(folder: Path) -> None:
    """One notebook an assignment in `folder`, without solutions and hidden tests."""
    with tempfile.TemporaryDirectory() as scratch:
        course = Course(Path(scratch))
        course.release()
        for path in course.write_student_versions(folder):
            print(f"wrote {path}")


def grade_folder(
    folder: Path,
    output: Path,
    kind: str,
    limits: Limits,
    sources: Path = SOURCES,
    *,
    known: Roster | None = None,
    before: datetime | None = None,
) -> bool:
    """Grade a folder or zip: gradebook.db, grades.csv, report.txt and feedback in `output`.

    `known` says who is who; of attempts after `before` none counts.

    Returns whether it was stopped before the end by Ctrl-C. What was graded before stays.

    Raises:
        FileNotFoundError: there is nothing to grade.
        NoConfinementError: submissions cannot be confined here.
        OSError: the results cannot be written.
    """
    confinement.check(kind)
    apart = Apart()
    try:
        return _grade(folder, output, apart, kind, limits, sources, known or Roster(), before)
    finally:
        apart.end()


def _grade(
    folder: Path,
    output: Path,
    apart: Apart,
    kind: str,
    limits: Limits,
    sources: Path,
    known: Roster,
    before: datetime | None,
) -> bool:
    people = People(known, numbers(output))
    found, left_out, remarks = submissions.find(
        folder, assignments(sources), apart, output, people=people, before=before
    )
    course = Course(output, sources)
    notes, stopped = {}, False
    remarks += course.release()
    students = [submission.student for submission in found]
    file_names = course.file_names(students)
    remarks += people.remarks(students) + names.alike(students)
    try:
        for submission in (progress := tqdm(found, unit="submission", file=sys.stdout)):
            progress.set_postfix_str(f"{one_line(submission.student)}, {submission.assignment}")
            file_name = file_names[submission.student]
            try:
                notes[submission] = course.grade(submission, file_name, apart, kind, limits)
            except Exception as error:  # whatever it is, the others are graded all the same
                left_out.append(f"{submission.name}: {error}")
    except KeyboardInterrupt:
        stopped = True
        left = len(found) - len(notes)
        remarks.append(f"Stopped: {left} of {len(found)} submissions were not graded")
    course.enter(file_names, known.people)
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
            student, name = one_line(submission.student), one_line(submission.name.name)
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

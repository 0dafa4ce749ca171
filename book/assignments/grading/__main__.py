"""`make assignments`, `make grade SUBMISSIONS=folder` (or the zip that a platform hands over) and
`make merge SHARDS="folder folder"`.
"""

import argparse
import contextlib
import re
import sys
import tempfile
from datetime import date, datetime, time
from pathlib import Path

import pandas as pd
from nbgrader.converters import NbGraderException
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from grading import confinement, names, roster, submissions, summary
from grading.apart import Apart, StoppedError
from grading.archives import GRADEBOOK
from grading.course import (
    SOURCES,
    Course,
    Judged,
    NotMergedError,
    assignments,
    check_same,
    numbers,
)
from grading.jobs import Jobs, possible
from grading.names import one_line
from grading.record import Graded, Record, digest
from grading.roster import People, Roster, RosterError
from grading.session import Limits
from grading.submissions import Submission

STOPPED = 130  # the exit status of what Ctrl-C ended
NOTES = 30  # lines on one submission
SUMMARY_SECONDS = 600


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
    grade.add_argument("--jobs", type=_jobs, help="how many are graded at once")
    grade.add_argument("--shard", type=_shard, default=(1, 1), metavar="NUMBER/COUNT")
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
    merge = commands.add_parser("merge", help="put the results of shards together")
    merge.add_argument("shards", type=Path, nargs="+", metavar="folder")
    merge.add_argument("--output", type=Path, default=Path("grades"), metavar="FOLDER")
    options = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # a terminal may lack the letters of a name
        stream.reconfigure(errors="backslashreplace")
    if options.command == "release":
        write_student_versions(options.folder)
        return 0
    try:
        if options.command == "merge":
            merge_folders(options.shards, options.output)
            return 0
        limits = Limits(options.cell_seconds, options.submission_seconds)
        known = roster.read(options.roster) if options.roster else Roster()
        stopped = grade_folder(
            options.submissions,
            options.output,
            options.confinement,
            limits,
            known=known,
            before=options.before,
            jobs=options.jobs,
            shard=options.shard,
        )
    except (FileNotFoundError, RosterError, confinement.NoConfinementError) as error:
        print(f"Nothing was graded: {error}.", file=sys.stderr)
        return 1
    except NotMergedError as error:
        print(f"Nothing was merged: {error}.", file=sys.stderr)
        return 1
    except (OSError, SQLAlchemyError, NbGraderException) as error:
        print(f"The results cannot be written to {options.output}: {error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped before anything was graded.", file=sys.stderr)
        return STOPPED
    return STOPPED if stopped else 0


def _jobs(text: str) -> int:
    """`JOBS=`: a number of submissions from 1 on."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= confinement.JOBS):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of jobs: write one from 1 to {confinement.JOBS}, as in JOBS=2"
        )
    return int(text)


def _shard(text: str) -> tuple[int, int]:
    """`SHARD=`: a part, and of how many."""
    if found := re.fullmatch("([0-9]{1,6})/([0-9]{1,6})", text):
        number, count = map(int, found.groups())
        if 1 <= number <= count:
            return number, count
    raise argparse.ArgumentTypeError(
        f"{text!r} is no shard: write which one of how many, as in SHARD=3/10"
    )


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
    jobs: int | None = None,
    shard: tuple[int, int] = (1, 1),
) -> bool:
    """Grade a folder or zip; `output` then holds the gradebook and all made from it.

    Returns whether it was stopped before the end by Ctrl-C. What was graded before stays, and
    the next time it goes on from there.

    Args:
        kind: of the confinement.
        sources: the folder of the assignments.
        known: who is who.
        before: of attempts after it none counts.
        jobs: how many are graded at once; as many as cores and memory allow, if None.
        shard: which part of the students, and of how many.

    Raises:
        FileNotFoundError: there is nothing to grade.
        NoConfinementError: submissions cannot be confined here.
        OSError: the results cannot be written.
    """
    confinement.check(kind)
    side_by_side = Jobs(jobs or possible(), lambda number: Apart(job=number))
    try:
        people = People(known or Roster(), numbers(output))
        return _grade(folder, output, side_by_side, kind, limits, sources, people, before, shard)
    finally:
        side_by_side.end()


def _grade(
    folder: Path,
    output: Path,
    side_by_side: Jobs,
    kind: str,
    limits: Limits,
    sources: Path,
    people: People,
    before: datetime | None,
    shard: tuple[int, int],
) -> bool:
    apart = side_by_side.aparts[0]
    found, left_out, remarks = submissions.find(
        folder, assignments(sources), apart, output, people=people, before=before
    )
    was_graded = (output / GRADEBOOK).exists()
    course, record = Course(output, sources), Record(output)
    remarks += course.release()
    students = [submission.student for submission in found]
    file_names = course.file_names(students)
    remarks += people.remarks(students) + names.alike(students)
    found = _part(found, shard)
    digests = {one: digest(one, course.tests(one.assignment), limits) for one in found}
    earlier, end = record.read()
    kept = {}
    if was_graded and not end:  # it was stopped
        kept = {one.digest: one for one in earlier if one.digest in digests.values()}
        remarks += [f"{len(kept)} submissions were graded before it was stopped"] * bool(kept)
    record.begin(list(kept.values()))
    left, failed, stopped = [one for one in found if digests[one] not in kept], {}, False
    graded = {one: kept[digests[one]] for one in found if digests[one] in kept}

    def judge(submission: Submission, apart: Apart) -> Judged:
        return course.judge(submission, kind, limits, apart)

    def enter(submission: Submission, judged: Judged) -> list[str]:
        return course.enter(judged, file_names[submission.student])

    def show(submission: Submission, notes: list[str], apart: Apart) -> list[str]:
        return notes + course.show(submission, file_names[submission.student], apart)

    try:
        with tqdm(total=len(left), unit="submission", file=sys.stdout) as progress:
            for submission, came in side_by_side.take_through(left, judge, enter, show):
                progress.set_postfix_str(f"{one_line(submission.student)}, {submission.assignment}")
                progress.update()
                if isinstance(came, Exception):
                    failed[submission] = f"{submission.name}: {came}"
                    continue
                graded[submission] = Graded(
                    submission.student,
                    submission.assignment,
                    submission.name.name,
                    digests[submission],
                    came,
                )
                record.add(graded[submission])
    except KeyboardInterrupt:
        stopped = True
        left = f"{len(found) - len(graded)} of {len(found)} submissions"
        remarks.append(
            f"Stopped: {left} were not graded to the end; the same command goes on with them"
        )
    left_out += [failed[one] for one in found if one in failed]
    if not stopped:
        record.end(remarks, left_out)
    course.identify(file_names, people.roster.people)
    _write(course, [graded[one] for one in found if one in graded], file_names, remarks, left_out)
    return stopped


def merge_folders(shards: list[Path], output: Path, sources: Path = SOURCES) -> None:
    """Put the results of several shards, graded each into a folder of its own, into `output`.

    Raises:
        NotMergedError: they do not go together; nothing was changed.
        OSError: the results cannot be written.
    """
    for shard in shards:
        if not (shard / GRADEBOOK).exists():
            raise NotMergedError(f"{shard} holds no {GRADEBOOK}")
        if shard.resolve() == output.resolve():
            raise NotMergedError(f"{shard} is the folder for the results: name another one")
    check_same(shards, output, sources)
    course, record = Course(output, sources), Record(output)
    remarks, left_out, graded = course.release(), [], []
    for shard in shards:
        course.take_over(shard)
        lines, end = Record(shard).read()
        graded += lines
        remarks += end["remarks"] if end else [f"{shard}: this shard was not graded to its end"]
        left_out += end["left_out"] if end else []
    remarks, left_out = list(dict.fromkeys(remarks)), list(dict.fromkeys(left_out))
    record.begin(graded)
    record.end(remarks, left_out)
    _write(course, graded, course.ids(), remarks, left_out)


def _part(found: list[Submission], shard: tuple[int, int]) -> list[Submission]:
    """The submissions of a part of the students: each student is in one part."""
    number, count = shard
    students = sorted({one.student for one in found})[number - 1 :: count]
    return [one for one in found if one.student in students]


def _write(
    course: Course,
    graded: list[Graded],
    file_names: dict[str, str],
    remarks: list[str],
    left_out: list[str],
) -> None:
    """Write and print everything that is made from the gradebook."""
    course.write_grades()
    apart = Apart()
    try:
        apart.do(summary.write, course, seconds=SUMMARY_SECONDS)
    except StoppedError as error:
        remarks = [*remarks, f"index.html could not be made: {error}"]
    finally:
        apart.end()
    report = _report(course.grades(), file_names, graded, remarks, left_out)
    course.write_text("report.txt", report)
    print(report)
    print(f"gradebook.db, grades.csv, index.html, report.txt and feedback are in {course.folder}")


def _report(
    grades: pd.DataFrame,
    file_names: dict[str, str],
    graded: list[Graded],
    remarks: list[str],
    left_out: list[str],
) -> str:
    """The table of points, and a line on everything that was odd, whoever chose its words."""
    lines = []
    grades["student"] = grades["student"].map(one_line)
    for assignment, rows in grades.groupby("assignment"):
        table = rows.drop(columns="assignment").dropna(axis="columns", how="all")
        lines += [f"{assignment}", table.to_string(index=False, float_format="{:g}".format), ""]
    for one in graded:
        if said := one.notes:
            lines.append(f"{one_line(one.student)}, {one.assignment} ({one_line(one.file)}):")
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

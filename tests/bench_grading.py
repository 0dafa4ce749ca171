"""How long grading takes: a class's assignment 1, and all assignments.

    make bench-grading

It grades copies of the reference solutions and prints the table of `book/assignments/README.md`.
Processor time is that of all processes that took part. It takes a quarter of an hour.
"""

import ctypes
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from grading.jobs import possible
from resnets.device import hardware

SOURCES = sorted((Path(__file__).parents[1] / "book" / "assignments").glob("[0-9]*.ipynb"))
REAPER = 36  # of prctl: what has lost its parent becomes a child of this process


def measure(students: int, sources: list[Path], jobs: int) -> tuple[float, float]:
    """Seconds, and seconds of processor time, that the command takes for a class."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "submissions")
        for number in range(students):
            (folder / f"student {number}").mkdir(parents=True)
            for source in sources:
                shutil.copy(source, folder / f"student {number}")
        command = [sys.executable, "-m", "grading", "grade", str(folder), "--jobs", str(jobs)]
        began, started = _processor(), time.monotonic()
        command += ["--output", str(Path(scratch, "grades"))]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took = time.monotonic() - started
        return took, _processor() - began


def _processor() -> float:
    """Seconds that all processes which have ended below this one have used."""
    try:
        while True:
            os.wait()
    except ChildProcessError:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime


def main(classes: tuple[tuple[int, int, int], ...]) -> None:
    """Print the table; `classes` are of so many students, so many assignments, so many at once."""
    ctypes.CDLL(None).prctl(REAPER, 1, 0, 0, 0)
    print(f"{hardware(torch.device('cpu'))}:\n")
    print("| assignments | students | at once | in all, min | a student, s | processor, s |")
    print("|---|---|---|---|---|---|")
    for students, count, jobs in classes:
        took, used = measure(students, SOURCES[:count], jobs)
        what = "1" if count == 1 else f"1 to {count}"
        print(
            f"| {what} | {students} | {jobs} | {took / 60:.1f} | {took / students:.2f} "
            f"| {used / students:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(((30, 1, 1), (300, 1, possible()), (4, 6, possible())))

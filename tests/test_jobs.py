"""Things taken through steps side by side; how many at once; the record of a run."""

import threading
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("nbgrader")

from grading import jobs
from grading.record import Graded, Record


class Named:
    """In place of a process apart: its number."""

    def __init__(self, number):
        self.number, self.closed = number, False

    def close(self):
        self.closed = True

    def end(self):
        assert self.closed


def test_steps_run_side_by_side_and_entering_is_the_callers():
    busy, most, entered = set(), [], []

    def judge(thing, apart):
        assert apart.number not in busy
        busy.add(apart.number)
        most.append(len(busy))
        time.sleep(0.05)
        busy.remove(apart.number)
        if thing == 3:
            raise ValueError("no numbers")
        return thing * 10

    def enter(thing, judged):
        assert threading.current_thread() is threading.main_thread()
        entered.append(thing)
        if thing == 5:
            raise OSError("no room")
        return judged + 1

    made = jobs.Jobs(3, Named)
    came = dict(made.take_through(range(8), judge, enter, lambda thing, notes, _: (notes, type(_))))
    made.end()
    assert max(most) == 3
    assert sorted(entered) == [0, 1, 2, 4, 5, 6, 7]
    assert {thing: one[0] for thing, one in came.items() if thing not in (3, 5)} == {
        n: 10 * n + 1 for n in (0, 1, 2, 4, 6, 7)
    }
    assert str(came[3]) == "no numbers" and str(came[5]) == "no room"


def test_when_it_is_stopped_nothing_further_begins():
    judged = []

    def judge(thing, apart):
        judged.append(thing)
        time.sleep(0.02)

    def stop(thing, came):
        raise KeyboardInterrupt

    made = jobs.Jobs(2, Named)
    with pytest.raises(KeyboardInterrupt):
        list(made.take_through(range(100), judge, stop, None))
    made.end()
    count = len(judged)
    time.sleep(0.1)
    assert len(judged) == count <= 4


@pytest.mark.parametrize(
    ("cores", "gib", "count"), [(2, 23, 2), (8, 23, 4), (8, 3, 1), (1, 99, 1), (500, 9999, 64)]
)
def test_as_many_at_once_as_cores_and_memory_allow(monkeypatch, cores, gib, count):
    monkeypatch.setattr(jobs.os, "sched_getaffinity", lambda _: range(cores), raising=False)
    memory = SimpleNamespace(available=gib * 2**30)
    monkeypatch.setattr(jobs.psutil, "virtual_memory", lambda: memory)
    assert jobs.possible() == count


def test_a_record_is_read_back_and_one_that_broke_off_is_kept_up_to_there(tmp_path):
    record = Record(tmp_path)
    assert record.read() == ([], None)
    lines = [Graded("राम\n", "07_sample", "a.ipynb", "1f", ["a\u2028note"])] * 2
    record.begin(lines[:1])
    record.add(lines[1])
    assert record.read() == (lines, None)
    record.end(["a remark"], [])
    assert record.read() == (lines, {"remarks": ["a remark"], "left_out": []})
    record.path.write_text(record.path.read_text()[:-5])
    assert record.read() == (lines, None)

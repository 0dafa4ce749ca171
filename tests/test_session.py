"""What a submission's process answers: types that pass, replies that are hostile, and limits."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("nbgrader")

from grading import confinement, wire
from grading.apart import Apart, StoppedError
from grading.session import Limits, Session
from grading.workers import EndedError, Process
from resnets.check.asking import plain, same


class Scripted:
    """Processes that give the replies in turn, the last one forever."""

    def __init__(self, *replies):
        self.replies, self.taken, self.ended = list(replies), 0, 0

    def take(self):
        self.taken += 1
        return self

    def ask(self, request, seconds):
        if request == {"action": "names", "names": []}:  # whether it is there
            return {"names": {}}
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def end(self):
        self.ended += 1


def begun(workers, seconds=60):
    return Session(workers, "import torch", Limits(), time.monotonic() + seconds)


Pair = namedtuple("Pair", "low high")


def there_and_back(value):
    kept = []

    def keep(thing):
        kept.append(thing)
        return {"object": len(kept) - 1}

    sent = json.loads(json.dumps(wire.encode(value, keep)))
    return wire.decode(sent, lambda item: kept[item["object"]])


@pytest.mark.parametrize(
    ("value", "passes_as"),
    [
        (Pair(1, 2.5), (1, 2.5)),
        (defaultdict(int, a=1), {"a": 1}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(b=1, a=[2]), {"b": 1, "a": [2]}),
        (Fraction(1, 3), Fraction(1, 3)),
        (1 + 2j, 1 + 2j),
        ({1, 2}, {1, 2}),
        (range(3), [0, 1, 2]),
        ((n * n for n in range(3)), [0, 1, 4]),
        ({(3, 3): 1, 0.5: 2, None: 3, True: 4}, {(3, 3): 1, 0.5: 2, None: 3, True: 4}),
        (np.float32(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (type("Text", (str,), {"__str__": lambda self: "forged"})("text"), "text"),
        (type("Number", (int,), {})(7), 7),
        (torch.max(torch.eye(2), 1), None),  # a named tuple of tensors
    ],
)
def test_what_is_plain_by_another_name_passes(value, passes_as):
    if passes_as is None:
        values, places = there_and_back(value)
        assert torch.equal(values, value.values) and torch.equal(places, value.indices)
        return
    back = there_and_back(value)
    assert back == passes_as and type(back) is type(passes_as)


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "float16", "bool", "int32"])
def test_tensors_and_arrays_pass_with_their_type(dtype):
    array = np.array([[1, 0], [1, 1]], dtype=dtype) * (1j if "complex" in dtype else 1)
    back = there_and_back(array)
    assert back.dtype == torch.from_numpy(array).dtype and np.array_equal(back.numpy(), array)
    assert torch.equal(there_and_back(torch.from_numpy(array)).to(back.dtype), back)


def test_no_imaginary_part_is_lost():
    wrong = torch.complex(torch.ones(3), torch.ones(3))
    for value in (wrong, wrong.conj(), wrong.to(torch.complex128)):
        assert torch.equal(there_and_back(value), value)


@pytest.mark.parametrize("value", [torch.eye(2).to_sparse(), torch.ones(2, device="meta"), deque])
def test_what_cannot_pass_stays(value):
    assert there_and_back(value) is value


@pytest.mark.parametrize(
    "item",
    [
        {"tensor": ["torch.uint8", [500_000_000], ""]},
        {"tensor": ["torch.float64", [2**62, 4, 0], ""]},
        {"tensor": ["torch.float32", [1] * 1000, "AAAAAA=="]},
        {"tensor": ["torch.float32", [2], "AAAAAA=="]},
        {"tensor": ["torch.float32", [-1, -1], "AAAAAA=="]},
        {"dict": [[[], 1]]},
        {"dict": [[1]]},
        {"set": [{"dict": []}]},
        {"fraction": [1, 0]},
        {"complex": ["1", 2]},
        {"what": 1},
    ],
)
def test_what_was_not_encoded_is_refused(item):
    def nothing(_):
        raise ValueError("nothing is kept")

    started = time.monotonic()
    with pytest.raises(ValueError):
        wire.decode(item, nothing)
    deep = item
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError):
        wire.decode(deep, nothing)
    assert time.monotonic() - started < 10


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["object", "type", "tensor", "tuple", "dict", "data", "text", "x"]),
            inner,
        )
    ),
    max_leaves=8,
)
REPLY = st.fixed_dictionaries(
    {},
    optional={
        "names": st.dictionaries(st.sampled_from(["f", "x"]), JSON) | JSON,
        "outputs": JSON
        | st.lists(
            st.fixed_dictionaries(
                {"output_type": st.sampled_from(["stream", "display_data"])},
                optional={"name": st.just("stdout") | JSON, "text": JSON, "data": JSON},
            )
        ),
        "error": st.lists(st.text(), min_size=2, max_size=2) | JSON,
        "result": JSON,
    },
)


@settings(deadline=None, max_examples=300)
@given(st.lists(REPLY, min_size=1, max_size=3))
def test_whatever_a_process_replies_it_is_judged(replies):
    one = begun(Scripted(*replies))
    outputs, error = one.run("x = 1")
    assert error is None or len(error) < 5000
    for output in outputs:
        assert set(output) <= {"output_type", "name", "text", "data", "metadata"}
    for test in ("assert f(2) == 1", "for a in x: pass", "assert torch.allclose(f(x), x / 2)"):
        said = one.test(test)
        assert said is None or 0 < len(said) < 5000


@pytest.mark.parametrize(
    "test",
    [
        "for a in x: pass",
        "assert x.shape == (2, 3)",
        "assert x + 1 == 2",
        "assert len(x) == 2",
        "assert torch.allclose(x, torch.ones(2))",
        "assert x[0] == 1",
        "from resnets.check.asking import expect; expect(x, 1, 'the output')",
    ],
)
def test_of_what_is_not_plain_the_type_is_told(test):
    said = begun(Scripted({"names": {"x": {"object": 0, "type": "DataFrame"}}})).test(test)
    assert "should be numbers" in said and "DataFrame" in said and "Remote" not in said


@pytest.mark.parametrize(
    ("value", "test", "says"),
    [
        ([1.0, 2.0], "assert x.norm() > 0", "Return a tensor: this is of type list."),
        ([1.0, 2.0], "x.shape", "Return a tensor: this is of type list."),
        ([[1.0]], "torch.eye(1) @ x", "Return a tensor: this is of type list."),
        ([1.0], "torch.linalg.norm(x)", "Return a tensor: this is of type list."),
        (1.5, "for one in x: pass", "Return several numbers, as a list or a tensor: this is of"),
        (1.5, "assert len(x) == 2", "Return several numbers, as a list or a tensor: this is of"),
        (1.5, "assert x[0] == 2", "Return several numbers, as a list or a tensor: this is of"),
        (torch.eye(2), "torch.eye(2).double() @ x", "numbers of the type that the inputs have"),
        ({"a": 1}, "assert x['b']", "KeyError: 'b'"),
    ],
)
def test_of_an_answer_of_another_type_it_is_told_what_to_return(value, test, says):
    reply = {"names": {"x": wire.encode(value, None)}}
    assert says in begun(Scripted(reply)).test(test)


SMALL = namedtuple("Small", "low high")(1 / 3, 2 / 3)


@pytest.mark.parametrize(
    "answer",
    [
        SMALL,
        [Fraction(1, 3), Fraction(2, 3)],
        (n / 3 for n in (1, 2)),
        np.array(SMALL),
        np.array(SMALL, dtype="float32").tolist(),
        torch.tensor(SMALL),
        torch.tensor(SMALL).tolist(),
        [one.double() for one in torch.tensor(SMALL)],
        torch.tensor(SMALL).half(),
    ],
    ids=range(9),
)
def test_right_answers_of_other_types_are_right(answer):
    passed = there_and_back(answer)
    right = torch.tensor(SMALL, dtype=torch.float64)
    assert same(passed, right)
    assert not same(passed, right + torch.tensor([0, 0.02]))
    assert not same([0.5, 1.0], [0.5, 1.0001]) and not same([2, 5], [2, 5.00001])


def test_answers_pass_as_plain_things_in_the_notebook_too():
    told = plain(defaultdict(list, a=[Fraction(1, 2)], b=SMALL))
    assert type(told) is dict and told == {"a": [0.5], "b": tuple(SMALL)}
    assert type(told["b"]) is tuple


def test_messages_and_outputs_are_bounded():
    stream = {"output_type": "stream", "name": "stdout", "text": "x" * 10**6}
    picture = {"output_type": "display_data", "data": {"image/png": "x" * 10**6}}
    reply = {"outputs": [stream, picture] * 10, "error": ["E" * 10**6, "x" * 10**6]}
    one, size = begun(Scripted(reply)), 0
    for _ in range(50):
        outputs, error = one.run("x = 1")
        size += len(json.dumps(outputs)) + len(error)
    assert size < 30 * 2**20
    keys = {f"{n}" * 500: n for n in range(20_000)}
    reply = {"names": {"x": wire.encode(keys, None)}}
    assert len(begun(Scripted(reply)).test("assert x == 1, f'x is {x}'")) < 3000


def test_after_the_deadline_no_cell_takes_a_process():
    workers = Scripted({"outputs": []})
    one = begun(workers)
    one.run("x = 1")
    one.deadline = time.monotonic()
    for _ in range(28):
        assert "the submission took 900 s in all" in one.run("x = 1")[1]
        assert "the submission took 900 s in all" in one.test("assert x == 1")
    assert (workers.taken, workers.ended) == (1, 1)


def test_a_process_that_is_given_up_is_ended():
    class Slow(Scripted):
        def ask(self, request, seconds):
            raise EndedError("it did not come to an end within 1 s")

    workers = Slow()
    one = begun(workers)
    for _ in range(3):
        one.run("x = 1")
    assert workers.taken == workers.ended == 3


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("'[' + '{},' * 9_000_000 + '{}]'", "more than 1,000,000 things"),
        ("'[' * 100_000", "nonsense"),
        ("'1' * 5000", "nonsense"),
        ("'{' * 70_000_000", "more than 64 MiB"),
    ],
)
def test_a_reply_that_swells_in_memory_is_not_read(monkeypatch, code, says):
    start = [sys.executable, "-c", f"print({code})"]
    monkeypatch.setattr(confinement, "command", lambda kind: confinement.Command(start))
    with pytest.raises(EndedError, match=says):
        Process("printing").ask({}, seconds=300)


def test_what_forks_share_counts_once(monkeypatch):
    code = (
        "import os, time\nkept = b'x' * 2**27\n"
        "for _ in range(4):\n    if not os.fork():\n        time.sleep(60)\n"
        "print('{}', flush=True)\ntime.sleep(60)"
    )
    # Not the process itself is counted, but those that it starts.
    outer = f"import subprocess\nsubprocess.run([{sys.executable!r}, '-c', {code!r}])"
    start = [sys.executable, "-c", outer]
    monkeypatch.setattr(confinement, "command", lambda kind: confinement.Command(start))
    monkeypatch.setattr(confinement, "MEMORY", 2**28)
    process = Process("forks")
    try:
        assert process.ask({}, seconds=60) == {}
        assert 2**27 < process._memory() < 2**28
    finally:
        process.end()


def counting(last):
    yield from range(last + 1)
    return "counted"


def stuck(at):
    for number in itertools.count():
        yield number
        if number == at:
            sum(range(10**12))


def test_what_is_done_apart_is_bounded_and_the_next_is_done():
    apart = Apart(step=1, memory=2**28)
    try:
        assert apart.do(counting, 3) == "counted"
        with pytest.raises(StoppedError, match="1 s of computing") as stopped:
            apart.do(stuck, 2)
        assert stopped.value.step == 2
        with pytest.raises(StoppedError, match="did not come to an end within 1 s"):
            apart.do(time.sleep, 60, seconds=1)
        with pytest.raises(StoppedError):
            apart.do(os._exit, 1)
        with pytest.raises(StoppedError, match="ZeroDivisionError: "):
            apart.do(divmod, 1, 0)
        if sys.platform == "linux":
            with pytest.raises(StoppedError, match="too much memory"):
                apart.do(list, range(10**9))
        assert apart.do(max, 1, 2) == 2
    finally:
        apart.end()


def test_a_progress_bar_in_a_killed_process_leaves_nothing_behind(tmp_path):
    (tmp_path / "bar.py").write_text(
        "import io\nfrom tqdm import tqdm\n\n\n"
        "def show():\n    return sum(tqdm(range(3), file=io.StringIO()))\n"
    )
    code = (
        "from bar import show; from grading import apart; apart.LIBRARIES.clear(); "
        "one = apart.Apart(); assert one.do(show) == 3; one.end()"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")

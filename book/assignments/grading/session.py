"""One submission's process, seen from outside: run a cell in it, test what it defined.

A test cell runs in this process, in a namespace that no submission reaches. A name that the
submission defined stands there for a copy of its numbers, or for a `Remote`, which is called by
asking the confined process. So the worst that a submission can do is to give wrong numbers, or so
many that judging them takes hours: `judge` is done apart (`apart`), so that this, too, can be
stopped.
"""

import ast
import builtins
import contextlib
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from grading import wire
from grading.workers import START_SECONDS, EndedError, Process, Workers, workers
from resnets.check.asking import Mistake, stopped, wanted

SHOWN = 20_000  # characters of an output that the feedback shows
PAGE = 8 * 2**20  # characters of all outputs on a page
SAID = 2_000  # characters of a message
SEED = 20
NOT_PLAIN = (
    "This should be numbers, text, tensors, or lists, tuples and dictionaries of these, but is "
    "something else."
)


@dataclass(frozen=True)
class Limits:
    """How long a submission may take, in seconds: each cell or call, and all of it."""

    cell: float = 120
    submission: float = 900


def judge(
    kind: str,
    setup: str,
    cells: list[tuple[str, str]],
    limits: Limits,
    deadline: float,
    refused: dict[int, str],
) -> Iterator[int]:
    """Run a submission's cells, and the tests between them: outputs and what was wrong, of each.

    Yields the number of each cell as it begins.

    Args:
        kind: of the confinement.
        setup: the source of the assignment's setup cell.
        cells: "run" or "test", and a source.
        deadline: when the submission's time is up, by `time.monotonic`.
        refused: what to say of a cell, by its number, instead of running it.
    """
    torch.set_num_threads(1)
    torch.manual_seed(SEED)  # who comes first, or beside whom, changes no submission's inputs
    session, judged = Session(workers(kind), setup, limits, deadline), []
    try:
        for number, (action, source) in enumerate(cells):
            yield number
            if number in refused:
                judged.append(([], refused[number]))
            elif action == "test":
                judged.append(([], session.test(source)))
            else:
                judged.append(session.run(source))
    finally:
        session.end()
    return judged


class Session:
    """The cells of one submission, run in order, and the tests between them.

    Where a cell or a call ends the process, a new one runs the earlier cells again, without the
    cell at fault, so that the other tasks are graded as if it were not there.

    Args:
        workers: where its processes come from.
        setup: the source of the assignment's setup cell, run in both processes.
        deadline: when the submission's time is up, by `time.monotonic`.
    """

    def __init__(self, workers: Workers, setup: str, limits: Limits, deadline: float) -> None:
        self.workers, self.limits, self.deadline = workers, limits, deadline
        self.room = PAGE  # characters that are left for outputs
        self.cells: list[str] = []
        self.process: Process | None = None
        self.generation = 0  # of the process: what an earlier one kept is gone
        self.kinds: list[str] = []  # of what the submission gave that did not pass by value
        self.trusted: dict = {}
        exec(setup, self.trusted)

    def run(self, source: str) -> tuple[list[dict], str | None]:
        """Run a cell of the submission: its outputs, and what went wrong."""
        try:
            reply = self._ask({"action": "run", "source": source})
        except EndedError as error:
            return [], f"the cell was stopped: {error}"
        self.cells.append(source)
        error, outputs = reply.get("error"), _outputs(reply.get("outputs"))
        self.room -= sum(map(_size, outputs))
        if self.room < 0:
            outputs = [_text("(more output than a page shows)\n")]
        return outputs, _message(error) if error else None

    def test(self, source: str) -> str | None:
        """Run a test cell here: None if it passes, else what it says."""
        try:
            names = dict(self.trusted)
            names.update(self._lookup(_free_names(source, names)))
            with contextlib.redirect_stdout(io.StringIO()):
                exec(source, names)
        except Exception as error:
            return _said(error, self.kinds)
        return None

    def call(self, question: Callable | None, inputs: list, options: dict, generation: int):
        """Call something in the confined process.

        Raises:
            Mistake: it raised an exception, or did not come back.
        """
        try:
            request = {
                "action": "call",
                "question": question and [question.__module__, question.__name__],
                "inputs": wire.encode([inputs, options], self._reference),
            }
            if generation != self.generation:
                raise EndedError("what it gave before is lost, because its process ended")
            reply = self._ask(request)
            if reply.get("error"):
                raise Mistake(_message(reply["error"]))
            return wire.decode(reply.get("result"), self._remote)
        except EndedError as error:
            raise Mistake(f"Your code was stopped: {error}.") from error
        except ValueError as error:
            raise Mistake(NOT_PLAIN) from error

    def end(self) -> None:
        """End the submission's process."""
        if self.process:
            self.process.end()
            self.process = None

    def _ask(self, request: dict) -> dict:
        self._start()
        try:
            return self.process.ask(request, self._seconds())
        except EndedError:
            self.end()
            raise

    def _start(self) -> None:
        """A process that has run the earlier cells."""
        if self.process:
            return
        self._seconds()  # a submission whose time is up gets no further process
        self.generation += 1
        self.process = self.workers.take()
        try:
            requests = [{"action": "names", "names": []}]
            requests += [{"action": "run", "source": source} for source in self.cells]
            for request in requests:
                self.process.ask(request, max(START_SECONDS, self._seconds()))
        except EndedError:
            self.end()
            raise

    def _seconds(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise EndedError(f"the submission took {self.limits.submission:.0f} s in all")
        return min(self.limits.cell, left)

    def _lookup(self, names: list[str]) -> dict:
        found = self._ask({"action": "names", "names": names}).get("names")
        if not isinstance(found, dict):
            return {}
        try:
            return {name: wire.decode(found[name], self._remote) for name in names if name in found}
        except ValueError as error:
            raise Mistake(NOT_PLAIN) from error

    def _remote(self, item) -> "Remote":
        match item:
            case {"object": int(number), "type": str(kind)}:
                self.kinds.append(kind[:50])
                return Remote(self, number, self.generation)
        raise ValueError("nothing that was kept")

    def _reference(self, value) -> dict:
        if not isinstance(value, Remote):
            raise TypeError(f"a test passes a {type(value).__name__} to a submission")
        return {"object": value._number}


class Remote:
    """Something that a submission defined, to be called or asked from here."""

    def __init__(self, session: Session, number: int, generation: int) -> None:
        self._session, self._number, self._generation = session, number, generation

    def __call__(self, *inputs, **options):
        return self._session.call(None, [self, *inputs], options, self._generation)

    def __ask__(self, question: Callable, inputs: tuple):
        return self._session.call(question, [self, *inputs], {}, self._generation)


def _free_names(source: str, known: dict) -> list[str]:
    read = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    return sorted(read - set(known) - set(dir(builtins)))


def _message(error) -> str:
    if not (isinstance(error, list) and len(error) == 2):
        return "Your code stopped with an error."
    name, text = (str(part)[:SAID] for part in error)
    return stopped(name, text)


def _said(error: Exception, kinds: list[str]) -> str:
    """What the student reads of a test's exception; `kinds` are types that did not pass."""
    text = str(error)
    if isinstance(error, AssertionError | Mistake | EndedError) and text:
        return _shortened(text.replace(Remote.__name__, kinds[-1] if kinds else "object"), SAID)
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return "Your answer is so large that it cannot be checked: has it the right shape?"
    if Remote.__name__ in text and kinds:
        return f"{NOT_PLAIN} This is of type {kinds[-1]}."
    if said := wanted(error):
        return f"{said} ({_shortened(text, SAID)})"
    return _shortened(f"{type(error).__name__}: {text}", SAID)


def _outputs(outputs) -> list[dict]:
    """Outputs as a notebook holds them, not longer than a page shows."""
    shown = []
    for output in outputs[:20] if isinstance(outputs, list) else []:
        match output:
            case {"output_type": "stream", "name": "stdout" | "stderr" as name, "text": str(text)}:
                shown.append(_text(_shortened(text, SHOWN), name))
            case {"output_type": "display_data", "data": {**data}}:
                data = {k: v for k, v in data.items() if k in SHOWABLE and isinstance(v, str)}
                shown.append({"output_type": "display_data", "data": data, "metadata": {}})
                if _size(shown[-1]) > 2**20:
                    shown[-1]["data"] = {"text/plain": "(more than 1 MiB to show)"}
    return shown


def _text(text: str, name: str = "stdout") -> dict:
    return {"output_type": "stream", "name": name, "text": text}


def _size(output: dict) -> int:
    return len(output.get("text", "")) + sum(map(len, output.get("data", {}).values()))


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]}\n… {len(text) - longest:,} more characters\n"


SHOWABLE = ("text/plain", "image/png")

"""Submissions graded side by side: each is judged and shown apart, by one of several processes.

What writes to the gradebook is done by the caller alone, one submission after the other.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue

import psutil

from grading import confinement
from grading.apart import Apart

JUDGE = 2**30  # bytes: what judging usually takes beside a submission


def possible() -> int:
    """How many submissions cores and memory allow to be graded at once: at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory().available // (confinement.MEMORY + JUDGE)
    return max(1, min(cores, memory, confinement.JOBS))


class Jobs:
    """Processes apart, and for each a thread that waits for what it does.

    Args:
        count: how many.
        apart: how to make one, of its number.
    """

    def __init__(self, count: int, apart: Callable[[int], Apart]) -> None:
        self.aparts = [apart(number) for number in range(count)]
        self.idle = SimpleQueue()
        for one in self.aparts:
            self.idle.put(one)
        self.threads = ThreadPoolExecutor(count)

    def take_through(
        self, things: Iterable, judge: Callable, enter: Callable, show: Callable
    ) -> Iterator[tuple[object, object]]:
        """Judge, enter and show each thing: pairs of it and what came of it, as they are done.

        `judge(thing, apart)` and `show(thing, entered, apart)` are called side by side, each with
        a process of its own; `enter(thing, judged)` in this thread. What came of a thing is what
        `show` returns, or the exception that one of them raised.
        """
        waiting, running = iter(things), {}
        while True:
            # One more than there are processes, so that none is idle while this thread is busy.
            for thing in itertools.islice(waiting, len(self.aparts) + 1 - len(running)):
                running[self._begin(judge, thing)] = thing, False
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                thing, is_entered = running.pop(future)
                try:
                    came = future.result()
                    if not is_entered:
                        running[self._begin(show, thing, enter(thing, came))] = thing, True
                        continue
                except Exception as error:  # whatever it is, the others go on
                    came = error
                yield thing, came

    def _begin(self, function: Callable, *inputs) -> Future:
        return self.threads.submit(self._do, function, inputs)

    def _do(self, function: Callable, inputs: tuple):
        apart = self.idle.get()
        try:
            return function(*inputs, apart)
        finally:
            self.idle.put(apart)

    def end(self) -> None:
        """End the processes; what they have begun is given up."""
        for apart in self.aparts:
            apart.close()
        self.threads.shutdown(cancel_futures=True)
        for apart in self.aparts:
            apart.end()

"""A process of ours that may be killed: what a submission holds is read, judged and shown there.

A file, an answer or an output can make any of these take hours, or all memory. Done apart, within
limits, it takes no more than the process, and the grader goes on with the next one.
"""

import contextlib
import inspect
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection

import psutil
from tqdm import tqdm

from grading import confinement

MEMORY = 4 * 2**30  # bytes
SECONDS = 60  # of computing, in each step
# A fork of a process that has loaded these is there at once.
LIBRARIES = ["torch", "resnets.check", "nbgrader.converters"]
TIME_UP, NO_MEMORY = "it took more than {:.0f} s of computing", "it took too much memory"


class StoppedError(Exception):
    """Something done apart did not come to its end; the message says why.

    `step` is the last one that had begun.
    """

    def __init__(self, message: str, step: int | None = None) -> None:
        super().__init__(message)
        self.step = step


class Apart:
    """The process; after one was killed, the next one.

    Args:
        step: seconds of computing that each step may take.
        memory: bytes that it may take beyond what it has at its start.
        job: its number, where several work side by side.
    """

    def __init__(self, step: float = SECONDS, memory: int = MEMORY, job: int = 0) -> None:
        self.limits, self.job = (step, memory), job
        self.process, self.closed = None, False

    def do(self, function: Callable, *inputs, seconds: float = 2 * SECONDS):
        """`function(*inputs)`, done there. A generator yields a number where a step begins.

        Args:
            seconds: how long it may take by the clock.

        Raises:
            StoppedError: it took too long or too much memory, or raised an exception.
        """
        if not self.process:
            self._start()
        deadline, step = time.monotonic() + seconds, None
        try:
            self.connection.send((function, inputs))
            while self.connection.poll(max(0, deadline - time.monotonic())):
                kind, value = self.connection.recv()
                if kind == "step":
                    step = value
                elif kind == "done":
                    return value
                else:
                    raise StoppedError(value, step)
            message = f"it did not come to an end within {seconds:.0f} s"
        except (EOFError, OSError):
            self.process.join(timeout=10)
            out_of_time = self.process.exitcode == -signal.SIGPROF
            message = TIME_UP.format(self.limits[0]) if out_of_time else NO_MEMORY
        except BaseException as error:
            if not isinstance(error, StoppedError):  # Ctrl-C: what it does now, nobody waits for
                self.end()
            raise
        self.end()
        raise StoppedError(message, step)

    def _start(self) -> None:
        if self.closed:
            raise StoppedError("it was stopped")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(LIBRARIES)
        self.connection, theirs = context.Pipe()
        inputs = theirs, self.job, *self.limits
        self.process = context.Process(target=_serve, args=inputs, daemon=True)
        self.process.start()
        theirs.close()
        if self.closed:  # meanwhile
            self.process.kill()

    def close(self) -> None:
        """Start no other process, and kill this one: who waits for it, in a thread, is told."""
        self.closed = True
        if process := self.process:
            process.kill()

    def end(self) -> None:
        """End the process, and what it has started."""
        if self.process:
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in psutil.Process(self.process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
            self.process.kill()
            self.process.join()
            self.connection.close()
            self.process = None


def _serve(connection: Connection, job: int, seconds: float, memory: int) -> None:
    os.setsid()  # Ctrl-C in the terminal is the grader's
    tqdm.set_lock(threading.RLock())  # its own has semaphores, which a killed process leaves behind
    confinement.use_users_of(job)
    _limit_memory(memory)
    with contextlib.suppress(EOFError, OSError):  # the grader is gone
        while True:
            function, inputs = connection.recv()
            _allow(seconds)
            try:
                result = function(*inputs)
                if inspect.isgenerator(result):
                    result = _step_by_step(result, connection, seconds)
                reply = "done", result
            except StoppedError as error:
                reply = "stopped", str(error)
            except MemoryError:
                reply = "stopped", NO_MEMORY
            except Exception as error:
                reply = "stopped", f"{type(error).__name__}: {error}"
            _allow(0)
            connection.send(reply)


def _step_by_step(generator: Generator, connection: Connection, seconds: float):
    while True:
        _allow(seconds)
        try:
            connection.send(("step", next(generator)))
        except StopIteration as end:
            return end.value


def _allow(seconds: float) -> None:
    """The process is killed after this long of computing; 0 ends the limit."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory(memory: int) -> None:
    """Where the system counts what a process may write to: Linux."""
    import resource  # not on Windows

    with contextlib.suppress(FileNotFoundError), open("/proc/self/status") as status:
        has = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, (has + memory, has + memory))

"""Confined processes for submissions, seen from outside: requests, replies, limits.

Where bubblewrap confines them, they are forks of one process that has loaded the libraries (`warm`)
and enter walls that were built before; otherwise each one is started by itself.
"""

import contextlib
import functools
import json
import os
import selectors
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import psutil

from grading import confinement, syscalls

MESSAGE = 64 * 2**20  # bytes of one reply
PARTS = 10**6  # brackets and commas of one reply: JSON's takes 100 times its size in memory
READY = b"ready\n"  # what a worker of `warm` says once it is inside
START_SECONDS = 120  # the libraries load
SPACES = {  # as Linux numbers them
    "user": 0x10000000,
    "mnt": 0x00020000,
    "pid": 0x20000000,
    "net": 0x40000000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
}
LOOK_SECONDS = 0.1  # from one look at the memory to the next


class EndedError(Exception):
    """The confined process is gone; the message says why."""


class Process:
    """A confined process, and one request and reply after the other."""

    def __init__(self, kind: str) -> None:
        self.command = confinement.command(kind)
        self.process = _start(self.command.start)
        self._listen(self.process.stdin, self.process.stdout)

    def _listen(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self.requests, self.replies = requests, replies
        for stream in (requests, replies):
            os.set_blocking(stream.fileno(), False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(replies, selectors.EVENT_READ)
        self.next_look = time.monotonic() + LOOK_SECONDS

    def ask(self, request: dict, seconds: float) -> dict:
        """The reply to `request`.

        Raises:
            EndedError: none came in time, or too long a one, or nonsense; the process is ended.
        """
        try:
            return self._exchange(json.dumps(request).encode() + b"\n", seconds)
        except EndedError:
            self.end()
            raise

    def _exchange(self, line: bytes, seconds: float) -> dict:
        deadline = time.monotonic() + seconds
        left, received = memoryview(line), bytearray()
        self.selector.register(self.requests, selectors.EVENT_WRITE)
        while not received.endswith(b"\n"):
            if (now := time.monotonic()) > deadline:
                raise EndedError(f"it did not come to an end within {seconds:.0f} s")
            if now > self.next_look:
                if self._memory() > confinement.MEMORY:
                    gib = confinement.MEMORY / confinement.GIB
                    raise EndedError(f"it took more than {gib:.0f} GiB of memory")
                # Looking takes at most a tenth of the time.
                self.next_look = now + max(LOOK_SECONDS, 10 * (time.monotonic() - now))
            for ready, _ in self.selector.select(timeout=min(0.1, seconds)):
                try:
                    if ready.fileobj is self.requests:
                        left = left[os.write(ready.fd, left[: 2**16]) :]
                        if not left:
                            self.selector.unregister(self.requests)
                    elif chunk := os.read(ready.fd, 2**20):
                        received += chunk
                    else:
                        raise EndedError("its process ended")
                except OSError as error:
                    raise EndedError("its process ended") from error
            if len(received) > MESSAGE:
                raise EndedError(f"it gave more than {MESSAGE >> 20} MiB at once")
        if left:
            raise EndedError("it answered before it was asked")
        if sum(map(received.count, (b"{", b"[", b","))) > PARTS:
            raise EndedError(f"it gave more than {PARTS:,} things at once")
        try:
            reply = json.loads(received)
        except (ValueError, RecursionError, MemoryError) as error:
            raise EndedError("it answered nonsense") from error
        if not isinstance(reply, dict):
            raise EndedError("it answered nonsense")
        return reply

    def _memory(self) -> int:
        """Bytes that it and all its children have in memory."""
        total = self._sum(lambda process: process.memory_info().rss)
        if total > confinement.MEMORY:  # what forks share counts once, which takes long to add up
            total = self._sum(_share)
        return total

    def _sum(self, memory: Callable[[psutil.Process], int]) -> int:
        total = 0
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                total += memory(process)
        return total

    def _processes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return _descendants(psutil.Process(self.process.pid))
        return []

    def end(self) -> None:
        """End the process and everything that it started."""
        self.selector.close()
        self.process.kill()
        if self.command.end:
            subprocess.run(self.command.end, capture_output=True)
        self.requests.close()
        self.replies.close()
        self.process.wait()


class Forked(Process):
    """A fork of `warm` in walls of its own. They fall when the process ends that waits there.

    Raises:
        EndedError: it did not begin; the message says why.
    """

    def __init__(self, warm: "Warm") -> None:
        self.command = confinement.Command([])
        self.process, inside = _empty_walls()
        incoming, requests = os.pipe()
        replies, outgoing = os.pipe()
        self._listen(os.fdopen(requests, "wb", 0), os.fdopen(replies, "rb", 0))
        try:
            warm.fork(incoming, outgoing, inside)
            number, ready = sorted([self._line(), self._line()])  # from two processes
            if ready != READY:
                raise ValueError("it could not enter its walls")
            self.worker = psutil.Process(int(number))
        except (OSError, ValueError, psutil.Error) as error:
            self.end()
            raise EndedError(f"its process did not begin ({error})") from error

    def _line(self) -> bytes:
        line, deadline = b"", time.monotonic() + START_SECONDS
        while not line.endswith(b"\n") and (left := deadline - time.monotonic()) > 0:
            if self.selector.select(timeout=left):
                if not (byte := self.replies.read(1)):
                    break
                line += byte
        return line

    def _processes(self) -> list[psutil.Process]:
        return [*super()._processes(), self.worker, *_descendants(self.worker)]


class Warm:
    """The process that workers are forked from."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                confinement.warm(),
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )

    def fork(self, incoming: int, outgoing: int, inside: int) -> None:
        """Fork a worker that reads and answers here, and lives where the process `inside` does.

        The descriptors are closed here.

        Raises:
            OSError: one of the processes is gone.
        """
        descriptors = [incoming, outgoing]
        try:
            descriptors.append(os.pidfd_open(inside))
            request = {
                "spaces": _own_spaces(inside),
                "user": confinement.next_user(),
                "limits": confinement.LIMITS,
            }
            socket.send_fds(self.socket, [json.dumps(request).encode()], descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def end(self) -> None:
        """End the process."""
        self.socket.close()
        self.process.kill()
        self.process.wait()


def _start(command: list[str], *descriptors: int) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        pass_fds=descriptors,
    )


def _empty_walls() -> tuple[subprocess.Popen, int]:
    """Bubblewrap, and the number of its process inside, once the walls stand."""
    information, theirs = os.pipe()
    with os.fdopen(information) as information, tempfile.TemporaryFile() as forbidden:
        forbidden.write(syscalls.compiled())
        forbidden.seek(0)
        number = forbidden.fileno() if syscalls.compiled() else None
        try:
            process = _start(confinement.empty_walls(theirs, number), theirs, forbidden.fileno())
        finally:
            os.close(theirs)
        try:
            inside = json.load(information)["child-pid"]
            process.stdin.write(b"\n")
            if not process.stdout.read(1):  # what runs inside repeats it
                raise ValueError("no process is inside")
        except (OSError, ValueError) as error:
            process.kill()
            process.wait()
            raise EndedError("bubblewrap did not start") from error
    return process, inside


def _own_spaces(process: int) -> int:
    """Which name spaces this process has of its own, as `setns` takes them."""
    own = Path("/proc", str(process), "ns"), Path("/proc/self/ns")
    return sum(
        flag
        for name, flag in SPACES.items()
        if len({folder.joinpath(name).readlink() for folder in own}) > 1
    )


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return process.children(recursive=True)
    return []


class Workers:
    """Processes for submissions, the next one started ahead.

    `kind` is that of the confinement, one of `confinement.KINDS`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.warm = Warm() if kind == "bubblewrap" else None
        self.next = self._start()

    def take(self) -> Process:
        """A process that nothing ran in yet."""
        process, self.next = self.next, self._start()
        return process

    def _start(self) -> Process:
        if self.warm:
            with contextlib.suppress(EndedError):
                return Forked(self.warm)
            self.warm.end()  # it may have been ended, or no process may enter walls here
            self.warm = Warm()
            try:
                return Forked(self.warm)
            except EndedError:
                self.warm.end()
                self.warm = None
        return Process(self.kind)


@functools.cache
def workers(kind: str) -> Workers:
    """This process's own, from one submission to the next; they end when it ends."""
    return Workers(kind)


def _share(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except (psutil.AccessDenied, AttributeError):  # it hides, or the system does not say
        return process.memory_info().rss

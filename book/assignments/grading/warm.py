"""A process with the libraries loaded, from which a submission's are forked: `grading.warm`.

Loading takes seconds, a fork none. This process stands outside the walls, but was started with the
same empty environment and holds nothing else; no submission's code ever runs in it. For each
request, a child of it enters walls that bubblewrap has built around an empty folder (the name
spaces of the process that waits there), gives up all rights, and becomes a worker.

A request is JSON, with file descriptors: where the worker reads, where it answers, and of the
process that waits.
"""

import contextlib
import ctypes
import gc
import json
import os
import resource
import socket

import numpy as np

from grading import worker

REQUEST = 4096  # bytes
READY = b"ready\n"
DESCRIPTORS = 3
# Numbers of prctl.
NO_NEW_PRIVILEGES, DUMPABLE, DROP_BOUNDING, AMBIENT, CLEAR, REAPER = 38, 4, 24, 47, 4, 36
CAPABILITIES = 0x20080522  # the version of their form with 64 bits


def main() -> None:
    """Fork a worker for each request until the grader is gone."""
    requests = socket.socket(fileno=0)
    shell = worker.prepare()
    _call("prctl", REAPER, 1, 0, 0, 0)  # of workers that have ended
    if len(os.listdir("/proc/self/task")) > 1:
        return  # what other threads hold, a fork would wait for forever
    gc.collect()
    gc.freeze()  # else collecting would copy what the forks share
    while True:
        line, descriptors, _, _ = socket.recv_fds(requests, REQUEST, DESCRIPTORS)
        if not line:
            return
        child = os.fork()
        if not child:
            requests.close()
            enter(shell, json.loads(line), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        os.waitpid(child, 0)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def enter(shell: worker.Shell, request: dict, descriptors: list[int]) -> None:
    """Enter the walls and serve there as a worker; does not return.

    Args:
        request: which "spaces" to enter, the "user" that it becomes, or None, and its "limits",
            `confinement.LIMITS`.
        descriptors: for requests, for replies, and of the process that waits there.
    """
    incoming, outgoing, inside = descriptors
    try:
        # All at once: alone, that of users would take away the right to enter the others.
        _call("setns", inside, request["spaces"])
        if child := os.fork():  # a process is of the name space of processes it was forked in
            os.write(outgoing, b"%d\n" % child)
            os._exit(0)
        _give_up_rights(request["user"], request["limits"])
        os.chdir("/tmp")
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        # None of the grader's files: a folder of its would be a way around the walls.
        incoming, outgoing = os.dup2(incoming, 100), os.dup2(outgoing, 101)
        os.closerange(3, incoming)
        os.closerange(outgoing + 1, os.sysconf("SC_OPEN_MAX"))
        np.random.seed()
        gc.unfreeze()
        os.write(outgoing, READY)
        worker.serve(shell, incoming, outgoing)
    finally:  # whatever was raised, nothing of it is for this process's caller
        os._exit(0)


def _give_up_rights(user: int | None, limits: dict[str, int]) -> None:
    os.setsid()
    for name, limit in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), (limit, limit))
    with open("/proc/sys/kernel/cap_last_cap") as last:
        for number in range(int(last.read()) + 1):
            _call("prctl", DROP_BOUNDING, number, 0, 0, 0)
    _call("prctl", AMBIENT, CLEAR, 0, 0, 0)
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _call("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _call("capset", (ctypes.c_uint32 * 2)(CAPABILITIES, 0), (ctypes.c_uint32 * 6)())
    _call("prctl", DUMPABLE, 1, 0, 0, 0)  # as a program is that was started inside


def _call(name: str, *arguments) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    main()

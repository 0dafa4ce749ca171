"""The walls around a submission's process: bubblewrap, a container, or, if told so, none.

Inside there is no network, nothing to write to but a small folder in memory, no other process to
see, and nothing to read but Python, the course library and the images. Not there: the assignments'
solutions and hidden tests, the gradebook, other submissions, the home folder, and the variables of
the environment. These walls are the same for every user, root or not.
"""

import functools
import itertools
import os
import shutil
import subprocess
import sys
import sysconfig
import uuid
from dataclasses import dataclass
from pathlib import Path

import resnets

GIB = 2**30
MEMORY = 4 * GIB  # of all its processes together; `session` watches it, and systemd where it runs
ADDRESSES = 32 * GIB  # of each process: torch with CUDA maps many more than it uses
PROCESSES = 64  # threads count
JOBS = 64  # at most as many graders confine submissions side by side
FILES = 512  # open ones, of each process: sockets and pipes hold memory
FOLDER = GIB // 4  # what may be written, in memory
FILE = GIB // 4
CODE = Path(__file__).parents[1]  # the folder that holds the package `grading`
IMAGE = "resnets-grading"
LONGEST = "2h"  # a container's life
NOBODY = 65534
USERS = range(61184, 65520)  # systemd's, for users that live as long as a service
LIMITS = {"nproc": PROCESSES, "as": ADDRESSES, "fsize": FILE, "core": 0, "nofile": FILES}


@dataclass(frozen=True)
class Command:
    """How to start a confined process, and how to make sure that it has ended."""

    start: list[str]
    end: list[str] | None = None


class NoConfinementError(RuntimeError):
    """Submissions cannot be confined on this machine as asked."""


def command(kind: str) -> Command:
    """The command of a new process for one submission; `kind` is one of `KINDS`.

    Raises:
        NoConfinementError: this machine cannot do it; the message says what to do.
    """
    if kind not in KINDS:
        raise NoConfinementError(
            f"there is no confinement {kind!r}: choose one of {', '.join(KINDS)}"
        )
    return KINDS[kind]()


def check(kind: str) -> None:
    """Start a confined process and let it end.

    Raises:
        NoConfinementError: it cannot be started; the message says why.
    """
    if os.name == "nt":
        raise NoConfinementError(
            "grading needs Linux or macOS: on Windows, run it in the Windows Subsystem for Linux"
        )
    done = subprocess.run(command(kind).start, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise NoConfinementError(f"a confined process does not start: {' '.join(said)}")


def _bubblewrap() -> Command:
    start = [*_counted(), *_walls()]
    start += ["--chdir", "/tmp"]
    for name, value in _environment().items():
        start += ["--setenv", name, value]
    if (user := next_user()) is not None:
        start += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "setpriv"]
        start += [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        start += ["--inh-caps=-all", "--no-new-privs"]
    return Command([*start, *_limited(), *_python("grading.worker")])


def warm() -> list[str]:
    """How to start the process that workers are forked from: outside of the walls, with nothing."""
    environment = _environment() | {"CUDA_VISIBLE_DEVICES": ""}  # there are none inside the walls
    variables = [f"{name}={value}" for name, value in environment.items()]
    return [*_counted(), "env", "-i", *variables, *_python("grading.warm")]


def empty_walls(information: int, forbidden: int | None) -> list[str]:
    """How to start a process that waits in walls of its own, repeating what it reads.

    Args:
        information: a file descriptor to which bubblewrap writes which process that is.
        forbidden: one from which it reads `syscalls.compiled()`, if not None.
    """
    start = [*_walls(), "--info-fd", str(information)]
    if forbidden is not None:
        start += ["--seccomp", str(forbidden)]
    return [*start, *_limited(), "cat"]


def next_user() -> int | None:
    """Whom a submission's process becomes: the limit on processes does not hold for root."""
    return None if os.getuid() else next(_users)


def use_users_of(job: int) -> None:
    """Take other users from here on than other jobs do: the limit on processes is one of a user."""
    global _users
    _users = itertools.cycle(USERS[job % JOBS :: JOBS])


_users = itertools.cycle(USERS)


def _walls() -> list[str]:
    """Bubblewrap's command, but for what runs inside."""
    program = shutil.which("bwrap")
    if not (program and _works(program)):
        raise NoConfinementError(
            "submissions are programs of strangers, and there is no bubblewrap here to confine "
            "them"
            + (" (bwrap is installed, but may not make namespaces)" if program else "")
            + ": install it (Debian: apt install bubblewrap), or grade in a container with "
            "CONFINEMENT=container, or, if you trust every submission with this machine, say "
            "CONFINEMENT=none"
        )
    visible = _visible()
    # `env -i`, since /proc/1/environ shows what bubblewrap itself was started with.
    start = ["env", "-i", program]
    start += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    start += ["--die-with-parent", "--new-session", "--clearenv"]
    start += ["--proc", "/proc", "--dev", "/dev"]
    for folder in ("/tmp", "/dev/shm"):  # first, since what is bound below may lie in them
        start += ["--perms", "1777", "--size", str(FOLDER), "--tmpfs", folder]
    for parent in sorted({parent for path in visible for parent in path.parents} - {Path("/")}):
        start += ["--perms", "0755", "--dir", str(parent)]  # else root alone could enter them
    for path in visible:
        start += ["--ro-bind", str(path), str(path)]
    for link in ("bin", "lib", "lib64"):
        if Path("/", link).is_symlink():
            start += ["--symlink", f"usr/{link}", f"/{link}"]
        elif Path("/", link).exists():
            start += ["--ro-bind", f"/{link}", f"/{link}"]
    for folder in ("/dev", "/"):  # in memory, too, and of no limited size
        start += ["--remount-ro", folder]
    return start


@functools.cache
def _works(program: str) -> bool:
    start = [program, "--unshare-all", "--ro-bind", "/", "/", "true"]
    return not subprocess.run(start, capture_output=True).returncode


def _limited() -> list[str]:
    return ["prlimit", *(f"--{name}={limit}" for name, limit in LIMITS.items())]


@functools.cache
def _counted() -> list[str]:
    """What starts a process in a control group of its own, which counts all its memory."""
    program = shutil.which("systemd-run")
    if not program:
        return []
    start = [program, *(["--user"] if os.getuid() else []), "--scope", "--quiet", "--collect"]
    start += [f"--property=MemoryMax={MEMORY}", "--property=MemorySwapMax=0"]
    start += [f"--property=TasksMax={PROCESSES + 8}"]  # bubblewrap's own as well
    done = subprocess.run([*start, "true"], stdin=subprocess.DEVNULL, capture_output=True)
    return [] if done.returncode else start


def _container() -> Command:
    engine = shutil.which("docker") or shutil.which("podman")
    if (
        not engine
        or subprocess.run([engine, "image", "inspect", IMAGE], capture_output=True).returncode
    ):
        raise NoConfinementError(
            f"there is no container image {IMAGE!r}: install Docker or Podman, start it, and build "
            f"the image with 'docker build -f book/assignments/grading/Dockerfile -t {IMAGE} .'"
        )
    name = f"{IMAGE}-{uuid.uuid4().hex}"
    start = [engine, "run", "--rm", "--interactive", "--name", name, "--network", "none"]
    start += ["--read-only", "--tmpfs", f"/tmp:size={FOLDER}", "--workdir", "/tmp"]
    start += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", str(NOBODY)]
    start += ["--memory", str(MEMORY), "--memory-swap", str(MEMORY)]
    start += ["--pids-limit", str(PROCESSES)]
    environment = {"HOME": "/tmp", "RESNETS_DATA": "/data"}
    if "RESNETS_DATA" in os.environ:
        start += ["--volume", f"{Path(os.environ['RESNETS_DATA']).resolve()}:/data:ro"]
    for variable, value in environment.items():
        start += ["--env", f"{variable}={value}"]
    start += [IMAGE, "timeout", "--signal=KILL", LONGEST]  # should the grader itself be killed
    return Command([*start, "python", "-m", "grading.worker"], [engine, "kill", name])


def _none() -> Command:
    environment = [f"{name}={value}" for name, value in _environment().items()]
    return Command(["env", "-i", *environment, *_python("grading.worker")])


KINDS = {"bubblewrap": _bubblewrap, "container": _container, "none": _none}


def _visible() -> list[Path]:
    """What a submission may read: Python and its packages, the course library, the images."""
    folders = [Path("/usr"), Path(sys.base_prefix), Path(sys.prefix)]
    folders += [Path(sysconfig.get_path("purelib")), Path(resnets.__file__).parent]
    folders.append(Path(__file__).parent)
    if "RESNETS_DATA" in os.environ:
        folders.append(Path(os.environ["RESNETS_DATA"]))
    etc = [Path("/etc/ld.so.cache"), Path("/etc/alternatives")]  # some libraries go by way of these
    folders = {path.resolve() for path in folders} | {path for path in etc if path.exists()}
    return sorted(p for p in folders if not any(p != f and p.is_relative_to(f) for f in folders))


def _environment() -> dict[str, str]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"{CODE}:{Path(resnets.__file__).parents[1]}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",  # as fast on a busy machine as on an idle one
    }
    if "RESNETS_DATA" in os.environ:
        environment["RESNETS_DATA"] = str(Path(os.environ["RESNETS_DATA"]).resolve())
    return environment


def _python(module: str) -> list[str]:
    return [str(Path(sys.prefix, "bin", "python")), "-m", module]

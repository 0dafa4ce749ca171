"""The walls around a submission, probed from inside: as root, and as an ordinary user."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbgrader")

from grading import confinement, workers

try:
    confinement.command("bubblewrap")
except confinement.NoConfinementError:
    pytest.skip("bubblewrap is not to be had here", allow_module_level=True)

ORDINARY = 1000
PROBE = """
import contextlib, ctypes, os, threading
from pathlib import Path

for file in Path("/proc").glob("[0-9]*/environ"):
    with contextlib.suppress(OSError):
        if "a token" in file.read_text():
            print("reads the grader's environment in", file)
for folder in ("/", "/dev", "/etc", "/usr", "/proc", "/home"):
    with contextlib.suppress(OSError):
        Path(folder, "harm").write_text("x")
        print("writes to", folder)
with contextlib.suppress(OSError):
    os.memfd_create("harm")
    print("keeps memory in no process")
library = ctypes.CDLL(None)
for call, arguments in {
    "unshare": (0x10000000,),
    "shmget": (0, 4096, 0o1600),
    "mount": (b"none", b"/tmp", b"tmpfs", 0, 0),
}.items():
    if getattr(library, call)(*arguments) != -1:
        print("calls", call)
sizes = [os.statvfs(folder) for folder in ("/tmp", "/dev/shm")]
if sum(size.f_blocks * size.f_frsize for size in sizes) > 2**30:
    print("writes a GiB")
thread = threading.Thread(target=Path("/tmp/thread").write_text, args=("x",))
thread.start()
thread.join()
children = 0
with contextlib.suppress(OSError):
    while children < 100:
        if not os.fork():
            threading.Event().wait(20)
            os._exit(0)
        children += 1
if children >= 64:
    print("forks")
print("a thread ran:", Path("/tmp/thread").exists())
"""


def as_ordinary_user():
    """The start of a command that is run as one; where root's Python is his own, he may read it."""
    if os.getuid():
        return []
    home = Path.home()
    start = ["bwrap", "--bind", "/", "/", "--dev-bind", "/dev", "/dev"]
    if Path(sys.base_prefix).is_relative_to(home):
        start += ["--tmpfs", str(home), "--chmod", "0755", str(home)]
        start += ["--perms", "0755", "--dir", str(Path(sys.base_prefix).parents[1])]
        start += ["--perms", "0755", "--dir", str(Path(sys.base_prefix).parent)]
        start += ["--ro-bind", sys.base_prefix, sys.base_prefix]
    start += ["--cap-add", "ALL", "setpriv", f"--reuid={ORDINARY}", f"--regid={ORDINARY}"]
    return [*start, "--clear-groups", "--inh-caps=-all"]


@pytest.mark.parametrize("user", [0, ORDINARY])
def test_from_inside_nothing_is_read_written_or_kept_uncounted(monkeypatch, user):
    if user != os.getuid() and os.getuid():
        pytest.skip("only root can be another user")
    outer = as_ordinary_user() if user else []
    monkeypatch.setattr(confinement.os, "getuid", lambda: user)
    *start, module, _ = confinement.command("bubblewrap").start
    assert module == "-m"
    monkeypatch.setenv("SECRET", "a token")
    forbid = "from grading import syscalls\nsyscalls.forbid()\n"
    done = subprocess.run([*outer, *start, "-c", forbid + PROBE], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("a thread ran: True\n", 0), done.stderr


# What one submission does, and what the next one, and one beside it, may see of it: nothing.
FIRST = """
import builtins, os, signal, subprocess, sys, threading, torch
import numpy as np
for folder in ("/tmp", "/dev/shm"):
    open(os.path.join(folder, "left"), "w").write("mine")
torch.allclose = torch.equal = builtins.sum = lambda *_, **__: True
torch.set_default_dtype(torch.float64)
torch.manual_seed(99)
sys.modules["left"] = os
os.environ["LEFT"] = "mine"
from resnets import check
check.asking = check.ask = None
print("np", np.random.rand())
for number in range(3, 200):  # 2 waits inside: with it these walls fall
    if number != os.getpid():
        try:
            os.kill(number, signal.SIGKILL)
        except OSError:
            pass
if not os.fork():
    os.setsid()
    while True:
        open("/tmp/left", "a").write("mine")
print("kept", len(os.listdir("/proc/self/fd")))
"""
LOOK = """
import os, sys, threading, torch
import numpy as np
from resnets.check.asking import ask
left = [folder for folder in ("/tmp", "/dev/shm") if os.listdir(folder)]
kinds = [open(f"/proc/{n}/comm").read().strip() for n in os.listdir("/proc") if n.isdigit()]
print(
    left, sum([1, 2]), torch.allclose(torch.zeros(1), torch.ones(1)), torch.get_default_dtype(),
    "left" in sys.modules, "LEFT" in os.environ, ask is None, torch.initial_seed() == 99,
    sorted(kinds), threading.active_count(),
)
print("np", np.random.rand())
"""
UNTOUCHED = "[] 3 False torch.float32 False False False False ['bwrap', 'cat', 'python'] 1\n"
ASK = """
import json, sys
from grading.workers import Workers

requests = json.loads(sys.argv[1])
workers = Workers("bubblewrap")
assert workers.warm, "no process could enter walls"
taken = {}
for name, source in requests:
    if name not in taken:
        taken[name] = workers.take()
    reply = taken[name].ask({"action": "run", "source": source}, 60)
    print(json.dumps([name, reply["error"], "".join(o["text"] for o in reply["outputs"])]))
for process in taken.values():
    process.end()
"""


def asked(outer, requests):
    """What forks of one warm process say: lines of a name, an error and a text."""
    python = Path(confinement._python("x")[0])
    path = ":".join(str(folder) for folder in (confinement.CODE, confinement.CODE.parent))
    start = [*outer, "env", f"PYTHONPATH={path}", str(python), "-c", ASK, json.dumps(requests)]
    done = subprocess.run(start, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("user", [0, ORDINARY])
def test_forks_of_one_process_see_nothing_of_one_another_or_outside(monkeypatch, user):
    if user != os.getuid() and os.getuid():
        pytest.skip("only root can be another user")
    monkeypatch.setenv("SECRET", "a token")
    requests = [("first", LOOK), ("beside", "x = 1"), ("first", FIRST), ("beside", LOOK)]
    requests += [("after", LOOK), ("first", "print(open('/tmp/left').read()[:4])")]
    requests += [("last", PROBE)]
    replies = asked(as_ordinary_user() if user else [], requests)
    errors = [error for _, error, _ in replies]
    assert errors == [None] * len(requests)
    said = [text for _, _, text in replies]
    looks = [text.partition("np ") for text in (said[0], said[3], said[4])]
    assert [look[0] for look in looks] == [UNTOUCHED] * 3
    assert len({look[2] for look in looks}) == 3  # each draws its own random numbers
    assert said[2].startswith("np") and said[5] == "mine\n"
    assert said[6] == "a thread ran: True\n"


def test_where_no_process_may_enter_walls_each_is_started_inside(monkeypatch):
    monkeypatch.setattr(workers.Warm, "fork", lambda *_: os.close(-1))
    made = workers.Workers("bubblewrap")
    try:
        assert made.warm is None and type(made.next) is workers.Process
        reply = made.next.ask({"action": "run", "source": "print(1)"}, 120)
        assert reply["outputs"][0]["text"] == "1\n"
    finally:
        made.next.end()


def test_where_systemd_runs_a_group_counts_all_memory(monkeypatch):
    ran = []

    def run(command, **_):
        ran.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(confinement.shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(confinement.subprocess, "run", run)
    monkeypatch.setattr(confinement.os, "getuid", lambda: ORDINARY)
    confinement._counted.cache_clear()
    try:
        start = confinement.command("bubblewrap").start
    finally:
        confinement._counted.cache_clear()
    before, _, after = " ".join(start).partition(" env -i ")
    assert before.startswith("/usr/bin/systemd-run --user --scope")
    assert f"--property=MemoryMax={confinement.MEMORY}" in before
    assert after.startswith("/usr/bin/bwrap")

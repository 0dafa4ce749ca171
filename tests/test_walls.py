"""The walls around a submission, probed from inside: as root, and as an ordinary user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbgrader")

from grading import confinement

try:
    confinement.command("bubblewrap")
except confinement.NoConfinementError:
    pytest.skip("bubblewrap is not to be had here", allow_module_level=True)

ORDINARY = 1000
PROBE = """
import contextlib, ctypes, os, threading
from pathlib import Path
from grading import syscalls

syscalls.forbid()
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
    done = subprocess.run([*outer, *start, "-c", PROBE], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("a thread ran: True\n", 0), done.stderr


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

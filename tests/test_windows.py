"""What Windows lacks, simulated: the tests' workflow runs the library there."""

import ast
import io
import pathlib
import platform
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import nbformat
import pytest
import torch
from conftest import ROOT

from grading import confinement
from resnets import __main__ as command
from resnets import device
from resnets.experiments import bench

# https://docs.python.org/3/library: "Availability: Unix".
UNIX_ALONE = {
    "curses",
    "fcntl",
    "grp",
    "posix",
    "pty",
    "pwd",
    "resource",
    "syslog",
    "termios",
    "tty",
}
LIBRARY = sorted((ROOT / "book" / "resnets").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "book").glob("[0-9]*.ipynb"))
NOTEBOOKS += sorted((ROOT / "book" / "assignments").glob("*.ipynb"))


def imported_at_once(source):
    """The packages that a module imports when it is imported itself."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


@pytest.fixture
def windows(monkeypatch):
    """No /proc, another name of the system, and its registry."""
    read_text = pathlib.Path.read_text

    def without_proc(path, *options, **named):
        if path.parts[1:2] == ("proc",):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return read_text(path, *options, **named)

    def value(key, name):
        found = {("HKLM", r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"): "A Processor @ 3GHz "}
        assert name == "ProcessorNameString"
        return found[key], 1

    winreg = SimpleNamespace(
        HKEY_LOCAL_MACHINE="HKLM",
        OpenKey=lambda *place: nullcontext(place),
        QueryValueEx=value,
    )
    monkeypatch.setitem(sys.modules, "winreg", winreg)
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    monkeypatch.setattr(pathlib.Path, "read_text", without_proc)


def test_a_chapter_opens_with_the_name_of_the_processor(windows):
    assert "on A Processor @ 3GHz, " in device.conditions("quick")


def test_a_system_that_names_no_processor_names_its_architecture(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(platform, "system", lambda: "FreeBSD")
    assert device._cpu_name() == "riscv64"
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(pathlib.Path, "read_text", lambda path: "processor : 0\n")
    assert device._cpu_name() == "riscv64"


def test_the_benchmark_finds_its_peak_of_memory(monkeypatch):
    memory = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=3 * 2**30))
    monkeypatch.setitem(sys.modules, "psutil", SimpleNamespace(Process=lambda: memory))
    monkeypatch.setattr(sys, "platform", "win32")
    assert bench._peak_memory(torch.device("cpu")) == 3


def test_the_grader_says_where_it_runs(monkeypatch):
    monkeypatch.setattr(confinement, "os", SimpleNamespace(name="nt"))
    with pytest.raises(confinement.NoConfinementError, match="Windows Subsystem for Linux"):
        confinement.check("none")


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_no_module_imports_what_windows_lacks(path):
    assert not UNIX_ALONE & set(imported_at_once(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_notebook_imports_what_windows_lacks_or_asks_a_shell(path):
    for cell in nbformat.read(path, as_version=4).cells[2:]:
        if cell.cell_type == "code":
            assert not any(line.startswith(("!", "%")) for line in cell.source.splitlines())
            assert not UNIX_ALONE & set(imported_at_once(cell.source))


def test_what_is_printed_into_a_file_need_not_have_its_letters(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    monkeypatch.setattr(sys, "argv", ["resnets", "run", "growth", "--scale", "quick"])
    monkeypatch.setattr(command, "record", lambda options: print("8 → 20, zero residual"))
    command.main()
    sys.stdout.flush()
    assert written.getvalue().rstrip() == rb"8 \u2192 20, zero residual"

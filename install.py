"""Set up .venv: `python install.py site` to build the site, `python install.py all` for all else.

make calls it before each command; where nothing is to do, it does nothing. A .venv that was copied
or moved here, whose Python is gone, or whose packages are no longer the locked ones is made anew.
It needs nothing but Python, and takes uv where it is installed.

`TORCH_INDEX=address` takes PyTorch from another index, in the locked version. Its files are checked
against the hashes which that index states; all other files, as always, against the lock.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
SITE = ROOT / "book" / "requirements.txt"
ALL = ROOT / "requirements.txt"
NOTE = VENV / "installed.json"
VERSIONS = ((3, 11), (3, 12), (3, 13))
# Somebody else's settings of these would lead the installer, or the programs installed, astray.
NOT_OURS = ("PYTHONHOME", "PYTHONPATH", "PIP_PREFIX", "PIP_TARGET", "PIP_USER", "VIRTUAL_ENV")


def main(what: str, torch_index: str = "") -> None:
    """Bring .venv to the state that is asked for."""
    note = _read_note()
    if note.get("place") != str(VENV) or note.get("site") != _hash(SITE) or not _starts():
        note = {}
    everything = _hash(ALL) + _hash(ROOT / "pyproject.toml")
    if "all" in note and note["all"] != everything and what == "all":
        note = {}
    if what == "all" and torch_index and note.get("torch", torch_index) != torch_index:
        note = {}
    if not note:
        _make()
        print("Installing what builds the site into .venv", flush=True)
        _install(SITE.read_text(encoding="utf-8"))
        note = {"place": str(VENV), "site": _hash(SITE)}
        _write_note(note)
    if what == "all" and "all" not in note:
        print("Installing PyTorch and everything else into .venv", flush=True)
        _install_all(torch_index)
        _write_note(note | {"all": everything, "torch": torch_index})


def without_torch(lock: str) -> str:
    """The lock without PyTorch, torchvision, and what PyTorch needs for GPUs alone."""
    names = r"(torch|torchvision|triton|nvidia-[\w-]+|cuda-[\w-]+)"
    return re.sub(rf"^{names}(\[[\w,-]+\])?==.*\n( .*\n)*", "", lock, flags=re.MULTILINE)


def torch_pins(lock: str) -> list[str]:
    """`torch==…` and `torchvision==…`, as the lock has them."""
    return re.findall(r"^(?:torch|torchvision)==[^\s;]+", lock, flags=re.MULTILINE)


def _install_all(torch_index: str) -> None:
    lock = ALL.read_text(encoding="utf-8")
    if torch_index:
        _install(without_torch(lock))
        _install_torch(torch_pins(lock), torch_index)
    else:
        _install(lock)
    _run(*_installer(), "--no-deps", "--no-build-isolation", "-e", str(ROOT))


def _install_torch(pins: list[str], index: str) -> None:
    """pip checks the hashes that an index states by itself; uv once they are in a file."""
    if not _uv():
        _run(*_installer(), "--no-deps", "--index-url", index, *pins)
        return
    with tempfile.TemporaryDirectory() as folder:
        asked, locked = Path(folder, "asked.txt"), Path(folder, "locked.txt")
        asked.write_text("\n".join(pins))
        command = ("pip", "compile", "--quiet", "--no-deps", "--generate-hashes", "--no-config")
        where = ("--python", str(PYTHON), "--default-index", index, "--output-file", str(locked))
        _run(_uv(), *command, *where, str(asked))
        _install(locked.read_text(), "--no-config", "--default-index", index)


def _install(lock: str, *options: str) -> None:
    """Install what a lock file names, and nothing but that, checked against its hashes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "requirements.txt")
        path.write_text(lock, encoding="utf-8")
        # With --require-hashes, uv asks for hashes of the constraints in pyproject.toml, too.
        hashes = "--verify-hashes" if _uv() else "--require-hashes"
        _run(*_installer(), "--no-deps", hashes, *options, "-r", str(path))


def _make() -> None:
    if sys.version_info[:2] not in VERSIONS:
        raise SystemExit(
            f"This is Python {sys.version_info.major}.{sys.version_info.minor}; 3.11, 3.12 or "
            "3.13 is needed: install one, or name it with make PYTHON=…"
        )
    if VENV.is_symlink() or VENV.exists():
        print("Making .venv anew: it was made elsewhere, or from other lock files", flush=True)
        VENV.unlink() if VENV.is_symlink() else shutil.rmtree(VENV)
    if _uv():
        _run(_uv(), "venv", "--quiet", "--no-project", "--python", sys.executable, str(VENV))
    else:
        _run(sys.executable, "-m", "venv", str(VENV))


def _installer() -> list[str]:
    if _uv():
        return [_uv(), "pip", "install", "--quiet", "--compile-bytecode", "--python", str(PYTHON)]
    return [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def _uv() -> str | None:
    return shutil.which("uv")


def _run(*command: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in NOT_OURS}
    environment["PIP_USER"] = "0"  # a configuration file may say 1, which fails in .venv
    done = subprocess.run(command, env=environment, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f".venv is not complete: this failed: {' '.join(command)}")


def _starts() -> bool:
    try:
        return subprocess.run([PYTHON, "-c", ""], capture_output=True).returncode == 0
    except OSError:
        return False


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_note() -> dict:
    try:
        return json.loads(NOTE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _write_note(note: dict) -> None:
    NOTE.write_text(json.dumps(note, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

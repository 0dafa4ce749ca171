import os
import shutil
import subprocess
import sys
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from filelock import FileLock
from tables import EXERCISES, computed_once, drawn_once

from publishing import placeholders
from resnets import data

ROOT = Path(__file__).parents[1]
PAGES = (
    "index",
    "01_function_classes",
    "02_residual_blocks",
    "03_resnet18_fashion_mnist",
    "04_bottlenecks",
    "05_gradient_flow",
    "06_pspnet_backbone",
    "07_after_resnet",
    "labs",
    "running",
    "teaching",
    "reference/claims",
    "reference/recorded",
    "reference/library",
    "reference/glossary",
    "reference/bibliography",
)
CHAPTERS = tuple(page for page in PAGES if page[0].isdigit())

# Two processes take these files first, in this order, so that at the end none of them works alone;
# among the first is one that builds the site, for which the others would wait.
FIRST = (
    "book/06_pspnet_backbone.ipynb",
    "tests/test_site.py",
    "book/05_gradient_flow.ipynb",
    "tests/test_grading.py",
    "book/02_residual_blocks.ipynb",
    "book/04_bottlenecks.ipynb",
    "tests/test_assignments.py",
    "book/01_function_classes.ipynb",
    "book/07_after_resnet.ipynb",
    "book/03_resnet18_fashion_mnist.ipynb",
    "tests/test_experiments.py",
    "tests/test_gradebook.py",
    "tests/test_session.py",
    "tests/test_labs.py",
    "tests/test_firefox.py",
    "tests/test_browser.py",
)


def pytest_collection_modifyitems(items):
    """Files that take long before those that do not; the order within a file stays."""
    rank = {ROOT / name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(FIRST)))


def build(copy: Path, change=None, python_path: Path | None = None) -> subprocess.CompletedProcess:
    """Copy the sources to `copy`, `change` them, and build the site there as `make book` does."""
    ignored = shutil.ignore_patterns(".*", "_build", "tests", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=ignored, dirs_exist_ok=True)
    if change:
        change(copy)
    return publish(copy, "site", python_path=python_path)


def publish(
    copy: Path, *command: str, python_path: Path | None = None
) -> subprocess.CompletedProcess:
    """Run `python -m publishing` in a copy of the sources, under the locale C."""
    path = [copy / "book", copy / "book" / "assignments", *[python_path] * bool(python_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "LC_ALL": "C"}
    environment.pop("GITHUB_REPOSITORY", None)
    command = [sys.executable, "-m", "publishing", *command]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, env=environment)


def without_pytorch(folder: Path) -> Path:
    """A folder for Python's path, with which what the site does without cannot be imported."""
    for name in placeholders.PACKAGES:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "__init__.py").write_text(f"raise ImportError('no {name} here')\n")
    return folder


def pytest_terminal_summary(terminalreporter):
    """After the tests: how long each notebook took, and the ten slowest cells."""
    reports = [report for group in terminalreporter.stats.values() for report in group]
    cells = [r for r in reports if getattr(r, "when", "") == "call" and ".ipynb::" in r.nodeid]
    if not cells:
        return
    notebooks = Counter()
    for cell in cells:
        notebooks[cell.nodeid.partition("::")[0]] += cell.duration
    terminalreporter.section("notebooks, and the ten slowest cells")
    for name, seconds in sorted(notebooks.items()):
        terminalreporter.write_line(f"{seconds:6.1f} s  {name}")
    terminalreporter.write_line(f"{notebooks.total():6.1f} s  together\n")
    for cell in sorted(cells, key=lambda cell: -cell.duration)[:10]:
        terminalreporter.write_line(f"{cell.duration:6.1f} s  {cell.nodeid}")


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id):
    """The site's folder, built from a copy, so that a build of the reader's own is not touched.

    Built once: of the processes that run tests together, the first builds and the others wait.
    Built where the environment is unfriendly: without PyTorch, in a folder with spaces, an
    apostrophe and umlauts, under the locale C.
    """
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent
    copy, built = base / "Zoë Müller's site", base / "site.built"

    def release(copy: Path) -> None:
        done = publish(copy, "assignments", "_build/assignments", python_path=missing)
        assert done.returncode == 0, done.stdout + done.stderr

    with FileLock(base / "site.lock"):
        if not built.exists():
            missing = without_pytorch(base / "missing")
            done = build(copy, release, missing)
            assert done.returncode == 0, done.stdout + done.stderr
            built.touch()
    return copy / "_build" / "html"


@pytest.fixture(scope="session")
def drawn():
    """The drawn stand-in: (train, test)."""
    return data.stand_in()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Each test has an empty cache folder of its own."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "resnets"


@pytest.fixture
def server():
    """Serve a folder on this machine: `server(folder)` gives its address."""
    servers = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    def start(folder):
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_address[1]}/"

    yield start
    for started in servers:
        started.shutdown()
        started.server_close()


@pytest.fixture(scope="module")
def same_inputs():
    """All answers are tried on the same inputs, and what rows give is computed once.

    Else the time of trying every row of a table would grow with the square of their number.
    """
    with pytest.MonkeyPatch.context() as patch:
        for one in (function.exercise for function in EXERCISES.values()):
            patch.setattr(one, "cases", drawn_once(one.cases))
            for name in ("parts", "layers"):
                if hasattr(one, name):
                    patch.setattr(one, name, computed_once(getattr(one, name)))
        yield

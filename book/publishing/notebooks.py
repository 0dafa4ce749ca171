"""Chapters that run alone: a first cell that installs the course library, or a cell that holds it.

A chapter's first code cell is written from the repository's address. A standalone version has the
library's sources in its place.
"""

import base64
import copy
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

import resnets
from resnets import claims, published
from resnets.files import whole_file

BOOK = Path(__file__).parents[1]
D2L = "d2l==1.0.3"
ON_GITHUB = re.compile(
    r"(?:https://(?:[^/@]*@)?|ssh://git@|git@)github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?"
)

FIRST_LINE = "# Lets this notebook run alone, as in Colab."
INSTALL = """\
{first_line}
import importlib.util

if importlib.util.find_spec("resnets") is None:
    %pip install -q --no-deps {d2l} git+{address}
"""
EXPLAIN = """\
{first_line}
import importlib.util

if importlib.util.find_spec("resnets") is None:
    raise ModuleNotFoundError(
        "The course library is missing, and its repository has no "
        "published address yet. Take this chapter's standalone version, "
        "which carries the library: from the site's page 'Run it', or "
        "written by `make standalone`."
    )
"""

LIBRARY_TITLE = "# @title The course library: run this cell first"
LIBRARY = """\
{title}
# It does nothing where the library is installed; elsewhere, as in Colab, it writes it beside the
# notebook. {downloads}
import base64
import importlib.util
import pathlib
import sys

if importlib.util.find_spec("resnets") is None:
    FILES = {{
{files}
    }}
    for name, text in FILES.items():
        path = pathlib.Path("course_library", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".pt":
            path.write_bytes(base64.b64decode(text))
        else:
            path.write_text(text.removeprefix("\\n"), encoding="utf-8")
    sys.path.insert(0, "course_library")"""
INSTALL_D2L = f"""
if importlib.util.find_spec("d2l") is None:
    %pip install -q --no-deps {D2L}"""


def chapters(book: Path = BOOK) -> list[Path]:
    """The chapters' notebooks, in order."""
    return sorted(book.glob("[0-9]*.ipynb"))


def address(config: Path = BOOK.parent / "_config.yml") -> str:
    """The repository's address as `_config.yml` states it; empty where there is none yet.

    Raises:
        ValueError: it is no https address.
    """
    stated = yaml.safe_load(config.read_text(encoding="utf-8"))["repository"]["url"]
    if stated and not stated.startswith("https://"):
        raise ValueError(f"repository: url in {config.name} is {stated!r}: give an https address")
    return stated


def found_address(folder: Path = BOOK) -> str:
    """The address on GitHub of the workflow that runs, or else of git's remote `origin`, if any.

    That is of the repository that `folder` lies in, without a user's name or password.
    """
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return f"https://github.com/{name}"
    command = ["git", "-C", str(folder), "remote", "get-url", "origin"]
    try:
        remote = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""
    on_github = ON_GITHUB.fullmatch(remote)
    return f"https://github.com/{on_github[1]}" if on_github else ""


def state_address(address: str, config: Path = BOOK.parent / "_config.yml") -> None:
    """Write the address into `_config.yml`, where there is none yet."""
    text = config.read_text(encoding="utf-8")
    stated = re.sub(r'^  url: ""$', f"  url: {address}", text, count=1, flags=re.MULTILINE)
    config.write_text(stated, encoding="utf-8")


def first_cell(address: str) -> str:
    """The source of a chapter's first code cell; without an address it says what to do."""
    template = INSTALL if address else EXPLAIN
    return template.format(first_line=FIRST_LINE, d2l=D2L, address=address).rstrip()


def write_address(paths: Iterable[Path], address: str) -> list[Path]:
    """Write the first cell of each notebook; returns those that were changed."""
    changed = []
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        cell = _first(notebook, path.name)
        if cell.source != first_cell(address):
            cell.source = first_cell(address)
            _write(notebook, path)
            changed.append(path)
    return changed


def code_hash(notebook: NotebookNode) -> str:
    """Of all code cells but the first, which `write_address` may change."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(sources[1:]).encode()).hexdigest()


def library_cell(whole: bool, trained: Iterable[str] = ()) -> NotebookNode:
    """A code cell that holds the course library; collapsed.

    Chapters need the `whole` of it, experiments, recorded runs and d2l; assignments do not.
    `trained` are the networks whose weights it holds as well.
    """
    root = Path(resnets.__file__).parent
    paths = [*sorted(root.glob("*.py")), *sorted(root.glob("check/*.py"))]
    paths = [path for path in paths if path.name != "__main__.py"]
    if whole:
        paths += [claims.TABLE, published.TABLE]
        paths += [*sorted(root.glob("experiments/*.py")), *sorted(root.glob("recorded/*.json"))]
    paths += [root / "trained" / f"{name}.json" for name in trained]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    for path in paths:
        if path.suffix == ".json":
            texts[path] = json.dumps(json.loads(texts[path]), separators=(",", ":"))
    for name in trained:
        path = root / "trained" / f"{name}.pt"
        texts[path] = base64.encodebytes(path.read_bytes()).decode()
    files = "\n".join(
        f"\"{path.relative_to(root.parent).as_posix()}\": r'''\n{text}''',"
        for path, text in texts.items()
    )
    downloads = f"{D2L} is installed where it is missing." if whole else "Nothing is downloaded."
    source = LIBRARY.format(title=LIBRARY_TITLE, downloads=downloads, files=files)
    cell = new_code_cell(source + INSTALL_D2L * whole)
    cell.metadata = NotebookNode(cellView="form", jupyter={"source_hidden": True})
    cell.id = "library"
    return cell


def standalone(chapter: NotebookNode) -> NotebookNode:
    """The chapter with the course library in it, in place of the cell that installs it."""
    notebook = copy.deepcopy(chapter)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    library = library_cell(whole=True, trained=re.findall(r'weights\.load\("(.+?)"\)', code))
    notebook.cells[notebook.cells.index(_first(notebook, "the chapter"))] = library
    nbformat.validate(notebook)
    return notebook


def write_standalone(folder: Path) -> list[Path]:
    """Write every chapter's standalone version to `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for chapter in chapters():
        paths.append(folder / chapter.name)
        _write(standalone(nbformat.read(chapter, as_version=4)), paths[-1])
    return paths


def _write(notebook: NotebookNode, path: Path) -> None:
    with whole_file(path) as temporary:
        nbformat.write(notebook, temporary)


def _first(notebook: NotebookNode, name: str) -> NotebookNode:
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    if not cell.source.startswith(FIRST_LINE):
        raise ValueError(f"the first code cell of {name} does not begin with {FIRST_LINE!r}")
    return cell

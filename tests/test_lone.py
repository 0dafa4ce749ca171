"""What a lone notebook needs: the packages that the page `Run it` lists, and what they need."""

import ast
import re
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
import yaml
from conftest import ROOT
from IPython.core.inputtransformer2 import TransformerManager
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from publishing import notebooks

OURS = {"d2l", "resnets"}
NOTEBOOKS = [*notebooks.chapters(), *sorted((ROOT / "book" / "assignments").glob("*.ipynb"))]


@cache
def listed():
    page = (ROOT / "book" / "running.md").read_text(encoding="utf-8")
    return re.search(r"^pip install (.+)$", page, re.MULTILINE)[1].split()


@cache
def come_along():
    """The listed packages, and all that installing them installs."""
    found, to_follow = set(), list(listed())
    while to_follow:
        name = canonicalize_name(to_follow.pop())
        if name in found:
            continue
        found.add(name)
        try:
            needed = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:  # for GPUs alone
            continue
        to_follow += [
            one.name for one in needed if not one.marker or one.marker.evaluate({"extra": ""})
        ]
    return found


from_where = cache(packages_distributions)


def imported(nodes):
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


def missing(nodes):
    """What these nodes of a syntax tree import, and a Jupyter with the listed packages has not."""
    for name in set(imported(nodes)) - sys.stdlib_module_names - OURS:
        if not {canonicalize_name(dist) for dist in from_where().get(name, [name])} & come_along():
            yield name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_a_notebook_imports_is_listed(path):
    cells = nbformat.read(path, as_version=4).cells
    cell = TransformerManager().transform_cell
    code = [cell(cell_.source) for cell_ in cells if cell_.cell_type == "code"]
    assert not list(missing(ast.walk(ast.parse("\n".join(code)))))


def test_what_the_library_in_it_imports_is_listed():
    library = (ROOT / "book" / "resnets").rglob("*.py")
    files = [path for path in library if path.name != "__main__.py"]
    assert len(files) > 60
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not list(missing(ast.walk(tree))), path


def test_what_d2l_imports_is_listed():
    """At once: what it imports for reinforcement learning, no chapter calls."""
    module = Path(find_spec("d2l").origin).with_name("torch.py").read_text(encoding="utf-8")
    at_once = ast.parse(module).body
    assert {"requests", "torchvision"} <= set(imported(at_once))
    assert not list(missing(at_once))


def test_the_workflow_runs_a_chapter_with_the_listed_packages_alone():
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    (step,) = (
        s for s in workflow["jobs"]["elsewhere"]["steps"] if s.get("name", "").endswith("alone")
    )
    installed = re.search(r"pip install --quiet (.+)", step["run"].replace("\\\n", ""))[1].split()
    assert installed == listed()

"""The types that the labs' scripts state in their comments, checked by TypeScript."""

import os
import shutil
import subprocess

import pytest
from conftest import ROOT

LOCKED = ROOT / "tests" / "typescript"
FOLDER = ROOT / "_build" / "typescript"
CONFIG = ROOT / "book" / "labs" / "tsconfig.json"


def missing(reason):
    """Skip, except on GitHub, whose runners have both node and a network."""
    (pytest.fail if os.environ.get("GITHUB_ACTIONS") else pytest.skip)(reason)


@pytest.fixture(scope="module")
def tsc():
    """The compiler that the lock names; npm brings it, and again if the lock has changed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        missing("node or npm is not installed")
    FOLDER.mkdir(parents=True, exist_ok=True)
    content = {name: (LOCKED / name).read_text() for name in ("package.json", "package-lock.json")}
    compiler = FOLDER / "node_modules" / "typescript" / "bin" / "tsc"
    kept = FOLDER / "package-lock.json"
    if not compiler.exists() or kept.read_text() != content["package-lock.json"]:
        for name, text in content.items():
            (FOLDER / name).write_text(text)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=300)
        if done.returncode:
            kept.unlink()
            missing(f"npm could not bring TypeScript: {done.stderr.strip()[-300:]}")
    return [node, compiler]


def complaints(tsc, *options):
    return subprocess.run([*tsc, *options], capture_output=True, text=True, timeout=120).stdout


def test_the_scripts_keep_to_their_types(tsc):
    assert complaints(tsc, "--project", CONFIG) == ""


def test_a_wrong_argument_would_be_found(tsc, tmp_path):
    script = tmp_path / "wrong.js"
    script.write_text('labs.inflate(1);\nlabs.define("wrong", { stop() {} });\n')
    shared = CONFIG.parent / "web" / "lab.js"
    options = ("--noEmit", "--checkJs", "--target", "es2022", "--ignoreConfig")
    found = complaints(tsc, *options, shared, script)
    assert "wrong.js(1," in found and "wrong.js(2," in found

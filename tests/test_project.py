"""What people expect of a project: a version, a changelog, templates, a check for commits."""

import os
import re
import subprocess
import tomllib

import pytest
import yaml
from conftest import FIRST, ROOT

from resnets import __version__


def test_the_version_is_stated_once_and_repeated_right():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"] and project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "resnets.__version__"}
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    changelog = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert (citation["version"], citation["date-released"]) == released[0]
    assert __version__ == released[0][0]
    assert [date for _, date in released] == sorted((date for _, date in released), reverse=True)


def test_the_changelog_keeps_to_its_form():
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    headings = [line for line in lines if line.startswith("#")]
    assert headings[:2] == ["# Changelog", "## [Unreleased]"]
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert {line.removeprefix("### ") for line in headings if line.startswith("### ")} <= kinds


def test_before_a_commit_runs_what_make_check_runs():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (hook,) = repository["hooks"]
    assert repository["repo"] == "local" and hook["entry"] == "make check"
    assert hook["always_run"] and not hook["pass_filenames"]


def test_issue_forms_have_what_github_asks_for():
    """https://docs.github.com/en/communities/using-templates-to-encourage-useful-issues-and-pull-requests"""
    forms = [
        path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"
    ]
    assert len(forms) == 2
    for form in map(yaml.safe_load, (path.read_text() for path in forms)):
        assert form["name"] and form["description"] and form["body"]
        for part in form["body"]:
            assert part["type"] in ("input", "textarea") and part["attributes"]["label"]


def test_a_release_says_what_the_changelog_says_of_its_version(tmp_path):
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    (step,) = (s for s in workflow["jobs"]["release"]["steps"] if "changelog" in s.get("name", ""))
    environment = os.environ | {"GITHUB_REF_NAME": "v0.1.0", "RUNNER_TEMP": str(tmp_path)}
    subprocess.run(["bash", "-ec", step["run"]], cwd=ROOT, env=environment, check=True)
    notes = (tmp_path / "notes.md").read_text()
    assert notes.strip().startswith("### Added") and "Six chapters" in notes
    assert "## [" not in notes and "make check" not in notes
    done = subprocess.run(
        ["bash", "-ec", step["run"]], cwd=ROOT, env=environment | {"GITHUB_REF_NAME": "v9.9.9"}
    )
    assert done.returncode != 0


@pytest.mark.parametrize(
    ("found", "command"), [("", "issue create --title Broken"), ("7", "issue comment 7")]
)
def test_a_workflow_opens_one_issue_and_then_comments_on_it(tmp_path, found, command):
    gh = tmp_path / "gh"
    gh.write_text(
        f'#!/bin/sh\nif [ "$2" = list ]; then echo {found}; exit; fi\n'
        'while [ "$1" != --body-file ]; do printf "%s " "$1"; shift; done; echo; cat "$2"\n'
    )
    gh.chmod(0o755)
    (tmp_path / "log").write_text("first\nlast\n")
    variables = {"GITHUB_SERVER_URL": "https://x", "GITHUB_REPOSITORY": "-/y", "GITHUB_RUN_ID": "3"}
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [ROOT / ".github" / "report.sh", "Broken", tmp_path / "log"],
        env=os.environ | variables | path,
        capture_output=True,
        text=True,
        check=True,
    )
    said, address, *rest = done.stdout.splitlines()
    assert said.strip() == command and address == "https://x/-/y/actions/runs/3"
    assert rest == ["", "~~~", "first", "last", "~~~"]


def test_what_the_tests_begin_with_is_there():
    assert len(set(FIRST)) == len(FIRST)
    assert all((ROOT / name).is_file() for name in FIRST)
    assert "--dist loadfile --no-loadscope-reorder" in (ROOT / "Makefile").read_text()

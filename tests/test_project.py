"""What people expect of a project: a version, a changelog, templates, a check for commits."""

import re
import tomllib

import yaml
from conftest import ROOT

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

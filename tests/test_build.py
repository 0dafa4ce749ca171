"""The site built without PyTorch, without need, and never at the cost of the one that stands."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT, build, without_pytorch

from publishing import __main__
from publishing import build as builds
from resnets import data, runs

ARTICLE = re.compile(r'<section id="module-resnets.processes">.*?</article>', re.DOTALL)
# Links depend on what else is in the site.
LINK = re.compile(r"</?a\b[^>]*>")


def test_the_page_of_the_library_is_as_if_the_library_was_imported(site, tmp_path):
    """In the site with the placeholders; without them in a site of little but this page."""

    def change(copy):
        toc = "format: jb-book\nroot: book/reference/bibliography\nchapters:\n"
        (copy / "_toc.yml").write_text(f"{toc}- file: book/reference/library\n")
        source = copy / "book" / "publishing" / "site.py"
        text = source.read_text()
        assert text.count("placeholders.import_library()") == 1
        source.write_text(text.replace("placeholders.import_library()", "pass"))
        page = copy / "book" / "reference" / "library.md"
        page.write_text(page.read_text().replace("(../running.md)", "(https://localhost)"))

    done = build(tmp_path, change)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = [
        root / "book" / "reference" / "library.html" for root in (site, tmp_path / "_build/html")
    ]
    ours, imported = (LINK.sub("", ARTICLE.search(page.read_text())[0]) for page in pages)
    assert len(imported) > 100_000 and "Tensor" in imported
    assert ours == imported


def test_what_was_recorded_is_read_without_pytorch(tmp_path):
    code = (
        "from resnets import claims, published, runs\n"
        "files = sorted(runs.RECORDED.glob('fashion-hour-*.json'))\n"
        "print(runs.summary([runs.read(path) for path in files]))\n"
        "print(claims.effects(), published.d2l())"
    )
    path = os.pathsep.join(map(str, (without_pytorch(tmp_path), ROOT / "book")))
    environment = os.environ | {"PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)


def test_the_real_images_are_called_the_same_with_and_without_pytorch():
    assert runs.REAL == data.REAL


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A folder with little in it, whose site is two files."""
    for name in ("_config.yml", "_toc.yml", "book/index.md", "book/_static/course.css"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(builds, "ROOT", tmp_path)
    monkeypatch.setattr(builds.site, "__defaults__", (tmp_path,))
    asked = []

    def jupyter_book(builder, root, work, whole):
        asked.append(whole)
        page = work / "_build" / "html" / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text((root / "book" / "index.md").read_text())
        return "broken" not in page.read_text()

    monkeypatch.setattr(builds, "_jupyter_book", jupyter_book)
    return tmp_path, tmp_path / "_build" / "html" / "index.html", asked


def test_what_is_served_as_it_is_concerns_every_page():
    """Sphinx copies it, and names it with its checksum, only on pages that it writes."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert set(config["sphinx"]["config"]["html_static_path"]) <= set(builds.CONCERN_ALL)


def test_a_site_that_is_up_to_date_is_not_built_again(sources):
    root, page, asked = sources
    assert builds.site() and builds.site() and asked == [True]
    (root / "book" / "index.md").write_text("changed")
    assert builds.site() and asked == [True, False] and page.read_text() == "changed"
    (root / "book" / "_static" / "course.css").write_text("changed")
    assert builds.site() and asked == [True, False, True]
    (root / "book" / "__pycache__").mkdir()
    (root / "book" / "__pycache__" / "a.pyc").write_text("changed")
    assert builds.site() and len(asked) == 3
    (root / "book" / "more.md").write_text("a new file")
    assert builds.site() and len(asked) == 4
    (root / "book" / "more.md").unlink()
    assert builds.site() and len(asked) == 5
    page.unlink()
    assert builds.site() and len(asked) == 6 and page.exists()


def test_a_build_that_fails_leaves_the_site_that_stood(sources, capsys):
    root, page, asked = sources
    assert __main__.main(["site"]) == 0
    before = page.read_text()
    (root / "book" / "index.md").write_text("broken")
    assert __main__.main(["site"]) == 1
    assert "is as it was" in capsys.readouterr().err
    assert page.read_text() == before
    assert __main__.main(["site"]) == 1, "the same sources fail again"
    (root / "book" / "index.md").write_text("mended")
    assert builds.site() and page.read_text() == "mended"
    assert asked[-1], "after a failure every page is made anew"
    assert sorted(path.name for path in page.parents[1].iterdir()) == ["html", "work"]


def test_others_may_read_what_the_umask_lets_them_read(site):
    others = [
        path for path in site.rglob("*") if path.is_file() and not path.stat().st_mode & 0o004
    ]
    assert not others or os.umask(os.umask(0o022)) & 0o004


def test_students_versions_are_written_without_pytorch_and_as_the_grader_writes_them(
    site, tmp_path
):
    from grading.__main__ import write_student_versions

    write_student_versions(tmp_path)
    ours = site.parent / "assignments"
    assert sorted(path.name for path in ours.iterdir()) == sorted(
        p.name for p in tmp_path.iterdir()
    )
    for path in tmp_path.iterdir():
        assert (ours / path.name).read_bytes() == path.read_bytes()

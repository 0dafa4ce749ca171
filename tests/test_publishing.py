"""Chapters that run alone, the repository's address, and a build that refuses empty pages."""

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from conftest import ROOT, build
from IPython.core.inputtransformer2 import TransformerManager
from nbconvert import HTMLExporter
from sphinx.errors import ExtensionError

import resnets
from publishing import __main__, citation, notebooks, site
from resnets import runs

ADDRESS = "https://github.com/-/course"  # no owner's name can be this


@pytest.fixture
def copies(tmp_path):
    for path in notebooks.chapters():
        shutil.copy(path, tmp_path)
    return notebooks.chapters(tmp_path)


def run(source):
    """Run a cell; returns what it would have asked pip for."""
    asked = []

    class Shell:
        def run_line_magic(self, name, line, **_):
            asked.append((name, line))

    exec(TransformerManager().transform_cell(source), {"get_ipython": Shell})
    return asked


@pytest.fixture
def missing(monkeypatch):
    """The course library and d2l cannot be found."""
    find = sys.modules["importlib.util"].find_spec
    gone = ("resnets", "d2l")
    monkeypatch.setattr("importlib.util.find_spec", lambda n: None if n in gone else find(n))


@pytest.mark.parametrize("address", ["", ADDRESS])
def test_the_first_cell_does_nothing_where_the_library_is(address):
    assert run(notebooks.first_cell(address)) == []


def test_the_first_cell_installs_two_packages_and_changes_no_other(missing):
    ((name, line),) = run(notebooks.first_cell(ADDRESS))
    assert name == "pip"
    assert line.split() == ["install", "-q", "--no-deps", "d2l==1.0.3", f"git+{ADDRESS}"]


def test_without_an_address_the_first_cell_says_what_to_do(missing):
    with pytest.raises(ModuleNotFoundError, match="standalone version, which carries"):
        run(notebooks.first_cell(""))


def test_the_address_is_written_into_the_first_cells_alone(copies):
    before = [path.read_text() for path in copies]
    assert notebooks.write_address(copies, ADDRESS) == copies
    for path, text in zip(copies, before, strict=True):
        old, new = json.loads(text), json.loads(path.read_text())
        assert "".join(new["cells"][1]["source"]) == notebooks.first_cell(ADDRESS)
        new["cells"][1]["source"] = old["cells"][1]["source"]
        assert new == old
        notebook = nbformat.read(path, as_version=4)
        assert notebooks.code_hash(notebook) == notebook.metadata.executed.code
    assert notebooks.write_address(copies, ADDRESS) == []
    notebooks.write_address(copies, notebooks.address())
    assert [path.read_text() for path in copies] == before


def test_another_first_cell_is_not_overwritten(copies):
    notebook = nbformat.read(copies[0], as_version=4)
    del notebook.cells[1]
    nbformat.write(notebook, copies[0])
    before = copies[0].read_text()
    with pytest.raises(ValueError, match="does not begin with"):
        notebooks.write_address(copies[:1], ADDRESS)
    assert copies[0].read_text() == before


def test_a_changed_cell_is_noticed(copies):
    notebook = nbformat.read(copies[0], as_version=4)
    before = notebooks.code_hash(notebook)
    next(c for c in notebook.cells[2:] if c.cell_type == "code").source += " "
    assert notebooks.code_hash(notebook) != before


@pytest.mark.parametrize("stated", ["github.com/-/course", "git@github.com:-/course.git"])
def test_an_address_is_https_or_refused(stated, tmp_path, monkeypatch, capsys):
    config = tmp_path / "_config.yml"
    config.write_text(yaml.safe_dump({"repository": {"url": stated}}))
    with pytest.raises(ValueError, match="give an https address"):
        notebooks.address(config)
    monkeypatch.setattr(notebooks.address, "__defaults__", (config,))
    assert __main__.main(["address"]) == 1
    assert "The address was not written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/-/course.git", ADDRESS),
        ("https://github.com/-/course/", ADDRESS),
        ("https://somebody:secret@github.com/-/course.git", ADDRESS),
        ("git@github.com:-/course.git", ADDRESS),
        ("ssh://git@github.com/-/course", ADDRESS),
        ("https://localhost/-/course.git", ""),
        ("/srv/github.com/-/course.git", ""),
        (None, ""),
    ],
)
def test_an_address_is_found_where_git_says_it(remote, address, tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    if remote:
        subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", remote], check=True)
    assert notebooks.found_address(tmp_path) == address
    monkeypatch.setenv("GITHUB_REPOSITORY", "-/fork")
    assert notebooks.found_address(tmp_path) == "https://github.com/-/fork"


def test_without_git_no_address_is_found(tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert notebooks.found_address(tmp_path) == ""


@pytest.mark.parametrize("stated", ["", ADDRESS])
def test_an_address_that_was_found_is_stated_from_then_on(
    stated, copies, tmp_path, monkeypatch, capsys
):
    config = tmp_path / "_config.yml"
    text = (ROOT / "_config.yml").read_text()
    config.write_text(re.sub("^  url: .*$", f'  url: "{stated}"', text, flags=re.MULTILINE))
    monkeypatch.setattr(notebooks.address, "__defaults__", (config,))
    monkeypatch.setattr(notebooks.state_address, "__defaults__", (config,))
    monkeypatch.setattr(notebooks, "chapters", lambda: copies)
    monkeypatch.setenv("GITHUB_REPOSITORY", "-/found")
    assert __main__.main(["address"]) == 0
    address = stated or "https://github.com/-/found"
    assert notebooks.address() == address and address in capsys.readouterr().out
    for path in copies:
        assert nbformat.read(path, as_version=4).cells[1].source == notebooks.first_cell(address)
    before = config.read_text()
    assert __main__.main(["address"]) == 0 and config.read_text() == before


def test_a_standalone_chapter_carries_the_library_and_the_recorded_runs(
    tmp_path, monkeypatch, missing
):
    paths = notebooks.write_standalone(tmp_path / "files")
    assert [path.name for path in paths] == [path.name for path in notebooks.chapters()]
    root = Path(resnets.__file__).parents[1]
    for path, chapter in zip(paths, notebooks.chapters(), strict=True):
        alone, source = (nbformat.read(p, as_version=4) for p in (path, chapter))
        nbformat.validate(alone)
        library = alone.cells.pop(1)
        assert library.metadata.jupyter.source_hidden and library.metadata.cellView == "form"
        source.cells.pop(1)
        assert alone == source
        if chapter.name.startswith("06"):
            with_weights = library
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert run(with_weights.source) == [("pip", "install -q --no-deps d2l==1.0.3")]
    written = {p.relative_to("course_library") for p in Path("course_library").rglob("*.*")}
    ours = {p.relative_to(root) for p in (root / "resnets").rglob("*.py")}
    ours |= {p.relative_to(root) for p in (root / "resnets" / "recorded").glob("*.json")}
    ours |= {p.relative_to(root) for p in (root / "resnets").glob("*.toml")}
    ours |= {p.relative_to(root) for p in (root / "resnets").glob("*.csv")}
    ours |= {Path("resnets", "trained", f"ResNet-20.{end}") for end in ("json", "pt")}
    assert written == ours - {Path("resnets/__main__.py")}
    for path in written:
        copy, original = Path("course_library", path), root / path
        if path.suffix == ".json":
            assert json.loads(copy.read_text()) == json.loads(original.read_text()), path
        elif path.suffix == ".pt":
            assert copy.read_bytes() == original.read_bytes()
        else:
            assert copy.read_text() == original.read_text(), path
    assert sys.path[0] == "course_library"


def test_a_chapter_exported_by_plain_jupyter_shows_no_raw_markup():
    body, _ = HTMLExporter(template_name="lab").from_filename(notebooks.chapters()[1])
    assert body.count("image/svg+xml") + body.count("<svg") > 3
    text = re.sub(r"<(script|style|pre|code)\b.*?</\1>", "", body, flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", "", text)
    assert "Residual blocks" in text
    for markup in ("**", "```", ":::", "](http", "&lt;details", "&lt;summary"):
        assert markup not in text, markup


def empty(copy):
    (copy / "book" / "reference" / "claims.md").write_text("# Claims\n")
    (copy / "_toc.yml").write_text("format: jb-book\nroot: book/reference/claims\n")


def without_outputs(copy):
    change(copy, lambda n: [c.update(outputs=[]) for c in n["cells"] if c["cell_type"] == "code"])


def executed_in_no_time(copy):
    change(copy, lambda notebook: notebook["metadata"]["executed"].update(seconds=0.0))


def never_executed(copy):
    change(copy, lambda notebook: notebook["metadata"].pop("executed"))


def edited(copy):
    change(copy, lambda notebook: notebook["cells"][2]["source"].append("\nprint(1)"))


def change(copy, how):
    path = notebooks.chapters(copy / "book")[1]
    notebook = json.loads(path.read_text())
    how(notebook)
    path.write_text(json.dumps(notebook))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (without_outputs, "has no outputs"),
        (executed_in_no_time, r"was executed in 0\.000 s"),
        (never_executed, r"was executed in 0\.000 s"),
        (edited, "was changed after it was executed"),
    ],
)
def test_a_chapter_that_was_not_executed_as_it_is_is_refused(how, message, tmp_path):
    (tmp_path / "book").mkdir()
    for path in notebooks.chapters():
        shutil.copy(path, tmp_path / "book")
    app = SimpleNamespace(srcdir=tmp_path)
    site.check_chapters(app)
    how(tmp_path)
    with pytest.raises(ExtensionError, match=rf"02_residual_blocks\.ipynb {message}"):
        site.check_chapters(app)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (edited, "02_residual_blocks.ipynb was changed after it was executed"),
        (empty, "the page book/reference/claims is empty"),
    ],
)
def test_the_build_fails_where_something_is_refused(how, message, tmp_path):
    done = build(tmp_path, how)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr


def test_with_an_address_the_site_has_buttons_and_a_sitemap(tmp_path):
    def change(copy):
        config = copy / "_config.yml"
        stated = re.sub("^  url: .*$", f"  url: {ADDRESS}", config.read_text(), flags=re.MULTILINE)
        config.write_text(stated)
        toc = "format: jb-book\nroot: book/reference/bibliography\nchapters:\n"
        (copy / "_toc.yml").write_text(f"{toc}- file: book/02_residual_blocks\n")

    done = build(tmp_path, change)
    assert done.returncode == 0, done.stdout + done.stderr
    built = tmp_path / "_build" / "html"
    page = html.unescape((built / "book" / "02_residual_blocks.html").read_text())
    file = "-/course/blob/main/book/02_residual_blocks.ipynb"
    binder = "https://mybinder.org/v2/gh/-/course/main?urlpath=lab/tree"
    issue = f"{ADDRESS}/issues/new?where=2.%20Residual%20blocks&template="
    for target in (
        f"https://colab.research.google.com/github/{file}",
        f"https://kaggle.com/kernels/welcome?src=https://github.com/{file}",
        f"{binder}/book/02_residual_blocks.ipynb",
        f"{issue}question.yml",
        f"{issue}error.yml",
    ):
        assert f'href="{target}"' in page, target
    base = site.pages_address(ADDRESS)
    assert base == "https://-.github.io/course/"
    assert f"  url = {{{base}book/02_residual_blocks.html}},\n" in page
    assert f"<loc>{base}book/02_residual_blocks.html</loc>" in (built / "sitemap.xml").read_text()
    assert f'content="{base}book/02_residual_blocks.html"' in page
    assert 'href="/course/_static/' in (built / "404.html").read_text()


def test_each_button_leads_to_a_form_that_has_its_field():
    for name in ("question", "error"):
        form = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{name}.yml").read_text())
        assert form["body"][0]["id"] == "where"


def test_a_chapter_is_cited_with_what_the_citation_file_states(tmp_path):
    authors = [{"name": "The authors"}, {"family-names": "Doe", "given-names": "Jane"}]
    course = {"title": "A course", "authors": authors, "version": "1.2.0"}
    (tmp_path / "CITATION.cff").write_text(yaml.safe_dump(course | {"date-released": "2027-01-31"}))
    body = '<h1>3. Bits and pieces<a class="headerlink" href="#x">#</a></h1><p>Text.</p>'
    page = citation.with_citation(body, "book/03_bits_and_pieces", tmp_path, "")
    assert page.startswith(body)
    assert html.unescape(re.search("<pre>(.*)</pre>", page, re.DOTALL)[1]) == (
        "@incollection{resnets-bits-and-pieces,\n"
        "  author = {{The authors} and Doe, Jane},\n"
        "  title = {{Bits and pieces}},\n"
        "  booktitle = {{A course}},\n"
        "  chapter = {3},\n"
        "  edition = {version 1.2.0},\n"
        "  year = {2027},\n"
        "}"
    )


def test_binder_installs_what_a_standalone_file_needs():
    lines = (ROOT / "binder" / "requirements.txt").read_text().splitlines()
    packages = [line for line in lines if not line.startswith(("#", "--"))]
    listed = re.search(r"^pip install (.+)$", (ROOT / "book" / "running.md").read_text(), re.M)
    assert packages == listed[1].split()
    assert notebooks.D2L in (ROOT / "binder" / "postBuild").read_text()


def test_workflows_are_pinned_and_get_no_secret():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text()
        uses = re.findall(r"uses: (\S+)", text)
        assert uses and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", use) for use in uses)
        assert "secrets." not in text
        assert yaml.safe_load(text)["permissions"] == {}


def test_recorded_runs_are_listed_with_where_when_and_with_what_code(monkeypatch):
    files = sorted(runs.RECORDED.glob("*.json"))
    monkeypatch.setattr(runs, "changed_since", lambda run: [])
    header, _, *rows = (line.strip("| ").split(" | ") for line in listed(files))
    table = {
        (row[0].split("]")[0][1:], row[1]): dict(zip(header, row, strict=True)) for row in rows
    }
    for path in files:
        run = runs.read(path)
        scale = run.scale + (", stand-in" if "stand-in" in run.data else "")
        row = table[run.name, scale]
        assert run.device in row["on"] and run.commit in row["commit"]
        assert row["changed since"] == "no"
        assert run.date[:10] in row["date"] and run.torch.startswith(row["torch"])


@pytest.mark.parametrize(
    ("changed", "flag", "named"),
    [
        ([[], []], "no", ""),
        ([[], ["training"]], "yes", "Code changed since: training."),
        ([["data"], ["data", "training"]], "yes", "Code changed since: data, training."),
        ([[], None], "not known here", ""),
    ],
)
def test_code_that_changed_since_a_recording_is_named(monkeypatch, changed, flag, named):
    files = sorted(runs.RECORDED.glob("fashion-quick-*.json"))[:2]
    monkeypatch.setattr(runs, "changed_since", lambda run: changed[run.seed])
    assert listed(files)[2].endswith(f" | {flag} |")
    sections = site.recorded_sections(files)
    assert ("Code changed since" in sections) == bool(named) and named in sections


def listed(files):
    return site.recorded_table(files).splitlines()

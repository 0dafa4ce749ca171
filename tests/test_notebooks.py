"""What can be said of a committed notebook without running it; nbval runs it."""

import re
from pathlib import Path

import nbformat
import pytest

from publishing import notebooks
from resnets import lesson, runs

BOOK = Path(__file__).parents[1] / "book"
NOTEBOOKS = notebooks.chapters()
BIBLIOGRAPHY = (BOOK / "references.bib").read_text()


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown(notebook):
    return "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")


def texts(output):
    if output.output_type == "stream":
        yield output.text
    for kind, content in output.get("data", {}).items():
        if kind.startswith("text/"):
            yield content


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 2


def test_is_valid_and_was_run_once_from_top_to_bottom(notebook):
    nbformat.validate(notebook)
    assert notebook.nbformat == 4 and notebook.nbformat_minor >= 5
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_has_outputs_but_no_error_and_no_warning(notebook):
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    assert outputs
    for output in outputs:
        assert output.output_type != "error"
        assert output.get("name") != "stderr"


def test_every_cell_that_prints_or_draws_has_an_output(notebook):
    for cell in code(notebook):
        prints = re.search(r"^(print\(|plt\.show\()", cell.source, re.MULTILINE)
        assert cell.outputs or not prints, cell.source


def test_was_run_on_the_real_images(notebook):
    words = "\n".join(t for c in code(notebook) for o in c.outputs for t in texts(o))
    assert "Fashion-MNIST" in words
    assert "stand-in" not in words


def test_says_on_what_machine_it_was_run(notebook):
    assert re.search(r"Scale '\w+' on .+ threads?, torch \d", code(notebook)[1].outputs[0].text)


def test_says_when_it_was_executed_and_was_not_changed_since(notebook):
    executed = notebook.metadata.executed
    assert executed.code == notebooks.code_hash(notebook), "run `make execute`"
    assert executed.seconds > 10
    assert executed.scale in code(notebook)[1].outputs[0].text
    assert executed.hardware in code(notebook)[1].outputs[0].text
    assert executed.packages.torch in code(notebook)[1].outputs[0].text
    assert set(executed.packages) == {"torch", "torchvision", "numpy", "d2l"}


def test_the_first_cell_knows_the_repository_of_the_configuration(notebook):
    first = code(notebook)[0]
    assert first is notebook.cells[1], "the title comes first, then the cell"
    assert first.source == notebooks.first_cell(notebooks.address()), "run `make address`"


def test_holds_no_path_of_a_machine_and_no_personal_metadata(notebook):
    words = "\n".join(t for c in code(notebook) for o in c.outputs for t in texts(o))
    words += "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"(/home/|/root/|/Users/|/tmp/|/work/|/content/|[A-Z]:\\)", words)
    assert set(notebook.metadata) == {"kernelspec", "language_info", "executed"}
    assert set(notebook.metadata.kernelspec) == {"display_name", "language", "name"}
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags", "mystnb"}


def test_no_line_was_left_half_drawn_by_a_progress_bar(notebook):
    for cell in code(notebook):
        for output in cell.outputs:
            assert "\r" not in output.get("text", "")


def test_code_cells_are_short(notebook):
    for cell in code(notebook):
        assert len(cell.source.splitlines()) <= 40, cell.source


def test_every_picture_has_alternative_text_and_a_caption(notebook):
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        if any(kind.startswith("image/") for kind in kinds):
            assert len(cell.metadata.mystnb.image.alt) > 30
            assert notebook.cells[number + 1].source.startswith("**Figure ")
            assert "image/svg+xml" in kinds


def _computing(cell):
    """A cell's code, where it reads recorded runs without the figures that it looks up in them."""
    if "runs.recorded(" not in cell.source:
        return cell.source
    return re.sub(r"""\["[\w' ]+"\]""", "", cell.source)


def test_a_cell_whose_output_may_change_is_tagged_and_nothing_else_is(notebook):
    for cell in code(notebook):
        assert set(cell.metadata.get("tags", [])) <= {"nbval-ignore-output", "slide"}
        changes = any(
            any(kind.startswith("image/") for kind in output.get("data", {}))
            for output in cell.outputs
        ) or re.search(r"\.run\(scale|\.train\(scale|device\.hardware|seconds", _computing(cell))
        if changes and not cell.source.startswith("def "):
            assert "nbval-ignore-output" in cell.metadata.get("tags", []), cell.source


def test_asserts_what_it_says(notebook):
    asserting = [c for c in code(notebook) if re.search(r"\bassert|assert_close", c.source)]
    assert len(asserting) >= 8


# MyST's own syntax shows as raw text in Colab and on GitHub.
FOREIGN = {
    "directive": r"^\s*(:{3,}|`{3,}\s*\{)",
    "role": r"\{[a-zA-Z:_-]+\}`",
    "target": r"^\([\w-]+\)=\s*$",
    "substitution": r"\{\{.*\}\}",
    "label in math": r"\\label\{|\\eqref\{|\\ref\{",
    "block break or comment": r"^(\+\+\+|% )",
    "footnote": r"\[\^\w+\]",
    "front matter": r"\A---\n",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_the_text_reads_the_same_in_colab_jupyter_github_and_on_the_site(notebook, kind):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"`[^`\n]*`(?!\{)", "", cell.source) if kind != "role" else cell.source
            assert not re.search(FOREIGN[kind], prose, re.MULTILINE), cell.source


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("directive", ":::{note}\nx\n:::"),
        ("directive", "```{figure} x.png\n```"),
        ("role", "see {cite}`he2016deep`"),
        ("target", "(label)=\n# x"),
        ("label in math", r"$$x \label{a}$$"),
        ("footnote", "a note[^1]"),
    ],
)
def test_the_scan_finds_what_it_looks_for(kind, text):
    assert re.search(FOREIGN[kind], text, re.MULTILINE)


def test_math_is_written_so_that_all_four_typeset_it(notebook):
    text = re.sub(r"`[^`\n]*`", "", markdown(notebook))
    assert text.count("$$") % 2 == 0
    for formula in re.findall(r"\$\$(.+?)\$\$", text, re.DOTALL):
        assert "\n\n" not in formula
        assert "\n" not in formula.strip() or r"\tag" not in formula
    numbers = re.findall(r"\\tag\{([^}]+)\}", text)
    assert len(numbers) == len(set(numbers))


def test_needs_no_file_beside_it(notebook):
    text = markdown(notebook)
    assert (
        not re.search(r"!\[", text)
        and "<img" not in text
        and "attachments" not in str([cell.keys() for cell in notebook.cells])
    )
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target.startswith("https://"), target


def test_figures_are_numbered_in_order(notebook):
    numbers = re.findall(r"^\*\*Figure \d+\.(\d+)\.\*\*", markdown(notebook), re.MULTILINE)
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)]


def test_sources_stand_in_the_bibliography(notebook):
    links = [t for t in re.findall(r"\]\((https://[^)]+)\)", markdown(notebook))]
    assert links
    for link in links:
        assert link in BIBLIOGRAPHY, link


@pytest.mark.parametrize(
    "path", [BOOK / "index.md", BOOK.parent / "README.md"], ids=lambda p: p.name
)
def test_figures_in_the_text_are_those_recorded(path):
    groups = {}
    for file in runs.RECORDED.glob("*.json"):
        run = runs.read(file)
        groups.setdefault((run.name, run.scale, run.data), []).append(run)
    recorded = {"0.911 ± 0.007"}  # d2l's published runs: `test_lesson`
    for group in groups.values():
        recorded |= set(runs.summary(group).to_numpy().ravel())
    for name, scale in (("lesson_d2l", "full"), ("lesson_course", "hour")):
        recorded.add(runs.mean_sd(lesson.times_to(0.90, runs.recorded(name, scale))))
    stated = re.findall(r"\d+(?:\.\d+)? ± \d+(?:\.\d+)?", path.read_text())
    assert set(stated) <= recorded
    assert stated or path.name == "README.md"

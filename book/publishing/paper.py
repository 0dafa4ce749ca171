"""The whole book to print (PDF) and for e-readers (EPUB), where nothing can be opened.

`make epub` is Sphinx's own builder. `make pdf` lets Chromium print Sphinx's single page, twice: the
numbers of the pages in its contents are known after the first time.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from io import BytesIO
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from bs4 import BeautifulSoup, Tag
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

from publishing import build
from resnets import __version__
from resnets.files import whole_file

NAME = "residual-networks-that-run"
BUILDERS = ("singlehtml", "epub")
STYLE = Path(__file__).with_suffix(".css")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# What only a site can do: links to the heading itself, buttons, marks of what was read.
ONLY_ON_A_SITE = (
    ".headerlink, .tip, .cite, .lab-picture, .kept, #progress, button, script, style"
    ", summary > .expanded"
)
ANSWERED = re.compile(r"^((Quiz|Exercise) \d+\.\d+)\.")
PAGE = re.compile(r"^(?!\w+:)([\w./-]+)\.html((?:#.+)?)$")
EMPTY = '<!DOCTYPE html><html lang="en" data-theme="light"><head></head><body></body></html>'
FOOTER = """<div style="width: 100%; font: 8px sans-serif; text-align: center">
<span class="pageNumber"></span></div>"""


def setup(app: Sphinx) -> None:
    """Prepare Sphinx for the two builders; for all others nothing changes."""
    app.add_html_math_renderer("mathml", (_visit_formula, None), (_visit_equation, None))
    app.connect("builder-inited", _prepare, priority=100)  # before the builders look
    app.connect("html-page-context", _put_apart, priority=900)  # after all that adds to pages


def _prepare(app: Sphinx) -> None:
    if app.builder.name == "epub":
        app.config.html_math_renderer = "mathml"  # no e-reader runs MathJax
        app.config.html_static_path = app.config.html_static_path[:1]  # nor labs
        app.config.version = __version__
    if app.builder.name == "singlehtml":
        app.set_html_assets_policy("always")  # else it looks for formulas on the title page alone


def _put_apart(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    if app.builder.name not in BUILDERS:
        return
    context["body"] = for_paper(context.get("body", ""), app.builder.name)
    if app.builder.name == "epub":
        context["script_files"] = context["css_files"] = []


def for_paper(body: str, builder: str) -> str:
    """The HTML of a page's body without what only a site can do, and with its answers apart."""
    soup = BeautifulSoup(body, "html.parser")
    for tag in soup.select(ONLY_ON_A_SITE):
        tag.decompose()
    for tag in soup.select("a[download]"):
        tag.unwrap()
    for tag in soup.select("[valign], [halign]"):  # pandas' tables, not HTML's any more
        del tag["valign"], tag["halign"]
    for tag in soup.select("[aria-describedby]"):
        del tag["aria-describedby"]
    for tag in soup.select("summary p"):
        tag.unwrap()
    for tag in soup.find_all("a", href=PAGE):
        tag["href"] = _address(PAGE.match(tag["href"]), builder)
    put_answers_apart(soup)
    return str(soup)


def _address(page: re.Match, builder: str) -> str:
    """Where a link to one of the site's pages leads in an EPUB, or in the single page."""
    path, place = page.groups()
    if builder == "epub":
        return f"{path}.xhtml{place}"
    return place or f"#document-book/{path.removeprefix('../')}"


def put_answers_apart(soup: BeautifulSoup) -> None:
    """Move what a reader would open, reasons, hints and solutions, to the end of its chapter."""
    closed = soup.find_all(lambda tag: tag.name == "details" and not tag.get("class"))
    for name, group in groupby(closed, _answered):
        group = list(group)
        kind, number = name.split()
        section = group[0].find_parent(id=re.compile("^(quiz|exercises)"))
        anchor = f"{kind}-{number.replace('.', '-')}".lower()
        answers = _answers(soup, section.parent)
        heading = soup.new_tag("p", id=f"answers-{anchor}", attrs={"class": "rubric"})
        heading.string = name
        answers.append(heading)
        told = "Answer" if kind == "Quiz" else "Hints and solution"
        link = soup.new_tag("p", attrs={"class": "to-answers"})
        link.append(soup.new_tag("a", href=f"#answers-{anchor}", string=told))
        group[-1].insert_after(link)
        for details in group:
            summary = details.summary.extract()
            mark = soup.new_tag("strong")
            mark.string = f"{summary.get_text()[0] if kind == 'Quiz' else summary.get_text()}."
            content = details.find(True)
            if content.name != "p":
                content = content.insert_before(soup.new_tag("p"))[0]
            content.insert(0, mark, " ")
            if kind == "Quiz":
                summary.name = "p"
                summary["class"] = "choice"
                details.insert_before(summary)
            answers.extend(list(details.contents))
            details.decompose()


def _answered(details: Tag) -> str:
    """`Quiz 2.1` or `Exercise 2.1`: what a choice, a hint or a solution belongs to."""
    return ANSWERED.match(details.find_previous(string=ANSWERED)).group(1)


def _answers(soup: BeautifulSoup, chapter: Tag) -> Tag:
    """The section with a chapter's answers, its last one."""
    last = chapter.find_all("section", recursive=False)[-1]
    if "answers" in last.get("class", []):
        return last
    heading = last.find(re.compile("^h[2-6]$"))
    section = soup.new_tag("section", attrs={"class": "answers"})
    section.append(soup.new_tag(heading.name, string="Hints and answers"))
    chapter.append(section)
    return section


def mathml(tex: str, display: str) -> str:
    """A formula in MathML; `display` is "inline" or "block".

    Raises:
        ValueError: some of it is not understood.
    """
    numbered = re.sub(r"\\tag\{(.+?)\}", r"\\qquad\\text{(\1)}", tex)
    made = convert(numbered, display=display)
    if "\\" in re.sub("<.+?>", "", made):
        raise ValueError(f"this formula cannot be written in MathML: {tex}")
    return made


def _visit_formula(translator, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _visit_equation(translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def write_epub(folder: Path) -> list[Path]:
    """Build the EPUB into `folder`; returns its path, in a list.

    Raises:
        RuntimeError: Sphinx warned or failed.
    """
    with TemporaryDirectory() as work:
        made = build.with_sphinx("epub", Path(work)) / f"{NAME}.epub"
        with whole_file(folder / made.name) as path:
            declare_formulas(made, path)
    return [folder / made.name]


def declare_formulas(made: Path, path: Path) -> None:
    """Copy an EPUB to `path`, and say in its list of files which have MathML: Sphinx does not."""
    with ZipFile(made) as old, ZipFile(path, "w") as new:
        for item in old.infolist():  # in the same order, each packed as before
            content = old.read(item)
            if item.filename == "content.opf":
                for name in old.namelist():
                    if name.endswith(".xhtml") and b"<math" in old.read(name):
                        href, kind = f'href="{name}"'.encode(), b" media-type"  # so it is listed
                        content = content.replace(
                            href + kind, href + b' properties="mathml"' + kind
                        )
            new.writestr(item, content)


def write_pdf(folder: Path) -> list[Path]:
    """Print the book into `folder`; returns the file's path, in a list.

    Raises:
        FileNotFoundError: there is no Chromium.
        RuntimeError: Sphinx warned or failed.
    """
    with chromium() as tab, TemporaryDirectory() as work:
        printed = print_document(tab, build.with_sphinx("singlehtml", Path(work)))
        with whole_file(folder / f"{NAME}.pdf") as path:
            path.write_bytes(printed)
    return [folder / f"{NAME}.pdf"]


@contextmanager
def chromium() -> Iterator:
    """A tab of Chromium, by Playwright.

    Raises:
        FileNotFoundError: there is none.
    """
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise FileNotFoundError("Chromium prints the book, and is not found: install it, or Chrome")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = started.new_page()
        tab.set_default_timeout(300_000)  # a whole book is a long page
        yield tab
        started.close()


def print_document(tab, single: Path) -> bytes:
    """The PDF of what Sphinx's builder `singlehtml` made: title, contents with pages, chapters."""
    page = max(single.rglob("*.html"), key=lambda path: path.stat().st_size)  # others lead to it
    page = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    to_print = single / "print.html"  # here, since its links are those of a page in this folder
    numbers: dict[str, int] = {}
    for _ in range(2):
        to_print.write_text(str(document(page, numbers)), encoding="utf-8")
        tab.goto(to_print.as_uri())
        tab.evaluate("window.MathJax?.startup.promise")
        printed = tab.pdf(
            format="A4",
            margin=dict.fromkeys(("top", "bottom", "left", "right"), "20mm"),
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER,
            print_background=True,
            outline=True,
            tagged=True,
        )
        numbers = pages(printed)
    return printed


def pages(printed: bytes) -> dict[str, int]:
    """The page, counted from 1, of each place in a PDF that a link leads to, by its name."""
    from pypdf import PdfReader

    reader = PdfReader(BytesIO(printed))
    return {
        name.removeprefix("/"): reader.get_destination_page_number(place) + 1
        for name, place in reader.named_destinations.items()
    }


def document(page: BeautifulSoup, numbers: dict[str, int]) -> BeautifulSoup:
    """The article of a page alone, in the page's styles, with contents after the title."""
    made = BeautifulSoup(EMPTY, "html.parser")
    kept = page.head.select("meta[charset], title, link[rel=stylesheet]")
    kept += [script for script in page.find_all("script") if "mathjax" in str(script).lower()]
    for tag in kept:
        made.head.append(copy(tag))
    made.head.append(made.new_tag("style", string=STYLE.read_text(encoding="utf-8")))
    article = copy(page.article)
    made.body.append(article)
    first, *others = article.find_all(re.compile("^h[23]$"))
    first.parent.insert_before(contents(made, [first, *others], numbers))
    return made


def contents(made: BeautifulSoup, headings: list[Tag], numbers: dict[str, int]) -> Tag:
    """Links to pages and to chapters' sections, whose headings get ids, with their page numbers."""
    listed = made.new_tag("nav", attrs={"class": "with-pages"})
    listed.append(made.new_tag("h2", string="Contents"))
    for at, heading in enumerate(headings):
        title = heading.get_text()
        if heading.name == "h3" and not title[0].isdigit():
            continue
        heading["id"] = f"heading-{at}"
        line = made.new_tag("p", attrs={"class": f"of-{heading.name}"})
        link = made.new_tag("a", href=f"#heading-{at}")
        link.extend([copy(part) for part in heading.contents])
        line.append(link)
        line.append(made.new_tag("span", string=str(numbers.get(heading["id"], ""))))
        listed.append(line)
    return listed

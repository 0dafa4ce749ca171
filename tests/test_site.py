"""The built site, as files. Built once, with warnings as errors, as `make book` does."""

import gzip
import html
import re
from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from conftest import CHAPTERS, PAGES, ROOT


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.tags, self.ids = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.ids.update(attributes[key] for key in ("id", "name") if attributes.get(key))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


parse = cache(Page)


@pytest.fixture(params=PAGES)
def page(site, request):
    path = site / "book" / f"{request.param}.html"
    return path, parse(path)


def test_every_picture_has_alternative_text_and_is_there(page):
    path, parsed = page
    for image in parsed.all("img"):
        assert image.get("alt", "").strip(), image
        assert (path.parent / unquote(image["src"])).exists(), image


def test_nothing_is_loaded_from_elsewhere(page):
    _, parsed = page
    loaded = [a.get("src") for tag in ("script", "img", "iframe") for a in parsed.all(tag)]
    loaded += [a.get("href") for a in parsed.all("link") if a.get("rel") != "canonical"]
    assert not [address for address in loaded if address and "//" in address]


def test_no_path_of_the_machine_that_built_it_is_shown(page, site):
    path, _ = page
    text = path.read_text()
    assert str(site.parents[1]) not in text and "PosixPath" not in text


def test_internal_links_and_anchors_resolve(page):
    path, parsed = page
    for link in parsed.all("a"):
        parts = urlsplit(link.get("href", ""))
        if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        assert target.exists(), link
        if parts.fragment and target.suffix == ".html":
            assert unquote(parts.fragment) in parse(target).ids, link


def test_chapters_show_their_outputs(site):
    for name in CHAPTERS:
        text = (site / "book" / f"{name}.html").read_text()
        assert text.count("cell_output") > 10
        assert "Fashion-MNIST" in text and "application/vnd" not in text


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_chapter_is_light(page, site):
    content = (site / "book" / f"{page}.html").read_bytes()
    assert len(gzip.compress(content)) < 60_000
    assert b'<span class="k">' in content and b'<span class="n">' not in content


def test_a_chapter_and_no_other_page_says_how_to_cite_it(page):
    path, _ = page
    entries = path.read_text().count("@incollection{resnets-")
    assert entries == path.stem[0].isdigit()


def test_the_student_versions_are_there_to_download(site):
    links = [a["href"] for a in parse(site / "book" / "teaching.html").all("a") if "href" in a]
    names = {link.rpartition("/")[2] for link in links if link.endswith(".ipynb")}
    assert {path.name for path in (ROOT / "book" / "assignments").glob("*.ipynb")} <= names


def test_solutions_and_hidden_tests_are_nowhere_in_the_site(site):
    """Neither on a page, nor in a download, nor in the search index."""
    pattern = re.compile(r"### BEGIN (?:SOLUTION|HIDDEN TESTS)\n(.*?)### END", re.DOTALL)
    secret = set()
    for path in (ROOT / "book" / "assignments").glob("*.ipynb"):
        source = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        lines = {line.strip() for code in pattern.findall(source) for line in code.splitlines()}
        shown = pattern.sub("", source)
        secret |= {line for line in lines if len(line) >= 40 and line not in shown}
    library = "".join(path.read_text() for path in (ROOT / "book" / "resnets").rglob("*.py"))
    chapters = "".join(
        cell.source
        for path in (ROOT / "book").glob("*.ipynb")
        for cell in nbformat.read(path, as_version=4).cells
    )
    secret = {line for line in secret if line not in library and line not in chapters}
    assert len(secret) > 50
    for path in site.rglob("*"):
        if path.suffix in (".html", ".js", ".ipynb", ".txt", ".md"):
            text = html.unescape(re.sub(r"<[^>]+>", "", path.read_text()))
            text = text.replace('\\"', '"')
            assert not [line for line in secret if line in text], path

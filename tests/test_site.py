"""The built site, as files. Built once, with warnings as errors, as `make book` does."""

import shutil
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
PAGES = (
    "index",
    "01_function_classes",
    "02_residual_blocks",
    "03_resnet18_fashion_mnist",
    "04_bottlenecks",
    "05_gradient_flow",
    "06_pspnet_backbone",
    "reference/claims",
    "reference/bibliography",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build from a copy, so that a build of the reader's own is not touched."""
    copy = tmp_path_factory.mktemp("site")
    ignored = shutil.ignore_patterns(".*", "_build", "tests", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=ignored, dirs_exist_ok=True)
    command = [
        Path(sys.executable).parent / "jupyter-book",
        "build",
        copy,
        "-W",
        "--keep-going",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return copy / "_build" / "html"


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
    for name in PAGES[1:-2]:
        html = (site / "book" / f"{name}.html").read_text()
        assert html.count("cell_output") > 10
        assert "Fashion-MNIST" in html and "application/vnd" not in html

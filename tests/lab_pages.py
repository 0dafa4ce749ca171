"""Small pages that hold labs, in the site's look.

Run as a program, this writes the pictures of the page of all labs: what each lab draws at first.
"""

import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from test_browser import BROWSER

from publishing import labs, labs_page

LOOK = [
    Path(find_spec(package).origin).parent / "theme" / package / "static" / "styles" / style
    for package, style in (
        ("pydata_sphinx_theme", "pydata-sphinx-theme.css"),
        ("sphinx_book_theme", "sphinx-book-theme.css"),
    )
]
FIGURE = """
<table class="table"><tr><th>whole</th><td>90 %</td></tr></table>
<p><strong>Figure 1.</strong> What everyone sees.</p>
<p class="lab-elsewhere">On the course's site this figure is a lab.</p>
"""
PAGE = """<!doctype html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>A page with a lab</title>
{styles}
{scripts}
</head>
<body><main class="bd-article" style="max-width: 43rem; margin: auto">
<h1>A page with a lab</h1>
{frames}
<p>What follows.</p>
</main></body>
</html>
"""


def write_page(folder: Path, *names: str) -> Path:
    """A page with these labs, beside what the site serves to it."""
    frames = "".join(f'<div class="lab" data-lab="{name}">\n{FIGURE}\n</div>\n' for name in names)
    static = folder / "_static"
    shutil.copytree(labs.FOLDER, static)
    for style in (*LOOK, labs.FOLDER.parents[1] / "_static" / "course.css"):
        shutil.copy(style, static)
    styles, scripts = [style.name for style in LOOK] + ["course.css"], []
    for file in labs.files(frames):
        (styles if file.endswith(".css") else scripts).append(file)
    page = folder / "page.html"
    page.write_text(
        PAGE.format(
            frames=frames,
            styles="\n".join(f'<link rel="stylesheet" href="_static/{f}">' for f in styles),
            scripts="\n".join(f'<script defer src="_static/{f}"></script>' for f in scripts),
        )
    )
    return page


def picture(tab: Page) -> str:
    """The largest drawing of the lab that a tab shows, as HTML; of a canvas, its image."""
    return tab.evaluate(
        """() => {
          const size = (svg) => svg.getBoundingClientRect();
          const area = (svg) => size(svg).width * size(svg).height;
          const drawings = [...document.querySelectorAll(".lab-live :is(svg, canvas)")];
          const largest = drawings.reduce((one, two) => (area(two) > area(one) ? two : one));
          if (largest.localName === "svg") return largest.outerHTML;
          const { width, height } = largest;
          return `<svg viewBox="0 0 ${width} ${height}" aria-hidden="true"><image ` +
            `width="${width}" height="${height}" href="${largest.toDataURL()}"></image></svg>`;
        }"""
    )


def write_pictures() -> None:
    """Start each lab in Chromium, and keep what it draws."""
    for path in labs_page.PICTURES.glob("*.html"):
        path.unlink()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for name in labs.LABS:
            tab = chromium.new_page()
            tab.goto(write_page(Path(folder) / name, name).as_uri())
            tab.locator(".lab.lab-ready").evaluate("(lab) => lab.querySelector('button').click()")
            tab.wait_for_function("document.querySelector('.lab-started .lab-told')?.textContent")
            path = labs_page.PICTURES / f"{name}.html"
            path.write_text(picture(tab) + "\n", encoding="utf-8")
            print(path)


if __name__ == "__main__":
    write_pictures()

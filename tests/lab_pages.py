"""Small pages that hold labs, in the site's look."""

import shutil
from importlib.util import find_spec
from pathlib import Path

from publishing import labs

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

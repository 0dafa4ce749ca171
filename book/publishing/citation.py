"""How to cite a chapter: a BibTeX entry, closed at the end of its page."""

import html
import re
from datetime import date
from pathlib import Path

import yaml

BLOCK = """
<details class="cite"><summary>Cite this chapter</summary>
<div class="highlight"><pre>{entry}</pre></div></details>"""


def with_citation(body: str, name: str, root: Path, address: str) -> str:
    """The page of a chapter, with its entry after all else; `address` of the page, if it has one.

    `name` is the page's, and `root` the folder of `CITATION.cff`.
    """
    number, title = re.search(r"<h1>(\d)\. (.*?)<a ", body).groups()
    course = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    authors = " and ".join(_author(author) for author in course["authors"])
    fields = {
        "author": authors,
        "title": f"{{{html.unescape(title)}}}",
        "booktitle": f"{{{course['title']}}}",
        "chapter": number,
        "edition": f"version {course['version']}",
        "year": str(date.fromisoformat(course["date-released"]).year),
    }
    if address:
        fields["url"] = address
    lines = "".join(f"  {field} = {{{value}}},\n" for field, value in fields.items())
    key = Path(name).name.partition("_")[2].replace("_", "-")
    entry = f"@incollection{{resnets-{key},\n{lines}}}"
    return body + BLOCK.format(entry=html.escape(entry))


def _author(author: dict) -> str:
    """A person, or in braces a group, whose name has no parts."""
    if "name" in author:
        return f"{{{author['name']}}}"
    return f"{author['family-names']}, {author['given-names']}"

"""The page of all labs: each with a picture, its question, and the way to its chapter."""

import html
import re
from pathlib import Path

import nbformat

from publishing import claims_page, labs

PICTURES = Path(__file__).parents[1] / "labs" / "pictures"
EITHER = re.compile(f"{claims_page.SECTION.pattern}|{labs.FRAME.pattern}", re.MULTILINE)


def index(files: list[Path]) -> str:
    """HTML with a card for each lab, in the order of the chapters; `files` are these and pictures.

    Raises:
        LookupError: a lab that is in no chapter, or has no picture.
    """
    places = stand_in([path for path in files if path.suffix == ".ipynb"])
    pictures = {path.stem: path for path in files if path.suffix == ".html"}
    for what, having in (("is in no chapter", places), ("has no picture", pictures)):
        if missing := sorted(labs.LABS.keys() - having.keys()):
            raise LookupError(f"the lab {', '.join(missing)} {what}: see book/labs/README.md")
    cards = "\n".join(card(name, *places[name], pictures[name]) for name in places)
    return f'<div class="lab-index">\n{cards}\n</div>'


def card(name: str, chapter: str, section: str, picture: Path) -> str:
    """HTML without an empty line, which would end it in Markdown."""
    title, question = map(html.escape, labs.LABS[name][:2])
    drawing = picture.read_text(encoding="utf-8").strip()
    return (
        '<div class="lab-card">\n'
        f'<div class="lab lab-picture" aria-hidden="true">{drawing}</div>\n'
        f'<p><a href="{chapter}.html#lab-{name}">{title}</a> ({section})<br>{question}</p>\n'
        "</div>"
    )


def stand_in(chapters: list[Path]) -> dict[str, tuple[str, str]]:
    """For each lab its chapter and its section: `05_gradient_flow`, `5.3`."""
    found = {}
    for path in chapters:
        section = ""
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type != "markdown":
                continue
            for heading, name in EITHER.findall(cell.source):
                section = heading or section
                if name:
                    found[name] = path.stem, section
    return found

"""Slides of each chapter, from its own figures and sentences: `make slides`.

A chapter's cells with the tag `slide` are shown, each on a slide of its own, a figure with its
caption. Of a section's text a slide has the heading, the first sentence of each paragraph, and the
equations. All the text, with the tag or without, is in the speaker's notes (the key S).
"""

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import nbformat
from nbconvert.exporters import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook
from traitlets.config import Config

from publishing import folding, notebooks
from resnets.files import whole_file

TAG, ONLY_OUTPUTS = "slide", "only-outputs"
MOST = 5  # lines of a slide
TEMPLATES = Path(__file__).parent
# What is copied beside the slides: of which package, from where, and to which folder.
SCRIPTS = (
    ("sphinx_revealjs", "_static/revealjs", ("dist", "plugin/notes"), "reveal"),
    ("sphinx-mathjax-offline", "static/mathjax", ("tex-svg.js",), "mathjax"),
)
ONLY_ON_THE_SITE = re.compile(
    r"<div.+?</div>|<a id=.+?</a>|\*(Computed here|Agrees with the recorded runs)\b.*?\*", re.DOTALL
)
EQUATION = ("$$", r"\begin")
# After what is printed bold. "al." ends none, and a formula may have a point.
SENTENCE = re.compile(r"(\*\*.+?\*\*)?(\$[^$]+\$|[^$])*?(?<! al)[.?!](?=\s|$)", re.DOTALL)


def write(folder: Path) -> list[Path]:
    """Write a file for each chapter into `folder`, with all that it needs; returns their paths."""
    for package, source, names, target in SCRIPTS:
        root = Path(find_spec(package).submodule_search_locations[0]) / source
        for name in names:
            copy = shutil.copytree if (root / name).is_dir() else shutil.copyfile
            if not (folder / target / name).exists():
                (folder / target / name).parent.mkdir(parents=True, exist_ok=True)
                copy(root / name, folder / target / name)
    written = []
    for chapter in notebooks.chapters():
        path = folder / chapter.with_suffix(".html").name
        with whole_file(path) as temporary:
            temporary.write_text(html(nbformat.read(chapter, as_version=4)), encoding="utf-8")
        written.append(path)
    return written


def html(chapter: NotebookNode) -> str:
    """The slides of a chapter, with their scripts in folders beside them."""
    exporter = SlidesExporter(
        extra_template_basedirs=[str(TEMPLATES)],
        template_name="slides",
        reveal_url_prefix="reveal",
        reveal_theme="white",  # the others ask a network for their fonts
        mathjax_url="mathjax/tex-svg.js",
        config=Config(TagRemovePreprocessor={"enabled": True, "remove_input_tags": {ONLY_OUTPUTS}}),
    )
    title = chapter.cells[0].source.partition("\n")[0].removeprefix("# ")
    return exporter.from_notebook_node(slides(chapter), {"metadata": {"name": title}})[0]


def slides(chapter: NotebookNode) -> NotebookNode:
    """The notebook that nbconvert makes a chapter's slides from."""
    made = []
    for cell in chapter.cells:
        shown = TAG in cell.metadata.get("tags", [])
        if cell.cell_type == "code":
            made += _of_code(cell) if shown else []
            continue
        if cell.source.startswith("## Quiz"):
            break
        for text in re.split(r"\n(?=## )", cell.source):  # a section may begin within a cell
            if shown and text.startswith(("#", "**Figure")):
                made.append(_of_text(first(text), "slide" if text[0] == "#" else "-"))
            made.append(_of_text(ONLY_ON_THE_SITE.sub("", text), "notes"))
    return new_notebook(cells=made, metadata=chapter.metadata)


def first(text: str) -> str:
    """What a slide has of a text: its heading, its paragraphs' first sentences, its equations."""
    blocks = [block.strip() for block in ONLY_ON_THE_SITE.sub("", text).split("\n\n")]
    blocks = [block for block in blocks if block]
    if not blocks[0].startswith("#"):
        return _sentence(blocks[0])
    heading, *blocks = blocks
    shown = [
        block if block.startswith(EQUATION) else f"- {_sentence(block)}"
        for block in blocks
        if block.startswith(EQUATION) or block[0] not in "-|<`#"
    ]
    return "\n\n".join([heading, *shown[:MOST]])


def _sentence(paragraph: str) -> str:
    """The first sentence; a paragraph that is printed slanted as a whole stays whole."""
    found = None if paragraph.startswith("*For") else SENTENCE.match(paragraph)
    return found.group() if found else paragraph


def _of_text(text: str, kind: str) -> NotebookNode:
    return new_markdown_cell(text, metadata={"slideshow": {"slide_type": kind}})


def _of_code(cell: NotebookNode) -> list[NotebookNode]:
    """A slide of a cell: its outputs after its code, or after the line that stands for the code."""
    made, line = nbformat.from_dict(cell), folding.line(cell.source)
    made.metadata = {"slideshow": {"slide_type": "slide"}}
    if line is None:
        return [made]
    made.metadata["tags"] = [ONLY_OUTPUTS]
    if described := cell.metadata.get("mystnb", {}).get("image", {}).get("alt"):
        made.metadata["described"] = described
        return [made]
    made.metadata["slideshow"] = {"slide_type": "-"}
    return [_of_text(f"**{line}**", "slide"), made]

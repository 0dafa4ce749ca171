"""The table on the page of claims, from `claims.toml` and the chapters that decide."""

import re
from itertools import pairwise
from pathlib import Path

import nbformat

from resnets import claims

PAGE = "book/reference/claims"
ANCHOR = re.compile(r'<a id="claim-([\w-]+)"></a>')
SECTION = re.compile(r"^## (\d+\.\d+) ", re.MULTILINE)


def table(files: list[Path]) -> str:
    """A Markdown table with a row for each claim; `files` are the chapters, and the data.

    Raises:
        LookupError: a row names an anchor or an effect that is not there.
    """
    sections = decided_in([path for path in files if path.suffix == ".ipynb"])
    lines = ["| claim | verdict | what was found | decided in |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(cells(row, sections)) + " |" for row in claims.rows()]
    return "\n".join(lines)


def cells(row: dict, sections: dict[str, tuple[str, str]]) -> tuple[str, ...]:
    """The four cells of one claim."""
    found = [row["finding"]] if row["finding"] else []
    found += [f"*{_described(name)}*" for name in row["effects"]]
    if row["distance"]:
        found.append(f"Setting: {row['distance']}")
    links = []
    for name in row["decided"]:
        if name not in sections:
            raise LookupError(f"no chapter has the anchor claim-{name}: {row['claim']}")
        chapter, section = sections[name]
        links.append(f'<a href="../{chapter}.html#claim-{name}">{section}</a>')
    verdict = f"**{row['verdict']}**"
    if row["evidence"] != row["verdict"]:
        verdict += f"<br>{row['evidence']}"
    return (
        f"{row['claim']}<br><small>{row['source']}</small>",
        verdict,
        "<br>".join(found),
        ", ".join(links),
    )


def decided_in(chapters: list[Path]) -> dict[str, tuple[str, str]]:
    """For each anchor of a claim its chapter and its section: `05_gradient_flow`, `5.3`."""
    found = {}
    for path in chapters:
        section = ""
        for cell, following in pairwise(nbformat.read(path, as_version=4).cells):
            if cell.cell_type != "markdown":
                continue
            for heading in SECTION.findall(cell.source):
                section = heading
            for name in ANCHOR.findall(cell.source):
                if following.cell_type != "code":
                    raise LookupError(f"{path.name}: no cell decides claim-{name}")
                found[name] = path.stem, section
    return found


def _described(name: str) -> str:
    effects = claims.effects()
    if name not in effects:
        raise LookupError(f"{claims.TABLE.name} has no [effects.{name}]")
    text = str(effects[name])
    return text[0].upper() + text[1:]

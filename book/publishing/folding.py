"""Code that is not the lesson is closed on the site, behind a line that says what it does.

The line is the first comment of the cell: `# Drawing`, `# Table`, `# Helper: …`, `# Checked: …`
or `# Setup: …`. Colab and Jupyter show the cell with its comment, as it is.
"""

import json
import re

from publishing.notebooks import FIRST_LINE

LINES = {
    "Drawing": "drawing",
    "Table": "table",
    "Helper": "helper",
    "Checked": "checked ✓",
    "Setup": "setup",
}
COMMENT = re.compile(rf"# ({'|'.join(LINES)})(?:: (.+))?\n")


def line(source: str) -> str | None:
    """What the site shows in place of a cell's code; None where it shows the code."""
    comment = COMMENT.match(source)
    if not comment:
        return None
    kind, what = comment.groups()
    return f"{LINES[kind]}: {what}" if what else LINES[kind]


def folded(notebook: str) -> str:
    """The text of a notebook, with tags of MyST-NB in it: closed cells, and none that installs."""
    content = json.loads(notebook)
    for cell in content["cells"]:
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        tags = cell["metadata"].setdefault("tags", [])
        if source.startswith(FIRST_LINE):
            tags.append("remove-cell")
        elif shown := line(source):
            tags.append("hide-cell" if source.startswith("# Setup") else "hide-input")
            settings = cell["metadata"].setdefault("mystnb", {})
            settings["code_prompt_show"] = settings["code_prompt_hide"] = shown
            cell["source"] = source.partition("\n")[2]
    return json.dumps(content)

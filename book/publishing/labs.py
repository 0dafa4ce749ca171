"""Labs: which scripts a page needs for the figures in it that answer back."""

import re
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "labs" / "web"
FRAME = re.compile(r'<div class="lab" data-lab="([a-z-]+)">')
# The scripts of each lab, in their order; data come when the reader starts it.
SCRIPTS = {
    "take-apart": ("kernel.js", "engine.js", "take_apart.js"),
    "dilation": ("dilation.js",),
    "degradation": ("degradation.js",),
    "shattering": ("shattering.js",),
    "thermometer": ("thermometer.js",),
    "shoe-switch": ("shoe_switch.js",),
}


def files(body: str) -> list[str]:
    """The style sheet and the scripts for the labs in a page's HTML, each once.

    Raises:
        ValueError: a lab that does not exist.
    """
    names = list(dict.fromkeys(FRAME.findall(body)))
    if unknown := [name for name in names if name not in SCRIPTS]:
        raise ValueError(f"there is no lab {', '.join(unknown)}: see publishing/labs.py")
    if not names:
        return []
    scripts = [script for name in names for script in SCRIPTS[name]]
    return list(dict.fromkeys(("labs.css", "lab.js", *scripts)))

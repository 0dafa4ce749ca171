"""Labs: the figures of the chapters that answer back, and which scripts a page needs for them."""

import re
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[1] / "labs" / "web"
FRAME = re.compile(r'<div class="lab" data-lab="([a-z-]+)">')
PICTURE = '<div class="lab lab-picture"'


class Lab(NamedTuple):
    """A lab: its title, the question that it answers, and its scripts in their order.

    Data come when the reader starts it.
    """

    title: str
    question: str
    scripts: tuple[str, ...]


LABS = {
    "take-apart": Lab(
        "Take a network apart",
        "Which blocks can a trained network do without, with shortcuts and without?",
        ("kernel.js", "engine.js", "take_apart.js"),
    ),
    "dilation": Lab(
        "Stride or dilation",
        "Which dilation keeps every output when a stride is left out?",
        ("dilation.js",),
    ),
    "degradation": Lab(
        "Degradation",
        "Do deeper plain networks train worse at every rate, and with every seed?",
        ("degradation.js",),
    ),
    "shattering": Lab(
        "Shattered gradients",
        "From which depth on are the gradients at neighboring inputs no longer alike?",
        ("untrained.js", "shattering.js"),
    ),
    "receptive-field": Lab(
        "Receptive field",
        "How much of what a feature can see does it use?",
        ("receptive_field.js",),
    ),
    "paths": Lab(
        "Paths",
        "How many paths does a deleted block take with it, and which lengths bring most?",
        ("paths.js",),
    ),
    "iou-painter": Lab(
        "IoU painter",
        "Which mistakes does pixel accuracy overlook?",
        ("iou_painter.js",),
    ),
    "image-size": Lab(
        "Image size",
        "From which size of image on does every weight of ResNet-18 meet a pixel?",
        ("image_size.js",),
    ),
    "checkpointing": Lab(
        "Checkpointing",
        "Into how many segments should a network be cut to need the least memory?",
        ("checkpointing.js",),
    ),
    "bottleneck": Lab(
        "Bottleneck",
        "What does a bottleneck save, and what not?",
        ("bottleneck.js",),
    ),
    "pyramid": Lab(
        "Pyramid",
        "What does each bin tell a pixel of its surroundings?",
        ("pyramid.js",),
    ),
    "nested-classes": Lab(
        "Nested classes",
        "When does the step to another class lead away from the target?",
        ("nested_classes.js",),
    ),
    "relu-plane": Lab(
        "ReLU in the plane",
        "How many units keep every signal apart?",
        ("relu_plane.js",),
    ),
    "thermometer": Lab(
        "Thermometer",
        "How large are the signal and its gradient, block by block?",
        ("kernel.js", "engine.js", "untrained.js", "small_network.js", "thermometer.js"),
    ),
    "shoe-switch": Lab(
        "Shoe switch",
        "Does the top that a network sees follow the shoe?",
        ("shoe_switch.js",),
    ),
}


def files(body: str) -> list[str]:
    """The style sheet and the scripts for the labs in a page's HTML, each once.

    Raises:
        ValueError: a lab that does not exist.
    """
    names = list(dict.fromkeys(FRAME.findall(body)))
    if unknown := [name for name in names if name not in LABS]:
        raise ValueError(f"there is no lab {', '.join(unknown)}: see publishing/labs.py")
    scripts = [script for name in names for script in LABS[name].scripts]
    if scripts:
        return list(dict.fromkeys(("labs.css", "lab.js", *scripts)))
    return ["labs.css"] if PICTURE in body else []


def with_anchors(body: str) -> str:
    """The page's HTML, where a link leads to a lab also without scripts."""
    return FRAME.sub(r'<div class="lab" id="lab-\1" data-lab="\1">', body)

"""Run notebooks from top to bottom and keep their outputs: `make execute`.

A chapter's metadata then say when, where, with what and in what time it was executed.
"""

import platform
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from publishing.notebooks import chapters, code_hash
from resnets.device import best_device, default_scale, hardware

PACKAGES = ("torch", "torchvision", "numpy", "d2l")


def execute(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    started = time.perf_counter()
    NotebookClient(
        notebook,
        timeout=3600,
        record_timing=False,
        coalesce_streams=True,  # keeps the last state of a progress bar
        resources={"metadata": {"path": path.parent}},
    ).execute()
    seconds = time.perf_counter() - started
    notebook.metadata.language_info = {"name": "python", "file_extension": ".py"}
    if path.resolve() in chapters():
        notebook.metadata.executed = {
            "date": date.today().isoformat(),
            "seconds": round(seconds, 1),
            "scale": default_scale(),
            "hardware": hardware(best_device()),
            "python": platform.python_version(),
            "packages": {name: version(name) for name in PACKAGES},
            "code": code_hash(notebook),
        }
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, flush=True)
        execute(Path(name))

"""Run notebooks from top to bottom and keep their outputs: `make execute`."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def execute(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=3600,
        record_timing=False,
        coalesce_streams=True,  # keeps the last state of a progress bar
        resources={"metadata": {"path": path.parent}},
    ).execute()
    notebook.metadata.language_info = {"name": "python", "file_extension": ".py"}
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, flush=True)
        execute(Path(name))

"""Run each chapter alone in an empty folder, with a Python that does not have the course.

    python tests/lone_notebook.py --python /path/to/python [--scale quick] [CHAPTER ...]

Twice each: the version that installs the course from its repository, with the address redirected
to this repository's last commit, and the standalone version, with the address leading nowhere.
Whatever else is installed has to be as it was before. That Python needs what Colab has: torch,
torchvision, matplotlib, pandas, scipy, requests, tqdm, keras, ipykernel and pip.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))

from publishing import notebooks

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = "https://repository.invalid/course"  # RFC 6761: nobody can register it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", required=True, type=Path)
    parser.add_argument("--scale", default="quick")
    parser.add_argument("chapters", nargs="*", type=Path, default=notebooks.chapters())
    options = parser.parse_args()
    python = str(options.python)
    print(subprocess.check_output([python, "--version"], text=True).strip())
    for path in options.chapters:
        chapter = nbformat.read(path, as_version=4)
        installing = nbformat.read(path, as_version=4)
        next(c for c in installing.cells if c.cell_type == "code").source = notebooks.first_cell(
            ADDRESS
        )
        for how, notebook, target, expected in (
            ("from the repository", installing, ROOT.as_uri(), {"d2l", "resnets"}),
            ("standalone", notebooks.standalone(chapter), "file:///nowhere", {"d2l"}),
        ):
            before = freeze(python)
            seconds = run(notebook, path.name, python, options.scale, target)
            after = freeze(python)
            new = after - before
            names = {line.replace("@", "=").partition("=")[0].strip() for line in new}
            if names != expected or before - after:
                sys.exit(f"{path.name}, {how}: new {sorted(new)}, gone {sorted(before - after)}")
            print(f"{path.name}, {how}: {seconds:.0f} s, new {sorted(new)}", flush=True)
            subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", *expected], check=True)


def freeze(python: str) -> set[str]:
    return set(subprocess.check_output([python, "-m", "pip", "freeze"], text=True).splitlines())


def run(notebook, name: str, python: str, scale: str, target: str) -> float:
    """Run the notebook, with git redirected to `target`; seconds."""
    with tempfile.TemporaryDirectory() as jupyter, tempfile.TemporaryDirectory() as folder:
        kernel = Path(jupyter, "kernels", "lone")
        kernel.mkdir(parents=True)
        argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        about = {"argv": argv, "display_name": "lone", "language": "python"}
        (kernel / "kernel.json").write_text(json.dumps(about))
        os.environ |= {
            "JUPYTER_PATH": jupyter,
            "RESNETS_SCALE": scale,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{target}.insteadOf",
            "GIT_CONFIG_VALUE_0": ADDRESS,
            "PIP_ROOT_USER_ACTION": "ignore",
        }
        nbformat.write(notebook, Path(folder, name))
        started = time.perf_counter()
        NotebookClient(
            notebook, kernel_name="lone", timeout=3600, resources={"metadata": {"path": folder}}
        ).execute()
        return time.perf_counter() - started


if __name__ == "__main__":
    main()

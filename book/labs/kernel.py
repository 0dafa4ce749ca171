"""Compile `kernel.c` for the browser, and write it into `web/kernel.js`.

    PYTHONPATH=book python -m labs.kernel

The compiler is zig's, from PyPI (`ziglang`); the same version writes the same bytes everywhere.
"""

import base64
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("kernel.c")
SCRIPT = Path(__file__).parent / "web" / "kernel.js"
OPTIONS = (
    *("-target", "wasm32-freestanding", "-msimd128", "-O3", "-nostdlib", "-s"),
    *("-Wl,--no-entry", "-Wl,--export-memory"),
)


def compiled() -> bytes:
    """The WebAssembly module that `kernel.c` is compiled to."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "kernel.wasm"
        caches = {f"ZIG_{kind}_CACHE_DIR": folder for kind in ("GLOBAL", "LOCAL")}
        command = [sys.executable, "-m", "ziglang", "cc", *OPTIONS, SOURCE.name, "-o", output]
        subprocess.run(command, cwd=SOURCE.parent, env=os.environ | caches, check=True)
        return output.read_bytes()


def committed() -> bytes:
    """The module that the site serves."""
    (text,) = re.findall('"([A-Za-z0-9+/=]+)"', SCRIPT.read_text())
    return base64.b64decode(text)


def main() -> None:
    """Write the script."""
    text = base64.b64encode(compiled()).decode()
    about = "// kernel.c, compiled: written by `python -m labs.kernel`."
    SCRIPT.write_text(f'{about}\nlabs.kernel = "{text}";\n')


if __name__ == "__main__":
    main()

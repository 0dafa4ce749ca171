"""The script that brings a lab its data: `labs.receive(name, data)` after a comment.

A page from a disk may neither fetch nor import, but it may load a script.
"""

import base64
import json
import zlib
from pathlib import Path

WEB = Path(__file__).parent / "web"


def path(lab: str) -> Path:
    """Where the script of a lab is."""
    return WEB / f"{lab.replace('-', '_')}_data.js"


def write(lab: str, notice: str, content: dict) -> None:
    """Write a lab's script, with `notice` as its comment, and say how large it is."""
    comment = "".join(f"// {line}\n" for line in notice.splitlines())
    text = json.dumps(content, separators=(",", ":"))
    path(lab).write_text(f'{comment}labs.receive("{lab}", {text});\n')
    print(f"{path(lab).name}: {path(lab).stat().st_size / 1e3:.0f} kB")


def read(lab: str) -> dict:
    """The content of a lab's script."""
    _, _, text = path(lab).read_text().partition(f'labs.receive("{lab}", ')
    return json.loads(text.removesuffix(");\n"))


def packed(content: bytes) -> str:
    """Deflated, without a header, in base64."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return base64.b64encode(deflate.compress(content) + deflate.flush()).decode()


def unpacked(text: str) -> bytes:
    """What was `packed`."""
    return zlib.decompress(base64.b64decode(text), -15)

"""`make book`: build the site beside the one that stands, and then put it in its place."""

import hashlib
import json
import shutil
import traceback
from pathlib import Path

from resnets.files import whole_file

ROOT = Path(__file__).parents[2]
# What `make pdf`, `make epub` and `make slides` wrote: the site offers what is there.
EXTRAS = ("paper", "slides")
# Sphinx finds out by itself which pages a change concerns, but for changes of these.
CONCERN_ALL = (
    "CITATION.cff",
    "_config.yml",
    "_toc.yml",
    "book/_static",
    "book/labs/web",
    "book/publishing",
    "book/requirements.txt",
    *(f"_build/{name}" for name in EXTRAS),
)
LEFT_OUT = {"__pycache__", ".ipynb_checkpoints"}


def site(root: Path = ROOT) -> bool:
    """Build the site of the sources in `root` into `_build/html`, unless it is up to date.

    If the build fails, the site that was there stays, and the next build starts from nothing.

    Returns:
        Whether the site is up to date now.
    """
    built, work = root / "_build" / "html", root / "_build" / "work"
    note, sources = work / "sources.json", _hashes(root)
    before = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    if before == sources and (built / "index.html").exists():
        return True
    note.unlink(missing_ok=True)
    whole = any(before.get(name) != sources[name] for name in CONCERN_ALL)
    if not _jupyter_book("html", root, work, whole):
        shutil.rmtree(work, ignore_errors=True)
        return False
    new, old = built.with_name("html.new"), built.with_name("html.old")
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(work / "_build" / "html", new)
    for name in EXTRAS:
        if (root / "_build" / name).exists():
            shutil.copytree(root / "_build" / name, new / name)
    if built.exists():
        built.rename(old)
    new.rename(built)
    shutil.rmtree(old, ignore_errors=True)
    with whole_file(note) as temporary:
        temporary.write_text(json.dumps(sources), encoding="utf-8")
    return True


def with_sphinx(builder: str, work: Path, root: Path = ROOT) -> Path:
    """What another of Sphinx's builders makes of the sources in `root`: a folder in `work`.

    Raises:
        RuntimeError: Sphinx warned or failed.
    """
    if not _jupyter_book(builder, root, work, whole=False):
        raise RuntimeError(f"Sphinx's builder {builder} failed: see above")
    return work / "_build" / builder


def _jupyter_book(builder: str, root: Path, work: Path, whole: bool) -> bool:
    from jupyter_book.cli.main import main

    command = ["build", str(root), "-W", "--keep-going", "--path-output", str(work)]
    command += ["--builder", "custom", "--custom-builder", builder]  # else it tells of `work`
    try:
        main([*command, *["--all"] * whole], standalone_mode=False)
    except (Exception, SystemExit):
        traceback.print_exc(limit=0)
        return False
    return True


def _hashes(root: Path) -> dict[str, str]:
    """Of all that the site is made from, in a few groups."""
    groups = {name: hashlib.sha256() for name in (*CONCERN_ALL, "the rest")}
    files = [root / name for name in ("CITATION.cff", "_config.yml", "_toc.yml")]
    files += [*(root / "book").rglob("*"), *(root / "_build" / "assignments").glob("*.ipynb")]
    files += [path for name in EXTRAS for path in (root / "_build" / name).glob("*.*")]
    for path in sorted(files):
        name = path.relative_to(root).as_posix()
        if not path.is_file() or LEFT_OUT & set(name.split("/")):
            continue
        among = [part for part in CONCERN_ALL if f"{name}/".startswith(f"{part}/")]
        groups[among[0] if among else "the rest"].update(
            f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest()
        )
    return {name: group.hexdigest() for name, group in groups.items()}

"""Names of students and files: whose a submission is, and how a name is written and shown.

A name stays as the student or the platform wrote it. What a file system, a terminal or a
spreadsheet could take for something else changes where it is written, not what the name is.
"""

import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

NOTEBOOK = re.compile(r"\.ipynb(\.json)?$", re.IGNORECASE)
ZIP = re.compile(r"\.zip$", re.IGNORECASE)
# What systems add to the name of a copy, and platforms to that of a late one.
COPIES = re.compile(
    r"\(\d{1,3}\)|(?:^|(?<=[\s_-]))LATE(?=$|[\s_-])|(?i:"
    r"\b(?:copy of|kopie von|kopie van|copie de|copia de|cópia de|kopia)\s|\bкопия\s"
    r"|\s-\s(?:copy|kopie|copie|copia|cópia|copiar|kopia|копия|コピー)\b|のコピー|的副本)"
)
IN_FILE_NAMES = " .,@'’()_+-·"  # beside letters, marks and digits; nbgrader searches by patterns
JOINERS = "\u200c\u200d"  # within words of Persian, Hindi and others
LONGEST = 80  # characters of a name, where it names a file
FORMULA = re.compile(r"'*[=+\-@\t\r]")  # how a cell begins that a spreadsheet may execute
# Letters of other scripts that look like a Latin one.
TWINS = str.maketrans(
    "аеорсухіјѕАВЕКМНОРСТХІЈЅαοινρΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijsABEKMHOPCTXIJSaoivpABEZHIKMNOPTYX",
)


def student(path: Path | PurePosixPath, assignment: str) -> str:
    """Who handed in `path`, by its folder, or by what is left of the file's name; else "".

    In Unicode's form NFC, in which a name has one spelling.
    """
    name = path.parts[0]
    if len(path.parts) == 1 or ZIP.search(name):
        name = ZIP.sub("", NOTEBOOK.sub("", name))
        name = re.sub(re.escape(assignment), " ", name, flags=re.IGNORECASE)
        name = COPIES.sub(" ", name).strip(" ._-")
    return written(name)


def written(name: str) -> str:
    """A name in Unicode's form NFC; bytes that are not UTF-8 are shown as \\xe9.

    So no two names become one.
    """
    name = os.fsencode(name).decode(errors="backslashreplace")
    return unicodedata.normalize("NFC", name).strip()


def without_number(name: str) -> str:
    """What a further attempt is called after: "Ann" of "Ann-2" and of "Copy of Ann (1)"."""
    return re.sub(r"[-_ ]\d{1,2}$", "", COPIES.sub(" ", name).strip(" ._-"))


def file_names(students: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """How files of each student are called: as in `known`, or by what can be kept of the name.

    Where something cannot, or the names of two differ in upper and lower case alone, the file's
    name ends with a number made from the student's.
    """
    names = {name: known[name] for name in students if name in known}
    taken = {name.casefold() for name in known.values()}
    for name in sorted(set(students) - set(names)):
        kept = "".join(c if c in JOINERS or _is_kept(c) else "_" for c in name)
        kept = kept[:LONGEST].strip(" ._-")
        if kept != name or kept.casefold() in taken:
            digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
            kept = f"{kept}-{digest[:8]}".lstrip("-")
        taken.add(kept.casefold())
        names[name] = kept
    return names


def _is_kept(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN" or character in IN_FILE_NAMES


def alike(students: Iterable[str]) -> list[str]:
    """A line on all names that look the same, and on each that holds what nobody sees."""
    looks = defaultdict(list)
    for name in sorted(set(students)):
        look = unicodedata.normalize("NFKC", name).translate(TWINS).casefold()
        looks["".join(c for c in look if unicodedata.category(c) != "Cf" and c != " ")].append(name)
    shown = {name: one_line(name, joiners="") for names in looks.values() for name in names}
    return [
        f"{', '.join(map(shown.get, names))}: these names look alike; they are graded as different "
        "students"
        for names in looks.values()
        if len(names) > 1
    ] + [
        f"{escaped}: the name holds characters that cannot be seen"
        for name, escaped in shown.items()
        if escaped != name
    ]


def one_line(text: str, longest: int = 300, joiners: str = JOINERS) -> str:
    """`text` as a terminal or a report may show it: one line, bounded, nothing invisible in it."""
    shown = "".join(
        c if c.isprintable() or c in joiners else c.encode("unicode_escape").decode()
        for c in text[:longest]
    )
    return shown + (f"… ({len(text) - longest:,} more characters)" if len(text) > longest else "")


def cell(text: str) -> str:
    """`text` as a spreadsheet shows it and does not execute it: an apostrophe stands before it.

    It is as it was without one leading apostrophe, wherever `FORMULA` matches.
    """
    return f"'{text}" if FORMULA.match(text) else text


def uncell(shown: str) -> str:
    """The text that `cell` shows so."""
    return shown[1:] if shown.startswith("'") and FORMULA.match(shown) else shown

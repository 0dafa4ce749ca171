"""Which submissions' code is nearly the same: a place to look, and no verdict.

Names, comments, spaces and numbers of lines do not count, nor what the assignment gives or much of
the class has written alike.
"""

import builtins
import difflib
import keyword
import re
from collections import Counter
from collections.abc import Mapping

import numpy as np

ALIKE = 0.9  # of the tokens, by `difflib.SequenceMatcher.ratio`
SHORTEST, LONGEST = 40, 2_000  # tokens: with fewer, honest answers are alike
GRAM = 4  # tokens in a row
TOKEN = re.compile(r"[^\W\d]\w*|\d[\w.]*|[^\w\s]+")
COMMENT = re.compile(r"#[^'\"]*$")
KNOWN = {*keyword.kwlist, *dir(builtins)}


def pairs(code: Mapping[str, str], given: str) -> list[tuple[float, str, str]]:
    """How much of their tokens is the same, and two names: pairs above `ALIKE`, the highest first.

    Args:
        code: what each student wrote, by name.
        given: what the assignment gives.
    """
    names = {*KNOWN, *TOKEN.findall(given)}
    known = {line.strip() for line in given.splitlines()}
    lines = {
        student: [
            tokens
            for line in text.splitlines()
            if line.strip() not in known and (tokens := _tokens(line, names))
        ]
        for student, text in code.items()
    }
    written_by = Counter(line for own in lines.values() for line in set(own))
    many = max(3, len(code) / 4)
    texts = {
        student: [token for line in own if written_by[line] <= many for token in line][:LONGEST]
        for student, own in lines.items()
    }
    students = [student for student, tokens in texts.items() if len(tokens) >= SHORTEST]
    found = []
    for one, other in _candidates([texts[student] for student in students]):
        matcher = difflib.SequenceMatcher(
            None, texts[students[one]], texts[students[other]], autojunk=False
        )
        if matcher.quick_ratio() >= ALIKE and (ratio := matcher.ratio()) >= ALIKE:
            found.append((ratio, students[one], students[other]))
    return sorted(found, key=lambda pair: (-pair[0], *pair[1:]))


def _tokens(line: str, names: set[str]) -> tuple[str, ...]:
    """The line's tokens, in which a name of the student's own is any name."""
    tokens = TOKEN.findall(COMMENT.sub("", line))
    return tuple(
        token if token in names or not token.isidentifier() else "name" for token in tokens
    )


def _candidates(texts: list[list[str]]) -> list[tuple[int, int]]:
    """Pairs of texts that may be alike, by the grams they share.

    A token that two texts do not share is in at most `GRAM` grams, so that of texts whose tokens
    are alike to 1 - d, the grams are to 1 - `GRAM` d.
    """
    grams = [Counter(zip(*(text[n:] for n in range(GRAM)), strict=False)) for text in texts]
    in_texts = Counter(gram for counts in grams for gram in counts)
    column = {gram: n for n, gram in enumerate(g for g, count in in_texts.items() if count > 1)}
    counts = np.zeros((len(texts), len(column)), dtype=np.uint16)
    for row, own in enumerate(grams):
        for gram, count in own.items():
            if gram in column:
                counts[row, column[gram]] = count
    sizes = np.array([own.total() for own in grams])
    found = []
    for row in range(len(texts)):
        shared = np.minimum(counts[row], counts[row + 1 :]).sum(axis=1, dtype=np.int64)
        alike = 2 * shared >= (1 - GRAM * (1 - ALIKE)) * (sizes[row] + sizes[row + 1 :])
        found += [(row, row + 1 + int(n)) for n in np.flatnonzero(alike)]
    return found

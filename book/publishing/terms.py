"""Terms of the glossary, each linked at its first use in a chapter, with a definition on hover."""

import re
from collections.abc import Iterator

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

GLOSSARY = "book/reference/glossary"
ELSEWHERE = (nodes.title, nodes.literal, nodes.reference, nodes.math, nodes.literal_block)


def link_terms(app: Sphinx, doctree: nodes.document, name: str) -> None:
    """Link the terms in a chapter before its quiz; of an entry with several, the first one used."""
    entries = definitions(app.env.get_doctree(GLOSSARY))
    left = {term: label for label, (terms, _) in entries.items() for term in terms}
    address = app.builder.get_relative_uri(name, GLOSSARY)
    for text in list(lesson_texts(doctree)):
        parts, rest = [], text.astext()
        while found := pattern(left).search(rest):
            label = left[known(found.group(1), left)]
            left = {term: other for term, other in left.items() if other != label}
            parts += [nodes.Text(rest[: found.start()]), *link(found.group(), address, label)]
            parts += [part.deepcopy() for part in entries[label][1]] + [raw("</span>")]
            rest = rest[found.end() :]
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(rest)])


def definitions(glossary: nodes.document) -> dict[str, tuple[list[str], list[nodes.Node]]]:
    """By the label of each entry: its terms, and the words of its definition."""
    entries = {}
    for item in glossary.findall(nodes.definition_list_item):
        terms = [node for node in item.children if isinstance(node, nodes.term)]
        entries[terms[0]["ids"][0]] = [node.astext() for node in terms], words(item[-1][0])
    return entries


def words(paragraph: nodes.paragraph) -> list[nodes.Node]:
    """The definition, without the Chinese name before it and the link after it."""
    kept, foreign = [], False
    for node in paragraph.children:
        if isinstance(node, nodes.raw):
            foreign = node.astext().startswith("<span")
        elif not foreign and not isinstance(node, pending_xref | nodes.reference):
            kept.append(node)
    return [nodes.Text(kept[0].astext().lstrip(". ")), *kept[1:]]


def lesson_texts(doctree: nodes.document) -> Iterator[nodes.Text]:
    """The running text of a chapter before its quiz."""
    for paragraph in doctree.findall(nodes.paragraph):
        section = paragraph.parent
        while section is not None and not isinstance(section, nodes.section):
            section = section.parent
        if section is not None and section[0].astext() == "Quiz":
            return
        for text in paragraph.findall(nodes.Text):
            node = text.parent
            while node is not paragraph and not isinstance(node, ELSEWHERE):
                node = node.parent
            if node is paragraph:
                yield text


def pattern(terms: dict[str, str]) -> re.Pattern:
    """What finds the first of these terms, the longer before the shorter; plurals count."""
    choices = "|".join(map(re.escape, sorted(terms, key=len, reverse=True))) or "(?!)"
    return re.compile(rf"(?<![\w-])({choices})(?:e?s)?(?![\w-])", re.IGNORECASE)


def known(found: str, terms: dict[str, str]) -> str:
    """The term as the glossary spells it."""
    return next(term for term in terms if term.lower() == found.lower())


def link(text: str, address: str, label: str) -> list[nodes.Node]:
    """A link to the glossary and the beginning of its tooltip, which the definition follows."""
    tip = f"tip-{label}"
    return [
        raw(f'<a class="term" href="{address}#{label}" aria-describedby="{tip}">'),
        nodes.Text(text),
        raw(f'</a><span class="tip" role="tooltip" id="{tip}">'),
    ]


def raw(html: str) -> nodes.raw:
    return nodes.raw("", html, format="html")

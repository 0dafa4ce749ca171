"""A Sphinx extension: tables of what was run, downloads of lone notebooks, and a strict look."""

import ast
import re
from pathlib import Path
from urllib.parse import quote, urlsplit

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from publishing import (
    citation,
    claims_page,
    folding,
    labs,
    labs_page,
    notebooks,
    paper,
    placeholders,
    progress,
    terms,
)
from resnets import claims, runs

EXECUTED = "<!-- executed notebooks -->"
RECORDED = "<!-- recorded runs -->"
ALL_RECORDED = "<!-- all recorded runs -->"
CLAIMS = "<!-- claims -->"
LABS = "<!-- labs -->"
PROGRESS = "<!-- progress -->"
STANDALONE = "<!-- standalone files -->"
DOWNLOADS = "standalone"
EXPERIMENTS = Path(runs.__file__).with_name("experiments")


def setup(app: Sphinx) -> dict:
    """Called by Sphinx before it reads the first page."""
    app.connect("builder-inited", check_chapters)
    app.connect("env-before-read-docs", import_library)
    app.connect("source-read", fill_in_tables)
    app.connect("source-read", fold_code)
    app.connect("doctree-read", check_page)
    app.connect("doctree-resolved", explain_terms)
    app.connect("html-page-context", add_download, priority=600)  # the theme's buttons stand
    app.connect("html-page-context", correct_roles)
    app.connect("html-page-context", mark_colored_code_alone)
    app.connect("html-page-context", add_claims_script)
    app.connect("html-page-context", add_code_switch, priority=600)
    app.connect("html-page-context", add_marks)
    app.connect("html-page-context", add_citation)
    app.connect("html-page-context", add_labs)
    app.connect("build-finished", write_downloads)
    paper.setup(app)
    app.config.notfound_urls_prefix = "/"
    address = notebooks.address(Path(app.confdir) / "_config.yml")
    if address:
        point_to(app, address)
    else:  # the theme fails on buttons that lead nowhere
        app.config.html_theme_options.pop("launch_buttons")
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def point_to(app: Sphinx, address: str) -> None:
    """Give the site what needs its address: buttons, a sitemap and Open Graph cards."""
    app.connect("html-page-context", add_kaggle, priority=600)  # the theme's buttons stand
    app.connect("html-page-context", add_help, priority=600)
    app.setup_extension("sphinx_sitemap")
    app.setup_extension("sphinxext.opengraph")
    config = app.config
    config.html_baseurl = config.html_baseurl or pages_address(address)
    config.ogp_site_url = config.html_baseurl
    config.ogp_site_name = config.project
    config.sitemap_url_scheme = "{link}"
    config.sitemap_excludes = ["404.html", "genindex.html", "py-modindex.html", "search.html"]
    config.notfound_urls_prefix = urlsplit(config.html_baseurl).path


def pages_address(address: str) -> str:
    """Where GitHub Pages shows the site of a repository."""
    _, owner, name = urlsplit(address).path.split("/")
    return f"https://{owner}.github.io/{name}/"


def check_chapters(app: Sphinx) -> None:
    """Raise `ExtensionError` unless each chapter holds the outputs of a real execution."""
    for path in notebooks.chapters(Path(app.srcdir) / "book"):
        notebook = nbformat.read(path, as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        executed = notebook.metadata.get("executed", {})
        if not any(cell.outputs for cell in code):
            wrong = "has no outputs"
        elif executed.get("seconds", 0) < 1:
            wrong = f"was executed in {executed.get('seconds', 0):.3f} s, which no chapter is"
        elif executed["code"] != notebooks.code_hash(notebook):
            wrong = "was changed after it was executed"
        else:
            continue
        raise ExtensionError(f"{path.name} {wrong}: run `make execute`")


def import_library(app: Sphinx, env, names: list[str]) -> None:
    """Let autodoc find the library imported, before any page is read."""
    if names:
        placeholders.import_library()


def check_page(app: Sphinx, doctree: nodes.document) -> None:
    """Raise `ExtensionError` where a page has nothing but a title."""
    content = [
        node
        for node in doctree.findall(nodes.Element)
        if isinstance(node, nodes.paragraph | nodes.table | nodes.bullet_list | nodes.literal_block)
        or node.tagname in ("bibliography", "desc", "glossary", "container")
    ]
    if not content:
        raise ExtensionError(f"the page {app.env.docname} is empty")


def fill_in_tables(app: Sphinx, name: str, source: list[str]) -> None:
    """Put the tables where a page has their marks."""
    book = Path(app.srcdir) / "book"
    chapters = notebooks.chapters(book)
    tables = {
        CLAIMS: (claims_page.table, [*chapters, claims.TABLE]),
        LABS: (labs_page.index, [*chapters, *sorted(labs_page.PICTURES.glob("*.html"))]),
        PROGRESS: (progress.table, chapters),
        EXECUTED: (executed_table, chapters),
        STANDALONE: (standalone_list, chapters),
        RECORDED: (recorded_sections, sorted(runs.RECORDED.glob("*.json"))),
        ALL_RECORDED: (recorded_table, sorted(runs.RECORDED.glob("*.json"))),
    }
    for mark, (table, files) in tables.items():
        if mark in source[0]:
            source[0] = source[0].replace(mark, table(files))
            for file in files:
                app.env.note_dependency(str(file))


def is_chapter(app: Sphinx, name: str) -> bool:
    """Whether the page of this name is a chapter's."""
    path = Path(app.srcdir) / f"{name}.ipynb"
    return path in notebooks.chapters(Path(app.srcdir) / "book")


def fold_code(app: Sphinx, name: str, source: list[str]) -> None:
    """Close the code of a chapter that is not the lesson."""
    if is_chapter(app, name):
        source[0] = folding.folded(source[0])
        app.env.note_dependency(str(Path(app.srcdir) / f"{terms.GLOSSARY}.md"))


def standalone_list(chapters: list[Path]) -> str:
    """A Markdown list of the standalone files, for a page in `book/`."""
    return "\n".join(
        f'- <a href="../{DOWNLOADS}/{path.name}" download>{_title(path)}</a>' for path in chapters
    )


def executed_table(chapters: list[Path]) -> str:
    """A Markdown table of when, where, with what and in what time each chapter was executed."""
    rows = ["| chapter | executed | time | on | with |", "|---|---|---|---|---|"]
    for path in chapters:
        done = nbformat.read(path, as_version=4).metadata.executed
        packages = ", ".join(f"{name} {version}" for name, version in done.packages.items())
        rows.append(
            f"| [{_title(path)}]({path.name}) | {done.date}, {done.scale!r} | {done.seconds:.0f} s "
            f"| {done.hardware} | Python {done.python}, {packages} |"
        )
    return "\n".join(rows)


def recorded_groups(files: list[Path]) -> dict[str, dict[tuple[str, str], list[runs.Run]]]:
    """The runs in these files by experiment, and then by scale and data."""
    groups: dict[str, dict[tuple[str, str], list[runs.Run]]] = {}
    for path in files:
        run = runs.read(path)
        groups.setdefault(run.name, {}).setdefault((run.scale, run.data), []).append(run)
    return groups


def recorded_table(files: list[Path]) -> str:
    """A Markdown table with a row for each experiment, scale and data: where, when, how long."""
    header = ("experiment", "scale", "seeds", "minutes each", "on", "torch", "date", "commit")
    rows = [[*header, "changed since"], ["---"] * (len(header) + 1)]
    for name, scales in recorded_groups(files).items():
        for (scale, source), group in scales.items():
            changed = changed_modules(group)
            minutes = sum(run.seconds for run in group) / len(group) / 60
            row = [
                f"[{name}](#{name})",
                scale + (", stand-in" if "stand-in" in source else ""),
                str(len(group)),
                f"{minutes:.1f}",
                _each(run.device for run in group),
                _each(run.torch.partition("+")[0] for run in group),
                _each(run.date[:10] for run in group),
                _each(f"`{run.commit}`" for run in group),
                "not known here" if changed is None else "yes" if changed else "no",
            ]
            rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def changed_modules(group: list[runs.Run]) -> list[str] | None:
    """Which modules were changed since one of the runs was recorded; None if that is not known."""
    changed = [runs.changed_since(run) for run in group]
    return None if None in changed else sorted({name for names in changed for name in names})


def recorded_sections(files: list[Path]) -> str:
    """A Markdown section for each experiment, with a table for each scale that was recorded."""
    parts = []
    for name, scales in recorded_groups(files).items():
        source = (EXPERIMENTS / f"{name}.py").read_text(encoding="utf-8")
        about = ast.get_docstring(ast.parse(source)).partition("\n\n")[0].replace("\n", " ")
        parts.append(f"## {name}\n\n{about}")
        for (scale, _), group in scales.items():
            table = runs.summary(group)
            who, how = runs.conditions(group).splitlines()
            table = table.reset_index()
            header = [str(column).replace("_", " ") for column in table.columns]
            rows = [header, ["---"] * len(header), *table.astype(str).to_numpy().tolist()]
            lines = "\n".join("| " + " | ".join(row) + " |" for row in rows)
            changed = changed_modules(group)
            since = f" Code changed since: {', '.join(changed)}." if changed else ""
            parts.append(f"**Scale `{scale}`**: {who}; {how}.{since}\n\n{lines}")
    return "\n\n".join(parts)


def _each(words) -> str:
    return ", ".join(dict.fromkeys(words))


def add_download(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    """Offer the book as PDF and EPUB, a chapter alone and as slides, in the menu of downloads."""
    offered = []
    built = Path(app.confdir) / "_build"
    if is_chapter(app, name):
        stem = Path(name).name
        offered.append(
            (f"{DOWNLOADS}/{stem}.ipynb", ".ipynb, standalone", "with the course library", "box")
        )
        if (built / "slides" / f"{stem}.html").exists():
            offered.append(
                (f"slides/{stem}.html", "slides", "of this chapter", "person-chalkboard")
            )
    for path in sorted((built / "paper").glob(f"{paper.NAME}.*")):
        offered.append((f"paper/{path.name}", path.suffix, "of the whole course", "book"))
    for group in context["header_buttons"]:
        if group.get("label") == "download-buttons":
            group["buttons"][1:1] = [
                {
                    "type": "link",
                    "url": context["pathto"](path, 1),
                    "text": text,
                    "tooltip": f"{text} {what}",
                    "icon": f"fas fa-{icon}",
                    "label": f"download-{Path(path).parent}-{Path(path).suffix[1:]}-button",
                }
                for path, text, what, icon in offered
            ]


def correct_roles(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    """Take out the ARIA roles of a bibliography: docutils' are deprecated, and nested wrongly."""
    body = context.get("body", "").replace(' role="doc-biblioentry"', "")
    context["body"] = body.replace('<div role="list" class="citation-list">', "<div>")


def mark_colored_code_alone(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    """Take the marks off code that has the color of text: a seventh of a chapter's size."""
    body = context.get("body", "")
    context["body"] = re.sub(r'<span class="[npw]">([^<]*)</span>', r"\1", body)


def add_claims_script(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    """Filter and sort the table of claims, on its own page alone."""
    if name == claims_page.PAGE:
        app.add_js_file("claims.js", loading_method="defer")


def explain_terms(app: Sphinx, doctree: nodes.document, name: str) -> None:
    """Link a chapter's first use of each term to the glossary, if the site has one."""
    if is_chapter(app, name) and terms.GLOSSARY in app.env.found_docs:
        terms.link_terms(app, doctree, name)


def add_code_switch(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    """Offer to open all closed code of a chapter, whose lines need no other label."""
    if not is_chapter(app, name):
        return
    label = '<summary aria-label="Toggle hidden content">'
    context["body"] = context["body"].replace(label, "<summary>")
    context["header_buttons"].insert(
        0,
        {
            "type": "javascript",
            "javascript": "switchCode()",
            "tooltip": "Open or close all code",
            "icon": "fas fa-code",
            "label": "code-switch",
        },
    )
    app.add_js_file("folding.js", loading_method="defer")
    app.add_js_file("terms.js", loading_method="defer")


def add_marks(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    """Let a chapter's quiz answer, and the reader mark what was read and passed."""
    if is_chapter(app, name):
        context["body"] = progress.with_marks(context["body"])
        app.add_js_file("quiz.js", loading_method="defer")


def add_citation(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    """Say how to cite a chapter."""
    if is_chapter(app, name) and app.builder.name not in paper.BUILDERS:
        base = app.config.html_baseurl
        page = f"{base}{name}.html" if base else ""
        context["body"] = citation.with_citation(context["body"], name, Path(app.srcdir), page)


def add_kaggle(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    """Offer to open a chapter in Kaggle, which the theme does not know."""
    options = app.config.html_theme_options
    file = f"{options['repository_url']}/blob/{options['repository_branch']}/{name}.ipynb"
    for group in context["header_buttons"]:
        if group.get("label") == "launch-buttons":
            group["buttons"].append(
                {
                    "type": "link",
                    "url": f"https://kaggle.com/kernels/welcome?src={file}",
                    "text": "Kaggle",
                    "tooltip": "Launch on Kaggle",
                    "icon": "fas fa-k",
                    "label": "launch-kaggle-button",
                }
            )


def add_help(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    """Offer the reader of each page to ask, and to tell of an error, in the repository's forms."""
    where = quote(re.sub("<.*?>", "", context.get("title", "")))
    new = f"{app.config.html_theme_options['repository_url']}/issues/new?where={where}&template="
    forms = (("Ask a question", "question", "circle-question"), ("Report an error", "error", "bug"))
    buttons = [
        {
            "type": "link",
            "url": f"{new}{form}.yml",
            "text": text,
            "tooltip": text,
            "icon": f"fas fa-{icon}",
            "label": f"help-{form}-button",
        }
        for text, form, icon in forms
    ]
    context["header_buttons"].append(
        {
            "type": "group",
            "tooltip": "Questions and errors",
            "icon": "fas fa-circle-question",
            "buttons": buttons,
            "label": "help-buttons",
        }
    )


def add_labs(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    """Bring the labs of a page to life; a page without one gets nothing."""
    body = context.get("body") or ""
    files = labs.files(body)
    if files:
        context["body"] = labs.with_anchors(body)
    for file in files:
        if file.endswith(".css"):
            app.add_css_file(file)
        else:
            app.add_js_file(file, loading_method="defer")


def write_downloads(app: Sphinx, exception: Exception | None) -> None:
    """Write the standalone versions beside the pages."""
    if exception is None and app.builder.format == "html":
        notebooks.write_standalone(Path(app.outdir) / DOWNLOADS)


def _title(path: Path) -> str:
    first = nbformat.read(path, as_version=4).cells[0]
    return first.source.splitlines()[0].removeprefix("# ")

"""The teacher's page, `index.html`: points by task, common mistakes, feedback, similar submissions.

It is made from the gradebook and from what nbgrader keeps of each submission. It runs no script and
loads nothing; whatever a student has written stands in it as text.
"""

import html
import itertools
import json
import re
import statistics
from collections import defaultdict
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from grading import similar
from grading.course import POLICY, Course
from grading.names import one_line

MISTAKES, PAIRS = 15, 30  # rows of a table
NUMBERS = ' class="number"'
NUMBER = re.compile(r"(?<![\w.])-?\d+([.,]\d+)*(e[+-]?\d+)?")
STYLE = """
:root { color-scheme: light dark; --line: #c9ced6; --soft: #f0f2f5; --bar: #2f6fab; --link: #0b57a4;
  --text: #1b1f24; --back: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --line: #454c56; --soft: #22272e; --bar: #6cb0f0;
  --link: #8cc4ff; --text: #e6e9ed; --back: #14181d; } }
body { max-width: 70rem; margin: 0 auto; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif;
  color: var(--text); background: var(--back); }
a { color: var(--link); }
div.table { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; }
caption { text-align: left; font-weight: 600; padding: 0.25rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: 0.2rem 0.7rem; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
th { background: var(--soft); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
td.bar { min-width: 12rem; }
td.bar span { display: block; height: 1em; margin-top: 0.25em; background: var(--bar);
  print-color-adjust: exact; }
"""


def write(course: Course) -> None:
    """Write the page of all that the gradebook holds."""
    grades, ids = course.grades(), course.ids()
    body = []
    for name, rows in grades.groupby("assignment"):
        body += _assignment(course, name, rows.dropna(axis="columns", how="all"), ids)
    title = "Grades"
    course.write_text(
        "index.html",
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n{POLICY}\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{title}</h1>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n",
    )


def _assignment(course: Course, name: str, rows: pd.DataFrame, ids: dict[str, str]) -> list[str]:
    tasks = [column for column in rows.columns if column.startswith("task ")]
    said, code = defaultdict(lambda: defaultdict(set)), {}
    for student in rows["student"]:
        for task, message in mistakes(course.kept("autograded", ids[student], name)):
            said[task, NUMBER.sub("#", message)][message].add(student)
        code[student] = own_code(course.kept("submitted", ids[student], name))
    of = rows["of"].max()
    points = list(rows["points"])
    mean, median = statistics.mean(points), statistics.median(points)

    def link(student: str) -> str:
        page = course.page(ids[student], name)
        shown = f"<bdi>{_text(student)}</bdi>"
        if not page.exists():
            return shown
        return f'<a href="{quote(str(page.relative_to(course.folder)))}">{shown}</a>'

    lines = [f"<h2>{_text(name)}</h2>"]
    lines.append(
        f"<p>{len(rows):,} submissions; mean {mean:.1f} and median {median:g} of {of:g} points.</p>"
    )
    lines += _distribution(points, of)
    lines += _tasks(rows, tasks, course.points(name))
    common = sorted(said.items(), key=lambda item: (-len(set().union(*item[1].values())), item[0]))
    lines += _mistakes(common, link)
    lines += _students(rows, tasks, link)
    lines += _similar(similar.pairs(code, course.given(name)), link)
    return lines


def _distribution(points: list[float], of: float) -> list[str]:
    edges = sorted({round(of * tenth / 10, 1) for tenth in range(11)})
    bins = list(itertools.pairwise(edges))
    counts = [sum(low <= p < high or p == high == edges[-1] for p in points) for low, high in bins]
    rows = [
        [
            _cell(f"{low:g} to {high:g}" if high == edges[-1] else f"{low:g} to below {high:g}"),
            _number(count),
            _bar(count / max(counts)),
        ]
        for (low, high), count in zip(bins, counts, strict=True)
    ]
    return _table("How many have how many points", ["points", "*students", "compared"], rows)


def _tasks(rows: pd.DataFrame, tasks: list[str], points: dict[str, float]) -> list[str]:
    table = []
    for task in tasks:
        got, of = rows[task], points[task]
        all_of_it, none = (got >= of).sum(), (got == 0).sum()
        some = len(got) - all_of_it - none
        numbers = [f"{of:g}", f"{got.mean():.1f}", all_of_it, some, none]
        table.append([_cell(task), *map(_number, numbers), _bar(got.mean() / of)])
    columns = ["task", "*points", "*mean", "*all points", "*some", "*none", "mean of all points"]
    return _table("Points by task", columns, table)


def _mistakes(common: list, link) -> list[str]:
    rows = []
    for (task, _), messages in common[:MISTAKES]:
        who = sorted(set().union(*messages.values()))
        shown = max(sorted(messages), key=lambda message: len(messages[message]))
        names = ", ".join(map(link, who))
        more = f"<details><summary>who</summary>{names}</details>"
        rows.append([_number(len(who)), _cell(f"task {task}"), f"<td>{_text(shown)} {more}</td>"])
    left = len(common) - len(rows)
    caption = "What the tests said most often" + (f" ({left:,} more not shown)" if left else "")
    return _table(caption, ["*students", "task", "message"], rows) if rows else []


def _students(rows: pd.DataFrame, tasks: list[str], link) -> list[str]:
    table = [
        [f"<td>{link(row['student'])}</td>", *(_number(f"{row[c]:g}") for c in [*tasks, "points"])]
        for _, row in rows.iterrows()
    ]
    columns = ["student", *(f"*{task}" for task in tasks), "*points"]
    return _table("Students, with links to their feedback", columns, table)


def _similar(pairs: list[tuple[float, str, str]], link) -> list[str]:
    if not pairs:
        return []
    rows = [
        [f"<td>{link(one)}</td>", f"<td>{link(other)}</td>", _number(f"{ratio:.0%}")]
        for ratio, one, other in pairs[:PAIRS]
    ]
    left = len(pairs) - len(rows)
    lines = _table(
        "Similar code" + (f" ({left:,} more pairs not shown)" if left else ""),
        ["student", "student", "*the same tokens"],
        rows,
    )
    return [
        "<p>The code of these pairs is nearly the same when names and comments do not count. This "
        "is a place to look and proves nothing: a short task has few good answers, and students "
        "learn from one another.</p>",
        *lines,
    ]


def mistakes(path: Path) -> list[tuple[str, str]]:
    """Of a graded notebook: tasks, and what their tests said, in one line."""
    found = []
    for cell in _cells(path):
        nbgrader = cell["metadata"].get("nbgrader", {})
        if nbgrader.get("grade"):
            task = ".".join(nbgrader["grade_id"].split("-")[1:3])
            outputs = [one for one in cell["outputs"] if one["output_type"] == "error"]
            found += [(task, one_line(output["evalue"])) for output in outputs]
    return list(dict.fromkeys(found))


def own_code(path: Path) -> str:
    """Of a notebook that was assembled: the code in the student's own cells."""
    return "\n".join(
        "".join(cell["source"])
        for cell in _cells(path)
        if cell["cell_type"] == "code" and not cell["metadata"].get("nbgrader", {}).get("locked")
    )


def _cells(path: Path) -> list[dict]:
    if not path.exists():  # a folder of results of which only the gradebook was kept
        return []
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def _table(caption: str, columns: list[str], rows: list[list[str]]) -> list[str]:
    """A table; a column of numbers is named with a star."""
    heads = "".join(
        f'<th scope="col"{NUMBERS * c.startswith("*")}>{_text(c.lstrip("*"))}</th>' for c in columns
    )
    return [
        f'<div class="table" role="region" aria-label="{_text(caption)}" tabindex="0">',
        f"<table>\n<caption>{_text(caption)}</caption>",
        f"<thead><tr>{heads}</tr></thead>\n<tbody>",
        *(f"<tr>{''.join(row)}</tr>" for row in rows),
        "</tbody>\n</table>\n</div>",
    ]


def _text(text: str) -> str:
    return html.escape(one_line(text))


def _cell(text: str) -> str:
    return f"<td>{_text(text)}</td>"


def _number(text) -> str:
    return f'<td class="number">{text}</td>'


def _bar(share: float) -> str:
    bar = f'<span role="img" aria-label="{share:.0%}" style="width: {share:.1%}"></span>'
    return f'<td class="bar">{bar}</td>'

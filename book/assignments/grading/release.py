"""From an assignment's source to what students get, and from what they hand in to a notebook.

The source holds solutions and hidden tests. nbgrader takes both out.
"""

import copy

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from grading.submissions import TASK, TEST, Cell
from publishing.notebooks import LIBRARY_TITLE, library_cell


def student_version(released: NotebookNode) -> NotebookNode:
    """nbgrader's release with the library in front, ready for Colab or any Jupyter."""
    notebook = copy.deepcopy(released)
    notebook.cells.insert(0, library_cell(whole=False))
    notebook.metadata.pop("celltoolbar", None)
    nbformat.validate(notebook)
    return notebook


def assemble(
    cells: tuple[Cell, ...], source: NotebookNode, released: NotebookNode
) -> tuple[NotebookNode, list[str]]:
    """The notebook to grade: the student's cells, with the source's own setup and tests.

    The tests of a task stand behind the last cell that begins with its `# Task` line; where there
    is none, its empty cell is put back at the end, or, if the line stands elsewhere, a cell that
    says so, and the tests judge what the other cells define. Also returned: a line on everything
    that was odd.
    """
    tasks = {_number(cell, TASK): cell for cell in released.cells if _number(cell, TASK)}
    tests = {number: [c for c in source.cells if _number(c, TEST) == number] for number in tasks}
    markers = [cell.marker(TASK) for cell in cells]
    notes = [
        f"task {number} stands in {markers.count(number)} cells: all were run, in order"
        for number in tasks
        if markers.count(number) > 1
    ]
    own = [cell for cell in cells if not cell.source.startswith(LIBRARY_TITLE)]
    assembled = [copy.deepcopy(setup(source))]
    for position, cell in enumerate(cells):
        marker = markers[position]
        if cell.marker(TEST) or cell.source.startswith(LIBRARY_TITLE):
            continue
        if cell.source == assembled[0].source:  # the setup, which may have been added to, runs once
            continue
        if marker not in tasks or marker in markers[position + 1 :]:
            assembled.append(_plain(cell, released))
            continue
        assembled.append(_with_source(tasks[marker], cell.source))
        assembled += copy.deepcopy(tests[marker])
    for number, cell in tasks.items():
        if number not in markers:
            if kinds := [one.kind for one in own if one.mentions(number)]:
                where = "in the middle of a cell" if "code" in kinds else "in a text cell"
                said = f"its line stands {where}: begin a code cell with '# Task {number}'"
                cell = _with_source(cell, f"# Task {number}\n# Out of place: {said}.")
                notes.append(f"task {number} is out of place: {said}")
            else:
                notes.append(f"task {number} is missing: no cell begins with '# Task {number}'")
            assembled += [copy.deepcopy(cell), *copy.deepcopy(tests[number])]
    notebook = copy.deepcopy(source)
    notebook.cells = assembled
    for position, cell in enumerate(notebook.cells):
        cell.id = f"cell-{position}"
    return notebook, notes


def _plain(cell: Cell, released: NotebookNode) -> NotebookNode:
    if cell.kind == "code":
        return new_code_cell(cell.source)
    if any(cell.source == own.source for own in released.cells):
        return new_markdown_cell(cell.source)
    # A student's own text is shown as typed: its links and HTML are not to come alive in feedback.
    return new_markdown_cell("\n".join(f"    {line}" for line in cell.source.splitlines()))


def setup(source: NotebookNode) -> NotebookNode:
    """The source's setup cell."""
    return next(cell for cell in source.cells if cell.source.startswith("# Setup"))


def _number(cell: NotebookNode, pattern) -> str | None:
    return Cell(cell.cell_type, cell.source).marker(pattern)


def _with_source(cell: NotebookNode, source: str) -> NotebookNode:
    cell = copy.deepcopy(cell)
    cell.source = source
    return cell

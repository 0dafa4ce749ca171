"""Room for what a reader does: the score and the marks of a chapter, and the title page's table.

`quiz.js` and `progress.js` fill it in. It is there before they start, so that nothing moves.
"""

import re
from pathlib import Path

import nbformat

QUIZ = re.compile(r'(<section id="quiz">\n<h2>.*?</h2>)')
EXERCISE = re.compile(r"(<h3>Exercise (\d\.\d+)\. .*?</h3>)")
SCORE = """
<div class="kept"><span role="status">0 of {count} right at the first try</span>
<button type="button">Forget my answers</button></div>"""
BOX = '\n<label class="kept"><input type="checkbox" name="{name}"> {text}</label>'
TABLE = """\
<div id="progress" hidden>

**Your progress**, which this browser alone remembers:

| chapter | read | questions answered | checks passed |
|---|---|---|---|
{rows}

<button type="button">Forget all of it</button>

</div>
<script src="../_static/progress.js"></script>
"""


def with_marks(body: str) -> str:
    """The page of a chapter, with a score for its quiz and boxes that the reader ticks."""
    chapter = re.search(r"<h1>(\d)\. ", body)[1]
    score = SCORE.format(count=body.count("<p><strong>Quiz "))
    passed = BOX.format(name=r"passed \2", text=r"My answer to \2 passed its check")
    body = QUIZ.sub(rf"\1{score}", body)
    body = EXERCISE.sub(rf"\1{passed}", body)
    return body + BOX.format(name=f"read {chapter}", text="I have read this chapter")


def table(chapters: list[Path]) -> str:
    """Markdown of the title page: for each chapter, how many questions and exercises it has."""
    rows = []
    for path in chapters:
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells]
        title = cells[0].splitlines()[0].removeprefix("# ")
        questions = sum(source.startswith("**Quiz ") for source in cells)
        exercises = sum(source.startswith("### Exercise ") for source in cells)
        rows.append(f"| [{title}]({path.name}) | | {questions} | {exercises} |")
    return TABLE.format(rows="\n".join(rows))

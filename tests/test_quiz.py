"""Quizzes that answer, and the title page's table of progress, in a real browser."""

import re

import pytest
import test_browser
from axe_playwright_python.sync_playwright import Axe
from conftest import CHAPTERS
from test_browser import DESK, PHONE, WCAG, Seen

browser, pytestmark = test_browser.browser, test_browser.pytestmark

CHAPTER = "02_residual_blocks"
# How often something moved since `released`, but for the theme's buttons in its header. What is
# no longer on the page has no node.
SHIFTS = """new Promise((done) => {
  const ours = ({ node }) => !node || document.querySelector("article").contains(node);
  const late = (entry) => entry.startTime > released && entry.sources.some(ours);
  let count = 0;
  new PerformanceObserver((list) => (count += list.getEntries().filter(late).length))
    .observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(count), 500);
})"""
# That counts no element which is put elsewhere, as the questions are.
HEIGHT = "document.querySelector('#quiz')?.offsetHeight"


@pytest.fixture
def seen(browser):
    seen = Seen(browser, "light", PHONE)
    yield seen
    assert seen.errors == []
    seen.tab.context.close()


@pytest.fixture
def chapter(site):
    return (site / "book" / f"{CHAPTER}.html").as_uri()


def choices(question, verdict):
    """The buttons of a question that are right, or wrong."""
    return question.locator(".choice", has_text=re.compile(rf"\s{verdict}\. ")).locator("button")


def score(tab):
    return tab.locator("#quiz [role=status]").inner_text()


@pytest.mark.parametrize("key", ["Enter", "Space", None])
def test_the_first_choice_counts_and_is_remembered_until_it_is_forgotten(seen, chapter, key):
    tab = seen.open(chapter)
    questions = tab.get_by_role("group", name=re.compile(r"^Quiz 2\.\d\."))
    press = (lambda button: button.press(key)) if key else (lambda button: button.click())
    assert questions.count() == 4 and score(tab) == "0 of 4 right at the first try"
    assert tab.locator("#quiz details").count() == 0
    assert not re.search(r"(Right|Wrong)\. ", questions.first.inner_text())

    press(choices(questions.first, "Right"))
    said = questions.first.locator("[aria-live=polite]", has=tab.locator("div:visible"))
    assert said.inner_text().startswith("Right. Overfitting")
    assert score(tab) == "1 of 4 right at the first try"
    press(choices(questions.first, "Wrong").first)
    press(choices(questions.nth(1), "Wrong").first)
    press(choices(questions.nth(1), "Right"))
    assert "Wrong. " in questions.nth(1).inner_text() and "Right. " in questions.nth(1).inner_text()
    assert score(tab) == "1 of 4 right at the first try"

    tab = seen.open(chapter)
    assert score(tab) == "1 of 4 right at the first try"
    assert questions.first.locator("[data-verdict]").get_attribute("data-verdict") == "right"
    assert questions.nth(1).locator("[data-verdict]").get_attribute("data-verdict") == "wrong"

    press(tab.get_by_role("button", name="Forget my answers"))
    assert tab.locator("[data-verdict]").count() == 0
    tab = seen.open(chapter)
    assert score(tab) == "0 of 4 right at the first try"
    assert tab.locator("[data-verdict]").count() == 0


def test_choices_are_reached_one_by_one_with_the_keyboard(seen, chapter):
    tab = seen.open(chapter)
    tab.get_by_role("button", name="Forget my answers").focus()
    for letter in "ABCD":
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.textContent")[0] == letter
    assert tab.evaluate("localStorage.progress") is None


@pytest.mark.parametrize("name", CHAPTERS)
def test_with_everything_answered_pages_fit_a_phone(seen, site, name):
    tab = seen.open((site / "book" / f"{name}.html").as_uri())
    tab.evaluate("document.querySelectorAll('.choice button').forEach((b) => b.click())")
    assert tab.locator(".choice").count() > 8 and tab.locator(".choice [hidden]").count() == 0
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert tab.locator("#quiz mjx-container").count() >= tab.locator("#quiz .math").count()
    tab = seen.open((site / "book" / "index.html").as_uri())
    table = tab.locator("#progress .pst-scrollable-table-container")
    assert table.evaluate("(e) => e.scrollWidth <= e.clientWidth")
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_with_everything_answered_and_ticked_pages_are_accessible(browser, site, chapter, scheme):
    seen = Seen(browser, scheme)
    tab = seen.open(chapter)
    for button in tab.locator(".choice button").all():
        button.click()
    for box in tab.locator("article input").all():
        box.check()
    found = Axe().run(tab, options=WCAG)
    assert found.violations_count == 0, found.generate_report()
    tab = seen.open(chapter.replace(CHAPTER, "index"))
    assert tab.locator("#progress").is_visible()
    found = Axe().run(tab, options=WCAG)
    assert found.violations_count == 0, found.generate_report()
    assert seen.errors == []
    tab.context.close()


def test_paper_shows_every_reason(seen, chapter):
    tab = seen.open(chapter)
    tab.emulate_media(media="print")
    reasons = tab.locator(".choice [aria-live] > div")
    assert reasons.count() > 10 and all(reason.is_visible() for reason in reasons.all())


def test_progress_is_shown_once_there_is_something_and_forgotten_when_asked(seen, chapter):
    index = chapter.replace(CHAPTER, "index")
    tab = seen.open(index)
    progress = tab.locator("#progress")
    assert not progress.is_visible()

    tab = seen.open(chapter)
    choices(tab.locator(".question").first, "Right").click()
    choices(tab.locator(".question").nth(1), "Wrong").first.click()
    tab.get_by_label("My answer to 2.3 passed its check").check()
    tab.go_back()
    row = progress.locator("tr", has_text="2. Residual blocks").locator("td")
    assert row.all_inner_texts()[1:] == ["no", "2 of 4, 1 right", "1 of 7"]

    tab = seen.open(chapter)
    assert tab.get_by_label("My answer to 2.3 passed its check").is_checked()
    tab.get_by_label("My answer to 2.3 passed its check").uncheck()
    tab.get_by_label("I have read this chapter").check()
    tab = seen.open(index)
    assert row.all_inner_texts()[1:] == ["yes", "2 of 4, 1 right", "0 of 7"]

    tab.once("dialog", lambda dialog: dialog.dismiss())
    progress.get_by_role("button").click()
    assert progress.is_visible()
    tab.once("dialog", lambda dialog: dialog.accept())
    progress.get_by_role("button").click()
    assert not progress.is_visible()
    tab = seen.open(chapter)
    assert score(tab) == "0 of 4 right at the first try"
    assert not tab.get_by_label("I have read this chapter").is_checked()


@pytest.mark.parametrize("viewport", [DESK, PHONE])
def test_nothing_moves_when_the_scripts_start(browser, site, server, viewport):
    tab = browser.new_context(viewport=viewport).new_page()
    # Formulas move their lines, and the theme all when it sets its colors on a first visit.
    tab.route("**/mathjax/**", lambda route: route.abort())
    tab.add_init_script("localStorage.theme = 'light'")
    place, heights = "", []

    def hold(route):  # until the page was painted without the script, at the place in question
        tab.wait_for_function("performance.getEntriesByType('paint').length")
        tab.evaluate("(place) => document.querySelector(place).scrollIntoView()", place)
        tab.wait_for_timeout(300)
        tab.evaluate("window.released = performance.now()")
        heights.append(tab.evaluate(HEIGHT))
        route.continue_()

    tab.route("**/quiz.js*", hold)
    tab.route("**/progress.js", hold)
    address = server(site) + "book/"
    places = [(CHAPTER, "#exercises"), ("index", ":has(+ #progress)"), (CHAPTER, "#quiz")]
    for name, place in places * 2:  # with nothing remembered, and with answers
        tab.goto(f"{address}{name}.html")
        assert tab.evaluate(SHIFTS) == 0
        assert tab.evaluate(HEIGHT) == heights[-1]
        if place == "#quiz":
            for button in tab.locator(".choice:nth-of-type(2) button").all():
                button.click()
    assert len(heights) == 6
    tab.context.close()

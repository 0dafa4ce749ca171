"""How a chapter reads on the site: closed code, lines that fit, terms that are explained."""

import pytest
import test_browser
from conftest import CHAPTERS
from test_browser import DESK, Seen

browser, pytestmark = test_browser.browser, test_browser.pytestmark

OPEN = "[...document.querySelectorAll('details.hide')].map((fold) => fold.open)"
WIDER = """[...document.querySelectorAll('.cell_input pre')]
  .filter((code) => code.scrollWidth > code.clientWidth).map((code) => code.innerText)"""


@pytest.fixture
def tab(browser, site):
    seen = Seen(browser, "light", DESK)
    seen.tab.goto((site / "book" / "05_gradient_flow.html").as_uri())
    yield seen.tab
    assert seen.errors == []
    seen.tab.context.close()


def test_code_is_closed_and_opens_by_keyboard(tab):
    assert len(tab.evaluate(OPEN)) > 20 and not any(tab.evaluate(OPEN))
    line = tab.locator("details.hide > summary").nth(3)
    assert line.inner_text().split(":")[0] in ("drawing", "table", "helper", "checked ✓")
    line.focus()
    tab.keyboard.press("Enter")
    assert sum(tab.evaluate(OPEN)) == 1
    tab.keyboard.press("Enter")
    assert not any(tab.evaluate(OPEN))


def test_the_switch_opens_all_code_and_is_remembered(tab):
    switch = tab.get_by_role("button", name="Open or close all code")
    for opened in (True, False):
        switch.click()
        assert set(tab.evaluate(OPEN)) == {opened}
        assert switch.get_attribute("aria-pressed") == str(opened).lower()
        tab.reload()
        assert set(tab.evaluate(OPEN)) == {opened}


def test_all_code_is_printed(tab):
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert all(tab.evaluate(OPEN))
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not any(tab.evaluate(OPEN))


def test_a_term_is_explained_on_hover_and_focus_until_escape(tab):
    term = tab.locator("a.term").first
    tip = tab.locator(f"[id='{term.get_attribute('aria-describedby')}']")
    assert "glossary.html#term-" in term.get_attribute("href")
    assert not tip.is_visible()
    for reach in (
        term.hover,
        lambda: (tab.mouse.move(0, 0), tab.keyboard.press("Tab"), term.focus()),
    ):
        reach()
        assert tip.is_visible() and len(tip.inner_text()) > 30
        tab.keyboard.press("Escape")
        assert not tip.is_visible()


@pytest.mark.parametrize("name", CHAPTERS)
def test_no_line_of_code_is_cut_beside_the_menus(browser, site, name):
    tab = Seen(browser, "light", DESK).open((site / "book" / f"{name}.html").as_uri())
    assert tab.evaluate(WIDER) == []
    tab.context.close()


@pytest.mark.parametrize("name", CHAPTERS)
def test_each_term_is_linked_once(site, name):
    page = (site / "book" / f"{name}.html").read_text()
    tips = [part.partition('"')[0] for part in page.split('role="tooltip" id="')[1:]]
    assert len(tips) > 10 and len(set(tips)) == len(tips)

"""The built site in Firefox, opened as files: there each page remembers apart from the others."""

import base64
import re
import shutil

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from conftest import PAGES
from marionette_driver import By, Keys
from marionette_driver.marionette import Alert, Marionette

BROWSER = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), "")
pytestmark = pytest.mark.skipif(not BROWSER, reason="Firefox is not installed")

CHAPTER = "02_residual_blocks"
CODE_IS_OPEN = "[...document.querySelectorAll('details.hide')].map((fold) => fold.open)"
CODE_SWITCH = "[aria-label='Open or close all code']"
LOOK_WHILE_PRINTING = f"addEventListener('beforeprint', () => (window.printed = {CODE_IS_OPEN}))"
FORGET = "#quiz > .kept button"
FORMULAS_ARE_SET = """const [done] = arguments;
(window.MathJax?.startup.promise ?? Promise.resolve()).then(() => done())"""
OPEN_AND_ANSWER_ALL = """document.querySelectorAll("details").forEach((each) => (each.open = true));
document.querySelectorAll(".choice button").forEach((each) => each.click())"""
# Of the whole page it would take seconds.
FAINT_TEXT = """const [done] = arguments;
axe.run(["#quiz", "details.hide > summary"], { runOnly: "color-contrast", preload: false })
  .then(({ violations }) => done(violations.flatMap((each) => each.nodes)
    .map((node) => node.html)))"""

# Firefox itself runs these. No window is narrower than its toolbar, but the page in it can be.
NARROW = "gBrowser.selectedBrowser.style.maxWidth = arguments[0]"
MESSAGES = """return Services.console.getMessageArray()
  .filter((each) => each instanceof Ci.nsIScriptError && /^(file|http):/.test(each.sourceName))
  .map(String)"""
START_AFRESH = """const [done] = arguments;
Services.console.reset();
Services.clearData.deleteData(Ci.nsIClearDataService.CLEAR_DOM_STORAGES, done)"""


class Firefox(Marionette):
    def open(self, address):
        self.navigate(address)
        self.execute_async_script(FORMULAS_ARE_SET, sandbox=None)

    def all(self, selector):
        return self.find_elements(By.CSS_SELECTOR, selector)

    def first(self, selector):
        return self.find_element(By.CSS_SELECTOR, selector)

    def value(self, expression):
        return self.execute_script(f"return {expression}", sandbox=None)

    def press(self, key):
        self.actions.sequence("key", "keyboard").send_keys(key).perform()


@pytest.fixture(scope="module")
def firefox(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("firefox"))
    firefox = Firefox(
        app="fxdesktop", bin=BROWSER, headless=True, port=0, workspace=folder, gecko_log=folder
    )
    firefox.start_session()
    assert firefox.get_pref("security.fileuri.strict_origin_policy")  # as a reader has it
    yield firefox
    firefox.cleanup()


@pytest.fixture
def tab(firefox):
    """Firefox, which remembers nothing; afterwards its console has to be empty."""
    with firefox.using_context("chrome"):
        firefox.execute_async_script(START_AFRESH)
    yield firefox
    with firefox.using_context("chrome"):
        assert firefox.execute_script(MESSAGES) == []


@pytest.fixture
def phone(tab):
    with tab.using_context("chrome"):
        tab.execute_script(NARROW, ["360px"])
    yield tab
    with tab.using_context("chrome"):
        tab.execute_script(NARROW, [""])


@pytest.fixture
def folder(site):
    return (site / "book").as_uri()


def choices(question, verdict):
    """The buttons of a question that are right, or wrong."""
    reasons = question.find_elements(By.CSS_SELECTOR, ".choice [aria-live] > div")
    buttons = question.find_elements(By.CSS_SELECTOR, ".choice button")
    says = [reason.get_property("textContent").strip() for reason in reasons]
    return [button for button, said in zip(buttons, says, strict=True) if said.startswith(verdict)]


def score(tab):
    return tab.first("#quiz [role=status]").text


def progress(tab):
    """What the title page says of the chapter, or None where it shows no progress."""
    if tab.first("#progress").is_displayed():
        row = tab.all("#progress tbody tr")[1]
        return [cell.text for cell in row.find_elements(By.CSS_SELECTOR, "td")[1:]]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_quiet_and_does_not_scroll_sideways_on_a_phone(phone, folder, name):
    phone.open(f"{folder}/{name}.html")
    phone.execute_script(OPEN_AND_ANSWER_ALL, sandbox=None)
    assert phone.value("innerWidth") == 360
    assert phone.value(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    assert len(phone.all("mjx-container")) >= len(phone.all(".math"))


def test_code_is_closed_and_opens_by_click_and_keyboard(tab, folder):
    tab.open(f"{folder}/{CHAPTER}.html")
    assert len(tab.value(CODE_IS_OPEN)) > 20 and not any(tab.value(CODE_IS_OPEN))
    line = tab.all("details.hide > summary")[3]
    for reach in (line.click, lambda: line.send_keys(Keys.ENTER), lambda: line.send_keys(" ")):
        reach()
        assert [at for at, is_open in enumerate(tab.value(CODE_IS_OPEN)) if is_open] == [3]
        reach()
        assert not any(tab.value(CODE_IS_OPEN))


def test_all_code_is_printed(tab, folder):
    tab.open(f"{folder}/{CHAPTER}.html")
    tab.execute_script(LOOK_WHILE_PRINTING, sandbox=None)
    paper = base64.b64decode(tab._send_message("WebDriver:Print", {}, key="value"))
    assert paper.startswith(b"%PDF-")
    assert tab.value("printed") and all(tab.value("printed"))
    assert not any(tab.value(CODE_IS_OPEN))


def test_the_switch_opens_all_code_and_is_remembered(tab, folder):
    tab.open(f"{folder}/{CHAPTER}.html")
    for opened in (True, False):
        tab.first(CODE_SWITCH).click()
        assert set(tab.value(CODE_IS_OPEN)) == {opened}
        tab.refresh()
        assert set(tab.value(CODE_IS_OPEN)) == {opened}
        assert tab.first(CODE_SWITCH).get_attribute("aria-pressed") == str(opened).lower()


def test_a_term_is_explained_on_hover_and_focus_until_escape(tab, folder):
    tab.open(f"{folder}/{CHAPTER}.html")
    term = tab.first("a.term")
    tip = tab.first(f"[id='{term.get_attribute('aria-describedby')}']")
    assert not tip.is_displayed()

    def point(**at):
        tab.actions.sequence("pointer", "mouse").pointer_move(0, 0, **at).perform()

    for reach in (
        lambda: point(origin=term),
        lambda: (point(), tab.execute_script("arguments[0].focus()", [term])),
        lambda: point(origin=term),
    ):
        reach()
        assert tip.is_displayed() and len(tip.text) > 30
        tab.press(Keys.ESCAPE)
        assert not tip.is_displayed()


def test_the_first_choice_counts_and_is_remembered_until_it_is_forgotten(tab, folder):
    tab.open(f"{folder}/{CHAPTER}.html")
    assert score(tab) == "0 of 4 right at the first try"
    first, second = tab.all(".question")[:2]
    assert not re.search(r"(Right|Wrong)\. ", first.text)

    choices(first, "Right")[0].send_keys(Keys.ENTER)
    assert "Right. Overfitting" in first.text
    choices(first, "Wrong")[0].send_keys(Keys.ENTER)
    choices(second, "Wrong")[0].send_keys(" ")
    assert "Wrong. " in second.text and "Right. " not in second.text
    choices(second, "Right")[0].send_keys(" ")
    assert "Right. " in second.text
    assert score(tab) == "1 of 4 right at the first try"

    tab.refresh()
    assert score(tab) == "1 of 4 right at the first try"
    marks = [mark.get_attribute("data-verdict") for mark in tab.all("[data-verdict]")]
    assert marks == ["right", "wrong"]

    tab.first(FORGET).send_keys(Keys.ENTER)
    for _ in range(2):
        assert score(tab) == "0 of 4 right at the first try" and not tab.all("[data-verdict]")
        tab.refresh()


def test_choices_are_reached_one_by_one_with_the_keyboard(tab, folder):
    tab.open(f"{folder}/{CHAPTER}.html")
    tab.first(FORGET).send_keys("")  # focuses
    for letter in "ABCD":
        tab.press(Keys.TAB)
        assert tab.value("document.activeElement.textContent")[0] == letter


def test_progress_is_shown_on_the_way_back_and_forgotten_when_asked(tab, site, server):
    book = server(site) + "book"
    tab.open(f"{book}/index.html")
    assert progress(tab) is None
    tab.open(f"{book}/{CHAPTER}.html")
    choices(tab.all(".question")[0], "Right")[0].click()
    choices(tab.all(".question")[1], "Wrong")[0].click()
    tab.first("input[name='passed 2.3']").click()
    tab.go_back()
    assert progress(tab) == ["no", "2 of 4, 1 right", "1 of 7"]

    tab.first("#progress button").click()
    Alert(tab).dismiss()
    assert progress(tab) == ["no", "2 of 4, 1 right", "1 of 7"]
    tab.first("#progress button").click()
    Alert(tab).accept()
    assert progress(tab) is None
    tab.open(f"{book}/{CHAPTER}.html")
    assert score(tab) == "0 of 4 right at the first try"


def test_dark_pages_are_readable_and_other_colors_are_remembered(tab, folder):
    theme = "document.documentElement.dataset.theme"
    with tab.using_prefs({"layout.css.prefers-color-scheme.content-override": 0}):
        tab.open(f"{folder}/{CHAPTER}.html")
        assert tab.value(theme) == "dark"
        tab.execute_script(OPEN_AND_ANSWER_ALL, sandbox=None)
        tab.execute_script(AXE_SCRIPT, sandbox=None)
        assert tab.execute_async_script(FAINT_TEXT, sandbox=None) == []
        tab.first(".theme-switch-button").click()
        assert tab.value(theme) == "light"
        tab.refresh()
        assert tab.value(theme) == "light"

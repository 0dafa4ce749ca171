"""The built site in a real headless browser, opened as files, as from a USB stick."""

import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import CHAPTERS, PAGES
from playwright.sync_api import sync_playwright

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(not BROWSER, reason="neither Chromium nor Chrome is installed")

WCAG = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
    "resultTypes": ["violations"],
    "preload": False,  # of style sheets, which a browser refuses on a file's address
}
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        # Without a sandbox it also starts in a container, as root; it opens our own pages only.
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


class Seen:
    """A tab, with what the page asked for and what it complained of."""

    def __init__(self, browser, scheme, viewport=DESK):
        self.requests, self.errors = [], []
        self.tab = browser.new_context(color_scheme=scheme, viewport=viewport).new_page()
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("console", self.note)
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("requestfailed", lambda request: self.errors.append(request.url))

    def note(self, message):
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def open(self, address):
        self.tab.goto(address)
        self.tab.wait_for_function("!window.MathJax || window.MathJax.startup?.promise")
        self.tab.evaluate("window.MathJax && window.MathJax.startup.promise.then(() => true)")
        self.tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        return self.tab


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_complete_quiet_and_accessible(browser, site, name, scheme):
    seen = Seen(browser, scheme)
    tab = seen.open((site / "book" / f"{name}.html").as_uri())
    assert tab.evaluate("document.documentElement.dataset.theme") == scheme
    assert [r for r in seen.requests if not r.startswith(("file:", "data:", "blob:"))] == []
    formulas = tab.locator(".math").count()
    assert tab.locator("mjx-container").count() >= formulas
    assert tab.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert formulas > 5 or name not in CHAPTERS
    found = Axe().run(tab, options=WCAG)
    assert found.violations_count == 0, found.generate_report()
    assert seen.errors == []
    tab.context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_not_scroll_sideways_on_a_phone(browser, site, name):
    tab = Seen(browser, "light", PHONE).open((site / "book" / f"{name}.html").as_uri())
    wide = tab.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE["width"]
    tab.context.close()


@pytest.mark.parametrize(
    ("word", "page"), [("bottleneck", "04_bottlenecks"), ("dilation", "06_psp")]
)
def test_the_search_finds_a_term(browser, site, word, page):
    seen = Seen(browser, "light")
    tab = seen.open((site / "search.html").as_uri() + f"?q={word}")
    results = tab.locator("#search-results li a")
    results.first.wait_for()
    assert any(page in (link.get_attribute("href") or "") for link in results.all())
    results.first.click()
    assert word in tab.inner_text("main").lower()
    assert seen.errors == []
    tab.context.close()


def test_an_address_that_leads_nowhere_is_answered_in_the_site_s_look(browser, site, server):
    seen = Seen(browser, "light")
    root = server(site)
    tab = seen.open(f"{root}404.html")
    assert "No such page" in tab.inner_text("main")
    assert all(request.startswith(root) for request in seen.requests)
    assert seen.errors == []
    tab.locator(".sidebar-primary__section a, .bd-sidebar-primary a").last.click()
    assert tab.url.startswith(f"{root}book/") and "No such page" not in tab.inner_text("main")
    tab.context.close()


def test_in_print_the_page_stands_alone(browser, site):
    tab = Seen(browser, "light").open((site / "book" / f"{PAGES[2]}.html").as_uri())
    tab.emulate_media(media="print")
    for aside in (".bd-sidebar-primary", ".bd-sidebar-secondary", ".header-article"):
        assert not tab.locator(aside).first.is_visible()
    tab.context.close()


def test_claims_are_chosen_by_verdict_and_sorted_with_the_keyboard(browser, site):
    seen = Seen(browser, "light", PHONE)
    tab = seen.open((site / "book" / "reference" / "claims.html").as_uri())
    rows, verdicts = tab.locator("tbody tr:visible"), tab.locator("tbody tr:visible strong")
    everything = rows.count()
    button = tab.get_by_role("button", name="does not hold")
    button.focus()
    tab.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert str(rows.count()) in button.inner_text() and 0 < rows.count() < everything
    assert set(verdicts.all_inner_texts()) == {"does not hold"}
    tab.get_by_role("button", name="all").click()
    assert rows.count() == everything

    for order in ("ascending", "descending"):
        tab.locator("th button").first.press("Enter")
        assert tab.locator("th").first.get_attribute("aria-sort") == order
        claims = [text.casefold() for text in tab.locator("tbody td:first-child").all_inner_texts()]
        assert claims[0][0] == ("a" if order == "ascending" else "w")
    found = Axe().run(tab, options=WCAG)
    assert found.violations_count == 0, found.generate_report()
    assert seen.errors == []
    tab.context.close()

"""Make the README's film: the lab *Take a network apart* in Chromium, one picture for each step.

PYTHONPATH=book:book/assignments:tests python tests/film_labs.py
"""

import io
import tempfile
from pathlib import Path

from conftest import ROOT
from lab_pages import write_page
from PIL import Image
from playwright.sync_api import sync_playwright
from test_browser import BROWSER

FILM = ROOT / ".github" / "lab.gif"
SECONDS = 2.5  # a picture
# Where the reader goes, as the lab's links say it.
STATES = (
    "image-0",
    "off-21_image-0",
    "off-10_image-0",
    "off-10_statistics-renewed_image-0",
    "swap-21-22_image-0",
    "off-32_image-17",
)
JUDGED = "document.querySelectorAll('.lab-total [data-done=\"500\"]').length === 2"


def main() -> None:
    """Write the film."""
    page = write_page(Path(tempfile.mkdtemp()) / "site", "take-apart").as_uri()
    pictures = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 760, "height": 1000})
        tab.goto(f"{page}#lab-take-apart_{STATES[0]}")
        for state in STATES:
            tab.evaluate("(hash) => (location.hash = hash)", f"#lab-take-apart_{state}")
            tab.wait_for_function(
                "(s) => document.querySelector('.lab-link')?.hash.includes(s)",
                arg=state.split("_")[0],
            )
            tab.wait_for_timeout(500)
            tab.wait_for_function(JUDGED, timeout=120_000)
            pictures.append(Image.open(io.BytesIO(tab.locator(".lab").screenshot())))
        browser.close()
    height = max(picture.height for picture in pictures)
    frames = []
    for picture in pictures:
        frame = Image.new("RGB", (picture.width, height), "white")
        frame.paste(picture)
        frames.append(frame.quantize(64))
    frames[0].save(
        FILM,
        save_all=True,
        append_images=frames[1:],
        duration=int(1000 * SECONDS),
        loop=0,
        optimize=True,
    )
    print(f"{FILM}: {FILM.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()

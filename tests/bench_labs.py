"""How fast the lab *Take a network apart* is in Chromium, as it is and with a slower processor.

    make bench-labs

It prints the table of `book/labs/README.md`. Each figure is the median of several pages.
"""

import statistics
import tempfile
from pathlib import Path

import torch
from lab_pages import write_page
from playwright.sync_api import sync_playwright
from test_browser import BROWSER

from resnets.device import hardware

PAGES = 5
# A frame is late if a slider that moves makes the page miss it.
MEASURE = """
async () => {
  const frame = document.querySelector(".lab");
  const until = (ready) => new Promise((done) => {
    const look = () => (ready() ? (seen.disconnect(), done(performance.now())) : 0);
    const seen = new MutationObserver(look);
    seen.observe(frame, { subtree: true, childList: true, attributes: true });
    look();
  });
  const start = performance.now();
  const answered = until(() => frame.querySelectorAll(".lab-best").length === 2);
  frame.querySelector(":scope > button").click();
  const first = (await answered) - start;
  await until(() => frame.querySelectorAll('[data-done="500"]').length === 2);
  const judged = performance.now() - start - first;
  const slider = frame.querySelector("input[type=range]");
  const gaps = [];
  let last = await new Promise(requestAnimationFrame);
  for (let i = 1; i <= 40; i++) {
    slider.value = i;
    slider.dispatchEvent(new Event("input"));
    const now = await new Promise(requestAnimationFrame);
    gaps.push(now - last);
    last = now;
  }
  return { first, image: judged / 1000, gap: Math.max(...gaps) };
}
"""


def measure(browser, address: str, slower: int, compiled: bool) -> dict[str, float]:
    """Milliseconds: to the first answer, an image, and between two frames at most."""
    context = browser.new_context()
    tab = context.new_page()
    if not compiled:
        tab.add_init_script("delete globalThis.WebAssembly")
    tab.goto(address)
    context.new_cdp_session(tab).send("Emulation.setCPUThrottlingRate", {"rate": slower})
    found = tab.evaluate(MEASURE)
    context.close()
    return found


def main() -> None:
    """Print the table."""
    folder = Path(tempfile.mkdtemp()) / "site"
    address = write_page(folder, "take-apart").as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        machine = hardware(torch.device("cpu")).partition(",")[0]
        print(
            f"Chromium {browser.version.partition('.')[0]}, {machine}, median of {PAGES} pages:\n"
        )
        print(
            "| convolutions by | processor | first answer, s | an image, ms | slowest frame, ms |"
        )
        print("|---|---|---|---|---|")
        for compiled, slower in ((True, 1), (True, 6), (False, 1)):
            runs = [measure(browser, address, slower, compiled) for _ in range(PAGES)]
            first, image, gap = (
                statistics.median(run[key] for run in runs) for key in ("first", "image", "gap")
            )
            engine = "the kernel" if compiled else "plain JavaScript"
            speed = "as it is" if slower == 1 else f"{slower} times slower"
            print(f"| {engine} | {speed} | {first / 1000:.2f} | {image:.1f} | {gap:.0f} |")
        browser.close()


if __name__ == "__main__":
    main()

"""The labs in real headless browsers, on small pages opened as files, as from a USB stick."""

import base64
import json
import re
import zlib
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from importlib import import_module
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import test_browser
import test_firefox
import torch
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT
from lab_pages import picture, write_page
from test_browser import DESK, PHONE, WCAG, Seen
from torch import nn
from torch.nn import functional as F

from labs import degradation, dilation, script, shattering, take_apart
from publishing import labs, labs_page, site
from resnets import data, probes, runs
from resnets.experiments.lesions import renewed
from resnets.training import predict

NAMES = tuple(labs.LABS)
WITH_DATA = ("take-apart", "degradation", "thermometer", "shoe-switch")
WCAG = WCAG | {"runOnly": [*WCAG["runOnly"], "wcag22aa"]}
BLOCKS = [f"{stage}.{number}" for stage in (1, 2, 3) for number in range(3)]
# What a script in the page computes: the logits of images, for each lesion of a network, with the
# statistics from training and with those of these images.
PARITY = """
async ([kernel, images, lesions]) => {
  const engine = await inference.Engine.create(kernel ? labs.kernel : "");
  const data = await labs.load("take-apart", "take_apart_data.js");
  const pixels = await labs.inflate(data.images);
  const found = [];
  const times = [];
  for (const content of data.networks) {
    const network = await inference.Network.create(engine, content);
    const logits = new Float32Array(10 * images);
    const run = (order, off, layers) => {
      for (let i = 0; i < images; i++) {
        const start = performance.now();
        logits.set(network.run(pixels, 784 * i, order, off, layers), 10 * i);
        times.push(performance.now() - start);
      }
      const bytes = new Uint8Array(logits.buffer);
      found.push(btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), "")));
    };
    for (const { order, off } of lesions[content.name]) {
      run(order, new Set(off), network.trained);
      await network.renew(pixels, images, order, new Set(off), async () => true);
      run(order, new Set(off), network.renewed);
    }
  }
  times.sort((one, two) => one - two);
  return { found, compiled: Boolean(engine.compiled), median: times[times.length >> 1] };
}
"""

# The same for pictures that are given as numbers, whole and without some blocks.
DRAWN = """
async ([kernel, pictures, lesions]) => {
  const engine = await inference.Engine.create(kernel ? labs.kernel : "");
  const data = await labs.load("take-apart", "take_apart_data.js");
  const found = [];
  for (const content of data.networks) {
    const network = await inference.Network.create(engine, content);
    for (const { order, off } of lesions[content.name])
      for (const pixels of pictures)
        found.push([...network.run(Uint8Array.from(pixels), 0, order, new Set(off))]);
  }
  return found;
}
"""

JUDGED = """document.querySelectorAll('.lab-total [data-done="500"]').length === 2"""

browser, chromium = test_browser.browser, test_browser.pytestmark
firefox, tab, in_firefox = test_firefox.firefox, test_firefox.tab, test_firefox.pytestmark


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The address of a page with one lab, by its name."""
    return {name: write_page(tmp_path_factory.mktemp(name), name).as_uri() for name in NAMES}


@pytest.fixture(scope="module")
def all_labs(tmp_path_factory):
    """The address of a page with all labs."""
    return write_page(tmp_path_factory.mktemp("labs"), *NAMES).as_uri()


class Lab:
    """A tab that shows a lab."""

    def __init__(self, browser, address, scheme="light", viewport=DESK, before=None):
        self.seen = Seen(browser, scheme, viewport)
        self.tab = self.seen.tab
        if before:
            self.tab.add_init_script(before)
        self.tab.goto(address)
        self.tab.evaluate(f"document.documentElement.dataset.theme = '{scheme}'")
        self.frame = self.tab.locator(".lab")
        self.live = self.frame.locator(".lab-live")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tab.context.close()

    def start(self):
        button = self.frame.locator("> button")
        if button.is_visible():
            button.press("Enter")
        return self.settle()

    def settle(self):
        """Wait until it has started, and said what it shows."""
        self.tab.wait_for_function("document.querySelector('.lab-started .lab-told')?.textContent")
        self.tab.wait_for_timeout(100)
        return self

    def told(self, change):
        """What a screen reader hears after a change."""
        self.tab.evaluate("document.querySelector('.lab-told').textContent = ''")
        change()
        self.settle()
        return self.frame.locator(".lab-told").inner_text()

    def violations(self):
        found = Axe().run(self.tab, options=WCAG)
        return found.generate_report() if found.violations_count else ""


def lesions():
    """Of each network: what is off, and what is swapped, in probes' words and the script's."""
    found = {}
    for name in take_apart.NETWORKS:
        cases = [((), ()), *(((block,), ()) for block in take_apart.deletable(name))]
        cases += [((), pair) for pair in take_apart.swappable(name)]
        found[name] = cases
    return found


def index(block):
    return BLOCKS.index(block.removeprefix("layer"))


def in_script(off, swapped):
    order = list(range(9))
    if swapped:
        one, two = map(index, swapped)
        order[one], order[two] = two, one
    return {"order": order, "off": [index(block) for block in off]}


def cases_in_script():
    return {name: [in_script(*case) for case in cases] for name, cases in lesions().items()}


@contextmanager
def injured(model, off, swapped):
    """Delete the blocks, and swap the pair: a deleted block stays deleted in its new place."""
    with probes.deleted(model, *off), probes.swapped(model, *([tuple(swapped)] if swapped else [])):
        yield


@pytest.fixture(scope="module")
def images():
    return take_apart.read_images()


@pytest.fixture(scope="module")
def expected(images):
    """PyTorch's logits of so many images for each network, lesion and kind of statistics."""

    @cache
    def logits(count):
        shown, found = images[:count], []
        for name, cases in lesions().items():
            model, normalized = (take_apart.read_networks(kind)[name] for kind in (False, True))
            for off, swapped in cases:
                with injured(model, off, swapped):
                    found.append((predict(model, shown).numpy(), None))
                with injured(normalized, off, swapped), renewed(normalized, shown):
                    exact = partial(in_float64, name, off, swapped, shown)
                    found.append((predict(normalized, shown).numpy(), exact))
        return found

    return logits


def in_float64(name, off, swapped, images):
    """PyTorch's logits with the statistics of the images, more exactly."""
    model = take_apart.read_networks(normalized=True)[name].double()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = None
    x = images.batch(torch.arange(len(images)))[0].double()
    with injured(model, off, swapped), torch.no_grad():
        model.train()(x)
        return model.eval()(x).numpy()


def check_parity(found, expected):
    """Within 5e-5; PyTorch's statistics in float32 are 3e-5 off, so if need be float64 decides."""
    assert len(found["found"]) == len(expected)
    for text, (logits, exact) in zip(found["found"], expected, strict=True):
        got = np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, 10)
        if exact and np.abs(got - logits).max() > 5e-5:
            logits = exact()
        np.testing.assert_allclose(got, logits, rtol=0, atol=5e-5)
        assert (got.argmax(1) == logits.argmax(1)).all()


@chromium
@pytest.mark.parametrize(("compiled", "count"), [(True, 500), (False, 10)])
def test_chromium_s_logits_are_pytorch_s(browser, pages, expected, compiled, count):
    """In plain JavaScript on fewer images, since it takes ten times as long."""
    with Lab(browser, pages["take-apart"]) as lab:
        found = lab.tab.evaluate(PARITY, [compiled, count, cases_in_script()])
    check_parity(found, expected(count))
    assert found["compiled"] == compiled
    assert found["median"] < 5 or not compiled


# A script element runs in the page's own world, where the labs are.
IN_THE_PAGE = """
const [call, done] = arguments;
const script = document.createElement("script");
script.textContent = `${call}.then((value) => ({ value }), (error) => ({ error: String(error) }))
  .then((result) => (document.body.dataset.result = JSON.stringify(result)))`;
delete document.body.dataset.result;
document.body.append(script);
(function wait() {
  const { result } = document.body.dataset;
  if (result) done(result); else setTimeout(wait, 20);
})();
"""
START = """
async () => {
  const frame = document.querySelector(".lab");
  const button = frame.querySelector(":scope > button");
  if (!button.hidden) button.click();
  const [told, problem] = [".lab-told", ".lab-problem"].map((one) => frame.querySelector(one));
  while (!told.textContent && !problem.textContent)
    await new Promise((done) => setTimeout(done, 20));
  return [told.textContent, problem.textContent];
}
"""


def call(tab, function, argument=None):
    """What a function promises that runs in the page."""
    tab.timeout.script = 120
    text = f"({function})({json.dumps(argument)})"
    found = json.loads(tab.execute_async_script(IN_THE_PAGE, script_args=[text]))
    assert "error" not in found, found["error"]
    return found["value"]


@in_firefox
def test_firefox_s_logits_are_pytorch_s(tab, pages, expected):
    tab.navigate(pages["take-apart"])
    found = call(tab, PARITY, [True, 500, cases_in_script()])
    check_parity(found, expected(500))
    assert found["compiled"] and found["median"] < 5


@in_firefox
@pytest.mark.parametrize("name", NAMES)
def test_firefox_runs_a_lab_from_a_file(tab, pages, name):
    tab.navigate(pages[name])
    told, problem = call(tab, START)
    assert re.search(r"\d", told) and not problem


@chromium
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESK), ("dark", PHONE)])
def test_a_lab_is_quiet_accessible_and_fits(browser, pages, name, scheme, viewport):
    with Lab(browser, pages[name], scheme, viewport) as lab:
        before = lab.violations()
        lab.start()
        assert lab.violations() == before == ""
        wide = lab.tab.evaluate("document.documentElement.scrollWidth")
        assert wide <= viewport["width"]
        small = """[...document.querySelectorAll('.lab :is(button, select, label, a)')]
          .map((e) => e.getBoundingClientRect()).filter((r) => r.height && r.height < 23.9
            || r.width && r.width < 23.9).length"""
        assert lab.tab.evaluate(small) == 0
        assert not lab.frame.locator(".lab-elsewhere").is_visible()
        assert all(r.startswith(("file:", "data:", "blob:")) for r in lab.seen.requests)
        assert lab.seen.errors == []
        if viewport == PHONE:
            too_wide = """[...document.querySelectorAll('.lab-live [type=radio]')].filter((one) => {
              one.click();
              return document.documentElement.scrollWidth > innerWidth;
            }).map((one) => one.closest('label').innerText)"""
            assert lab.tab.evaluate(too_wide) == []
        if viewport == DESK:
            kept = (labs_page.PICTURES / f"{name}.html").read_text(encoding="utf-8")
            assert picture(lab.tab) == kept.strip(), "write it again: see book/labs/README.md"


@chromium
@pytest.mark.parametrize("name", NAMES)
def test_every_control_is_reached_by_keyboard_and_shows_it(browser, pages, name):
    with Lab(browser, pages[name]) as lab:
        lab.start()
        lab.tab.evaluate("document.body.tabIndex = -1; document.body.focus()")
        reached = 0
        for _ in range(60):
            lab.tab.keyboard.press("Tab")
            focus = lab.tab.evaluate(
                """() => {
                  const at = document.activeElement;
                  if (!at.closest(".lab")) return null;
                  at.dataset.reached = true;
                  return getComputedStyle(at).outlineStyle;
                }"""
            )
            if focus is None:
                break
            assert focus == "solid"
            reached += 1
        left = """[...document.querySelectorAll('.lab :is(button, select, input, a)')].filter(
          (e) => e.checkVisibility() && !e.disabled && !e.dataset.reached
            && !(e.type === 'radio' && document.querySelector(
              `[name="${e.name}"][data-reached]`))).length"""
        assert reached > 1 and lab.tab.evaluate(left) == 0


@chromium
def test_in_print_the_figures_stand_and_without_motion_nothing_moves(browser, all_labs):
    tab = Seen(browser, "light").tab
    tab.goto(all_labs)
    for button in reversed(tab.locator(".lab > button:visible").all()):  # each hides itself
        button.click()
    tab.wait_for_function(f"document.querySelectorAll('.lab-started').length === {len(NAMES)}")
    visible = """[...document.querySelectorAll(".lab")].map((lab) =>
      [".lab-figure", ".lab-live"].map((part) => lab.querySelector(part).checkVisibility()))"""
    assert tab.evaluate(visible) == [[False, True]] * len(NAMES)
    tab.emulate_media(media="print")
    assert tab.evaluate(visible) == [[True, False]] * len(NAMES)
    tab.emulate_media(media="screen", reduced_motion="reduce")
    moving = "[...document.querySelectorAll('.lab *')].filter("
    moving += "(e) => parseFloat(getComputedStyle(e).transitionDuration) > 0).length"
    assert tab.evaluate(moving) == 0
    tab.context.close()


@chromium
def test_without_scripts_the_figures_stand_and_say_where_the_labs_are(browser, all_labs):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(all_labs)
    for text in ("What everyone sees.", "On the course's site this figure is a lab."):
        said = tab.get_by_text(text)
        for media in ("screen", "print"):
            tab.emulate_media(media=media)
            assert [said.nth(i).is_visible() for i in range(said.count())] == [True] * len(NAMES)
    context.close()


@chromium
@pytest.mark.parametrize("name", WITH_DATA)
@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_without_its_data_a_lab_says_so_and_the_figure_stands(browser, tmp_path, name, damage):
    page = write_page(tmp_path / "site", name)
    (file,) = (page.parent / "_static").glob(f"{name.replace('-', '_')}_data.js")
    file.unlink()
    if damage == "damaged":
        file.write_text("0;\n")
    with Lab(browser, page.as_uri()) as lab:
        lab.frame.locator("> button").click()
        problem = lab.frame.get_by_role("alert")
        problem.filter(has_text=f"{file.name} is {damage}").wait_for()
        assert lab.frame.locator(".lab-figure").is_visible() and not lab.live.is_visible()
        assert lab.frame.locator("> button").is_enabled()


@chromium
def test_where_there_is_no_webassembly_plain_javascript_says_that_it_is_slow(browser, pages):
    without = "delete globalThis.WebAssembly"
    with Lab(browser, pages["take-apart"], before=without) as lab:
        lab.frame.locator("> button").click()
        lab.live.get_by_text("no WebAssembly SIMD").wait_for()
        assert lab.live.locator("td").nth(1).is_visible()
        assert lab.seen.errors == []


def in_python(images, off, swapped, image, statistics):
    """For each network: right answers in percent, and the probabilities of one image."""
    found = []
    for name, model in take_apart.read_networks(statistics == "renewed").items():
        here = [block for block in off if block in take_apart.deletable(name)]
        with injured(model, here, swapped):
            new = renewed(model, images) if statistics == "renewed" else nullcontext()
            with new:
                logits = predict(model, images)
        right = (logits.argmax(1) == images.labels).float().mean().item()
        found.append((right, F.softmax(logits[image], 0)))
    return found


@chromium
@pytest.mark.parametrize(
    ("off", "swap", "statistics", "image"),
    [
        (["1.0"], "", "from training", 17),
        (["2.0", "3.2"], "10-12", "renewed", 499),
        ([], "21-22", "from training", 250),
        (["1.1", "3.0", "3.1"], "31-32", "renewed", 3),
    ],
)
def test_the_lesions_that_a_reader_makes_are_python_s(
    browser, pages, images, off, swap, statistics, image
):
    with Lab(browser, pages["take-apart"]) as lab:
        lab.start()
        lab.live.get_by_role("button", name="Repair").press("Enter")
        for block in off:
            lab.live.get_by_label(block, exact=True).press("Space")
        lab.live.get_by_role("combobox").select_option(swap)
        lab.live.get_by_label(statistics, exact=True).check()
        slider = lab.live.get_by_role("slider")
        slider.fill(str(image))
        lab.tab.wait_for_function(JUDGED, timeout=120_000)
        lab.settle()
        swapped = [f"layer{part[0]}.{part[1]}" for part in swap.split("-") if part]
        blocks = [f"layer{block}" for block in off]
        rows = lab.live.locator("tbody tr")
        for column, (right, shares) in enumerate(
            in_python(images, blocks, swapped, image, statistics), start=1
        ):
            cells = [rows.nth(k).locator("> *").nth(column) for k in range(11)]
            numbers = [cell.locator(".lab-number").inner_text() for cell in cells]
            assert numbers[0] == f"{100 * right:.1f} %"
            shown = [float(number.strip("✓✗ %")) for number in numbers[1:]]
            np.testing.assert_allclose(shown, 100 * shares, atol=0.0501)
            best = numbers[1 + int(shares.argmax())]
            correct = int(shares.argmax()) == int(images.labels[image])
            assert best.startswith("✓" if correct else "✗")
        link = lab.live.get_by_role("link").get_attribute("href")
    with Lab(browser, pages["take-apart"] + link) as again:
        again.settle()
        boxes = again.live.get_by_role("checkbox")
        unchecked = [BLOCKS[i] for i in range(9) if not boxes.nth(i).is_checked()]
        assert unchecked == sorted(off)
        assert again.live.get_by_role("combobox").input_value() == swap
        assert again.live.get_by_label(statistics, exact=True).is_checked()
        assert again.live.get_by_role("slider").input_value() == str(image)


# Of runs: a letter, and how often it comes. A shoe, and a picture that is no garment.
SHOE = "a364" + "a2d3a9c2a12" * 4 + "a2d12a14" + "a2c20a6" * 3 + "a2b24a2" * 3 + "a112"
STRIPES = "dcbad2a2b9" * 46 + "a2"


def pixels_of(text):
    """What is drawn, as bytes."""
    letters = re.sub(r"(.)(\d+)", lambda run: run[1] * int(run[2]), text)
    return 85 * torch.tensor([ord(letter) - ord("a") for letter in letters], dtype=torch.uint8)


def drawn_images(*texts):
    pictures = torch.stack([pixels_of(text) for text in texts]).reshape(-1, 28, 28)
    return data.ImageSet(pictures, torch.zeros(len(texts)).long(), data.REAL)


CUTS = [((), ()), (("layer1.0",), ()), (("layer2.1", "layer3.2"), ("layer3.1", "layer3.2"))]


@pytest.fixture(scope="module")
def of_drawings():
    """PyTorch's logits of the drawings, for each network and lesion."""
    found = []
    for model in take_apart.read_networks().values():
        for cut in CUTS:
            with injured(model, *cut):
                found.append(predict(model, drawn_images(SHOE, STRIPES)).numpy())
    return np.concatenate(found)


def what_is_drawn(compiled):
    pictures = drawn_images(SHOE, STRIPES).images.flatten(1).tolist()
    cuts = [in_script(*cut) for cut in CUTS]
    return [compiled, pictures, dict.fromkeys(take_apart.NETWORKS, cuts)]


@chromium
def test_chromium_s_logits_of_a_drawing_are_pytorch_s(browser, pages, of_drawings):
    with Lab(browser, pages["take-apart"]) as lab:
        for compiled in (True, False):
            found = lab.tab.evaluate(DRAWN, what_is_drawn(compiled))
            np.testing.assert_allclose(found, of_drawings, rtol=0, atol=5e-5)


@in_firefox
def test_firefox_s_answers_to_a_drawing_are_pytorch_s(tab, pages, of_drawings):
    tab.navigate(f"{pages['take-apart']}#lab-take-apart_off-10_input-drawing_drawing-{SHOE}")
    assert "of your drawing it says" in call(tab, START)[0]
    found = call(tab, DRAWN, what_is_drawn(True))
    np.testing.assert_allclose(found, of_drawings, rtol=0, atol=5e-5)


@chromium
def test_a_garment_is_drawn_and_both_networks_answer(browser, pages, of_drawings):
    residual, plain = torch.from_numpy(of_drawings).reshape(2, len(CUTS), 2, 10)[:, 1, 0]
    with Lab(browser, f"{pages['take-apart']}#lab-take-apart_off-10_drawing-{SHOE}") as lab:
        lab.settle()
        board = lab.live.get_by_role("application")
        assert not board.is_visible()
        told = lab.told(lambda: lab.live.get_by_label("your drawing", exact=True).check())
        rows = lab.live.locator("tbody tr")
        for column, logits in enumerate((residual, plain), start=1):
            texts = [
                rows.nth(k).locator(".lab-number").nth(column - 1).inner_text()
                for k in range(1, 11)
            ]
            shares = F.softmax(logits, 0)
            np.testing.assert_allclose([float(t[:-2]) for t in texts], 100 * shares, atol=0.0501)
            best = lab.live.locator("th[scope=row]").nth(1 + int(shares.argmax())).inner_text()
            assert f"of your drawing it says {best}" in told
        assert lab.live.get_by_text("not what the networks were trained on").is_visible()
        assert "✓" not in lab.live.inner_text() and "✗" not in lab.live.inner_text()

        def drawn():
            link = lab.live.get_by_role("link").get_attribute("href")
            return pixels_of(link.partition("_drawing-")[2]).reshape(28, 28)

        assert "ResNet-20" in lab.told(
            lambda: lab.live.get_by_role("button", name="Clear").press("Enter")
        )
        assert not drawn().any()
        board.press("ArrowUp")
        assert lab.live.get_by_text("Row 12, column 15: empty").count()
        assert "of your drawing" in lab.told(lambda: board.press("Space"))
        assert lab.live.get_by_text("Row 12, column 15: light").count()
        expected = torch.zeros(28, 28, dtype=torch.uint8)
        expected[10:13, 13:16] = 255
        assert torch.equal(drawn(), expected)
        lab.live.get_by_label("rubber").check()
        lab.live.get_by_label("1 pixel").check()
        lab.told(lambda: board.press("Enter"))
        expected[11, 14] = 0
        assert torch.equal(drawn(), expected)
        lab.live.get_by_label("medium").check()
        box = board.locator("svg").bounding_box()
        side = box["width"] / 28

        def stroke():
            lab.tab.mouse.move(box["x"] + 2.5 * side, box["y"] + 20.5 * side)
            lab.tab.mouse.down()
            lab.tab.mouse.move(box["x"] + 25.5 * side, box["y"] + 20.5 * side)
            lab.tab.mouse.move(box["x"] + 40 * side, box["y"] + 20.5 * side)
            lab.tab.mouse.up()

        lab.told(stroke)
        expected[20, 2:] = 170
        assert torch.equal(drawn(), expected)
        assert lab.violations() == "" and lab.seen.errors == []
        link = lab.live.get_by_role("link").get_attribute("href")
        said = lab.live.locator(".lab-verdict").inner_text()
    with Lab(browser, pages["take-apart"] + link) as again:
        again.settle()
        assert again.live.locator(".lab-verdict").inner_text() == said
        assert again.live.locator(".lab-gray-c").count() == 26


@chromium
def test_the_lab_starts_with_a_contrast_and_announces_what_changes(browser, pages):
    with Lab(browser, pages["take-apart"]) as lab:
        lab.start()
        total = lab.live.locator(".lab-total [data-right]")
        lab.tab.wait_for_function(JUDGED, timeout=120_000)
        residual, plain = (int(total.nth(i).get_attribute("data-right")) for i in (0, 1))
        assert residual > 350 > 150 > plain
        told = lab.told(lambda: lab.live.get_by_label("3.2", exact=True).press("Space"))
        assert "ResNet-20" in told and "plain-20" in told and "%" in told
        told = lab.told(lambda: lab.live.get_by_label("Next image").press("Enter"))
        assert "Pullover" in told
        kept = lab.live.get_by_text("In plain-20, 3.0 goes on computing")
        assert kept.count() == 0
        lab.told(lambda: lab.live.get_by_label("3.0", exact=True).press("Space"))
        assert kept.count() == 1


@chromium
@pytest.mark.parametrize("version", dilation.VERSIONS)
@pytest.mark.parametrize("way", dilation.WAYS)
@pytest.mark.parametrize("first", dilation.FIRSTS)
def test_what_an_output_reads_is_what_pytorch_s_does(browser, pages, version, way, first):
    state = f"way-{way}_version-{version}_first-{first}"
    kept = dilation.kept(way, version, first)
    outputs = 9 if way == "stride" else 17
    with Lab(browser, f"{pages['dilation']}#lab-dilation_{state}_output-0") as lab:
        lab.settle()
        for output in (0, 1, 4, 8, outputs - 1):
            lab.live.get_by_role("slider").fill(str(output))
            read = lab.live.get_by_text(f"Output {output} reads the pixels").inner_text()
            pixels = dilation.pixels(output, way, version, first)
            assert read.endswith(f" {', '.join(map(str, pixels))}.")
        rings, dots = lab.live.locator("circle.lab-kept"), lab.live.locator("circle.lab-dot")
        places = [rings.nth(i).get_attribute("cx") for i in range(rings.count())]
        last = dots.count() - outputs
        assert places == [dots.nth(last + i).get_attribute("cx") for i in kept]
        verdict = lab.live.locator(".lab-verdict").inner_text()
        assert ("✗" in verdict) == (len(kept) < 9) and ("0 are here" in verdict) == (not kept)


@chromium
def test_the_dilation_lab_changes_by_its_controls(browser, pages):
    with Lab(browser, pages["dilation"]) as lab:
        lab.start()
        assert "0 are here" in lab.live.inner_text()
        told = lab.told(lambda: lab.live.get_by_label("previous: 1").press("Space"))
        assert "All 9 outputs" in told
        assert "0 are here" in lab.told(lambda: lab.live.get_by_label("stride left out").click())
        assert lab.live.get_by_label("own: 2").is_disabled()
        link = lab.live.get_by_role("link").get_attribute("href")
        assert link == "#lab-dilation_way-none_version-v15_first-previous_output-8"
        lab.told(lambda: lab.tab.evaluate("location.hash = '#lab-dilation'"))  # as it begins
        begin = "#lab-dilation_way-dilation_version-v15_first-own_output-8"
        assert lab.live.get_by_role("link").get_attribute("href") == begin


def test_the_curves_are_those_of_the_recorded_runs():
    written = script.read("degradation")
    assert written == degradation.content(), "write them again: python -m labs.degradation"


@chromium
@pytest.mark.parametrize(
    ("names", "rate", "measure", "epoch"),
    [
        (("plain-20", "plain-56", "ResNet-20", "ResNet-56"), "0.05", "loss", 20),
        (("plain-56", "ResNet-110"), "0.05", "error", 10),
        (("plain-110", "ResNet-56"), "0.1", "loss", 1),
        (("ResNet-110",), "0.05", "error", 11),
        ((), "0.025", "loss", 7),
    ],
)
def test_the_curves_that_a_reader_chooses_are_those_of_the_runs(
    browser, pages, names, rate, measure, epoch
):
    with Lab(browser, pages["degradation"]) as lab:
        lab.start()
        boxes = lab.live.get_by_role("checkbox")
        for box in (boxes.nth(i) for i in range(6)):
            box.set_checked(any(box.locator("..").inner_text().strip() == n for n in names))
        lab.live.get_by_label(rate, exact=True).check()
        lab.live.get_by_label(measure, exact=True).check()
        lab.live.get_by_role("slider").fill(str(epoch))
        rows = lab.live.locator(".lab-values tbody tr").all_inner_texts()
        shown = {name: values for name, *values in (row.split("\t") for row in rows)}
        curves, missing = {}, []
        for name in names:
            deep = name.endswith("110")
            found = runs.recorded("degradation_110" if deep else "learning_rates", "hour")
            trainings = [run.history.get(name if deep else f"{name} at {rate}") for run in found]
            if deep and (rate != "0.05" or epoch > 10):
                missing.append(name)
                continue
            rows = [training[epoch - 1] for training in trainings]
            values = [
                r["train_loss"] if measure == "loss" else 1 - r["train_accuracy"] for r in rows
            ]
            curves[name] = values
        assert list(shown) == list(curves)
        for name, values in curves.items():
            np.testing.assert_allclose([float(v) for v in shown[name]], values, atol=0.00051)
        drawn = lab.live.locator(".lab-drawing polyline").count()
        assert drawn == 3 * sum(not n.endswith("110") or rate == "0.05" for n in names)
        assert all(name in lab.live.inner_text().partition("Not recorded")[2] for name in missing)
        link = lab.live.get_by_role("link").get_attribute("href")
    with Lab(browser, pages["degradation"] + link) as again:
        again.settle()
        assert again.live.locator(".lab-values tbody tr").count() == len(curves)
        assert f"epoch {epoch}, rate {rate}" in again.live.locator("caption").inner_text()


@chromium
@pytest.mark.parametrize(
    ("kind", "norm", "beta", "depth", "seed"),
    [
        ("plain", "with", None, 24, 0),
        ("plain", "without", None, 50, 3),
        ("with shortcuts", "with", "1", 50, 9),
        ("with shortcuts", "with", "0.1", 50, 0),
        ("with shortcuts", "without", "0.5", 1, 7),
    ],
)
def test_the_derivative_is_pytorch_s(browser, pages, kind, norm, beta, depth, seed):
    factor = float(beta) if beta else None
    y, slope, last = shattering.network(depth, factor, norm == "with", seed)
    with Lab(browser, pages["shattering"]) as lab:
        lab.start()
        choose = [kind, norm, *([beta] if beta else [])]
        for text in choose:
            lab.live.get_by_label(text, exact=True).check()
        for slider, value in enumerate((depth, seed)):
            lab.live.get_by_role("slider").nth(slider).fill(str(value))
        lab.live.get_by_text(f"Seed {seed}", exact=True).wait_for()
        lab.tab.wait_for_timeout(300)
        said = lab.live.locator(".lab-verdict").inner_text().replace("−", "-")
        shown = [float(number) for number in re.findall(r"-?\d\.\d\d", said)]
        expected = [shattering.correlation(slope), shattering.cosine(last)]
        np.testing.assert_allclose(shown, expected, atol=0.0051)
        for number, series in enumerate((y, slope)):
            line = lab.live.locator("polyline").nth(number).get_attribute("points")
            heights = [float(point.split(",")[1]) for point in line.split()]
            share = (series - series.min()) / (series.max() - series.min())
            np.testing.assert_allclose(heights, 86 - 80 * share.numpy(), atol=0.051)
        assert lab.live.get_by_label("0.1", exact=True).is_disabled() == (beta is None)
        link = lab.live.get_by_role("link").get_attribute("href")
    with Lab(browser, pages["shattering"] + link) as again:
        again.settle()
        assert again.live.locator(".lab-verdict").inner_text().replace("−", "-") == said


def test_the_block_that_the_lab_asks_about_costs_most():
    rows = runs.read(take_apart.RUN).measured["deleted"]
    left = {row["block"]: row["right"] for row in rows if row["network"] == "ResNet-20"}
    (whole,) = (
        row["right"]
        for row in runs.read(take_apart.RUN).measured["whole"]
        if row["network"] == "ResNet-20"
    )
    first = left.pop("layer1.0")
    assert whole - first > 2 * (whole - min(left.values()))


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_in_a_chapter_is_the_one_that_is_computed(name):
    figure = import_module(f"labs.{name.replace('-', '_')}").table()
    assert len(figure.splitlines()) > 3 and len({r.count("|") for r in figure.splitlines()}) == 1
    chapters = [nbformat.read(path, as_version=4) for path in (ROOT / "book").glob("*.ipynb")]
    cells = [cell.source for chapter in chapters for cell in chapter.cells]
    (frame,) = (source for source in cells if f'data-lab="{name}"' in source)
    assert figure in frame and '<p class="lab-elsewhere">' in frame


def test_the_page_of_labs_leads_to_each_in_its_chapter():
    chapters = sorted((ROOT / "book").glob("*.ipynb"))
    pictures = sorted(labs_page.PICTURES.glob("*.html"))
    index = labs_page.index([*chapters, *pictures])
    assert index.count('class="lab-card"') == len(labs.LABS) == len(pictures)
    assert "\n\n" not in index
    assert '<a href="05_gradient_flow.html#lab-paths">Paths</a> (5.5)' in index
    assert labs.files(index) == ["labs.css"]
    with pytest.raises(LookupError, match="paths has no picture"):
        labs_page.index([*chapters, *(path for path in pictures if path.stem != "paths")])
    with pytest.raises(LookupError, match="nested-classes, relu-plane is in no chapter"):
        labs_page.index([*chapters[1:], *pictures])


def test_scripts_go_only_to_pages_that_hold_a_lab_and_are_small():
    assert labs.files("<p>no lab</p>") == []
    files = labs.files('<div class="lab" data-lab="take-apart">\n')
    assert files[:2] == ["labs.css", "lab.js"] and "take_apart.js" in files
    with pytest.raises(ValueError, match="nothing"):
        labs.files('<div class="lab" data-lab="nothing">')
    added = []
    app = SimpleNamespace(add_css_file=added.append, add_js_file=lambda f, **_: added.append(f))
    for body in ("<p>no lab</p>", None):
        site.add_labs(app, "page", "page.html", {"body": body}, None)
    assert added == []
    context = {"body": '<div class="lab" data-lab="dilation">'}
    site.add_labs(app, "page", "page.html", context, None)
    assert context["body"] == '<div class="lab" id="lab-dilation" data-lab="dilation">'
    assert added == ["labs.css", "lab.js", "dilation.js"]
    for name in NAMES:
        frame = f'<div class="lab" data-lab="{name}">'
        served = b"".join((labs.FOLDER / file).read_bytes() for file in labs.files(frame))
        assert len(zlib.compress(served, 9)) < 40_000
        data = labs.FOLDER / f"{name.replace('-', '_')}_data.js"
        assert data.exists() == (name in WITH_DATA)
        assert not data.exists() or data.stat().st_size <= 1_000_000

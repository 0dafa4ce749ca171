"""The labs that show what Python measured: the thermometer and the shoe switch."""

import os
import re

import numpy as np
import pytest
import torch
from test_labs import Lab, browser, chromium, pages  # noqa: F401

from labs import shoe_switch, thermometer
from resnets import data, runs
from resnets.scenes import OUTFITS, SCENE_CLASSES, SIDE

real_data = pytest.mark.skipif(not os.environ.get("RESNETS_DATA"), reason="RESNETS_DATA is not set")
DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


@pytest.fixture(scope="module")
def measured():
    return thermometer.read_script()["curves"]


@real_data
@pytest.mark.parametrize("case", [(20, 0, 1, True, "zeros"), (20, 0.8, 0.1, False, "circular")])
def test_the_thermometer_s_data_are_what_is_measured(measured, case):
    images, labels = thermometer.batch()
    found = thermometer.measured(case, images, labels)
    torch.testing.assert_close(found, measured[thermometer.key(case)], rtol=0.005, atol=0)


def test_the_thermometer_has_every_case_and_the_recorded_trainings(measured):
    after = thermometer.trained()
    assert len(after) == 20 and len(measured) == len(thermometer.CASES) + len(after)
    for (case, epoch), found in after.items():
        written = measured[thermometer.key(case, epoch)]
        torch.testing.assert_close(written, found, rtol=0.002, atol=0)
    for case in thermometer.CASES:
        found = measured[thermometer.key(case)]
        assert (found[0] <= found[1]).all() and (found[1] <= found[2]).all()
        assert (found[:, 0, 0] == 1).all() and (found[:, 1, -1] == 1).all()


def test_a_weak_branch_lets_the_gradient_vanish_only_without_normalization(measured):
    def ratio(branch, batch_norm):
        case = (56, 0.8, branch, batch_norm, "zeros")
        return measured[thermometer.key(case)][1, 1, 0]

    assert ratio(0, True) == ratio(0, False) < 0.01
    assert ratio(0.1, False) < 0.01 and ratio(0.1, True) > 1


def test_the_factors_are_those_of_the_blocks():
    x, labels = torch.randn(4, 1, 28, 28), torch.zeros(4).long()
    signal, gradient = thermometer.sizes(
        thermometer.network(20, 0.5, 0, True, "zeros", 0), x, labels
    )
    # Within a stage, without its layers, a block leaves λ of the signal; a change of shape leaves
    # every fourth pixel, and as many zeros as channels.
    np.testing.assert_allclose(signal[:4], 0.5 ** np.arange(4.0), rtol=0.15)
    np.testing.assert_allclose(signal[:3] / signal[0], 0.5 ** np.arange(3.0), rtol=1e-5)
    np.testing.assert_allclose(gradient[-3:], 0.5 ** np.arange(2.0, -1, -1), rtol=1e-5)
    plain = thermometer.network(20, 0, 1, True, "circular", 0)
    assert plain.layer1[0].downsample is None
    assert plain.layer1[0].conv1.padding_mode == "circular"


def number(text):
    """What the page writes as 4.4 · 10³."""
    digits, _, power = text.partition(" · 10")
    return float(digits) * 10.0 ** int(power.translate(DIGITS) or 0)


@chromium
def test_the_thermometer_shows_what_was_measured(browser, pages, measured):  # noqa: F811
    states = [
        ("56", "0: plain", None, "with", "zeros", "before"),
        ("110", "0.8", "0.1", "without", "circular", "before"),
        ("20", "1.2", "0", "with", "zeros", "before"),
        ("56", "1", "1", "with", "zeros", "after 8 epochs"),
    ]
    with Lab(browser, pages["thermometer"]) as lab:
        lab.start()

        def choose(legend, text):
            group = lab.live.get_by_role("group", name=legend, exact=True)
            group.get_by_label(text, exact=True).check()

        for depth, shortcut, branch, norm, padding, when in states:
            factor = 0 if branch is None else float(shortcut)
            choose("Depth", depth)
            choose("Factor λ on the shortcut", shortcut)
            if branch:
                choose("Factor β on the layers", branch)
            choose("Batch normalization", norm)
            choose("Padding", padding)
            choose("Training", when)
            case = (int(depth), factor, float(branch or 1), norm == "with", padding)
            (key,) = (
                thermometer.key(known, 0 if when == "before" else 8)
                for known in thermometer.CASES
                if known == case
            )
            values = measured[key] if when == "before" else measured[key][:, None]
            said = lab.live.locator(".lab-verdict").inner_text()
            shown = re.findall(r": ([^()]+) \(([^()]+) to ([^()]+)\)", said)
            ends = [values[:, 0, -1], values[:, 1, 0]] if when == "before" else [values[:, 0, 0]]
            for texts, (low, median, high) in zip(shown, ends, strict=True):
                expected = [median, low, high]
                np.testing.assert_allclose([number(t) for t in texts], expected, rtol=0.06)
            panels = lab.live.locator(".lab-pair > div")
            for panel in range(2):
                lines = panels.nth(panel).locator("polyline")
                if when != "before" and panel == 0:
                    assert lines.count() == 0
                    continue
                points = lines.first.get_attribute("points").split()
                heights = [float(point.split(",")[1]) for point in points]
                one = panels.nth(panel).locator(".lab-one").get_attribute("y1")
                logs = values[1, panel if when == "before" else 0].log10()
                above = np.array(heights) - float(one)
                slope = above[logs.abs().argmax()] / logs[logs.abs().argmax()]
                assert slope < 0
                np.testing.assert_allclose(above, slope * logs, atol=0.11)
        choose("Factor λ on the shortcut", "0.5")
        assert lab.live.get_by_text("Not recorded").is_visible()
        choose("Training", "before")
        lab.live.get_by_role("button", name="Keep these curves").press("Enter")
        choose("Batch normalization", "without")
        kept = "Gray and dashed: depth 56, λ = 0.5, β = 1, with batch normalization"
        assert lab.live.get_by_text(kept).is_visible()
        assert lab.live.locator("polyline").count() == 4
        said = lab.live.locator(".lab-verdict").inner_text()
        link = lab.live.get_by_role("link").get_attribute("href")
    with Lab(browser, pages["thermometer"] + link) as again:
        again.settle()
        assert again.live.locator(".lab-verdict").inner_text() == said
        assert again.live.get_by_text(kept).is_visible()


# Depth, λ, β, batch normalization, padding, seed.
SMALL = [
    (20, 0, 1, True, "zeros", 0),
    (20, 0, 1, False, "circular", 1),
    (20, 0.85, 0.1, True, "circular", 2),
    (6, 0.05, 0.05, False, "zeros", 9),
    (20, 1.2, 1, False, "zeros", 4),
    (56, 1.5, 1, True, "zeros", 3),
]
COMPUTED = """
async (cases) => {
  const found = [];
  for (const kernel of [labs.kernel, ""]) {
    const compute = smallNetwork.on(await inference.Engine.create(kernel));
    for (const [depth, shortcut, branch, batchNorm, padding, seed] of cases) {
      const circular = padding === "circular";
      const settings = { blocks: (depth - 2) / 2, shortcut, branch, batchNorm, circular, seed };
      const { signal, gradient } = compute(settings);
      found.push([signal, gradient]);
    }
  }
  return found;
}
"""


@chromium
def test_the_page_computes_a_small_network_as_pytorch_does(browser, pages):  # noqa: F811
    expected = [thermometer.sizes(*thermometer.small(*case)) for case in SMALL]
    with Lab(browser, pages["thermometer"]) as lab:
        found = lab.tab.evaluate(COMPUTED, SMALL)
    for got, sizes in zip(found, expected * 2, strict=True):  # with the kernel, and without
        np.testing.assert_allclose(got, sizes, rtol=1e-5)


@chromium
def test_the_thermometer_shows_what_it_computes_beside_what_was_measured(
    browser,  # noqa: F811
    pages,  # noqa: F811
    measured,
):
    case = (20, 0.8, 0.1, False, "circular")
    signal, gradient = thermometer.sizes(*thermometer.small(*case, 5))
    with Lab(browser, pages["thermometer"]) as lab:
        lab.start()
        told = lab.told(lambda: lab.live.get_by_label("a small one, computed here").check())
        assert "depth 56, plain, with batch normalization, padding zeros, before training" in told
        beta = lab.live.get_by_role("slider", name="β")
        assert beta.is_disabled()
        lab.live.get_by_role("slider", name="Depth").fill("9")
        lab.live.get_by_role("slider", name="λ").fill("16")
        beta.fill("2")
        lab.live.get_by_label("without", exact=True).check()
        lab.live.get_by_label("circular", exact=True).check()
        told = lab.told(lambda: lab.live.get_by_role("slider", name="Seed").fill("5"))
        assert "depth 20, λ = 0.8, β = 0.1, without batch normalization, padding circular" in told
        values = re.findall(r": ([^:]+?)\. ", lab.live.locator(".lab-verdict").inner_text() + " ")
        expected = [signal[-1], gradient[0]]
        np.testing.assert_allclose([number(text) for text in values], expected, rtol=0.06)
        beside = lab.live.get_by_text("Gray and dashed, measured: signal").inner_text()
        values = re.findall(r"(?:signal|gradient) ([^,]+?)[,.](?: |$)", beside)
        median = measured[thermometer.key(case)][1]
        np.testing.assert_allclose(
            [number(text) for text in values], [median[0, -1], median[1, 0]], rtol=0.06
        )
        drawn = lab.live.locator(".lab-pair > div").last.locator("polyline.lab-resnet")
        heights = [float(p.split(",")[1]) for p in drawn.get_attribute("points").split()]
        logs = gradient.log10()
        slope = (heights[0] - heights[-1]) / (logs[0] - logs[-1])
        np.testing.assert_allclose(heights, heights[-1] + slope * logs, atol=0.11)
        lab.told(lambda: lab.live.get_by_role("slider", name="λ").press("ArrowRight"))
        assert lab.live.get_by_text("With these settings nothing was measured").is_visible()
        assert lab.violations() == "" and lab.seen.errors == []
        link = lab.live.get_by_role("link").get_attribute("href")
        assert "_depth-20_shortcut-085_branch-01_norm-none_padding-circular" in link
        said = lab.live.locator(".lab-verdict").inner_text()
    with Lab(browser, pages["thermometer"] + link) as again:
        again.settle()
        assert again.live.locator(".lab-verdict").inner_text() == said
        again.told(lambda: again.live.get_by_label("measured in PyTorch").check())
        assert again.live.get_by_role("radio", name="0.8").is_checked()


@pytest.fixture(scope="module")
def shoes():
    return shoe_switch.read_script()


def garments(count=10):
    """So many of each class, each a square of one gray that tells the class."""
    labels = torch.arange(10).repeat_interleave(count)
    images = (labels * 20 + 60).to(torch.uint8)[:, None, None].expand(-1, 28, 28).contiguous()
    return data.ImageSet(images, labels, data.REAL)


def test_switching_changes_the_shoe_and_the_top_and_nothing_else(monkeypatch):
    monkeypatch.setattr(
        shoe_switch,
        "CONFIG",
        shoe_switch.CONFIG.__class__(**(vars(shoe_switch.CONFIG) | {"test_scenes": 4})),
    )
    dressed = {worn: shoe_switch.switched(garments(), *worn) for worn in shoe_switch.WORN}
    _, test = shoe_switch.context.draw(shoe_switch.CONFIG, (garments(), garments()), True, 0)
    classes = [SCENE_CLASSES.index(name) for name in (*shoe_switch.SHOES, *shoe_switch.TOPS)]
    for number in range(4):
        seen = test.labels[number].cpu()
        (shoe,) = (s for s in OUTFITS if (seen == SCENE_CLASSES.index(s)).any())
        for worn, scenes in dressed.items():
            labels = scenes.labels[number]
            others = ~torch.isin(torch.stack([labels, seen]), torch.tensor(classes)).any(0)
            assert torch.equal(labels[others], seen[others])
            assert torch.equal(
                scenes.images[number, 0][others], test.images[number, 0].cpu()[others]
            )
            for name in worn:
                assert (labels == SCENE_CLASSES.index(name)).any()
            assert len(set(labels.unique().tolist()) & set(classes)) == 2
            if worn == (shoe, OUTFITS[shoe]):
                assert torch.equal(labels, seen)
                assert torch.equal(scenes.images[number], test.images[number].cpu())


@real_data
def test_the_shown_scenes_are_the_first_test_scenes(shoes, monkeypatch):
    _, test = data.fashion_mnist()
    worn = ("Sandal", "Coat")
    scenes = shoe_switch.switched(test, *worn)[: shoe_switch.SHOWN]
    place = shoe_switch.WORN.index(worn)
    step = 256 // shoe_switch.GRAYS
    assert torch.equal(shoes["images"][place], scenes.images[:, 0] // step)
    assert torch.equal(shoes["truth"][place], scenes.labels)


def test_the_shoe_switch_s_run_says_how_its_networks_were_trained(shoes):
    run = runs.read(shoe_switch.RUN)
    assert run.complete and run.data == data.REAL and not run.commit.endswith("+changes")
    assert [len(rows) for rows in run.history.values()] == [shoe_switch.CONFIG.recipe.epochs] * 2
    rows = run.measured["tops"]
    worn = [(row["network"], row["shoe"], row["top"]) for row in rows]
    assert worn == [(n, *w) for n in shoe_switch.NETWORKS for w in shoe_switch.WORN]
    written = [[row[f"as {top}"] for top in shoe_switch.TOPS] for row in rows]
    np.testing.assert_allclose(shoes["shares"], written, atol=5.1e-5)


def test_psp_net_s_top_follows_the_shoe_and_the_fcn_s_less():
    rows = runs.read(shoe_switch.RUN).measured["tops"]
    mismatched = [row for row in rows if OUTFITS[row["shoe"]] != row["top"]]

    def mean(network, top):
        return np.mean([row[f"as {top(row)}"] for row in mismatched if row["network"] == network])

    def own(row):
        return row["top"]

    def shoe_s(row):
        return OUTFITS[row["shoe"]]

    assert mean("FCN", own) > mean("FCN", shoe_s)
    assert mean("PSPNet", shoe_s) > mean("PSPNet", own)


@chromium
def test_the_shoe_switch_shows_the_networks_maps(browser, pages, shoes):  # noqa: F811
    with Lab(browser, pages["shoe-switch"]) as lab:
        lab.start()
        for number, worn in ((0, ("Sandal", "Coat")), (3, ("Sneaker", "Shirt"))):
            for name in worn:
                lab.live.get_by_label(name, exact=True).check()
            lab.live.get_by_role("slider").fill(str(number))
            place, top = shoe_switch.WORN.index(worn), SCENE_CLASSES.index(worn[1])
            truth = shoes["truth"][place, number]
            maps = [truth, *shoes["maps"][:, place, number]]
            given = [found[truth == top] for found in maps[1:]]
            cells = lab.live.locator("tbody tr").nth
            for row, name in enumerate(shoe_switch.TOPS):
                texts = cells(row).locator("td").all_inner_texts()
                here = [(g == SCENE_CLASSES.index(name)).float().mean().item() for g in given]
                every = [shoes["shares"][len(shoe_switch.WORN) * n + place][row] for n in (0, 1)]
                shown = [float(text.removesuffix(" %")) for text in texts]
                np.testing.assert_allclose(shown, 100 * np.array(here + every), atol=0.51)
            painted = lab.tab.evaluate(
                """[...document.querySelectorAll('.lab canvas')].map((canvas) => [
                  ...canvas.getContext('2d').getImageData(0, 0, 97, 97).data])"""
            )
            scene, *colored = np.array(painted).reshape(4, SIDE, SIDE, 4)[..., :3]
            gray = shoes["images"][place, number].double().numpy()
            # The frame around the top is painted over some pixels.
            expected = 255 - 215 * gray / (shoe_switch.GRAYS - 1)
            assert (np.abs(scene[..., 0] - expected) < 1).mean() > 0.97
            for labels, colors in zip(maps, colored, strict=True):
                for value in labels.unique():
                    seen = colors[(labels == value).numpy()]
                    common = np.median(seen, axis=0)
                    assert (seen == common).all(1).mean() > 0.8
        link = lab.live.get_by_role("link").get_attribute("href")
        said = lab.live.locator(".lab-verdict").inner_text()
    with Lab(browser, pages["shoe-switch"] + link) as again:
        again.settle()
        assert again.live.locator(".lab-verdict").inner_text() == said

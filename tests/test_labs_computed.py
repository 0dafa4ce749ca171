"""What the labs compute in the page, compared with what Python computes."""

import re

import numpy as np
import pytest
import torch
from lab_pages import write_page
from test_browser import browser, pytestmark  # noqa: F401
from test_labs import Lab

from labs import (
    bottleneck,
    checkpointing,
    image_size,
    iou_painter,
    nested_classes,
    paths,
    pyramid,
    receptive_field,
    relu_plane,
)


class Shown(Lab):
    """A lab that is sent from state to state by the page's address."""

    def show(self, **state):
        """Go to a state by its link; the lab's own link has to lead to it."""
        parts = (f"_{key}-{value}" for key, value in state.items())
        address = f"#lab-{self.frame.get_attribute('data-lab')}{''.join(parts)}"
        self.tab.evaluate("(hash) => (location.hash = hash)", address)
        reached = "(hash) => document.querySelector('.lab-link')?.hash === hash"
        self.tab.wait_for_function(reached, arg=address)

    def numbers(self, where=".lab-live", text=None):
        """The numbers in what it says."""
        said = self.frame.locator(where).filter(has_text=text).first.inner_text()
        said = said.replace(",", "").replace("−", "-")
        return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", said)]

    def link(self):
        return self.live.get_by_role("link").get_attribute("href")


@pytest.fixture
def lab(request, browser, tmp_path):  # noqa: F811
    """The lab that a test names, in a browser."""
    page = write_page(tmp_path / "site", request.param)
    with Shown(browser, page.as_uri()) as shown:
        yield shown.start()


def rows(lab):
    """The numbers in the rows of its table."""
    texts = lab.live.locator(".lab-values tbody tr").all_inner_texts()
    cells = [text.replace(",", "").replace(" %", "").split("\t")[1:] for text in texts]
    return [list(map(float, row)) for row in cells]


def the_lab(name):
    return pytest.mark.parametrize("lab", [name], indirect=True)


@the_lab("receptive-field")
def test_squares_and_paths_are_those_of_pytorch_s_convolutions(lab):
    stacks = [*receptive_field.STACKS.values(), ((5, 2, 4), (1, 2, 1), (7, 2, 2), (3, 1, 4))]
    for stack in stacks:
        padded = stack + ((1, 1, 1),) * (6 - len(stack))
        lab.show(stack="".join(str(number) for layer in padded for number in layer))
        side, step, ways = receptive_field.seen(stack)
        half, most = (receptive_field.side_of(ways, share) for share in (0.5, 0.95))
        share = round(100 * (most / side) ** 2, 1)
        assert lab.numbers(".lab-verdict") == [side, side, 95, most, most, share]
        read, paths = (ways > 0).sum().item() ** 2, ways.max().item() ** 2
        assert lab.numbers("p", "It reads") == [read, paths, half, half, step]
        bars = lab.live.locator(".lab-bell").get_attribute("d").split("M")[1:]
        heights = [float(re.search(r"v-?([\d.]+)", bar)[1]) for bar in bars]
        assert heights == pytest.approx((60 * (ways / ways.max()).sqrt()).tolist(), abs=0.0051)


@the_lab("receptive-field")
def test_the_stack_changes_by_its_lists(lab):
    lab.live.get_by_label("Stack").select_option("one 7×7")
    told = lab.told(lambda: lab.live.get_by_label("Dilation of layer 1").select_option("4"))
    assert "25×25" in told and "49 of these" in told
    assert lab.link() == "#lab-receptive-field_stack-714111111111111111"
    assert lab.live.get_by_label("Stack").input_value() == ""


@the_lab("paths")
def test_paths_and_what_they_bring_are_those_of_the_polynomial(lab):
    for on, factor in ((63, 3), (62, 3), (37, 10), (8, 20), (0, 1)):
        lab.show(on=on, factor=factor)
        blocks = tuple(block for block in range(6) if on & 1 << block)
        left = paths.paths(blocks)
        assert lab.numbers(".lab-verdict")[0] == len(left)
        drawn = lab.live.locator("svg rect.lab-through").count()
        assert drawn == sum(map(len, left))
        assert lab.live.locator("svg rect.lab-cut").count() == 6 * (64 - len(left))
        shares = paths.shares(len(blocks), factor / 10)
        bars = lab.live.locator("svg rect.lab-brought")
        heights = [float(bars.nth(i).get_attribute("height")) for i in range(7)]
        assert heights == pytest.approx([*56 * shares, *[0] * (6 - len(blocks))])
        mean = sum(length * share for length, share in enumerate(shares))
        found = lab.numbers("p", "On average")
        assert found == pytest.approx([len(blocks) / 2, mean], abs=0.0051)
        assert lab.numbers("p", "With 54")[1:3] == list(
            paths.central(paths.shares(54, factor / 10))
        )


@the_lab("paths")
def test_blocks_are_deleted_by_their_boxes(lab):
    box = lab.live.get_by_role("checkbox", name="3")
    assert "32 of 64 paths are left" in lab.told(lambda: box.press("Space"))
    assert "A plain network would have no path" in lab.live.inner_text()
    assert "9 to 22 blocks" in lab.told(lambda: lab.live.get_by_role("slider").fill("4"))
    assert lab.link() == "#lab-paths_on-59_factor-4"
    lab.told(lambda: lab.tab.evaluate("location.hash = '#lab-paths_on-999_factor-x'"))
    assert lab.link() == "#lab-paths_on-63_factor-3"  # what it begins with


@the_lab("iou-painter")
def test_a_painted_map_is_judged_as_by_the_library_s_metrics(lab):
    striped = torch.arange(96) % 4
    for predicted in (*iou_painter.PREDICTIONS.values(), striped):
        lab.show(brush=2, map="".join(map(str, predicted.tolist())))
        accuracy, miou, expected = iou_painter.judged(predicted)
        shown = lab.numbers(".lab-verdict")
        assert shown == pytest.approx([100 * accuracy, 100 * miou], abs=0.051)
        assert np.array(rows(lab)) == pytest.approx(expected.numpy(), abs=0.00051)
        crosses = lab.live.locator(".lab-wrong").get_attribute("d").count("M")
        assert crosses == (predicted != iou_painter.TRUE).sum()
    truth = lab.live.get_by_role("img", name="The true classes").locator("rect")
    looks = [truth.nth(i).get_attribute("class") for i in range(96)]
    assert looks == [f"lab-class-{number}" for number in iou_painter.TRUE.tolist()]


@the_lab("iou-painter")
def test_a_map_is_painted_by_keys_by_pointer_and_by_buttons(lab):
    canvas = lab.live.get_by_label("Your prediction")
    told = lab.told(lambda: canvas.press("Space"))  # it begins on the lost pole
    assert "IoU of the pole: 0.167" in told
    canvas.press("ArrowUp")
    assert "Row 4, column 10: pole, painted as sky" in lab.live.inner_text()
    assert "IoU of the pole: 0.333" in lab.told(lambda: canvas.press("Enter"))
    for text, expected in (("car and pole lost", 0), ("all right", 1)):
        told = lab.told(lambda text=text: lab.live.get_by_role("button", name=text).last.click())
        assert f"IoU of the pole: {expected}.000" in told
    box = canvas.locator("svg").bounding_box()
    side = box["width"] / 12
    lab.tab.mouse.move(box["x"] + 0.5 * side, box["y"] + 0.5 * side)
    lab.tab.mouse.down()
    lab.tab.mouse.move(box["x"] + 2.5 * side, box["y"] + 0.5 * side, steps=8)
    lab.tab.mouse.up()
    assert lab.link().partition("_map-")[2].startswith("33300000")


@the_lab("image-size")
def test_what_each_stage_costs_is_what_pytorch_counts(lab):
    for size in (28, 33, 50, 97, 224):
        lab.show(size=size)
        sides, work, met = image_size.products(size)
        idle = image_size.idle(size)
        shown = np.array(rows(lab))
        assert shown[:, 0] == pytest.approx(np.array(work) / 1e6, abs=0.051)
        assert shown[:, 1] == pytest.approx(100 * (1 - np.array(met) / work), abs=0.051)
        assert shown[:, 2].tolist() == idle
        total, parameters = image_size.totals(size)
        share = 100 * (sum(work) - sum(met)) / total
        assert lab.numbers(".lab-verdict") == pytest.approx([total / 1e6, share], abs=0.051)
        assert lab.numbers("p", "meet nothing") == [sum(idle), parameters]
        for side in sides[1:]:
            assert lab.live.locator("svg").get_by_text(f"{side}×{side}", exact=True).count()


@the_lab("image-size")
def test_images_grow_by_their_slider(lab):
    slider = lab.live.get_by_role("slider")
    slider.fill("32")
    assert "padding. 0 of 11,175,370" in lab.told(lambda: slider.press("ArrowRight"))
    assert lab.link() == "#lab-image-size_size-33"


@the_lab("checkpointing")
def test_the_peak_is_what_pytorch_s_checkpoints_keep(lab):
    for depth, segments, kept in ((110, 6, 4), (20, 4, 8), (326, 27, 4), (56, 27, 1), (110, 1, 3)):
        lab.show(depth=depth, segments=segments, kept=kept)
        blocks = checkpointing.BLOCKS[depth]
        peak, whole = (checkpointing.peak(blocks, count, kept) for count in (segments, None))
        sizes = sorted(set(checkpointing.lengths(blocks, segments)))
        shown = lab.numbers(".lab-verdict")
        assert shown == [segments, *sizes, peak, round(100 * peak / whole, 1), whole]
        if blocks < 60:
            expected = pytest.approx(checkpointing.least(blocks, kept), abs=0.051)
            assert lab.numbers("p", "Least: ") == expected
        path = lab.live.locator(".lab-memory").get_attribute("d")
        heights = [float(height) for height in re.findall(r"V([\d.]+)h", path)]
        assert len(heights) == 3 * blocks
        assert 110 - min(heights) == pytest.approx(102)
        assert heights[blocks - 1] == pytest.approx(110 - 102 * segments / peak, abs=0.051)


@the_lab("checkpointing")
def test_there_are_no_more_segments_than_blocks(lab):
    sliders = lab.live.get_by_role("slider")
    assert "14 segments of 3 or 4" in lab.told(lambda: sliders.first.fill("14"))
    assert "9 segments of 1 block:" in lab.told(lambda: lab.live.get_by_label("ResNet-20").check())
    assert sliders.first.get_attribute("max") == "9"
    lab.told(lambda: sliders.last.fill("1"))
    assert lab.link() == "#lab-checkpointing_depth-20_segments-9_kept-1"


@the_lab("bottleneck")
def test_both_blocks_cost_what_pytorch_counts(lab):
    for basic, wide in ((4, 1), (4, 4), (32, 7), (1, 32)):
        lab.show(basic=basic, bottleneck=wide)
        pair = bottleneck.costs("basic", 16 * basic), bottleneck.costs("bottleneck", 64 * wide)
        texts = [t for t in lab.live.locator("svg text").all_text_contents() if ":" in t]
        numbers = [float(re.sub(r"[^\d.]", "", text)) for text in texts]
        expected = [block[i] / unit for i, unit in enumerate((1, 1e6, 1e6)) for block in pair]
        assert numbers == pytest.approx(expected, rel=2e-3, abs=0.051)
        ratios = [pair[1][i] / pair[0][i] for i in (0, 2)]
        assert lab.numbers(".lab-verdict") == pytest.approx(ratios, rel=2e-3, abs=0.0011)
        assert pair[1][1] / pair[0][1] == pair[1][0] / pair[0][0]


@the_lab("bottleneck")
def test_each_block_is_widened_by_its_slider(lab):
    sliders = lab.live.get_by_role("slider")
    assert "0.944 times the weights" in lab.told(lambda: sliders.last.fill("4"))
    assert "12.000 times the memory" in lab.told(lambda: sliders.first.fill("1"))
    assert lab.link() == "#lab-bottleneck_basic-1_bottleneck-4"


@the_lab("pyramid")
def test_a_bin_is_that_of_the_library_s_pyramid(lab):
    settings = ((6, "average", 23, 20, 4), (3, "max", 12, 1, 12), (2, "average", 7, 4, 3))
    for bins, pool, side, row, column in (*settings, (1, "max", 6, 6, 6), (6, "max", 6, 2, 2)):
        lab.show(bin=bins, pool=pool, side=side, row=row, column=column)
        small, large = (f(side, bins, pool) for f in (pyramid.pooled, pyramid.stretched))
        *edges, value = lab.numbers(".lab-verdict")
        i, j = ((2 * at - 1) * bins // (2 * side) for at in (row, column))
        assert edges == [*pyramid.region(side, bins, i), *pyramid.region(side, bins, j)]
        assert edges[0] <= row <= edges[1] and edges[2] <= column <= edges[3]
        assert value == pytest.approx(small[i, j].item(), abs=0.00051)
        itself = pyramid.channel(side)[0, 0, row - 1, column - 1].item()
        expected = pytest.approx([itself, large[row - 1, column - 1].item()], abs=0.00051)
        assert lab.numbers("p", "The pixel itself") == expected
        filled = [lab.live.locator("svg").nth(k).locator(".lab-pixels") for k in (1, 2)]
        for rects, expected in zip(filled, (small, large), strict=True):
            opacities = rects.evaluate_all("all => all.map((e) => +e.getAttribute('fill-opacity'))")
            assert opacities == pytest.approx(expected[expected > 0].tolist(), abs=0.000051)


@the_lab("pyramid")
def test_a_pixel_is_picked_by_sliders_and_on_the_map(lab):
    side, row, column = (lab.live.get_by_role("slider").nth(i) for i in range(3))
    told = lab.told(lambda: row.fill("9"))
    assert "Rows 9 to 12, columns 1 to 4: the average is 0.000" in told
    assert "the maximum is 0.800" in lab.told(
        lambda: (lab.live.get_by_label("maximum").check(), column.fill("10"))
    )
    assert "Rows 6 to 6, columns 6 to 6" in lab.told(
        lambda: (side.fill("6"), lab.live.get_by_role("radio", name="6×6").check())
    )
    box = lab.live.locator("svg").first.bounding_box()
    lab.tab.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.9 * box["height"])
    lab.tab.mouse.down()
    lab.tab.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.1 * box["height"], steps=5)
    lab.tab.mouse.up()
    assert lab.link() == "#lab-pyramid_bin-6_pool-max_side-6_row-1_column-3"


@the_lab("nested-classes")
def test_the_nearest_function_is_that_of_least_squares(lab):
    begin = nested_classes.BEGIN
    for kind, k, text in (("nested", 3, begin), ("alone", 2, begin), ("nested", 6, "k0" * 6 + "k")):
        lab.show(kind=kind, k=k, target=text)
        target = nested_classes.heights(text)
        found = {name: nested_classes.distances(target, name) for name in ("nested", "alone")}
        assert lab.numbers(".lab-verdict") == pytest.approx([found[kind][k]], abs=0.00051)
        worse = [int((np.diff(each) > 1e-9).sum()) for each in found.values()]
        assert lab.numbers("p", "Of 6 steps")[2:] == worse and worse[0] == 0
        curve, *lines = lab.live.locator("polyline").evaluate_all(
            "all => all.map((one) => one.getAttribute('points').split(/[ ,]/).map(Number))"
        )
        nearest = nested_classes.nearest(target, kind, k)
        assert (85 - np.array(curve[1::20])) / 7.3 == pytest.approx(nearest, abs=0.0071)
        for line, expected in zip(lines, found.values(), strict=True):
            assert (92 - np.array(line[1::2])) / 84 == pytest.approx(expected, abs=1e-6)


@the_lab("nested-classes")
def test_the_target_is_drawn_by_keys_and_by_pointer(lab):
    target = lab.live.get_by_label("Target")
    target.press("ArrowRight")
    told = lab.told(lambda: target.press("ArrowUp"))
    assert "of the target's norm away" in told
    assert "Point 5 of 13: 0" in lab.live.inner_text()
    lab.live.get_by_label("k alone").press("Space")
    lab.told(lambda: lab.live.get_by_role("slider").fill("5"))
    box = target.locator("svg").bounding_box()
    step = box["width"] * 26 / 340
    lab.tab.mouse.move(box["x"] + 14 / 26 * step, box["y"] + 0.5 * box["height"])
    lab.tab.mouse.down()
    lab.tab.mouse.move(box["x"] + (14 / 26 + 2) * step, box["y"] + 5, steps=8)
    lab.tab.mouse.up()
    link = lab.link()
    assert link.startswith("#lab-nested-classes_kind-alone_k-5_target-")
    drawn = link.rpartition("-")[2]
    assert drawn[2:5] == "kea" and drawn[5:] == nested_classes.BEGIN[5:]


@the_lab("relu-plane")
def test_what_comes_back_is_what_the_pseudo_inverse_returns(lab):
    points = relu_plane.spiral()
    for angles in ((20, 75, 150), (0, 90, 180, 270), (45,), (30, 30, 200), (0, 85, 100, 215, 355)):
        rows = [*(angle // 5 for angle in angles), *[7] * (5 - len(angles))]
        state = {f"row{number}": row for number, row in enumerate(rows, start=1)}
        lab.show(n=len(angles), **state)
        assert lab.numbers(".lab-verdict") == relu_plane.sectors(angles)
        shown = lab.numbers("p", "Of the spiral")
        assert shown == pytest.approx([100 * relu_plane.lost(angles)], abs=0.051)
        back, ranks = relu_plane.map_back(points, relu_plane.matrix(angles))
        for look, rank in (("back", 2), ("merged", 1)):
            path = lab.live.locator(f"path.lab-{look}").get_attribute("d")
            drawn = [float(number) for number in re.findall(r"[\d.]+", path)]
            expected = 150 + 300 / 5.4 * back[ranks == rank] * torch.tensor([1, -1])
            assert np.array(drawn).reshape(-1, 2) == pytest.approx(expected.numpy(), abs=0.051)
        assert lab.live.locator(".lab-zero").count() == bool((ranks == 0).any())


@the_lab("relu-plane")
def test_units_are_turned_by_sliders_and_by_pointer(lab):
    sliders = lab.live.get_by_role("slider")
    assert sliders.count() == 4
    lab.told(lambda: sliders.first.fill("4"))
    assert sliders.count() == 5
    told = lab.told(lambda: [sliders.nth(i + 1).fill(str(18 * i)) for i in range(4)])
    assert "in 360° they come back" in told
    box = lab.live.locator(".lab-drawing svg").bounding_box()
    middle, reach = box["width"] / 2, 2.2 / 5.4 * box["width"]
    lab.tab.mouse.move(box["x"] + middle, box["y"] + middle - reach)  # unit 2, at 90°
    lab.tab.mouse.down()
    lab.tab.mouse.move(box["x"] + middle + reach, box["y"] + middle - reach, steps=5)
    lab.tab.mouse.up()
    assert lab.link() == "#lab-relu-plane_n-4_row1-0_row2-9_row3-36_row4-54_row5-62"

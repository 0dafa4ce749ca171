"""What the labs compute in the page, compared with what Python computes."""

import re

import pytest
from lab_pages import write_page
from test_browser import browser, pytestmark  # noqa: F401
from test_labs import Lab

from labs import paths, receptive_field


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

"""The labs' networks: the compiled kernel, and what was exported of the training."""

import hashlib
import os

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labs import kernel, script, take_apart
from resnets import data, models, probes, runs

REAL_DATA = os.environ.get("RESNETS_DATA")


@pytest.fixture(scope="module")
def run():
    return runs.read(take_apart.RUN)


@pytest.fixture(scope="module")
def exported():
    return take_apart.read_networks()


def test_the_committed_kernel_is_what_its_source_compiles_to():
    pytest.importorskip("ziglang")
    hashes = [hashlib.sha256(b).hexdigest() for b in (kernel.compiled(), kernel.committed())]
    assert hashes[0] == hashes[1]


class Kernel:
    """The compiled kernel outside of a browser."""

    def __init__(self):
        wasmtime = pytest.importorskip("wasmtime")
        engine = wasmtime.Engine()
        self.store = wasmtime.Store(engine)
        module = wasmtime.Module(engine, kernel.committed())
        self.exports = wasmtime.Instance(self.store, module, []).exports(self.store)
        self.memory = self.exports["memory"]
        self.next = self.exports["heap"](self.store)

    def put(self, array):
        """The address of the array's copy."""
        content = np.ascontiguousarray(array, "<f4").tobytes()
        at, self.next = self.next, self.next + -(-len(content) // 16) * 16
        missing = self.next - self.memory.data_len(self.store)
        if missing > 0:
            self.memory.grow(self.store, missing // 65536 + 1)
        self.memory.write(self.store, content, at)
        return at

    def convolve(self, image, weight, bias, added, stride, relu):
        """Of (C, H, W), as torch does it with one pixel of padding."""
        outputs, inputs = weight.shape[:2]
        size = [-(-side // stride) for side in image.shape[1:]]
        grouped = weight.reshape(outputs // 8, 8, inputs, 3, 3).transpose(0, 3, 4, 2, 1)
        out = np.zeros((size[0] + 2, size[1] + 2, outputs), np.float32)
        places = [self.put(padded(image)), self.put(grouped), self.put(bias)]
        places += [0 if added is None else self.put(padded(added)), self.put(out)]
        sizes = (*size, image.shape[2], inputs, outputs, stride, relu)
        self.exports["convolve"](self.store, *places, *sizes)
        content = self.memory.read(self.store, places[-1], places[-1] + out.nbytes)
        return np.frombuffer(content, "<f4").reshape(out.shape)


def padded(image):
    return np.pad(image.transpose(1, 2, 0), ((1, 1), (1, 1), (0, 0)))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("addition", [False, True])
@pytest.mark.parametrize(
    ("inputs", "outputs", "height", "width", "stride"),
    [
        (1, 16, 28, 28, 2),
        (16, 16, 14, 14, 1),
        (16, 32, 14, 14, 2),
        (3, 8, 7, 5, 1),
        (8, 8, 9, 8, 2),
    ],
)
def test_the_kernel_convolves_as_torch_does(inputs, outputs, height, width, stride, addition, relu):
    random = np.random.default_rng(0)
    image = random.standard_normal((inputs, height, width), np.float32)
    weight = random.standard_normal((outputs, inputs, 3, 3), np.float32)
    bias = random.standard_normal(outputs, np.float32)
    expected = F.conv2d(*map(torch.from_numpy, (image, weight, bias)), stride, padding=1)
    added = random.standard_normal(expected.shape, np.float32) if addition else None
    if addition:
        expected = expected + torch.from_numpy(added)
    if relu:
        expected = F.relu(expected)
    found = Kernel().convolve(image, weight, bias, added, stride, relu)
    np.testing.assert_allclose(found, padded(expected.numpy()), rtol=1e-5, atol=2e-5)


def test_folding_leaves_the_answers_and_quantizing_moves_weights_by_half_a_step():
    torch.manual_seed(0)
    model = models.cifar_resnet(20, stem="stride2", in_channels=1, num_classes=10)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    model.eval()
    x = torch.randn(8, 1, 28, 28)
    with torch.no_grad():
        expected = model(x)
        back = take_apart.restored(take_apart.described("ResNet-20", model))
        layers = take_apart.folded(model)
        for (module, conv, _), (weight, bias) in zip(
            take_apart.convolutions(back), layers, strict=True
        ):
            layer = getattr(module, conv)
            step = weight.abs().amax((1, 2, 3), keepdim=True) / 127
            assert ((layer.weight - weight).abs() <= step * 0.5001).all()
            assert not torch.equal(layer.weight, weight)
            torch.testing.assert_close(layer.bias, bias, rtol=0, atol=0)
            layer.weight.copy_(weight)
        torch.testing.assert_close(back(x), expected, rtol=1e-4, atol=1e-4)


def test_the_export_answers_as_well_as_what_was_trained(run):
    assert list(run.final) == list(take_apart.NETWORKS)
    for accuracy in run.final.values():
        assert abs(accuracy["exported"] - accuracy["float32"]) <= 0.003
        assert accuracy["float32"] > 0.8
    assert run.complete and run.data == data.REAL and not run.commit.endswith("+changes")


@pytest.mark.skipif(not REAL_DATA, reason="RESNETS_DATA is not set")
def test_the_recorded_accuracy_is_that_of_the_committed_script(run, exported):
    _, test = data.fashion_mnist()
    for name, model in exported.items():
        assert take_apart.right(model, test) == round(run.final[name]["exported"] * len(test))
    images = take_apart.read_images()
    assert torch.equal(images.images, test.images[:500])
    assert torch.equal(images.labels, test.labels[:500])


def test_the_recorded_figures_are_those_of_the_committed_networks(run, exported):
    images = take_apart.read_images()
    networks = {content["name"]: content for content in script.read("take-apart")["networks"]}
    measured = {"whole": [], "deleted": [], "swapped": []}
    for name in exported:
        for table, rows in take_apart.lesions_of(name, images).items():
            measured[table] += rows
        assert networks[name]["right"] == measured["whole"][-1]["right"]
    assert measured == run.measured


def test_the_lab_offers_every_lesion_that_the_probes_allow():
    for name in take_apart.NETWORKS:
        model = take_apart.network(name, take_apart.STEM)
        allowed = []
        for block in probes.blocks(model):
            try:
                with probes.deleted(model, block):
                    allowed.append(block)
            except ValueError:
                pass
        assert take_apart.deletable(name) == allowed
        for pair in take_apart.swappable(name):
            with probes.swapped(model, pair):
                pass


def test_it_takes_real_images_to_export(monkeypatch):
    drawn = data.ImageSet(torch.zeros(1, 28, 28, dtype=torch.uint8), torch.zeros(1).long(), "drawn")
    monkeypatch.setattr(data, "fashion_mnist", lambda: (drawn, drawn))
    with pytest.raises(SystemExit, match="RESNETS_DATA"):
        take_apart.main()

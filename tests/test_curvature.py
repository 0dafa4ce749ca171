import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnets import data
from resnets.experiments import curvature, degradation
from resnets.experiments.curvature import (
    extreme_eigenvalues,
    fixed,
    full_gradient,
    hessian_product,
    mean_loss,
    named,
)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(curvature, "BATCH", 16)


@pytest.fixture
def images(drawn):
    return drawn[0][:48]


class Tiny(nn.Module):
    """Convolution, batch normalization, a smooth nonlinearity, one linear layer: 73 weights."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, stride=4, bias=False)
        self.bn = nn.BatchNorm2d(3)
        self.fc = nn.Linear(3, 10)

    def forward(self, x):
        return self.fc(torch.tanh(self.bn(self.conv(x.to(self.fc.weight.dtype)))).mean((2, 3)))


@pytest.fixture
def tiny(images):
    torch.manual_seed(0)
    net = Tiny().double()
    for start in range(0, 48, 16):
        net(data.normalize(images.images[start : start + 16]))
    return net


def dense_hessian(model, images):
    """By `torch.func`, and not by the code that is tested."""
    weights = torch.cat([p.detach().reshape(-1) for p in model.parameters()])

    def loss(flat):
        parts = torch.func.functional_call
        losses = [
            F.cross_entropy(
                parts(model, named(model, flat), (data.normalize(images.images[i : i + 16]),)),
                images.labels[i : i + 16],
            )
            for i in range(0, len(images), 16)
        ]
        return sum(losses) / len(losses)

    return torch.autograd.functional.hessian(loss, weights), torch.autograd.functional.jacobian(
        loss, weights
    )


@pytest.mark.parametrize("mode", curvature.MODES)
def test_products_and_eigenvalues_are_those_of_the_dense_hessian(tiny, images, mode, monkeypatch):
    monkeypatch.setattr(curvature, "TOLERANCE", 1e-8)
    model = fixed(tiny, mode)
    hessian, gradient = dense_hessian(model, images)
    vector = torch.randn(len(hessian), dtype=torch.float64)
    found = hessian_product(model, images, vector)
    torch.testing.assert_close(found, hessian @ vector, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(full_gradient(model, images, 0.0)[0], gradient)

    expected = torch.linalg.eigvalsh(hessian)
    (high, upwards), (low, _) = extreme_eigenvalues(model, images)
    assert (low["which"], high["which"]) == ("smallest", "largest")
    assert low["value"] == pytest.approx(expected[0].item(), rel=1e-6)
    assert high["value"] == pytest.approx(expected[-1].item(), rel=1e-6)
    assert max(low["residual"], high["residual"], low["rounding"]) < 1e-6
    assert upwards.norm().item() == pytest.approx(1)
    assert low["products"] >= 24


def test_the_modes_are_different_functions_and_leave_the_statistics(tiny, images):
    before = copy.deepcopy(tiny.state_dict())
    losses = {mode: mean_loss(fixed(tiny, mode), images) for mode in curvature.MODES}
    assert losses["training"] != losses["evaluation"]
    model = fixed(tiny, "training")
    full_gradient(model, images, 0.0)
    for name, tensor in model.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(tensor, before[name])


class Quadratic(nn.Module):
    """Half of the sum of curvature × weight², as a loss."""

    def __init__(self, curvatures):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(len(curvatures)))
        self.register_buffer("curvatures", torch.tensor(curvatures))

    def forward(self, x):
        return (self.curvatures * self.weight**2).sum() / 2


def test_eigenvalues_of_a_quadratic_are_found(images, monkeypatch):
    monkeypatch.setattr(F, "cross_entropy", lambda loss, labels: loss)
    curvatures = np.r_[-3.0, np.linspace(-0.5, 2, 98), 40.0].tolist()
    (high, _), (low, downwards) = extreme_eigenvalues(Quadratic(curvatures), images)
    assert low["value"] == pytest.approx(-3, abs=0.13)
    assert abs(low["value"] + 3) <= low["residual"] + 1e-5 <= 0.13
    assert high["value"] == pytest.approx(40, rel=1e-3)
    assert abs(downwards[0]) > 0.95


def test_gradient_is_told_beside_its_noise_and_the_decay(images, monkeypatch):
    """Batches with gradients 1, 2 and 6 in a single weight: mean 3, deviation √7."""
    slopes = iter([1.0, 2.0, 6.0])
    monkeypatch.setattr(F, "cross_entropy", lambda loss, labels: next(slopes) * loss.sum())
    model = nn.Linear(28, 1, bias=False)
    nn.init.constant_(model.weight, -10)
    ones = data.ImageSet(torch.zeros(48, 28, 28, dtype=torch.uint8), images.labels, "ones")
    monkeypatch.setattr(data, "normalize", lambda x: torch.ones(1, 1, 1, 28) / 28**0.5)
    gradient, row = full_gradient(model, ones, decay=0.1)
    assert gradient.norm().item() == row["gradient"] == pytest.approx(3, rel=1e-5)
    assert row["noise"] == pytest.approx(7**0.5, rel=1e-4)
    assert row["with_decay"] == pytest.approx(abs(3 - 0.1 * 10 * 28**0.5), rel=1e-4)
    assert row["batches"] == 3


def test_the_networks_are_those_of_degradation_and_are_measured_where_they_arrive(
    drawn, monkeypatch, tmp_path
):
    recipe = degradation.Recipe(epochs=1, batch_size=32, lr=0.05)
    config = degradation.Config(64, 20, "stride2", recipe)
    monkeypatch.setattr(curvature, "CONFIGS", {"quick": config})
    monkeypatch.setattr(degradation, "CONFIGS", {"quick": config})
    for module in (curvature, degradation):
        monkeypatch.setattr(module, "NETWORKS", ("plain-8", "ResNet-8"))
    monkeypatch.setattr(curvature, "LOOKED_AT", 16)
    run = curvature.run("quick", 3, data=drawn)
    other = degradation.run("quick", 3, data=drawn)
    for name, figures in run.final.items():
        assert figures["train_loss"] == other.final[name]["train_loss"]

    gradients = run.measured["gradient"]
    assert [(r["network"], r["mode"], r["trained"]) for r in gradients[:3]] == [
        ("plain-8", "training", False),
        ("plain-8", "training", True),
        ("plain-8", "evaluation", True),
    ]
    values = run.measured["eigenvalues"]
    assert [r["which"] for r in values] == ["largest", "smallest"] * 2
    assert all(r["slope"] <= 0 for r in values)
    assert all(r["rounding"] < 1e-3 * abs(r["value"]) for r in values)
    for name in ("gradient", "smallest"):
        rows = [r for r in run.measured["along"] if r["direction"] == name]
        assert [r["step"] for r in rows] == [*curvature.STEPS[name]] * 4
    first, second = (r["loss"] for r in run.measured["along"][:2])
    assert second < first

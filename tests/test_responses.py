import pytest
import torch
from torch.nn import functional as F

from resnets import data
from resnets.experiments import degradation, gradient_norms, responses
from resnets.models import cifar_resnet
from resnets.probes import blocks


def network(kind, depth=20, seed=0):
    """With factors, shifts and running statistics that are no longer those of initialization."""
    torch.manual_seed(seed)
    net = degradation.network(f"{kind}-{depth}", "stride2")
    for name, parameter in net.named_parameters():
        if "bn" in name:
            torch.nn.init.uniform_(parameter, 0.2, 1.5)
    return net


@pytest.fixture
def images(drawn):
    return data.normalize(drawn[0].images[:40])


@pytest.mark.parametrize("kind", ["plain", "ResNet"])
def test_figures_are_those_of_a_forward_pass_by_hand(kind, images):
    net = network(kind, depth=14)
    found = responses.responses(net, images)
    layers = {row["layer"]: row for row in found["layers"]}
    rows = {row["block"]: row for row in found["blocks"]}
    net.train()
    stem = net.bn1(net.conv1(images))
    assert layers["bn1"]["response"] == pytest.approx(stem.std().item(), rel=1e-5)
    x = F.relu(stem)
    for number, (name, block) in enumerate(blocks(net).items()):
        first = block.bn1(block.conv1(x))
        second = block.bn2(block.conv2(F.relu(first)))
        for layer, out in (("bn1", first), ("bn2", second)):
            row = layers[f"{name}.{layer}"]
            assert row["response"] == pytest.approx(out.std().item(), rel=1e-4)
            assert row["number"] == 2 * number + 2 + (layer == "bn2")
        shortcut = x if block.downsample is None else block.downsample(x)
        h = F.relu(second if block.downsample is None else second + shortcut)
        if shortcut.shape == h.shape:
            size = second.norm() / shortcut.norm()
            assert rows[name]["residual"] == pytest.approx(size.item(), rel=1e-4)
            step = (h - shortcut).norm() / shortcut.norm()
            assert rows[name]["change"] == pytest.approx(step.item(), rel=1e-4)
        else:
            assert rows[name]["residual"] is rows[name]["change"] is None
        x = h


@pytest.mark.parametrize("kind", ["plain", "ResNet"])
def test_shares_of_a_stage_add_up_to_one(kind, images):
    rows = responses.responses(network(kind), images)["blocks"]
    for stage, count in (("layer1", 3), ("layer2", 2), ("layer3", 2)):
        shares = [row["share"] for row in rows if row["block"].startswith(stage)]
        assert (shares[0] is None) == (stage != "layer1")
        found = [share for share in shares if share is not None]
        assert len(found) == count
        assert sum(found) == pytest.approx(1, abs=1e-4)


def test_a_block_that_does_nothing_has_no_share(images):
    net = network("ResNet")
    torch.nn.init.zeros_(net.layer1[1].bn2.weight)
    torch.nn.init.zeros_(net.layer1[1].bn2.bias)
    rows = {row["block"]: row for row in responses.responses(net, images)["blocks"]}
    assert rows["layer1.1"]["share"] == rows["layer1.1"]["change"] == 0
    assert rows["layer1.0"]["share"] > 0


def test_every_response_is_one_at_initialization(images):
    net = cifar_resnet(20, in_channels=1, num_classes=10, stem="stride2")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for row in responses.responses(net, images)["layers"]:
        assert row["response"] == pytest.approx(1, abs=0.01)
    assert all(torch.equal(before[n], tensor) for n, tensor in net.state_dict().items())


def test_the_networks_are_those_of_gradient_norms(drawn, monkeypatch):
    recipe = gradient_norms.Recipe(epochs=1, batch_size=32, lr=0.05)
    config = gradient_norms.Config((8, 14), 64, "stride2", recipe)
    for module in (responses, gradient_norms):
        monkeypatch.setattr(module, "CONFIGS", {"quick": config})
    run = responses.run("quick", 3, data=drawn)
    other = gradient_norms.run("quick", 3, data=drawn)
    assert set(run.final) == {"plain-8", "plain-14", "ResNet-8", "ResNet-14"}
    for name, figures in run.final.items():
        assert figures == other.final[name]
    rows = run.measured["layers"]
    assert len(rows) == 2 * 2 * (7 + 13)
    before, after = ([r["response"] for r in rows if r["trained"] == t] for t in (False, True))
    assert all(one != other for one, other in zip(before, after, strict=True))

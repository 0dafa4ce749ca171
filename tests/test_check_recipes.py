"""Each typical mistake of chapter 3's exercises is recognized by name, and reruns are bounded."""

import math
import statistics
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnets import check, data, models
from resnets.check import recipes


def says(verdict, words):
    assert not verdict
    assert words in verdict.message, verdict.message


# The shapes on the way


def shapes(height=100, width=75):
    """Measured, not computed as the check does."""
    net, x = models.resnet18(in_channels=1).eval(), torch.zeros(1, 1, height, width)
    stem = net.conv1(x)
    outputs = [stem, net.maxpool(stem), *net.stage_outputs(x)]
    return [tuple(output.shape[1:]) for output in outputs]


def test_shapes_takes_what_is_right():
    assert check.shapes_on_the_way(shapes())
    assert check.shapes_on_the_way([list(shape) for shape in shapes()])


def rounded_down():
    found, height, width = [], 100, 75
    for (channels, *_), stride in zip(shapes(), (2, 2, 1, 2, 2, 2), strict=True):
        height, width = height // stride, width // stride
        found.append((channels, height, width))
    return found


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (..., "no answer so far"),
        ([...] * 6, "no answer so far"),
        (rounded_down(), "round down"),
        ([(c, w, h) for c, h, w in shapes()], "changed places"),
        ([s if n < 2 else shapes(200, 150)[n] for n, s in enumerate(shapes())], "is off by"),
        (shapes()[1:], "has shape (5, 3)"),
        ([(64, 50, 38), (64, 25, 19), (64, 13, 10), (128, 7, 5), (256, 4, 3), (512, 2, 2)],
         "The first stage has stride 1"),
        ([(64, 50, 38), (64, 50, 38), (64, 50, 38), (128, 25, 19), (256, 13, 10), (512, 7, 5)],
         "The pooling has stride 2"),
    ],
)  # fmt: skip
def test_shapes_names_the_mistake(answer, words):
    says(check.shapes_on_the_way(answer), words)


# The network


class Network(nn.Module):
    """Taken apart so that each mistake changes one place."""

    blocks = (2, 2, 2, 2)
    strides = (1, 2, 2, 2)
    conv = (3, 1, 1, False)  # size, stride, padding, bias

    def __init__(self, in_channels, classes, width):
        super().__init__()
        size, stride, padding, bias = self.conv
        self.conv1 = nn.Conv2d(in_channels, width, size, stride, padding, bias=bias)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for n, (count, stride) in enumerate(zip(self.blocks, self.strides, strict=True)):
            stage = nn.Sequential()
            for position in range(count):
                first = stride if position == 0 else 1
                stage.append(models.BasicBlock(channels, width * 2**n, first))
                channels = width * 2**n
            self.add_module(f"layer{n + 1}", stage)
        self.fc = nn.Linear(channels, classes)

    def stem(self, x):
        return F.relu(self.bn1(self.conv1(x)))

    def pool(self, x):
        return x.mean((2, 3))

    def forward(self, x):
        x = self.stem(x)
        for n in range(len(self.blocks)):
            x = self.get_submodule(f"layer{n + 1}")(x)
        return self.fc(self.pool(x))


def changed(**changes):
    return type("Changed", (Network,), changes)


def as_in_the_chapter(in_channels, classes, width):
    net = nn.Sequential()
    net.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
    net.bn1 = nn.BatchNorm2d(width)
    net.relu = nn.ReLU()
    for n in range(4):
        before = width * 2 ** max(n - 1, 0)
        stage = nn.Sequential(
            models.BasicBlock(before, width * 2**n, 1 + (n > 0)),
            models.BasicBlock(width * 2**n, width * 2**n),
        )
        net.add_module(f"layer{n + 1}", stage)
    net.avgpool, net.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    net.fc = nn.Linear(8 * width, classes)
    return net


class AllProjections(Network):
    def __init__(self, *args):
        super().__init__(*args)
        width = args[2]
        self.layer1[0] = models.BasicBlock(width, width, 1, "all-projections")


@pytest.mark.parametrize("answer", [Network, as_in_the_chapter])
def test_network_takes_what_is_right(answer):
    assert check.small_resnet18(answer), check.small_resnet18(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda *args: nn.Sequential(), "no answer so far"),
        (changed(forward=lambda self, x: None), "no answer so far"),
        (changed(blocks=(1, 1, 1, 1)), "two blocks"),
        (changed(blocks=(2, 3, 2, 2)), "two blocks"),
        (changed(blocks=(2, 2, 2), strides=(1, 2, 2)), "four stages"),
        (changed(conv=(7, 2, 3, False)), "conv1.weight has shape"),
        (changed(conv=(3, 2, 1, False)), "conv1 has a stride"),
        (changed(conv=(3, 1, 1, True)), "conv1 has a bias"),
        (changed(conv=(3, 1, 0, False)), "conv1 has padding 0"),
        (changed(strides=(2, 2, 2, 2)), "layer1 begins with a projection"),
        (changed(strides=(1, 2, 1, 2)), "layer3 has no stride"),
        (AllProjections, "layer1 begins with a projection"),
        (changed(stem=lambda self, x: self.bn1(self.conv1(x))), "ReLU behind the stem"),
        (changed(stem=lambda self, x: F.max_pool2d(Network.stem(self, x), 3, 2, 1)), "max pooling"),
        (changed(pool=lambda self, x: x.amax((2, 3))), "not its maximum"),
        (changed(forward=lambda self, x: Network.forward(self, x).softmax(1)), "softmax behind"),
        (changed(forward=lambda self, x: Network.forward(self, x).relu()), "ReLU behind fc"),
        (changed(forward=lambda self, x: Network.forward(self, x.detach())), "gradient at input"),
    ],
)
def test_network_names_the_mistake(answer, words):
    says(check.small_resnet18(answer), words)


# The learning rate


def cosine(start, end, share):
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def cycle(step, steps, peak, start=1 / 25, end=0.0, late=0, later=0, between=cosine):
    top = steps / 4 - 1 + late
    if step <= top:
        return peak * between(start, 1, step / top)
    return peak * between(1, end, (step - top) / (steps - 1 + later - top))


def line(start, end, share):
    return start + (end - start) * share


def cycle_in_tensors(step, steps, peak):
    top = steps // 4 - 1
    up, down = torch.linspace(1, 0, top + 1), torch.linspace(0, 1, steps - top)
    half = torch.cat([up, down[1:]]).double() * torch.pi
    low = torch.where(torch.arange(steps) < top, peak / 25, 0.0)
    return (low + (peak - low) * (1 + half.cos()) / 2)[step]


@pytest.mark.parametrize("answer", [cycle, cycle_in_tensors])
def test_one_cycle_takes_what_is_right(answer):
    assert check.one_cycle(answer), check.one_cycle(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda *args: None, "no answer so far"),
        (lambda step, steps, peak: peak, "off by"),
        (lambda step, steps, peak: cosine(peak, 0, step / (steps - 1)), "no warm-up"),
        (partial(cycle, between=line), "straight lines"),
        (partial(cycle, end=1 / 25), "ends at peak/25"),
        (partial(cycle, start=0.0), "not zero"),
        (partial(cycle, late=1), "The peak comes one step late: "),
        (partial(cycle, later=1), "zero in the last step"),
        (partial(cycle, late=1, later=1), "and zero too"),
        (lambda step, steps, peak: [peak], "one number"),
    ],
)
def test_one_cycle_names_the_mistake(answer, words):
    says(check.one_cycle(answer), words)


# Label smoothing


def smoothed(logits, labels, smoothing, others_only=False, logs=None, whole=False):
    classes = logits.shape[1]
    right = F.one_hot(labels, classes).double()
    share = smoothing if whole else smoothing / (classes - others_only)
    target = (1 - smoothing) * right + share * ((1 - right) if others_only else 1)
    logs = logits.log_softmax(1) if logs is None else logs(logits)
    return -(target * logs).sum(1).mean()


def smoothed_in_two_terms(logits, labels, smoothing):
    logs = logits - logits.logsumexp(1, keepdim=True)
    nll = -logs.gather(1, labels[:, None]).mean()
    return (1 - smoothing) * nll - smoothing * logs.mean()


@pytest.mark.parametrize("answer", [smoothed, smoothed_in_two_terms])
def test_smoothing_takes_what_is_right(answer):
    assert check.smoothed_cross_entropy(answer), check.smoothed_cross_entropy(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda *args: None, "no answer so far"),
        (lambda logits, labels, smoothing: F.cross_entropy(logits, labels), "not smoothed"),
        (partial(smoothed, others_only=True), "the wrong classes only"),
        (partial(smoothed, whole=True), "Each class gets the whole smoothing"),
        (lambda logits, *rest: len(logits) * smoothed(logits, *rest), "sum over the batch"),
        (lambda logits, *rest: smoothed(logits, *rest) / logits.shape[1], "over the classes"),
        (partial(smoothed, logs=lambda logits: logits), "no log-softmax"),
        (partial(smoothed, logs=lambda z: z.softmax(1).log_softmax(1)), "taken twice"),
        (partial(smoothed, logs=lambda z: z.softmax(1).log()), "overflows"),
        (partial(smoothed, logs=lambda z: (z.exp() / z.exp().sum(1, True)).log()), "overflows"),
        (lambda *args: -smoothed(*args), "sign is wrong"),
        (lambda z, y, s: smoothed(z, y, 1 - s), "changed places"),
        (lambda z, y, s: smoothed(z.detach(), y, s), "No gradient"),
        (lambda z, y, s: smoothed(z, y, s).item(), "No gradient"),
    ],
)
def test_smoothing_names_the_mistake(answer, words):
    says(check.smoothed_cross_entropy(answer), words)


def lowest(classes, smoothing):
    rest = smoothing / classes
    top = 1 - smoothing + rest
    loss = -top * math.log(top) - (classes - 1) * rest * math.log(rest)
    return loss, math.log(top / rest)


def lowest_by_descent(classes, smoothing):
    """The numbers of the formula, found without it."""
    margin = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [margin], max_iter=200, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss():
        optimizer.zero_grad()
        logits = torch.cat([margin[None], margin.new_zeros(classes - 1)])[None]
        value = F.cross_entropy(logits, torch.tensor([0]), label_smoothing=smoothing)
        value.backward()
        return value

    for _ in range(5):
        optimizer.step(loss)
    return loss().item(), margin.item()


@pytest.mark.parametrize("answer", [lowest, lowest_by_descent])
def test_lowest_loss_takes_what_is_right(answer):
    assert check.lowest_smoothed_loss(answer), check.lowest_smoothed_loss(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda k, s: None, "no answer so far"),
        (lambda k, s: lowest(k, s)[0], "two numbers"),
        (lambda k, s: (0.0, 0.0), "A loss of zero"),
        (lambda k, s: (-(1 - s + s / k) * math.log(1 - s + s / k), 0.0), "Only the right class"),
        (lambda k, s: (-math.log(1 - s + s / k), 0.0), "certain of the right class"),
        (lambda k, s: (lowest(k, s)[0] / math.log(2), 0.0), "bits"),
        (lambda k, s: (lowest(k, s)[0], math.exp(lowest(k, s)[1])), "difference of logits"),
        (lambda k, s: (lowest(k, s)[0], math.log((1 - s) / s)), "each class its target"),
    ],
)
def test_lowest_loss_names_the_mistake(answer, words):
    says(check.lowest_smoothed_loss(answer), words)


# Crop and flip


def augment(images, padding, rows=None, columns=None, mirror=None, pad="constant"):
    n, height, width = images.shape
    places = 2 * padding + 1
    top = torch.randint(places, (n, 1)) if rows is None else rows(n, places)
    left = torch.randint(places, (n, 1)) if columns is None else columns(n, places)
    flip = torch.rand(n, 1) < 0.5 if mirror is None else mirror(n)
    across = torch.arange(width).expand(n, width)
    across = left + torch.where(flip, across.flip(1), across)
    down = top + torch.arange(height)
    padded = F.pad(images[:, None].float(), (padding,) * 4, pad)[:, 0].to(images.dtype)
    return padded[torch.arange(n)[:, None, None], down[:, :, None], across[:, None]]


def library(images, padding):
    generator = torch.Generator()
    generator.manual_seed(torch.randint(2**31, ()).item())
    return data.crop_and_flip(images, generator, padding)


def in_a_loop(images, padding):
    return torch.cat([augment(image[None], padding) for image in images])


def seeded(images, padding):
    torch.manual_seed(0)
    return augment(images, padding)


def same_places(images, padding):
    top = torch.randint(2 * padding + 1, (len(images), 1))
    return augment(images, padding, lambda *_: top, lambda *_: top)


def half_of_half(images, padding):
    return augment(images, padding, mirror=lambda n: torch.rand(n, 1) < 0.25)


@pytest.mark.parametrize("answer", [augment, library])
def test_crop_and_flip_takes_what_is_right(answer):
    for _ in range(5):  # other random numbers each time
        assert check.crop_and_flip(answer), check.crop_and_flip(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda *args: None, "no answer so far"),
        (lambda images, padding: 1.0, "Return a tensor"),
        (lambda images, padding: F.pad(images, (padding,) * 4), "has the size of the image again"),
        (lambda images, padding: augment(images, padding).float(), "torch.float32"),
        (lambda images, padding: images, "no image is mirrored or each is"),
        (partial(augment, mirror=lambda n: torch.rand(1, 1).expand(n, 1) < 0.5), "each is"),
        (partial(augment, rows=lambda n, k: torch.randint(k, (1, 1)).expand(n, 1)), "alike"),
        (partial(augment, rows=lambda n, k: torch.randint(k - 1, (n, 1)),
                 columns=lambda n, k: torch.randint(k - 1, (n, 1))), "last place never comes"),
        (partial(augment, rows=lambda n, k: torch.randint(k - 1, (n, 1))), "Some crops never come"),
        (same_places, "Rows and columns are shifted by the same number"),
        (half_of_half, "About half"),
        (partial(augment, pad="circular"), "comes in on the other"),
        (partial(augment, pad="replicate"), "repeats the edge"),
        (partial(augment, pad="reflect"), "The border mirrors"),
        (lambda images, padding: augment(images.flip(1), padding), "upside down"),
        (lambda images, padding: augment(images.roll(1, 0), padding), "changed places"),
        (lambda images, padding: 255 - augment(images, padding), "none of the 50 crops"),
        (in_a_loop, "loop over the images"),
        (seeded, "set no seed"),
    ],
)  # fmt: skip
def test_crop_and_flip_names_the_mistake(answer, words):
    says(check.crop_and_flip(answer), words)


# Seeds


def difference(first, second, correction=1, power=0.5):
    change = [b - a for a, b in zip(first, second, strict=True)]
    n, mean = len(change), sum(change) / len(change)
    squares = sum((d - mean) ** 2 for d in change) / (n - correction)
    return mean, squares**0.5 / n**power


def difference_in_tensors(first, second):
    change = torch.tensor(second) - torch.tensor(first)
    return [change.mean(), change.std() / len(change) ** 0.5]


def unpaired(first, second):
    n = len(first)
    spread = statistics.variance(first) + statistics.variance(second)
    return difference(first, second)[0], (spread / n) ** 0.5


def flipped(first, second):
    return difference(second, first)


@pytest.mark.parametrize("answer", [difference, difference_in_tensors])
def test_difference_takes_what_is_right(answer):
    assert check.paired_difference(answer), check.paired_difference(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda a, b: None, "no answer so far"),
        (lambda a, b: 0.01, "two numbers"),
        (flipped, "sign is wrong"),
        (lambda a, b: (max(b) - max(a), 0.0), "not the largest"),
        (partial(difference, correction=0), "divide the squares by n − 1"),
        (partial(difference, power=0), "standard deviation of the differences"),
        (partial(difference, power=1), "goes down with √n"),
        (lambda a, b: (difference(a, b)[0], difference(a, b)[1] ** 2), "variance"),
        (unpaired, "the seeds are the same"),
    ],
)
def test_difference_names_the_mistake(answer, words):
    says(check.paired_difference(answer), words)


# The assignment: the schedule


def warm_up(images, batch_size, epochs, peak, warm_up, first=1, last=0, rest=False):
    steps = (-(-images // batch_size) if rest else images // batch_size) * epochs
    down = steps - warm_up - last
    return [
        peak * (t + first) / warm_up if t < warm_up else cosine(peak, 0, (t - warm_up) / down)
        for t in range(steps)
    ]


def warm_up_in_tensors(images, batch_size, epochs, peak, warm_up):
    steps = torch.arange(images // batch_size * epochs, dtype=torch.float64)
    share = (steps - warm_up) / (len(steps) - warm_up)
    down = peak * (1 + torch.cos(torch.pi * share)) / 2
    return torch.where(steps < warm_up, peak * (steps + 1) / max(warm_up, 1), down)


def per_epoch(images, batch_size, epochs, peak, steps):
    rates = warm_up(images, batch_size, epochs, peak, steps)
    return [rates[t - t % (images // batch_size)] for t in range(len(rates))]


@pytest.mark.parametrize("answer", [warm_up, warm_up_in_tensors])
@pytest.mark.parametrize("drop_last", [True, False])
def test_schedule_takes_what_is_right(answer, drop_last):
    verdict = check.warm_up_cosine(answer, drop_last)
    assert verdict, verdict


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda *args: None, "no answer so far"),
        (lambda *args: warm_up(*args[:4], 0), "no warm-up"),
        (per_epoch, "they change in each step"),
        (lambda n, b, *rest: warm_up(n, b, *rest)[:: n // b], "one for each step"),
        (lambda n, b, e, p, w: warm_up(n, b, 1, p, w), "This is one epoch"),
        (lambda n, b, e, p, w: warm_up(n, b, 1, p, w) * e, "starts anew"),
        (partial(warm_up, first=0), "The first step's rate is zero"),
        (partial(warm_up, last=1), "The last step's rate is zero"),
        (partial(warm_up, rest=True), "round the steps of an epoch down"),
    ],
)
def test_schedule_names_the_mistake(answer, words):
    says(check.warm_up_cosine(answer), words)


# The optimizer


def step(weights, gradient, velocity, lr, momentum, weight_decay):
    gradient = gradient + weight_decay * weights
    velocity = momentum * velocity + gradient
    return weights - lr * (gradient + momentum * velocity), velocity


def step_in_place(weights, gradient, velocity, lr, momentum, weight_decay):
    gradient.add_(weights, alpha=weight_decay)
    velocity.mul_(momentum).add_(gradient)
    weights.sub_(lr * gradient).sub_(lr * momentum * velocity)
    return weights, velocity


def heavy_ball(w, g, v, lr, m, decay):
    v = m * v + g + decay * w
    return w - lr * v, v


def damped(w, g, v, lr, m, decay):
    g = g + decay * w
    v = m * v + (1 - m) * g
    return w - lr * (g + m * v), v


def rate_inside(w, g, v, lr, m, decay):
    g = g + decay * w
    v = m * v + lr * g
    return w - (lr * g + m * v), v


def decoupled(w, g, v, lr, m, decay):
    after, v = step(w, g, v, lr, m, 0.0)
    return after - lr * decay * w, v


@pytest.mark.parametrize("answer", [step, step_in_place])
@pytest.mark.parametrize("weight_decay", [True, False])
def test_sgd_takes_what_is_right(answer, weight_decay):
    assert check.sgd_step(answer, weight_decay)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda *args: None, "no answer so far"),
        (heavy_ball, "without Nesterov"),
        (lambda w, g, v, lr, m, d: step(w, g, v, -lr, m, d), "up the gradient"),
        (lambda w, g, v, lr, m, d: step(w, g, v, lr, 0.0, d), "no momentum"),
        (lambda w, g, v, lr, m, d: step(w, g, 0 * v, lr, m, d), "forgets"),
        (damped, "takes all of it"),
        (rate_inside, "learning rate is in the velocity"),
        (lambda w, g, v, lr, m, d: step(w, g, v, lr, m, 0.0), "no weight decay"),
        (decoupled, "AdamW"),
        (lambda w, g, v, lr, m, d: step(w, g, v, lr, m, -d), "weights grow"),
    ],
)
def test_sgd_names_the_mistake(answer, words):
    says(check.sgd_step(answer), words)


# The cost


def cost(blocks, widths, stem, height, width):
    """From the layers of the network itself, where the check counts with `probes`."""
    net = models.ResNet(blocks, widths=widths, stem=stem, in_channels=1, num_classes=10)
    adds = []

    def count(layer, _, output):
        adds.append(layer.weight.numel() * (output[0, 0].numel() if output.ndim == 4 else 1))

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    net.eval()(torch.zeros(1, 1, height, width))
    return {"multiply_adds": sum(adds), "parameters": sum(p.numel() for p in net.parameters())}


def off(name, how):
    def answer(*network):
        return cost(*network) | {name: recipes._cost(*network, how)[name]}

    return answer


@pytest.mark.parametrize("answer", [cost, recipes._cost])
def test_cost_takes_what_is_right(answer):
    assert check.network_cost(answer), check.network_cost(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda *args: None, "no answer so far"),
        (lambda *args: 7, "dictionary"),
        (lambda *args: {"multiply_adds": 1, "parameters": "many"}, "something else"),
        (off("parameters", "no projection"), "projections on the shortcuts"),
        (off("parameters", "no linear"), "linear layer is missing"),
        (off("parameters", "no norm"), "weights and biases of batch normalization"),
        (off("parameters", "one norm"), "has two parameters"),
        (off("parameters", "biases"), "have no biases"),
        (off("multiply_adds", "no projection"), "projections on the shortcuts"),
        (off("multiply_adds", "at input"), "size of a convolution's input"),
        (off("multiply_adds", "flops"), "a multiply-add is one"),
        (off("multiply_adds", "down"), "round sizes down"),
        (off("multiply_adds", "no pooling"), "max pooling"),
    ],
)
def test_cost_names_the_mistake(answer, words):
    says(check.network_cost(answer), words)


# The choice


def choose(results, costs):
    mean = {name: sum(values) / len(values) for name, values in results.items()}
    best = max(mean, key=mean.get)
    error = statistics.stdev(results[best]) / len(results[best]) ** 0.5
    return min((n for n in mean if mean[n] >= mean[best] - error), key=costs.get)


def choose_in_tensors(results, costs):
    values = {name: torch.tensor(found).double() for name, found in results.items()}
    best = max(values.values(), key=lambda v: v.mean())
    level = best.mean() - best.std() / len(best) ** 0.5
    return next(n for n in sorted(costs, key=costs.get) if values[n].mean() >= level)


def chosen(how):
    return lambda results, costs: recipes._choose(results, costs, how)


@pytest.mark.parametrize("answer", [choose, choose_in_tensors])
@pytest.mark.parametrize("equal_counts", [True, False])
def test_choice_takes_what_is_right(answer, equal_counts):
    for _ in range(10):  # other tables each time
        assert check.one_standard_error(answer, equal_counts)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda *args: None, "no answer so far"),
        (lambda *args: "recipe Z", "one of the recipes"),
        (lambda *args: [], "one of the recipes"),
        (lambda results, costs: max(costs, key=costs.get), "In some tables"),
        (chosen("best"), "take the best mean"),
        (chosen("cheapest"), "cheapest of all"),
        (chosen("deviation"), "standard deviation of single runs"),
        (chosen("n"), "divide by n − 1"),
        (chosen("luckiest"), "luckiest"),
        (chosen("own error"), "own standard error"),
        (chosen("two errors"), "two standard errors"),
        (chosen("worst in reach"), "lowest mean in reach"),
    ],
)
def test_choice_names_the_mistake(answer, words):
    says(check.one_standard_error(answer), words)


# The rerun

SMALL = recipes.BASELINE | {"blocks": [1], "widths": [4], "epochs": 1, "batch_size": 64}


@pytest.fixture(scope="module")
def drawn():
    return data.stand_in()


@pytest.fixture
def few_images(drawn, monkeypatch):
    train, test = drawn
    few = {"train": train[:640], "held-out": train[640:1140], "test": test[:500]}
    monkeypatch.setattr(recipes, "_images", lambda: few)
    recipes._trained.cache_clear()
    yield few
    recipes._trained.cache_clear()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 2.0}, "'epochs' should be a whole number from 1 to 5"),
        ({"epochs": True}, "'epochs'"),
        ({"batch_size": 32}, "'batch_size'"),
        ({"lr": float("nan")}, "'lr'"),
        ({"lr": "0.1"}, "'lr'"),
        ({"momentum": 1.0}, "'momentum'"),
        ({"schedule": "one cycle"}, "'schedule'"),
        ({"stem": "stride1"}, "'stem' should be one of 'imagenet', 'stride2'"),
        ({"stem": ["stride2"]}, "'stem'"),
        ({"augment": 2}, "'augment'"),
        ({"blocks": [4, 1, 1]}, "'blocks'"),
        ({"blocks": 3}, "'blocks'"),
        ({"blocks": [1, 1]}, "2 stages"),
        ({"blocks": [3, 3, 1]}, "six blocks"),
        ({"widths": [16, 32, 0]}, "'widths'"),
        ({"widths": [16, 32, 64.0]}, "'widths'"),
        ({"widths": [32, 64, 128]}, "over the budget: 243"),
        ({"layers": 3}, "'layers'"),
        ({"seed": ...}, "'seed'"),
        ({"lr": ...}, "lacks 'lr'"),
    ],
)
def test_recipe_is_validated_before_it_costs_anything(change, words, few_images):
    says(check.recipe(recipes.BASELINE | change), words)
    with pytest.raises(check.Mistake):
        check.rerun(recipes.BASELINE | change)


def test_recipe_takes_the_baseline_and_names_what_is_not_one():
    assert check.recipe(recipes.BASELINE)
    says(check.recipe(...), "no answer so far")
    says(check.recipe([1, 2]), "dictionary")


def test_rerun_is_repeatable_and_trains_a_recipe_once(few_images, monkeypatch):
    first = check.rerun(SMALL, seed=3)
    recipes._trained.cache_clear()
    assert check.rerun(SMALL | {"widths": (4,)}, seed=3) == first
    monkeypatch.setattr(recipes.training, "fit", None)
    assert check.rerun(SMALL, seed=3) == first
    assert 0 <= check.rerun(SMALL, seed=3, on="test") <= 1
    with pytest.raises(ValueError, match="'held-out' or 'test'"):
        check.rerun(SMALL, seed=3, on="train")


def test_rerun_says_that_a_training_diverged(few_images, monkeypatch):
    monkeypatch.setattr(F, "cross_entropy", lambda logits, *_, **options: logits.sum() * math.inf)
    with pytest.raises(check.Mistake, match="diverged"):
        check.rerun(SMALL)


def test_reaches_compares_the_mean_with_the_goal_of_the_images(few_images, monkeypatch):
    goals = {data.STAND_IN: {"baseline": 0.0, "target": 1.01}}
    monkeypatch.setattr(recipes, "GOALS", goals)
    assert check.reaches(SMALL, "baseline")
    says(check.reaches(SMALL, "target", (0, 1), "test"), "mean of 2. The target asks for 1.010.")
    says(check.reaches(..., "target"), "no answer so far")


def test_goals_are_in_order_and_know_both_sources():
    assert set(recipes.GOALS) == {data.REAL, data.STAND_IN}
    for goals in recipes.GOALS.values():
        assert 0.5 < goals["baseline"] < goals["target"] < 1

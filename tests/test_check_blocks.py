"""Each typical mistake of chapter 2's exercises is recognized by name."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet

from resnets import check, models


class Block(nn.Module):
    """torchvision's basic block, taken apart so that each mistake changes one place."""

    def __init__(self, in_channels, channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride > 1 or in_channels != channels:
            self.downsample = self.projection(in_channels, channels, stride)

    def projection(self, in_channels, channels, stride):
        conv = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(channels))

    def layers(self, x):
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))

    def shortcut(self, x):
        return x if self.downsample is None else self.downsample(x)

    def forward(self, x):
        return F.relu(self.layers(x) + self.shortcut(x))


class NotWritten(Block):
    def forward(self, x): ...


class NoShortcut(Block):
    def forward(self, x):
        return F.relu(self.layers(x))


class AddedAfterTheReLU(Block):
    def forward(self, x):
        return F.relu(self.layers(x)) + self.shortcut(x)


class ReLUBeforeTheAddition(Block):
    def forward(self, x):
        return F.relu(F.relu(self.layers(x)) + self.shortcut(x))


class NoLastReLU(Block):
    def forward(self, x):
        return self.layers(x) + self.shortcut(x)


class Average(Block):
    def forward(self, x):
        return F.relu((self.layers(x) + self.shortcut(x)) / 2)


class NoReLUInside(Block):
    def layers(self, x):
        return self.bn2(self.conv2(self.bn1(self.conv1(x))))


class ProjectionWithoutStride(Block):
    def projection(self, in_channels, channels, stride):
        return super().projection(in_channels, channels, 1)


class ProjectionWithoutNormalization(Block):
    def projection(self, in_channels, channels, stride):
        return super().projection(in_channels, channels, stride)[:1]


class ProjectionAlways(Block):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__(in_channels, channels, stride)
        self.downsample = self.projection(in_channels, channels, stride)


class NoBatchNorm(Block):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__(in_channels, channels, stride)
        self.bn1 = self.bn2 = nn.Identity()


class StrideOnTheSecond(Block):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__(in_channels, channels, stride)
        self.conv1.stride, self.conv2.stride = (1, 1), (stride, stride)


class StrideOnBoth(Block):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__(in_channels, channels, stride)
        self.conv2.stride = (stride, stride)


class Unpadded(Block):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__(in_channels, channels, stride)
        self.conv2.padding = (0, 0)


class PaddedSame(Block):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__(in_channels, channels, stride)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding="same", bias=False)


class OwnConvolution(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, channels, 3, 3))

    def forward(self, x):
        return F.conv2d(x, self.weight, padding=1)


class NotATorchConvolution(Block):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__(in_channels, channels, stride)
        self.conv2 = OwnConvolution(channels)


class Biases(Block):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__(in_channels, channels, stride)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)


class BiasOnTheProjection(Block):
    def projection(self, in_channels, channels, stride):
        conv = nn.Conv2d(in_channels, channels, 1, stride)
        return nn.Sequential(conv, nn.BatchNorm2d(channels))


class WrongChannels(Block):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__(in_channels, channels, stride)
        self.conv2 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)


class ReLUOnTheShortcut(Block):
    def shortcut(self, x):
        return F.relu(super().shortcut(x))


class Subtracts(Block):
    def forward(self, x):
        return F.relu(self.shortcut(x) - self.layers(x))


class NormBehindTheReLU(Block):
    def layers(self, x):
        return self.bn2(self.conv2(self.bn1(F.relu(self.conv1(x)))))


class FirstNormUnused(Block):
    def layers(self, x):
        return self.bn2(self.conv2(F.relu(self.conv1(x))))


class SecondNormUnused(Block):
    def layers(self, x):
        return self.conv2(F.relu(self.bn1(self.conv1(x))))


class NormalizesTheSum(Block):
    def forward(self, x):
        g = self.conv2(F.relu(self.bn1(self.conv1(x))))
        return F.relu(self.bn2(g + self.shortcut(x)))


class OneNormForBoth(Block):
    def layers(self, x):
        return self.bn1(self.conv2(F.relu(self.bn1(self.conv1(x)))))


class AddedBeforeTheSecond(Block):
    def forward(self, x):
        if self.downsample is not None:
            return super().forward(x)
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))) + x)))


class DetachedShortcut(Block):
    def shortcut(self, x):
        return super().shortcut(x).detach()


class Fails(Block):
    def forward(self, x):
        return self.conv3(x)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (NotWritten, "no answer so far"),
        (NoShortcut, "shortcut is missing"),
        (AddedAfterTheReLU, "added after the last ReLU"),
        (ReLUBeforeTheAddition, "ReLU between the last batch normalization and the addition"),
        (NoLastReLU, "no ReLU behind the addition"),
        (Average, "average"),
        (NoReLUInside, "no ReLU between bn1 and conv2"),
        (ProjectionWithoutStride, "projection has no stride"),
        (ProjectionWithoutNormalization, "no batch normalization behind"),
        (ProjectionAlways, "without a projection"),
        (NoBatchNorm, "Batch normalization is missing"),
        (StrideOnTheSecond, "first convolution does not have the block's stride"),
        (StrideOnBoth, "Only the first convolution has the stride"),
        (NotATorchConvolution, "should be an `nn.Conv2d`"),
        (Unpadded, "conv2 makes the image smaller"),
        (Biases, "has a bias: batch normalization subtracts it"),
        (BiasOnTheProjection, "projection has a bias"),
        (WrongChannels, "conv2.weight has shape"),
        (ReLUOnTheShortcut, "ReLU on the shortcut"),
        (Subtracts, "subtract"),
        (NormBehindTheReLU, "bn1 stands behind the ReLU"),
        (FirstNormUnused, "bn1 is not used"),
        (SecondNormUnused, "bn2 is not used"),
        (NormalizesTheSum, "bn2 normalizes the sum"),
        (OneNormForBoth, "The same batch normalization"),
        (AddedBeforeTheSecond, "added before conv2"),
        (DetachedShortcut, "gradient at input"),
        (Fails, "AttributeError"),
    ],
)
def test_residual_block_names_the_mistake(answer, says):
    verdict = check.residual_block(answer)
    assert not verdict
    assert says in verdict.message


@pytest.mark.parametrize("answer", [Block, models.BasicBlock, PaddedSame])
def test_residual_block_takes_what_is_right(answer):
    assert check.residual_block(answer), check.residual_block(answer)


def test_residual_block_takes_torchvisions_block():
    def make(in_channels, channels, stride):
        change = stride > 1 or in_channels != channels
        shortcut = models.make_shortcut("projection", in_channels, channels, stride)
        return resnet.BasicBlock(in_channels, channels, stride, shortcut if change else None)

    assert check.residual_block(make)


def says_why(verdict, says):
    assert not verdict
    assert says in verdict.message


def not_written(*inputs): ...


def count(n, c, stride, *, norm=2, stride_counts=True, projected=None, conv_bias=0, second=None):
    projected = (n != c or (stride != 1 and stride_counts)) if projected is None else projected
    second = c if second is None else second
    return (
        9 * n * c + 9 * second * c + 2 * (norm + conv_bias) * c
        + projected * (n * c + (norm + conv_bias) * c)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda n, c, s: count(n, c, s, conv_bias=1), "You count biases"),
        (lambda n, c, s: count(n, c, s, norm=4), "running means"),
        (lambda n, c, s: count(n, c, s, norm=0), "leave out batch normalization"),
        (lambda n, c, s: count(n, c, s, norm=1), "one number a channel"),
        (lambda n, c, s: count(n, c, s, projected=False), "leave out the projection"),
        (lambda n, c, s: count(n, c, s, projected=True), "where the shape stays"),
        (lambda n, c, s: count(n, c, s, stride_counts=False), "A stride changes the shape"),
        (lambda n, c, s: count(n, c, s, second=n), "reads what the first one gives"),
        (lambda n, c, s: count(n, c, s) - 2 * c * ((n, 1) != (c, s)), "without its batch norm"),
        (lambda n, c, s: count(n, c, s) + 8 * n * c * ((n, 1) != (c, s)), "not 3×3"),
        (lambda n, c, s: 1000, "is 1000, which is not right"),
    ],
)
def test_basic_block_parameters_names_the_mistake(answer, says):
    says_why(check.basic_block_parameters(answer), says)


def test_basic_block_parameters_takes_what_is_right():
    def by_torchvision(n, c, stride):
        shortcut = models.make_shortcut("projection", n, c, stride)
        block = resnet.BasicBlock(n, c, stride, shortcut)
        return sum(p.numel() for p in block.parameters())

    for answer in (count, by_torchvision):
        assert check.basic_block_parameters(answer), check.basic_block_parameters(answer)


def forward(x, w1, w2):
    h = F.conv2d(x, w1, padding=1)
    return h, F.relu(x + F.conv2d(F.relu(h), w2, padding=1))


def back(gradient, h, w1, w2):
    gradient = F.conv_transpose2d(gradient, w2, padding=1)
    return F.conv_transpose2d(gradient * (h > 0), w1, padding=1)


def gradient(kind):
    """The gradient at the block's input, right or with one mistake."""

    def answer(x, w1, w2, upstream):
        h, y = forward(x, w1, w2)
        m = upstream * (y > 0)
        return {
            "right": lambda: m + back(m, h, w1, w2),
            "layers only": lambda: back(m, h, w1, w2),
            "shortcut only": lambda: m,
            "shared": lambda: (m + back(m, h, w1, w2)) / 2,
            "no outer mask": lambda: upstream + back(upstream, h, w1, w2),
            "masked layers": lambda: upstream + back(m, h, w1, w2),
            "masked shortcut": lambda: m + back(upstream, h, w1, w2),
            "no inner mask": lambda: m + back(m, torch.ones_like(h), w1, w2),
            "swapped": lambda: m + back(m, h, w2, w1),
            "not transposed": lambda: (
                m + F.conv2d(F.conv2d(m, w2, padding=1) * (h > 0), w1, padding=1)
            ),
        }[kind]()

    return answer


def by_autograd(x, w1, w2, upstream):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(forward(x, w1, w2)[1], x, upstream)[0]


def by_torchs_own_formula(x, w1, w2, upstream):
    h, y = forward(x, w1, w2)
    m = upstream * (y > 0)
    inner = nn.grad.conv2d_input(h.shape, w2, m, padding=1) * (h > 0)
    return m + nn.grad.conv2d_input(x.shape, w1, inner, padding=1)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (by_autograd, "Autograd is off"),
        (gradient("layers only"), "through the layers is there"),
        (gradient("shortcut only"), "through the shortcut is there"),
        (gradient("shared"), "share the gradient out"),
        (gradient("no outer mask"), "last ReLU is forgotten"),
        (gradient("masked layers"), "to the layers only"),
        (gradient("masked shortcut"), "to the shortcut only"),
        (gradient("no inner mask"), "ReLU between the convolutions"),
        (gradient("swapped"), "changed places"),
        (gradient("not transposed"), "transposed convolution is needed"),
        (lambda x, w1, w2, upstream: x[:1, :1], "has shape"),
        (lambda x, w1, w2, upstream: x @ w1, "RuntimeError"),
    ],
)
def test_gradient_at_block_input_names_the_mistake(answer, says):
    says_why(check.gradient_at_block_input(answer), says)


@pytest.mark.parametrize("answer", [gradient("right"), by_torchs_own_formula])
def test_gradient_at_block_input_takes_what_is_right(answer):
    assert check.gradient_at_block_input(answer), check.gradient_at_block_input(answer)


def factor(blocks, growth, normalized):
    added, multiplied = (growth - 1) / blocks, growth ** (1 / blocks) - 1
    return (added if normalized else multiplied) ** 0.5


def factor_by_bisection(blocks, growth, normalized):
    """Follows the mean square through the blocks, without a formula."""
    low, high = 0.0, 10.0
    for _ in range(60):
        a, size = (low + high) / 2, 1.0
        for _ in range(blocks):
            size += a**2 * (1 if normalized else size)
        low, high = (low, a) if size > growth else (a, high)
    return low


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda n, g, normal: factor(n, g, normal) ** 2, "square of the factor"),
        (lambda n, g, normal: factor(n, g, False), "you let each block multiply"),
        (lambda n, g, normal: factor(n, g, True), "each block multiplies the mean square"),
        (lambda n, g, normal: (g / n) ** 0.5, "has mean square 1 already"),
        (lambda n, g, normal: (g**0.5 - 1) / n, "Means of squares add up"),
        (
            lambda n, g, normal: factor(n, g, True) if normal else factor(n, g, False) ** 2,
            "square of the factor",
        ),
        (
            lambda n, g, normal: factor(n, g, True) if normal else g ** (0.5 / n),
            "shortcut's 1 is forgotten",
        ),
        (
            lambda n, g, normal: factor(n, g, True) if normal else g ** (0.5 / n) - 1,
            "not by (1 + a)²",
        ),
    ],
)
def test_branch_factor_names_the_mistake(answer, says):
    says_why(check.branch_factor(answer), says)


@pytest.mark.parametrize("answer", [factor, factor_by_bisection])
def test_branch_factor_takes_what_is_right(answer):
    assert check.branch_factor(answer), check.branch_factor(answer)


def folded(scale=None, shift=None, axis=0):
    """An answer whose scale, shift or axis may be wrong."""

    def answer(weight, bias, mean, var, gamma, beta, eps):
        right = gamma / (var + eps).sqrt()
        factor = scale(gamma, var, eps) if scale else right
        view = [1] * 4
        view[axis] = -1
        shifted = shift(bias, mean, beta, right) if shift else (bias - mean) * right + beta
        return weight * factor.view(view), shifted

    return answer


def folded_by_trying(weight, bias, mean, var, gamma, beta, eps):
    """Finds weight and bias from what the two layers give for unit inputs."""

    def layers(x):
        x = F.conv2d(x, weight, bias)
        return F.batch_norm(x, mean, var, gamma, beta, training=False, eps=eps).flatten(1)

    _, inputs, k, _ = weight.shape
    unit = torch.eye(inputs * k * k, dtype=weight.dtype).view(-1, inputs, k, k)
    at_zero = layers(torch.zeros_like(unit[:1]))[0]
    return [(layers(unit) - at_zero).T.reshape(weight.shape), at_zero]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda weight, *rest: weight, "two tensors"),
        (lambda weight, *rest: (weight, None), "two tensors"),
        (folded(lambda g, v, e: g / v.sqrt()), "`eps` is missing"),
        (folded(lambda g, v, e: g / (v.sqrt() + e)), "under the root"),
        (folded(lambda g, v, e: g / (v + e)), "divide by the variance"),
        (folded(lambda g, v, e: 1 / (v + e).sqrt()), "`gamma` does not reach"),
        (folded(lambda g, v, e: torch.ones_like(g)), "weight is as before"),
        (folded(axis=1), "channels that come in"),
        (folded(shift=lambda b, m, beta, s: b * s + beta), "running mean is missing"),
        (folded(shift=lambda b, m, beta, s: beta - m * s), "own bias is missing"),
        (folded(shift=lambda b, m, beta, s: b + beta - m * s), "own bias is not scaled"),
        (folded(shift=lambda b, m, beta, s: (b - m) * s), "`beta` is missing"),
        (folded(shift=lambda b, m, beta, s: (b - m + beta) * s), "You scale `beta`"),
        (folded(shift=lambda b, m, beta, s: b * s + beta - m), "running mean is not scaled"),
        (folded(shift=lambda b, m, beta, s: (b + m) * s + beta), "add the running mean"),
        (folded(shift=lambda b, m, beta, s: b), "bias is as before"),
    ],
)
def test_folded_batch_norm_names_the_mistake(answer, says):
    says_why(check.folded_batch_norm(answer), says)


@pytest.mark.parametrize("answer", [folded(), folded_by_trying])
def test_folded_batch_norm_takes_what_is_right(answer):
    assert check.folded_batch_norm(answer), check.folded_batch_norm(answer)


class PreActivation(nn.Module):
    """A pre-activation block, taken apart; `zero` starts one of its layers at zero."""

    def __init__(self, channels):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        for layer in self.zero():
            nn.init.zeros_(layer.weight)

    def zero(self):
        return [self.conv2]

    def residual(self, x):
        return self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))

    def forward(self, x):
        return x + self.residual(x)


class PreActivationNotWritten(PreActivation):
    def forward(self, x): ...


class ReLUBehindTheSum(PreActivation):
    def forward(self, x):
        return F.relu(super().forward(x))


class PostActivation(PreActivation):
    def residual(self, x):
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))


class Original(PostActivation):
    def forward(self, x):
        return F.relu(super().forward(x))


class ShortcutBehindTheActivation(PreActivation):
    def forward(self, x):
        return F.relu(self.bn1(x)) + self.residual(x)


class LayersOnly(PreActivation):
    def forward(self, x):
        return self.residual(x)


class NoFirstReLU(PreActivation):
    def residual(self, x):
        return self.conv2(F.relu(self.bn2(self.conv1(self.bn1(x)))))


class NoSecondReLU(PreActivation):
    def residual(self, x):
        return self.conv2(self.bn2(self.conv1(F.relu(self.bn1(x)))))


class NoFirstActivation(PreActivation):
    def residual(self, x):
        return self.conv2(F.relu(self.bn2(self.conv1(x))))


class ReLUBeforeNorm(PreActivation):
    def residual(self, x):
        return self.conv2(self.bn2(F.relu(self.conv1(self.bn1(F.relu(x))))))


class AveragedPreActivation(PreActivation):
    def forward(self, x):
        return (x + self.residual(x)) / 2


class StartsAnyhow(PreActivation):
    def zero(self):
        return []


class ZeroFirst(PreActivation):
    def zero(self):
        return [self.conv1]


class ZeroNorm(PreActivation):
    def zero(self):
        return [self.bn2]


class ZeroEverything(PreActivation):
    def zero(self):
        return [self.conv1, self.conv2]


class OneNorm(PreActivation):
    def __init__(self, channels):
        super().__init__(channels)
        self.bn2 = self.bn1


class WithBiases(PreActivation):
    def __init__(self, channels):
        super().__init__(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (PreActivationNotWritten, "no answer so far"),
        (ReLUBehindTheSum, "ReLU behind the sum"),
        (PostActivation, "stands behind the convolutions"),
        (Original, "block of section 2.2"),
        (ShortcutBehindTheActivation, "shortcut starts behind"),
        (LayersOnly, "shortcut is missing"),
        (NoFirstReLU, "no ReLU between bn1"),
        (NoSecondReLU, "no ReLU between bn2"),
        (NoFirstActivation, "first activation is missing"),
        (ReLUBeforeNorm, "ReLUs stand in front"),
        (AveragedPreActivation, "average"),
        (WithBiases, "have biases"),
        (StartsAnyhow, "a new one changes its input"),
        (ZeroFirst, "stays so"),
        (ZeroNorm, "stays so"),
        (ZeroEverything, "stays so"),
    ],
)
def test_starts_as_identity_names_the_mistake(answer, says):
    says_why(check.starts_as_identity(answer), says)


def test_starts_as_identity_takes_what_is_right():
    def make(channels):
        block = models.PreActivationBlock(channels)
        nn.init.zeros_(block.conv2.weight)
        return block

    for answer in (PreActivation, make):
        assert check.starts_as_identity(answer), check.starts_as_identity(answer)


def pass_on(channels):
    """A kernel with 1 at its center, channel by channel."""
    return nn.init.dirac_(torch.empty(channels, channels, 3, 3, dtype=torch.float64))


def wide(first, second):
    """The given kernels and these beside them; each list joins the channels in the middle."""

    def answer(w1, w2):
        d = pass_on(len(w1))
        return torch.cat([w1, *first(d)]), torch.cat([w2, *second(d)], 1)

    return answer


def mixing(d):
    return d.sum(1, keepdim=True).expand_as(d)


def of_narrower_kernels(w1, w2):
    """Right as well: other signs, another order, and a channel that nobody reads."""
    d = pass_on(len(w1))
    return (
        torch.cat([-2 * d, w1, d, w1[:1]]),
        torch.cat([-d / 2, w2, d, torch.zeros_like(w2[:, :1])], 1),
    )


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (not_written, "no answer so far"),
        (lambda w1, w2: w1, "two tensors"),
        (lambda w1, w2: (w1, w2), "shortcut is missing"),
        (lambda w1, w2: (w1, w2 + pass_on(len(w2))), "added to the second weight"),
        (lambda w1, w2: (w1 + pass_on(len(w1)), w2), "added to the first weight"),
        (lambda w1, w2: (w1, w2[:, :2]), "The second weight has shape"),
        (lambda w1, w2: (w1[:, :2], w2), "The first weight reads"),
        (lambda w1, w2: (w1[0], w2), "3×3 convolutions"),
        (
            lambda w1, w2: (
                torch.cat([w1, pass_on(len(w1))]),
                torch.cat([pass_on(len(w1)), w2], 1),
            ),
            "change places",
        ),
        (wide(lambda d: [mixing(d)], lambda d: [mixing(d)]), "mix its channels"),
        (wide(lambda d: [d], lambda d: [mixing(d)]), "mixes its channels"),
        (wide(lambda d: [d], lambda d: [d]), "not negative it is right"),
        (wide(lambda d: [d, -d], lambda d: [d, d]), "the absolute value"),
        (wide(lambda d: [d], lambda d: [2 * d]), "is off by"),
    ],
)
def test_plain_from_residual_names_the_mistake(answer, says):
    says_why(check.plain_from_residual(answer), says)


@pytest.mark.parametrize(
    "answer", [wide(lambda d: [d, -d], lambda d: [d, -d]), of_narrower_kernels]
)
def test_plain_from_residual_takes_what_is_right(answer):
    assert check.plain_from_residual(answer), check.plain_from_residual(answer)

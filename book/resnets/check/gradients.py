"""Checks for chapter 5: how the gradient passes through a stack of residual blocks.

He et al. (2016b) is "Identity Mappings in Deep Residual Networks", ECCV 2016; Veit et al. (2016) is
"Residual Networks Behave Like Ensembles of Relatively Shallow Networks", NIPS 2016; Yang et al.
(2019) is "A Mean Field Theory of Batch Normalization", ICLR 2019.
"""

import math
import random as numbers
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from resnets.check.asking import Mistake, ask, random, watched
from resnets.check.exercise import BY_AUTOGRAD, LINES, Exercise, exercise

AUTOMATIC = (
    "You used automatic differentiation: here, write the gradient by hand, from the matrices."
)
STOPPED = (
    f"Your code was stopped after {LINES:,} lines: go through the blocks one by one, not through "
    "the paths."
)


def by_hand(answer: Callable, *inputs):
    """What `answer(*inputs)` returns; without automatic differentiation.

    Raises:
        Mistake: with it, or the answer is not written.
    """
    told = ask(watched, answer, LINES, *inputs)
    if any(name.startswith(BY_AUTOGRAD) for name in told["called"]):
        raise Mistake(AUTOMATIC)
    if "result" not in told:
        raise Mistake(STOPPED)
    return told["result"]


class ByHand(Exercise):
    """An exercise whose answers must do without automatic differentiation."""

    def parts(self, answer, *inputs) -> dict:
        return self.named(by_hand(answer, *inputs))


def _factors(gates: Tensor, own: bool = False) -> Tensor:
    """What stands in front of x_0 and of each F in (5.5), for gates (n, C): (n + 1, C)."""
    rows = torch.cat([torch.ones_like(gates[:1]), gates.flip(0).cumprod(0)]).flip(0)
    return torch.cat([rows[:1], rows[:-1]]) if own else rows


def _gates_before(gates: Tensor) -> Tensor:
    before = torch.cat([torch.ones_like(gates[:1]), gates.cumprod(0)])
    return torch.cat([before[-1:], before[:-1]])


@exercise(
    right=_factors,
    what="the table of factors",
    says="These are the factors of (5.5), with a gate for each block and channel.",
    wrong={
        "F(x_i) passes only the gates of later blocks, not its own block's gate: that one is on "
        "the shortcut beside it.": partial(_factors, own=True),
        "You multiply the gates before the block: F(x_i) passes those after it.": _gates_before,
        "You multiply the gates before the block, up to its own: F(x_i) passes those after "
        "it.": lambda gates: torch.cat([torch.ones_like(gates[:1]), gates.cumprod(0)]),
        "The rows are in reverse order: row 0 belongs to x_0.": (
            lambda gates: _factors(gates).flip(0)
        ),
        "You take powers of one gate: every block has a gate of its own.": (
            lambda gates: torch.stack(
                [gates[0] ** len(gates), *(gates[0] ** k for k in reversed(range(len(gates))))]
            )
        ),
        "You take powers of each block's gate: multiply the gates of later blocks.": (
            lambda gates: torch.stack(
                [
                    gates[0] ** len(gates),
                    *(g ** (len(gates) - 1 - i) for i, g in enumerate(gates)),
                ]
            )
        ),
        "You add the gates: gates in sequence multiply.": (
            lambda gates: torch.cat([gates.flip(0).cumsum(0).flip(0), 0 * gates[:1]])
        ),
        "The layers' outputs pass no gate in your answer: they pass the gates of all later "
        "blocks.": lambda gates: torch.cat([gates.prod(0, True), torch.ones_like(gates)]),
        "The row of x_0 is missing: it passes all gates.": lambda gates: _factors(gates)[1:],
        "You mix the channels: multiply over the blocks, for each channel separately.": (
            lambda gates: _factors(gates.mean(1, keepdim=True).expand_as(gates))
        ),
    },
)
def shortcut_factors(answer: Callable):
    """Does `answer(gates)` return the factors in x_n = a_0 · x_0 + Σ_i a_(i+1) · F(x_i)?

    The blocks compute x_(i+1) = gates[i] · x_i + F(x_i), with a gate for each channel: `gates` is
    (n, C). The answer is (n + 1, C): row 0 stands in front of x_0, row i + 1 in front of F(x_i).
    With all gates λ it is equation (5.5): He et al. (2016b), section 3.
    """
    for n, channels in ((3, 2), (5, 3), (2, 1), (1, 4)):
        yield (random(n, channels),)


def relu_stack(weights: Sequence, x: Tensor) -> list[Tensor]:
    """x_0 to x_n of the blocks x + V relu(W x); `weights` holds a pair (W, V) for each block."""
    xs = [x]
    for w, v in weights:
        xs.append(xs[-1] + v @ F.relu(w @ xs[-1]))
    return xs


def _gradient(
    weights: Sequence, x: Tensor, upstream: Tensor,
    factor: Callable = lambda one, j: one + j,
    order: Callable = reversed,
    mask: Callable = lambda w, i, xs: w @ xs[i] > 0,
) -> Tensor:  # fmt: skip
    """By the Jacobian matrices; each argument changes one place."""
    xs, one, row = relu_stack(weights, x), torch.eye(len(x), dtype=x.dtype), upstream
    jacobians = [v @ (mask(w, i, xs).unsqueeze(1) * w) for i, (w, v) in enumerate(weights)]
    for jacobian in order(jacobians):
        row = row @ factor(one, jacobian)
    return row


def _added_jacobians(weights: Sequence, x: Tensor, upstream: Tensor) -> Tensor:
    xs = relu_stack(weights, x)
    each = [v @ ((w @ at > 0).unsqueeze(1) * w) for (w, v), at in zip(weights, xs, strict=False)]
    return upstream + upstream @ sum(each)


def _by_autograd(weights: Sequence, x: Tensor, upstream: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(relu_stack(weights, leaf)[-1], leaf, upstream)[0]


@exercise(
    kind=ByHand,
    right=_gradient,
    what="the gradient",
    says="Your gradient matches automatic differentiation, at every depth and width.",
    wrong={
        AUTOMATIC: _by_autograd,
        "The factors are in reverse order: the upstream gradient meets the last block first.": (
            partial(_gradient, order=iter)
        ),
        "Your matrices are transposed: gradients are rows, so compute `upstream @ (I + "
        "J)`.": partial(_gradient, factor=lambda one, j: one + j.T),
        "Your matrices are transposed and in reverse order: gradients are rows, and meet the last "
        "block first.": partial(_gradient, factor=lambda one, j: one + j.T, order=iter),
        "The shortcut's share is missing: each factor is I + J, not J.": partial(
            _gradient, factor=lambda one, j: j
        ),
        "The layers' share is missing: each factor is I + J.": (
            lambda weights, x, upstream: upstream
        ),
        "Your 1 is a matrix of ones: use the identity matrix, so that the gradient itself is "
        "added.": partial(_gradient, factor=lambda one, j: 1 + j),
        "You subtract the Jacobian matrices: each factor is I + J.": partial(
            _gradient, factor=lambda one, j: one - j
        ),
        "You add the Jacobian matrices of the blocks, which leaves out the paths through more than "
        "one block: multiply the factors I + J.": _added_jacobians,
        "The ReLU's derivative is missing: where W x is negative, nothing passes.": partial(
            _gradient, mask=lambda w, i, xs: torch.ones(len(w), dtype=w.dtype)
        ),
        "The ReLU's derivative is 1 where W x is positive, not W x itself.": partial(
            _gradient, mask=lambda w, i, xs: F.relu(w @ xs[i])
        ),
        "Your ReLU's derivative is 1 where W x is negative: it should be 1 where W x is "
        "positive.": partial(_gradient, mask=lambda w, i, xs: w @ xs[i] < 0),
        "You take all Jacobian matrices at the first input: take block i's at x_i.": (
            partial(_gradient, mask=lambda w, i, xs: w @ xs[0] > 0)
        ),
        "You take the Jacobian matrices at the outputs of the blocks: take block i's at its input "
        "x_i.": partial(_gradient, mask=lambda w, i, xs: w @ xs[i + 1] > 0),
        "You take the ReLU's mask from x: the ReLU sees W x.": partial(
            _gradient, mask=lambda w, i, xs: xs[i] > 0
        ),
        "This is the gradient at the last block's input: go on to x_0.": (
            lambda weights, x, upstream: _gradient(
                weights[-1:], relu_stack(weights, x)[-2], upstream
            )
        ),
    },
)
def gradient_by_hand(answer: Callable):
    """Does `answer(weights, x, upstream)` return the gradient at the input of a stack of blocks?

    Block i is x + V relu(W x) with (W, V) = weights[i], of shapes (m, d) and (d, m); `x` (d,) is
    the input of the first, `upstream` (d,) the gradient at the output of the last. The answer is a
    vector (d,), equation (5.4): He et al. (2016b), section 2; without automatic differentiation.
    """
    for n, d, m in ((4, 12, 12), (3, 8, 16), (2, 12, 9), (1, 10, 10)):
        weights = [[random(m, d) / math.sqrt(d), random(d, m) / math.sqrt(m)] for _ in range(n)]
        yield weights, random(d), random(d)


def _polynomial(coefficients: Tensor, z: Tensor) -> float:
    return sum((row * z**k).sum().item() for k, row in enumerate(coefficients))


def call_with_polynomial(
    answer: Callable, coefficients: Tensor, x: Tensor, direction: Tensor, step: float
):
    """A question: `answer(f, x, direction, step)`, where `f` returns a float at a vector.

    `f` is a polynomial in each entry: row k of `coefficients` belongs to the power k.
    """
    places = []

    def f(z: Tensor) -> float:
        places.append(tuple(torch.as_tensor(z).tolist()))
        return _polynomial(coefficients, torch.as_tensor(z))

    found = answer(f, x, direction, step)
    if len(set(places)) > 4:
        raise Mistake(f"You evaluate f at {len(set(places))} points: four are enough.")
    return found


def _central(f: Callable, x: Tensor, v: Tensor, h: float) -> float:
    return (f(x + h * v) - f(x - h * v)) / (2 * h)


def _combined(long: float, short: float, double: bool = False) -> Callable:
    """So much of the central differences with the step and half of it, or twice it and itself."""

    def answer(f: Callable, x: Tensor, v: Tensor, h: float) -> float:
        h = 2 * h if double else h
        return long * _central(f, x, v, h) + short * _central(f, x, v, h / 2)

    return answer


def _five_places(f: Callable, x: Tensor, v: Tensor, h: float) -> float:
    return _combined(-1 / 3, 4 / 3)(f, x, v, h) + 0 * f(x)


_FOURTH = _combined(-1 / 3, 4 / 3)
_LINEAR = (
    "The weights 2 and −1 cancel an error proportional to the step; a central difference's is "
    "proportional to step²: twice the step makes it four times as large"
)
_SIGN = (
    "The errors of both differences have the same sign: subtract one, with the weights 4/3 and −1/3"
)


@exercise(
    right=_FOURTH,
    question=call_with_polynomial,
    what="the derivative",
    says="Your derivative is exact for polynomials up to degree 4, so it is of fourth order.",
    wrong={
        "This is a one-sided difference, of first order: take values on both sides.": (
            lambda f, x, v, h: (f(x + h * v) - f(x)) / h
        ),
        "This is a one-sided difference, backward, of first order: take values on both sides.": (
            lambda f, x, v, h: (f(x) - f(x - h * v)) / h
        ),
        "This is the central difference, of second order: combine two of them so that their errors "
        "in step² cancel.": _central,
        "This is the central difference with half the step, of second order: combine two of them "
        "so that their errors in step² cancel.": _combined(0, 1),
        "This is the central difference with twice the step, of second order: combine two of them "
        "so that their errors in step² cancel.": _combined(1, 0, double=True),
        "Divide your difference by the distance between the two points, which is twice the "
        "step.": lambda *args: 2 * _FOURTH(*args),
        "Divide your central difference by the distance between its points, twice the step.": (
            lambda *args: 2 * _central(*args)
        ),
        "You do not divide your difference by the step.": lambda *args: args[3] * _FOURTH(*args),
        "You do not divide your central difference: divide it by the distance between its "
        "points.": lambda *args: 2 * args[3] * _central(*args),
        "You changed the length of the direction: use it as it is.": (
            lambda f, x, v, h: _FOURTH(f, x, v / v.norm(), h)
        ),
        f"{_LINEAR}.": _combined(-1, 2),
        f"{_LINEAR}, as from your step to twice it.": _combined(-1, 2, double=True),
        "The weights are swapped: the shorter step has the weight 4/3.": _combined(4 / 3, -1 / 3),
        "The weights are swapped: of the step and twice it, the step has the weight "
        "4/3.": _combined(4 / 3, -1 / 3, double=True),
        f"{_SIGN}.": _combined(1 / 5, 4 / 5),
        f"{_SIGN}, for the step and twice it.": _combined(1 / 5, 4 / 5, double=True),
        f"{_SIGN}; a mean does not cancel them.": _combined(1 / 2, 1 / 2),
        "The weights add up to 3, not to 1: divide by 3.": _combined(-1, 4),
        "The sign is wrong: the value ahead comes first.": lambda *args: -_FOURTH(*args),
        "You evaluate f at 5 points: four are enough.": _five_places,
    },
)
def derivative_of_fourth_order(answer: Callable):
    """Does `answer(f, x, direction, step)` return f's derivative along `direction` to fourth order?

    `f` takes a vector (d,) and gives a float; the derivative is that of f(x + t · direction) by t
    at 0, from four values of f. Fourth order: an error proportional to step⁴, so none for
    polynomials up to degree 4, which is what is tried.
    """
    for degree, d in ((1, 3), (2, 3), (3, 4), (4, 2), (4, 5)):
        yield random(degree + 1, d), random(d), random(d), 0.4 + 0.2 * numbers.random()


def _rate(s: float, square=None, passes=None, mean=None) -> float:
    """`passes` over the variance; each argument changes one of its places."""
    square = (1 + s**2) / 2 if square is None else square
    mean = (1 - s) / math.sqrt(2 * math.pi) if mean is None else mean
    return (square if passes is None else passes) / (square - mean**2)


@exercise(
    right=_rate,
    what="the rate",
    says="At slope 0 this is π/(π − 1), and at slope 1 nothing explodes.",
    wrong={
        "You divide by the mean square of the previous layer's output: batch normalization divides "
        "by the variance, so subtract the square of the mean.": lambda s: 1.0,
        "This is the rate of the norm: the mean square grows by its square.": (
            lambda s: _rate(s) ** 0.5
        ),
        "This is the inverse: on the way back, divide by the variance.": lambda s: 1 / _rate(s),
        "This is only the ReLU's part: divide by the variance, as batch normalization does.": (
            lambda s: (1 + s**2) / 2
        ),
        "This is only batch normalization's part: the gradient also passes the leaky ReLU.": (
            lambda s: _rate(s, passes=1)
        ),
        "The slope is missing where the gradient passes: below zero, slope² of its mean square "
        "gets through.": lambda s: _rate(s, passes=0.5),
        "The slope is missing in the variance: yours is that of a plain ReLU.": (
            lambda s: (1 + s**2) / 2 / (0.5 - 1 / (2 * math.pi))
        ),
        "The mean of a leaky ReLU's output has the factor 1 − slope, not 1 + slope: below zero the "
        "outputs are negative.": lambda s: _rate(s, mean=(1 + s) / math.sqrt(2 * math.pi)),
        "The slope is missing in the mean of a leaky ReLU's output: that is (1 − slope)/√(2π).": (
            lambda s: _rate(s, mean=1 / math.sqrt(2 * math.pi))
        ),
        "The mean of a normal number's positive part is 1/√(2π), not √(2/π), its absolute value's "
        "mean.": lambda s: _rate(s, mean=(1 - s) * math.sqrt(2 / math.pi)),
        "Below zero the gradient's mean square is multiplied by slope², not by slope.": (
            lambda s: _rate(s, passes=(1 + s) / 2)
        ),
        "Your rate does not depend on the slope: it is that of a plain ReLU.": (
            lambda s: math.pi / (math.pi - 1)
        ),
    },
)
def explosion_rate(answer: Callable):
    """Does `answer(slope)` return the gradient's growth per layer of leaky ReLU and normalization?

    The factor in mean square on the way back through a wide, fully connected layer with a large
    batch, as in section 5.3; leaky ReLU is y for y > 0, else slope · y. For slope 0 it is
    π/(π − 1): Yang et al. (2019).
    """
    for slope in (0.0, *(0.05 + 0.85 * numbers.random() for _ in range(4))):
        yield (slope,)


def _share(n: int, factor: float, shortest: int, longest: int, each=None, whole=None) -> float:
    """Share of what comes along paths of these lengths; each argument changes one place."""
    each = each or (lambda k: math.comb(n, k) * factor**k)
    brought = [each(k) for k in range(n + 1)]
    return sum(brought[shortest : longest + 1]) / (sum(brought) if whole is None else whole)


def _as_probability(n: int, factor: float, shortest: int, longest: int) -> float:
    if factor > 1:
        return _share(n, factor, shortest, longest)
    each = [math.comb(n, k) * factor**k * (1 - factor) ** (n - k) for k in range(n + 1)]
    return sum(each[shortest : longest + 1])


@exercise(
    right=_share,
    what="the share",
    says="Your shares are right, with and without a factor for each block.",
    wrong={
        "The longest paths are missing: include both ends.": (
            lambda n, c, a, b: _share(n, c, a, b - 1)
        ),
        "The shortest paths are missing: include both ends.": (
            lambda n, c, a, b: _share(n, c, a + 1, b)
        ),
        "You include one length too many: `longest` is the last one.": (
            lambda n, c, a, b: _share(n, c, a, b + 1)
        ),
        "You count the paths without the factor: a path through k blocks contributes factor to the "
        "power k.": lambda n, c, a, b: _share(n, 1.0, a, b),
        "You divide by the number of paths: divide by what all of them contribute.": (
            lambda n, c, a, b: _share(n, c, a, b, whole=2**n)
        ),
        "You count one path for each length: k of n blocks can be chosen in many ways.": (
            lambda n, c, a, b: _share(n, c, a, b, lambda k: c**k)
        ),
        "You treat the factor as a probability: a shortcut passes 1, not 1 − factor.": (
            _as_probability
        ),
        "This is the sum, not yet a share: divide by what all paths contribute.": (
            lambda n, c, a, b: _share(n, c, a, b, whole=1)
        ),
        "This is in percent: a share lies between 0 and 1.": lambda *args: 100 * _share(*args),
        "This is the share of all other lengths: subtract it from 1.": lambda *args: (
            1 - _share(*args)
        ),
    },
)
def share_of_paths(answer: Callable):
    """Does `answer(n, factor, shortest, longest)` return the share of paths of these lengths?

    Of n blocks, each path takes the layers of some; a path through k of them brings `factor` to the
    power k. The share is what the paths of `shortest` to `longest` blocks, both included, bring of
    the sum over all: for factor 1 their share in the number of paths, as in Veit et al. (2016),
    section 5.
    """
    factor = 0.1 + 0.7 * numbers.random()
    yield from [(9, factor, 2, 4), (54, 1.0, 5, 17), (54, 1.0, 19, 35), (54, factor, 5, 17)]
    yield from [(8, 1 + factor, 3, 3), (12, factor, 0, 12), (6, factor, 0, 0)]


def gradient_parts(jacobians: Tensor, upstream: Tensor) -> Tensor:
    """(n + 1, d): row k is the sum over all paths through the layers of exactly k blocks."""
    rows = [upstream]
    for jacobian in reversed(list(jacobians)):
        longer = [row @ jacobian for row in rows]
        zero = torch.zeros_like(upstream)
        rows = [a + b for a, b in zip([*rows, zero], [zero, *longer], strict=True)]
    return torch.stack(rows)


def _passed_twice(jacobians: Tensor, upstream: Tensor) -> Tensor:
    rows = [upstream, *[torch.zeros_like(upstream) for _ in jacobians]]
    for jacobian in jacobians.flip(0):
        for k in range(1, len(rows)):
            rows[k] = rows[k] + rows[k - 1] @ jacobian
    return torch.stack(rows)


def _neighbors(jacobians: Tensor, upstream: Tensor) -> Tensor:
    rows = [upstream]
    for jacobian in jacobians.flip(0):
        rows.append(rows[-1] @ jacobian)
    return torch.stack(rows)


def _path_by_path(jacobians: Tensor, upstream: Tensor) -> Tensor:
    rows = [torch.zeros_like(upstream) for _ in range(len(jacobians) + 1)]
    for code in range(2 ** len(jacobians)):
        row, taken = upstream, 0
        for i in reversed(range(len(jacobians))):
            if code >> i & 1:
                row, taken = row @ jacobians[i], taken + 1
        rows[taken] = rows[taken] + row
    return torch.stack(rows)


def _counts(table: Tensor) -> Tensor:
    n = len(table) - 1
    return torch.tensor([math.comb(n, k) for k in range(n + 1)]).double().unsqueeze(1)


@exercise(
    kind=ByHand,
    right=gradient_parts,
    what="the table of gradients by length",
    says="Each row matches the sum path by path, and the rows add up to the whole gradient.",
    wrong={
        STOPPED: _path_by_path,
        "The factors are in reverse order: the upstream gradient meets the last block first.": (
            lambda j, up: gradient_parts(j.flip(0), up)
        ),
        "Your matrices are transposed: gradients are rows, so compute `row @ J`.": (
            lambda j, up: gradient_parts(j.mT, up)
        ),
        "Your matrices are transposed and in reverse order: gradients are rows, and meet the last "
        "block first.": lambda j, up: gradient_parts(j.mT.flip(0), up),
        "The rows are in reverse order: row 0 is the path through no block's layers.": (
            lambda j, up: gradient_parts(j, up).flip(0)
        ),
        "These are means over the paths of each length: row k is their sum.": (
            lambda j, up: gradient_parts(j, up) / _counts(gradient_parts(j, up))
        ),
        "Some blocks are passed twice, because you use a row that you have just changed: go from "
        "long paths to short ones, or make a new table.": _passed_twice,
        "Your row k holds only one path, through k neighboring blocks: the blocks of a path may "
        "lie apart.": _neighbors,
        "Your rows are sums over all paths of at most this length: each row is one length.": (
            lambda j, up: gradient_parts(j, up).cumsum(0)
        ),
        "Row 0 is missing: it is the path along all shortcuts.": lambda j, up: gradient_parts(
            j, up
        )[1:],
        "These are norms: row k is a vector (d,).": lambda j, up: gradient_parts(j, up).norm(dim=1),
    },
)
def gradient_by_length(answer: Callable):
    """Does `answer(jacobians, upstream)` split the gradient by the length of its paths?

    `jacobians` (n, d, d) holds the Jacobian matrix of each block's layers, `upstream` (d,) the
    gradient at the output of the last. The answer is (n + 1, d): row k is the sum over all paths
    that go through the layers of exactly k blocks, so that the rows add up to (5.4): Veit et al.
    (2016), section 5. For many blocks, so not path by path.
    """
    for n, d in ((2, 3), (3, 4), (5, 2), (1, 3), (18, 2)):
        yield random(n, d, d) / (1 + math.sqrt(d)), random(d)


def _energy(kept: Sequence, x: Tensor, target: Tensor) -> Tensor:
    return (relu_stack(kept, x)[-1] - target).square().sum() / 2


def _without(weights: Sequence, x: Tensor, target: Tensor) -> Tensor:
    n = range(len(weights))
    return torch.stack([_energy(weights[:i] + weights[i + 1 :], x, target) for i in n])


def _costs(change: Callable | None = None) -> Callable:
    """Lesions whose costs are `change(weights, x, target, right)`."""

    def answer(weights: Sequence, x: Tensor, target: Tensor) -> list:
        costs = _without(weights, x, target) - _energy(weights, x, target)
        return [
            change(weights, x, target, costs) if change else costs,
            _predicted(weights, x, target),
        ]

    return answer


def _predicted(weights, x, target, at: int = 1, sign: int = -1, times: str = "F") -> Tensor:
    """From the gradient of the whole network; each argument changes one place."""
    xs, found = relu_stack(weights, x), []
    for i, (before, after) in enumerate(pairwise(xs)):
        leaf = xs[i + at].clone().requires_grad_()
        (g,) = torch.autograd.grad(_energy(weights[i + at :], leaf, target), leaf)
        found.append(sign * g @ {"F": after - before, "x": before, "output": after}[times])
    return torch.stack(found)


def _predicting(**how) -> Callable:
    return lambda weights, x, t: [_costs()(weights, x, t)[0], _predicted(weights, x, t, **how)]


def _each(change: Callable) -> Callable:
    """Costs of the stacks `change(weights, i)`, and with another input where it gives one."""

    def costs(weights: Sequence, x: Tensor, target: Tensor, _: Tensor) -> Tensor:
        kept = [change(weights, i, x) for i in range(len(weights))]
        whole = _energy(weights, x, target)
        return torch.stack([_energy(left, start, target) - whole for left, start in kept])

    return _costs(costs)


@exercise(
    right=_costs(),
    what=["the list of costs", "the list of predictions"],
    says="Both lists are right: what each deletion costs, and what one gradient predicts.",
    wrong={
        "These are the losses without a block: subtract that of the whole network.": _costs(
            lambda weights, x, t, costs: _without(weights, x, t)
        ),
        "The sign is wrong: take the loss without the block, minus that of the whole "
        "network.": _costs(lambda weights, x, t, costs: -costs),
        "Your E lacks the factor 1/2.": _costs(lambda weights, x, t, costs: 2 * costs),
        "Deleted blocks stay deleted in your loop: for each block, keep all others.": _each(
            lambda weights, i, x: (weights[i + 1 :], x)
        ),
        "You delete the shortcut as well: without its layers, a block passes x on.": _each(
            lambda weights, i, x: (weights[i + 1 :], torch.zeros_like(x))
        ),
        "You keep only the block in question: delete this one, and keep all others.": _each(
            lambda weights, i, x: (weights[i : i + 1], x)
        ),
        "You delete the blocks from the last one on: list the costs in the order of the blocks.": (
            _costs(lambda weights, x, t, costs: costs.flip(0))
        ),
        "The sign is wrong: deleting a block takes F(x_i) away.": _predicting(sign=1),
        "You take the gradient at the block's input: F(x_i) is added after it, so take the one at "
        "x_(i+1).": _predicting(at=0),
        "The sign is wrong, and you take the gradient at the block's input: take the one at "
        "x_(i+1), and minus F(x_i).": _predicting(at=0, sign=1),
        "You multiply by x: what a deletion takes away is F(x_i).": _predicting(times="x"),
        "You multiply by the block's output: what a deletion takes away is F(x_i) alone.": (
            _predicting(times="output")
        ),
        "These are the costs themselves: predict them from the gradient of the whole network "
        "alone.": lambda *args: [_costs()(*args)[0]] * 2,
    },
)
def lesions(answer: Callable):
    """Does `answer(weights, x, target)` return what deleting each block costs, and a prediction?

    The blocks are x + V relu(W x) with (W, V) = weights[i], and E = ‖x_n − target‖² / 2. The answer
    is a pair of lists of n numbers. The first: E with block i deleted, so that only its shortcut is
    left, minus E. The second: the same to first order, from one gradient of the whole network,
    −∂E/∂x_(i+1) · F(x_i). After Veit et al. (2016), section 4.1.
    """
    for n, d, m in ((4, 6, 9), (3, 8, 8), (1, 9, 7)):
        weights = [[random(m, d) / math.sqrt(d), random(d, m) / math.sqrt(m)] for _ in range(n)]
        yield weights, random(d), random(d)

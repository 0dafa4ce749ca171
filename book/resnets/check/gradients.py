"""Checks for chapter 5: how the gradient passes through a stack of residual blocks.

He et al. (2016b) is "Identity Mappings in Deep Residual Networks", ECCV 2016; Veit et al. (2016) is
"Residual Networks Behave Like Ensembles of Relatively Shallow Networks", NIPS 2016; Yang et al.
(2019) is "A Mean Field Theory of Batch Normalization", ICLR 2019.
"""

import math
import random as numbers
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from resnets.check.asking import (
    NOT_WRITTEN,
    Mistake,
    ask,
    call,
    checks,
    expect,
    random,
    same,
)

OPERATIONS = 30_000  # more than any answer needs that goes through the blocks one by one
AUTOMATIC = (
    "The gradient came from automatic differentiation: here it is to be written by hand, from the "
    "matrices."
)


class TooManyOperations(RuntimeError):
    """An answer was stopped, since it would not come to its end."""


class _Watch(TorchDispatchMode):
    """Within this context, counts tensor operations and notes those of automatic differentiation.

    Raises:
        TooManyOperations: at operation `limit` + 1.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.count, self.automatic = limit, 0, False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        self.automatic |= "backward" in str(func)
        if self.count > self.limit:
            raise TooManyOperations(f"more than {self.limit} tensor operations")
        return func(*args, **(kwargs or {}))


def watched(answer: Callable, limit: int, *inputs) -> dict | None:
    """A question: what does the function give, and how?

    "result"; "operations", the number of its tensor operations; "automatic", whether gradients of
    ReLU or sigmoid by automatic differentiation were among them. Behind `limit` operations the
    function is stopped, and there is no "result".
    """
    with _Watch(limit) as watch:
        try:
            result = answer(*inputs)
        except TooManyOperations:
            return {"operations": watch.count, "automatic": watch.automatic}
    if result is None:
        return None
    return {"result": result, "operations": watch.count, "automatic": watch.automatic}


def call_with_polynomial(
    answer: Callable, coefficients: Tensor, x: Tensor, direction: Tensor, step: float
):
    """A question: `answer(f, x, direction, step)`, where `f` gives a float at a vector.

    `f` is a polynomial in each entry: row k of `coefficients` belongs to the power k.
    """

    def f(z: Tensor) -> float:
        return _polynomial(coefficients, z)

    return answer(f, x, direction, step)


def by_hand(answer: Callable, *inputs):
    """What `answer(*inputs)` gives; without automatic differentiation.

    Raises:
        Mistake: with it, or the answer is not written.
    """
    told = ask(watched, answer, OPERATIONS, *inputs)
    if told["automatic"]:
        raise Mistake(AUTOMATIC)
    if "result" not in told:
        raise Mistake(
            f"Your code needs more than {OPERATIONS} tensor operations and was stopped: go through "
            "the blocks one by one, not through the paths."
        )
    return told["result"]


def gated_shortcut_factors(gates: Tensor) -> Tensor:
    """What stands in front of x_0 and of each F in (5.5), for gates (n, C): (n + 1, C)."""
    one = torch.ones_like(gates[:1])
    return torch.cat([one, gates.flip(0).cumprod(0)]).flip(0)


@checks
def shortcut_factors(answer: Callable) -> str:
    """Does `answer(gates)` give the factors in x_n = a_0 · x_0 + Σ_i a_(i+1) · F(x_i)?

    The blocks compute x_(i+1) = gates[i] · x_i + F(x_i), with a gate for each channel: `gates` is
    (n, C). The answer is (n + 1, C): row 0 stands in front of x_0, row i + 1 in front of F(x_i).
    With all gates λ it is equation (5.5): He et al. (2016b), section 3.
    """
    for n, channels in ((3, 2), (5, 3), (2, 1), (1, 4)):
        gates = random(n, channels)
        right = gated_shortcut_factors(gates)
        mistakes = _factor_mistakes(gates) if n > 1 else {}
        _expect(_stacked(ask(call, answer, gates)), right, "the table of factors", mistakes)
    return "These are the factors of (5.5), with a gate for each block and channel."


def _factor_mistakes(gates: Tensor) -> dict[str, list[Tensor]]:
    n, one = len(gates), torch.ones_like(gates[:1])
    left = torch.arange(n - 1, -1, -1, dtype=gates.dtype).unsqueeze(1)  # blocks behind block i
    before = torch.cat([one, gates.cumprod(0)])  # row i: of the gates before block i
    behind = gates.flip(0).cumprod(0).flip(0)  # row i: of block i's gate and those behind it
    return {
        "F(x_i) passes the gates of the blocks behind it only, not the gate of its own block: that "
        "one stands on the shortcut beside it.": [torch.cat([behind[:1], behind])],
        "You multiply the gates before the block: F(x_i) passes those behind it.": [
            torch.cat([before[-1:], before[:-1]]),
            before,
        ],
        "The rows stand in reverse order: row 0 belongs to x_0.": [
            gated_shortcut_factors(gates).flip(0)
        ],
        "You take powers of one gate: every block has a gate of its own.": [
            torch.cat([gates[:1] ** n, gates[:1] ** left]),
            torch.cat([gates[:1] ** n, gates**left]),
        ],
        "The gates are added: behind each other they multiply.": [
            torch.cat([gates.flip(0).cumsum(0).flip(0), 0 * one]),
            torch.cat([gates.flip(0).cumsum(0).flip(0), one]),
        ],
        "The layers' outputs pass no gate in your answer: those of the blocks behind them are on "
        "their way.": [torch.cat([before[-1:], torch.ones_like(gates)])],
    }


def relu_stack(weights: Sequence, x: Tensor) -> list[Tensor]:
    """x_0 to x_n of the blocks x + V relu(W x); `weights` holds a pair (W, V) for each block."""
    xs = [x]
    for w, v in weights:
        xs.append(xs[-1] + v @ F.relu(w @ xs[-1]))
    return xs


@checks
def gradient_by_hand(answer: Callable) -> str:
    """Does `answer(weights, x, upstream)` give the gradient at the input of a stack of blocks?

    Block i is x + V relu(W x) with (W, V) = weights[i], of shapes (m, d) and (d, m); `x` (d,) is
    the input of the first, `upstream` (d,) the gradient at the output of the last. The answer is a
    vector (d,), equation (5.4): He et al. (2016b), section 2; without automatic differentiation.
    """
    for n, d, m in ((4, 12, 12), (3, 8, 16), (2, 12, 9), (1, 10, 10)):
        weights = [[random(m, d) / math.sqrt(d), random(d, m) / math.sqrt(m)] for _ in range(n)]
        x, upstream = random(d), random(d)
        leaf = x.clone().requires_grad_()
        (right,) = torch.autograd.grad(relu_stack(weights, leaf)[-1], leaf, upstream)
        mistakes = _gradient_mistakes(weights, x, upstream)
        what = f"the gradient through {n} blocks" if n != 1 else "the gradient through one block"
        expect(by_hand(answer, weights, x, upstream), right, what, mistakes)
    return "Your gradient is that of automatic differentiation, at every depth and width."


def _gradient_mistakes(weights: Sequence, x: Tensor, upstream: Tensor) -> dict[str, Tensor]:
    xs, one = relu_stack(weights, x), torch.eye(len(x), dtype=x.dtype)

    def jacobians(mask: Callable[[int, Tensor], Tensor]) -> list[Tensor]:
        return [v @ (mask(i, w).unsqueeze(1) * w) for i, (w, v) in enumerate(weights)]

    def product(matrices: Sequence[Tensor], order: Callable = reversed) -> Tensor:
        row = upstream
        for matrix in order(matrices):
            row = row @ matrix
        return row

    right = jacobians(lambda i, w: (w @ xs[i] > 0).double())
    unmasked = jacobians(lambda i, w: torch.ones(len(w), dtype=w.dtype))
    all_at_input = jacobians(lambda i, w: (w @ x > 0).double())
    moved_on = jacobians(lambda i, w: (w @ xs[i + 1] > 0).double())
    mistakes = {
        "The factors stand in reverse order: the upstream gradient meets the last block first.": (
            product([one + j for j in right], iter)
        ),
        "Your matrices are transposed: with gradients as rows, `upstream @ (I + J)`.": product(
            [one + j.T for j in right]
        ),
        "Your matrices are transposed, and in reverse order: gradients are rows, and meet the last "
        "block first.": product([one + j.T for j in right], iter),
        "The shortcut's share is missing: each factor is I + J, not J.": product(right),
        "Your 1 is a matrix of ones: it is the identity matrix, so the gradient itself is added.": (
            product([1 + j for j in right])
        ),
        "You add the Jacobian matrices of the blocks: that leaves out the paths through more than "
        "one block. The factors I + J multiply.": upstream + sum(upstream @ j for j in right),
        "The ReLU's derivative is missing: where W x is negative, nothing passes.": product(
            [one + j for j in unmasked]
        ),
        "All your Jacobian matrices are taken at the first input: block i's belongs at x_i.": (
            product([one + j for j in all_at_input])
        ),
        "Your Jacobian matrices are taken at the outputs of the blocks: block i's belongs at its "
        "input x_i.": product([one + j for j in moved_on]),
        "The gradient is that of the last block's input: go on to x_0.": (
            upstream @ (one + right[-1])
        ),
    }
    if all(w.shape[0] == len(x) for w, _ in weights):
        by_x = jacobians(lambda i, w: (xs[i] > 0).double())
        mistakes["The ReLU's mask is that of x: the ReLU sees W x."] = product(
            [one + j for j in by_x]
        )
    return mistakes


@checks
def derivative_of_fourth_order(answer: Callable) -> str:
    """Does `answer(f, x, direction, step)` give f's derivative along `direction`, to fourth order?

    `f` takes a vector (d,) and gives a float; the derivative is that of f(x + t · direction) by t
    at 0, from a few values of f. Fourth order: an error proportional to step⁴, so none for
    polynomials up to degree 4, which is what is tried.
    """
    for degree, d in ((1, 3), (2, 3), (3, 4), (4, 2), (4, 5)):
        coefficients, step = random(degree + 1, d), 0.4 + 0.2 * numbers.random()
        x, direction = random(d), random(d)

        def f(t, c=coefficients, x=x, v=direction):
            return _polynomial(c, x + t * v)

        def central(h, f=f):
            return (f(h) - f(-h)) / (2 * h)

        powers = torch.arange(1, degree + 1, dtype=torch.float64).unsqueeze(1)
        slope = (powers * coefficients[1:] * x ** (powers - 1)).sum(0)
        right = (slope * direction).sum().item()
        half, whole, double = central(step / 2), central(step), central(2 * step)
        _expect(
            ask(call_with_polynomial, answer, coefficients, x, direction, step),
            right,
            f"the derivative of a polynomial of degree {degree}",
            {
                "This is a one-sided difference, of first order: take values on both sides.": [
                    (f(step) - f(0)) / step,
                    (f(0) - f(-step)) / step,
                ],
                "This is the central difference, of second order: combine two of them so that "
                "their errors in step² cancel.": [half, whole, double],
                "Your difference is not divided by the distance of the two points, which is twice "
                "the step.": [2 * right, 2 * whole],
                "Your difference is not divided by the step.": [right * step, whole * 2 * step],
                "You changed the length of the direction: take it as it is.": [
                    right / direction.norm().item()
                ],
                "The weights 2 and −1 cancel an error in the step; that of a central difference is "
                "in step²: where the step doubles it is four times as large.": [
                    2 * half - whole,
                    2 * whole - double,
                ],
                "The weights are exchanged: the shorter step has the weight 4/3.": [
                    (4 * whole - half) / 3,
                    (4 * double - whole) / 3,
                ],
                "The errors of both differences have the same sign: one has to be subtracted, with "
                "the weights 4/3 and −1/3.": [
                    (half + whole) / 2,
                    (whole + double) / 2,
                    (4 * half + whole) / 5,
                    (4 * whole + double) / 5,
                ],
                "The weights add up to 3, not to 1: divide.": [3 * right],
            },
        )
    return "Exact for polynomials up to degree 4, so of fourth order."


@checks
def explosion_rate(answer: Callable) -> str:
    """Does `answer(slope)` give the gradient's growth a layer with leaky ReLU and normalization?

    The factor in mean square on the way back through a wide, fully connected layer with a large
    batch, as in section 5.3; leaky ReLU is y for y > 0, else slope · y. For slope 0 it is
    π/(π − 1): Yang et al. (2019).
    """
    for slope in (0.0, *(0.05 + 0.85 * numbers.random() for _ in range(4))):
        square, mean = (1 + slope**2) / 2, (1 - slope) / math.sqrt(2 * math.pi)
        right = square / (square - mean**2)
        expect(
            ask(call, answer, slope),
            right,
            f"the rate for slope {slope:.2f}" if slope else "the rate for slope 0",
            {
                "You divide by the mean square of what the layer before sends: batch normalization "
                "divides by the variance, so subtract the square of the mean.": 1.0,
                "This is the rate of the norm: the mean square grows with its square.": right**0.5,
                "This is the inverse: on the way back, the variance divides.": 1 / right,
                "Only the ReLU's part: divide by the variance, as batch normalization does.": (
                    square
                ),
                "Only batch normalization's part: the gradient also passes the leaky ReLU.": (
                    1 / (square - mean**2)
                ),
                "The slope is missing where the gradient passes: below zero, slope² of its mean "
                "square gets through.": 0.5 / (square - mean**2),
                "The slope is missing in the variance: this one is that of a plain ReLU.": square
                / (0.5 - 1 / (2 * math.pi)),
                "The mean of a leaky ReLU's output has 1 − slope, not 1 + slope: below zero the "
                "outputs are negative.": square / (square - (1 + slope) ** 2 / (2 * math.pi)),
                "The mean of a leaky ReLU's output is (1 − slope)/√(2π): the slope is missing in "
                "it.": square / (square - 1 / (2 * math.pi)),
                "The gradient's mean square passes with slope², not with slope.": (
                    (1 + slope) / 2 / (square - mean**2)
                ),
                "The rate does not depend on the slope in your answer: that is a plain ReLU's.": (
                    math.pi / (math.pi - 1)
                ),
            },
        )
    return "At slope 0 this is π/(π − 1), and at slope 1 nothing explodes."


def share_by_length(n: int, factor: float, shortest: int, longest: int) -> float:
    """Share of what comes along paths of these lengths, if layers pass `factor` × the shortcut."""
    each = [math.comb(n, k) * factor**k for k in range(n + 1)]
    return sum(each[shortest : longest + 1]) / (1 + factor) ** n


@checks
def share_of_paths(answer: Callable) -> str:
    """Does `answer(n, factor, shortest, longest)` give the share of paths of these lengths?

    Of n blocks, each path takes the layers of some; a path through k of them brings `factor` to the
    power k. The share is what the paths of `shortest` to `longest` blocks, both included, bring of
    the sum over all: for factor 1 their share in the number of paths, as in Veit et al. (2016),
    section 5.
    """
    factor = 0.1 + 0.7 * numbers.random()
    cases = [
        (9, factor, 2, 4),
        (54, 1.0, 5, 17),
        (54, 1.0, 19, 35),
        (54, factor, 5, 17),
        (8, 1 + factor, 3, 3),
        (12, factor, 0, 12),
        (6, factor, 0, 0),
    ]
    for n, factor, shortest, longest in cases:
        counts = [math.comb(n, k) for k in range(n + 1)]
        each = [count * factor**k for k, count in enumerate(counts)]
        inside = slice(shortest, longest + 1)
        by_length = [factor**k for k in range(n + 1)]
        as_probability = [
            c * factor**k * (1 - factor) ** (n - k) if factor < 1 else 0
            for k, c in enumerate(counts)
        ]
        got = ask(call, answer, n, factor, shortest, longest)
        right = share_by_length(n, factor, shortest, longest)
        expect(
            got,
            right,
            f"the share of {shortest} to {longest} of {n} blocks",
            {
                f"The paths through {longest} blocks are missing: both ends belong to it.": sum(
                    each[shortest:longest]
                )
                / sum(each),
                f"The paths through {shortest} blocks are missing: both ends belong to it.": sum(
                    each[shortest + 1 : longest + 1]
                )
                / sum(each),
                "You count the paths without the factor: one through k blocks brings factor to the "
                "power k.": sum(counts[inside]) / 2**n,
                "You divide by the number of paths: divide by what all of them bring.": sum(
                    each[inside]
                )
                / 2**n,
                "You count one path for each length: k of n blocks can be chosen in many ways.": (
                    sum(by_length[inside]) / sum(by_length)
                ),
                "The factor is taken for a probability: a shortcut passes 1, not 1 − factor.": sum(
                    as_probability[inside]
                ),
                "This is the sum, not yet a share: divide by what all paths bring.": sum(
                    each[inside]
                ),
                "This is in percent: a share lies between 0 and 1.": 100 * right,
            },
        )
    return "Your shares are right, with and without a factor for each block."


def gradient_parts(jacobians: Tensor, upstream: Tensor) -> Tensor:
    """(n + 1, d): row k is the sum over all paths through the layers of exactly k blocks."""
    rows = [upstream]
    for jacobian in reversed(list(jacobians)):
        longer = [row @ jacobian for row in rows]
        zero = torch.zeros_like(upstream)
        rows = [a + b for a, b in zip([*rows, zero], [zero, *longer], strict=True)]
    return torch.stack(rows)


@checks
def gradient_by_length(answer: Callable) -> str:
    """Does `answer(jacobians, upstream)` split the gradient by the length of its paths?

    `jacobians` (n, d, d) holds the Jacobian matrix of each block's layers, `upstream` (d,) the
    gradient at the output of the last. The answer is (n + 1, d): row k is the sum over all paths
    that go through the layers of exactly k blocks, so that the rows add up to (5.4): Veit et al.
    (2016), section 5. For many blocks, so not path by path.
    """
    for n, d in ((2, 3), (3, 4), (5, 2), (1, 3), (18, 2)):
        jacobians, upstream = random(n, d, d) / (1 + math.sqrt(d)), random(d)
        right = gradient_parts(jacobians, upstream)
        got = _stacked(by_hand(answer, jacobians, upstream))
        counts = torch.tensor([math.comb(n, k) for k in range(n + 1)]).double().unsqueeze(1)
        transposed = jacobians.transpose(1, 2)
        expect(
            got,
            right,
            "the table of gradients by length",
            {
                "The factors stand in reverse order: the upstream gradient meets the last block "
                "first.": gradient_parts(jacobians.flip(0), upstream),
                "Your matrices are transposed: with gradients as rows, `row @ J`.": gradient_parts(
                    transposed, upstream
                ),
                "Your matrices are transposed, and in reverse order: gradients are rows, and meet "
                "the last block first.": gradient_parts(transposed.flip(0), upstream),
                "The rows stand in reverse order: row 0 is the path through no block's layers.": (
                    right.flip(0)
                ),
                "These are means over the paths of a length: row k is their sum.": right / counts,
                "Some blocks are passed twice: a row that was just changed is used for the next. "
                "Go from long paths to short ones, or make a new table.": _in_place(
                    jacobians, upstream
                ),
                "Row k of yours holds one path only, through k neighboring blocks: the blocks of a "
                "path may lie apart.": _neighbors(jacobians, upstream),
                "Your rows are sums over all paths of at most this length: each row is one "
                "length.": right.cumsum(0),
            },
        )
    return "Row by row as path by path, and the rows add up to the whole gradient."


def _in_place(jacobians: Tensor, upstream: Tensor) -> Tensor:
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


@checks
def lesions(answer: Callable) -> str:
    """Does `answer(weights, x, target)` give what deleting each block costs, and what is predicted?

    The blocks are x + V relu(W x) with (W, V) = weights[i], and E = ‖x_n − target‖² / 2. The answer
    is a pair of lists of n numbers. The first: E with block i deleted, so that only its shortcut is
    left, minus E. The second: the same to first order, from one gradient of the whole network,
    −∂E/∂x_(i+1) · F(x_i). After Veit et al. (2016), section 4.1.
    """
    for n, d, m in ((4, 6, 9), (3, 8, 8), (1, 9, 7)):
        weights = [[random(m, d) / math.sqrt(d), random(d, m) / math.sqrt(m)] for _ in range(n)]
        x, target = random(d), random(d)
        got = ask(call, answer, weights, x, target)
        if not isinstance(got, list | tuple | Tensor) or len(got) != 2:
            raise Mistake("Give two lists: the costs, and the predictions.")
        if any(part is None or part is ... for part in got):
            raise Mistake(NOT_WRITTEN)
        costs, predicted, mistakes = _lesions(weights, x, target)
        expect(got[0], costs, "the list of costs", mistakes["costs"])
        expect(got[1], predicted, "the list of predictions", mistakes["predicted"])
    return "What each deletion costs, and what one gradient says beforehand."


def _lesions(weights: Sequence, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor, dict]:
    def energy(kept: Sequence, start: Tensor = x) -> Tensor:
        return (relu_stack(kept, start)[-1] - target).square().sum() / 2

    n, whole = len(weights), energy(weights)
    xs = relu_stack(weights, x)
    without = torch.stack([energy([*weights[:i], *weights[i + 1 :]]) for i in range(n)])
    one_by_one = torch.stack([energy(weights[i + 1 :]) for i in range(n)])
    cut = torch.stack([energy(weights[i + 1 :], torch.zeros_like(x)) for i in range(n)])
    gradients = []
    for i in range(n + 1):
        leaf = xs[i].clone().requires_grad_()
        gradients += torch.autograd.grad(energy(weights[i:], leaf), leaf)
    added = [after - before for before, after in pairwise(xs)]
    behind = _dots(gradients[1:], added)
    mistakes = {
        "costs": {
            "These are the losses without a block: subtract that of the whole network.": without,
            "The sign is wrong: the loss without the block, minus that of the whole network.": whole
            - without,
            "Deleted blocks stay deleted in your loop: for each block, all others are there.": (
                one_by_one - whole
            ),
            "You delete the shortcut as well: without its layers, a block hands x on.": cut - whole,
            "You keep only the block in question: delete this one, and keep all others.": (
                torch.stack([energy(weights[i : i + 1]) for i in range(n)]) - whole
            ),
        },
        "predicted": {
            "The sign is wrong: deleting a block takes F(x_i) away.": behind,
            "You take the gradient at the block's input: F(x_i) is added behind it, so take the "
            "one at x_(i+1).": -_dots(gradients[:-1], added),
            "The sign is wrong, and the gradient is that at the block's input: take the one at "
            "x_(i+1), and minus F(x_i).": _dots(gradients[:-1], added),
            "You multiply by x: what a deletion takes away is F(x_i).": -_dots(
                gradients[1:], xs[:-1]
            ),
            "You multiply by the block's output: what a deletion takes away is F(x_i) alone.": (
                -_dots(gradients[1:], xs[1:])
            ),
            "These are the costs themselves: the prediction takes the gradient of the whole "
            "network only.": without - whole,
        },
    }
    return without - whole, -behind, mistakes


def _dots(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    return torch.stack([a @ b for a, b in zip(left, right, strict=True)])


def _expect(got, right, what: str, mistakes: Mapping[str, Sequence]) -> None:
    """`expect`, where a mistake can look in several ways."""
    for message, values in mistakes.items():
        for wrong in values:
            if same(got, wrong) and not same(got, right):
                raise Mistake(message)
    expect(got, right, what)


def _polynomial(coefficients: Tensor, z: Tensor) -> float:
    return sum((row * z**k).sum().item() for k, row in enumerate(coefficients))


def _stacked(value):
    """A list of tensors as one tensor; anything else as it is."""
    if isinstance(value, list | tuple) and value and all(isinstance(v, Tensor) for v in value):
        shapes = {v.shape for v in value}
        return torch.stack(list(value)) if len(shapes) == 1 else value
    return value

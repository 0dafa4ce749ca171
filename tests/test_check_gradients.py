"""Each typical mistake of chapter 5's exercises is recognized by name."""

import math
from itertools import combinations

import pytest
import torch
from torch.nn import functional as F

from resnets import check
from resnets.check import gradients
from resnets.check.asking import Mistake, random


def says(verdict, words):
    assert not verdict
    assert words in verdict.message


# Gates on the shortcuts ---------------------------------------------------------------------------


def factors(gates):
    rows = [torch.ones_like(gates[0])]
    for gate in reversed(gates):
        rows.append(rows[-1] * gate)
    return torch.stack(rows[::-1])


def factors_as_list(gates):
    return [gates[i:].prod(0) for i in range(len(gates) + 1)]


def factors_with_own_gate(gates):
    rows = factors(gates)
    return torch.cat([rows[:1], rows[:-1]])


def factors_of_gates_before(gates):
    ones = torch.ones(1, gates.shape[1], dtype=gates.dtype)
    return torch.cat([gates.prod(0, keepdim=True), ones, gates.cumprod(0)[:-1]])


def factors_as_powers(gates):
    n = len(gates)
    return torch.stack([gates[0] ** n, *[gates[0] ** (n - 1 - i) for i in range(n)]])


def factors_added(gates):
    return [gates[i:].sum(0) for i in range(len(gates) + 1)]


@pytest.mark.parametrize("answer", [factors, factors_as_list])
def test_shortcut_factors_takes_what_is_right(answer):
    assert check.shortcut_factors(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda gates: None, "no answer so far"),
        (factors_with_own_gate, "gate of its own block"),
        (factors_of_gates_before, "gates before the block"),
        (factors_as_powers, "powers of one gate"),
        (factors_added, "they multiply"),
        (lambda gates: factors(gates).flip(0), "reverse order"),
        (
            lambda gates: torch.cat([gates.prod(0, keepdim=True), torch.ones_like(gates)]),
            "pass no gate",
        ),
        (lambda gates: factors(gates)[1:], "has shape"),
        (lambda gates: 2 * factors(gates), "is off by"),
    ],
)
def test_shortcut_factors_names_the_mistake(answer, words):
    says(check.shortcut_factors(answer), words)


def test_shortcut_factors_are_those_of_a_stack():
    gates, x = random(4, 3), random(3)
    added = random(4, 3)
    x_n = x
    for gate, f in zip(gates, added, strict=True):
        x_n = gate * x_n + f
    table = gradients.gated_shortcut_factors(gates)
    torch.testing.assert_close(table[0] * x + (table[1:] * added).sum(0), x_n)


# The gradient by hand -----------------------------------------------------------------------------


def forward(weights, x):
    xs = [x]
    for w, v in weights:
        xs.append(xs[-1] + v @ F.relu(w @ xs[-1]))
    return xs


def by_hand(weights, x, upstream):
    row = upstream
    for (w, v), x_i in reversed(list(zip(weights, forward(weights, x), strict=False))):
        row = row + ((row @ v) * (w @ x_i > 0)) @ w
    return row


def with_matrices(weights, x, upstream):
    row, one = upstream, torch.eye(len(x), dtype=x.dtype)
    for (w, v), x_i in reversed(list(zip(weights, forward(weights, x), strict=False))):
        row = row @ (one + v @ torch.diag((w @ x_i > 0).double()) @ w)
    return row


def matrices(weights, x):
    xs = forward(weights, x)
    return [v @ ((w @ x_i > 0).unsqueeze(1) * w) for (w, v), x_i in zip(weights, xs, strict=False)]


def product(change, order=reversed, one=None, mask=True):
    """A stack's gradient with one place changed."""

    def answer(weights, x, upstream):
        each = matrices(weights, x) if mask else [v @ w for w, v in weights]
        identity = torch.eye(len(x), dtype=x.dtype) if one is None else one
        row = upstream
        for matrix in order(each):
            row = row @ change(identity, matrix)
        return row

    return answer


def all_at_the_first_input(weights, x, upstream):
    row = upstream
    for w, v in reversed(weights):
        row = row + ((row @ v) * (w @ x > 0)) @ w
    return row


def mask_of_x(weights, x, upstream):
    row = upstream
    for (w, v), x_i in reversed(list(zip(weights, forward(weights, x), strict=False))):
        row = row + ((row @ v) * (x_i > 0)) @ w
    return row


def at_the_outputs(weights, x, upstream):
    row = upstream
    for (w, v), x_i in reversed(list(zip(weights, forward(weights, x)[1:], strict=True))):
        row = row + ((row @ v) * (w @ x_i > 0)) @ w
    return row


def sum_of_jacobians(weights, x, upstream):
    return upstream + upstream @ sum(matrices(weights, x))


def automatic(weights, x, upstream):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(forward(weights, x)[-1], x, upstream)[0]


def automatic_too(weights, x, upstream):
    return torch.func.vjp(lambda z: forward(weights, z)[-1], x)[1](upstream)[0]


@pytest.mark.parametrize("answer", [by_hand, with_matrices])
def test_gradient_by_hand_takes_what_is_right(answer):
    assert check.gradient_by_hand(answer), check.gradient_by_hand(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda weights, x, upstream: None, "no answer so far"),
        (product(lambda one, j: one + j, order=iter), "in reverse order: the upstream"),
        (product(lambda one, j: one + j.T), "are transposed: with"),
        (product(lambda one, j: one + j.T, order=iter), "transposed, and in reverse"),
        (product(lambda one, j: j), "shortcut's share is missing"),
        (product(lambda one, j: one + j, one=1), "matrix of ones"),
        (product(lambda one, j: one + j, mask=False), "ReLU's derivative is missing"),
        (all_at_the_first_input, "at the first input"),
        (at_the_outputs, "at the outputs of the blocks"),
        (mask_of_x, "the ReLU sees W x"),
        (sum_of_jacobians, "more than one block"),
        (automatic, "automatic differentiation"),
        (automatic_too, "automatic differentiation"),
        (lambda weights, x, upstream: upstream, "is off by"),
        (lambda weights, x, upstream: weights @ x, "TypeError"),
    ],
)
def test_gradient_by_hand_names_the_mistake(answer, words):
    says(check.gradient_by_hand(answer), words)


# A difference of fourth order ---------------------------------------------------------------------


def central(f, x, v, h):
    return (f(x + h * v) - f(x - h * v)) / (2 * h)


def richardson(f, x, v, h):
    return (4 * central(f, x, v, h / 2) - central(f, x, v, h)) / 3


def five_points(f, x, v, h):
    return (
        f(x - 2 * h * v) - 8 * f(x - h * v) + 8 * f(x + h * v) - f(x + 2 * h * v)
    ) / (12 * h)  # fmt: skip


@pytest.mark.parametrize("answer", [richardson, five_points])
def test_derivative_of_fourth_order_takes_what_is_right(answer):
    assert check.derivative_of_fourth_order(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda f, x, v, h: None, "no answer so far"),
        (lambda f, x, v, h: (f(x + h * v) - f(x)) / h, "one-sided"),
        (lambda f, x, v, h: (f(x) - f(x - h * v)) / h, "one-sided"),
        (central, "of second order: combine"),
        (lambda f, x, v, h: 2 * central(f, x, v, h), "twice the step"),
        (lambda f, x, v, h: 2 * h * central(f, x, v, h), "not divided by the step"),
        (lambda f, x, v, h: richardson(f, x, v / v.norm(), h), "length of the direction"),
        (lambda f, x, v, h: 2 * central(f, x, v, h / 2) - central(f, x, v, h), "2 and −1"),
        (
            lambda f, x, v, h: (4 * central(f, x, v, h) - central(f, x, v, h / 2)) / 3,
            "weights are exchanged",
        ),
        (
            lambda f, x, v, h: (4 * central(f, x, v, h / 2) + central(f, x, v, h)) / 5,
            "has to be subtracted",
        ),
        (lambda f, x, v, h: 3 * richardson(f, x, v, h), "add up to 3"),
        (lambda f, x, v, h: x, "has shape"),
        (lambda f, x, v, h: torch.func.grad(f)(x) @ v, "RuntimeError"),
    ],
)
def test_derivative_of_fourth_order_names_the_mistake(answer, words):
    says(check.derivative_of_fourth_order(answer), words)


# The rate of the explosion ------------------------------------------------------------------------


def rate(slope):
    return math.pi * (1 + slope**2) / (math.pi * (1 + slope**2) - (1 - slope) ** 2)


def rate_in_steps(slope):
    square, mean = (1 + slope**2) / 2, (1 - slope) / math.sqrt(2 * math.pi)
    return torch.tensor(square / (square - mean**2), dtype=torch.float64)


def variance(slope):
    return (1 + slope**2) / 2 - (1 - slope) ** 2 / (2 * math.pi)


@pytest.mark.parametrize("answer", [rate, rate_in_steps])
def test_explosion_rate_takes_what_is_right(answer):
    assert check.explosion_rate(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda slope: None, "no answer so far"),
        (lambda slope: 1.0, "subtract the square of the mean"),
        (lambda slope: math.sqrt(rate(slope)), "rate of the norm"),
        (lambda slope: 1 / rate(slope), "inverse"),
        (lambda slope: (1 + slope**2) / 2, "Only the ReLU's part"),
        (lambda slope: 1 / variance(slope), "Only batch normalization's part"),
        (lambda slope: 0.5 / variance(slope), "slope² of its mean square"),
        (lambda slope: (1 + slope**2) / 2 / variance(0), "missing in the variance"),
        (lambda slope: rate(slope) if slope == 0 else rate_in_steps(-slope), "1 − slope, not 1"),
        (lambda slope: (1 + slope) / 2 / variance(slope), "slope², not with slope"),
        (lambda slope: math.pi / (math.pi - 1), "plain ReLU's"),
        (lambda slope: 3 * rate(slope), "which is not right"),
    ],
)
def test_explosion_rate_names_the_mistake(answer, words):
    says(check.explosion_rate(answer), words)


def test_explosion_rate_is_that_of_a_leaky_relu():
    y = torch.linspace(-8, 8, 200_001, dtype=torch.float64)
    density = torch.exp(-(y**2) / 2) / math.sqrt(2 * math.pi) * (y[1] - y[0])
    for slope in (0.0, 0.3):
        h, passed = F.leaky_relu(y, slope), torch.where(y > 0, 1, slope) ** 2
        mean, square = (h * density).sum(), (h**2 * density).sum()
        measured = ((passed * density).sum() / (square - mean**2)).item()
        assert rate(slope) == pytest.approx(measured, rel=1e-4)


# Shares of paths ----------------------------------------------------------------------------------


def share(n, factor, shortest, longest):
    each = [math.comb(n, k) * factor**k for k in range(n + 1)]
    return sum(each[shortest : longest + 1]) / sum(each)


def share_by_probability(n, factor, shortest, longest):
    p = factor / (1 + factor)
    lengths = range(shortest, longest + 1)
    return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in lengths)


def as_a_probability(n, factor, shortest, longest):
    if factor >= 1:
        return share(n, factor, shortest, longest)
    lengths = range(shortest, longest + 1)
    return sum(math.comb(n, k) * factor**k * (1 - factor) ** (n - k) for k in lengths)


def one_path_a_length(n, factor, shortest, longest):
    lengths = range(shortest, longest + 1)
    return sum(factor**k for k in lengths) / sum(factor**k for k in range(n + 1))


@pytest.mark.parametrize("answer", [share, share_by_probability])
def test_share_of_paths_takes_what_is_right(answer):
    assert check.share_of_paths(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda n, factor, a, b: None, "no answer so far"),
        (lambda n, factor, a, b: share(n, factor, a, b - 1), "through 4 blocks are missing"),
        (lambda n, factor, a, b: share(n, factor, a + 1, b), "through 2 blocks are missing"),
        (lambda n, factor, a, b: share(n, 1, a, b), "without the factor"),
        (
            lambda n, factor, a, b: share(n, factor, a, b) * ((1 + factor) / 2) ** n,
            "divide by the number of paths",
        ),
        (one_path_a_length, "one path for each length"),
        (as_a_probability, "taken for a probability"),
        (
            lambda n, factor, a, b: share(n, factor, a, b) * (1 + factor) ** n,
            "not yet a share",
        ),
        (lambda n, factor, a, b: 100 * share(n, factor, a, b), "in percent"),
        (lambda n, factor, a, b: 0.3, "which is not right"),
    ],
)
def test_share_of_paths_names_the_mistake(answer, words):
    says(check.share_of_paths(answer), words)


# The gradient by length ---------------------------------------------------------------------------


def parts(jacobians, upstream):
    table = torch.zeros(len(jacobians) + 1, len(upstream), dtype=upstream.dtype)
    table[0] = upstream
    for jacobian in reversed(jacobians.unbind()):
        longer = table @ jacobian
        table[1:] += longer[:-1]
    return table


def parts_in_place(jacobians, upstream):
    n = len(jacobians)
    rows = [upstream] + [torch.zeros_like(upstream) for _ in range(n)]
    for i in reversed(range(n)):
        for k in range(n, 0, -1):
            rows[k] = rows[k] + rows[k - 1] @ jacobians[i]
    return rows


def path_by_path(jacobians, upstream):
    n = len(jacobians)
    rows = torch.zeros(n + 1, len(upstream), dtype=upstream.dtype)
    for k in range(n + 1):
        for taken in combinations(range(n), k):
            row = upstream
            for i in reversed(taken):
                row = row @ jacobians[i]
            rows[k] += row
    return rows


def parts_passed_twice(jacobians, upstream):
    n = len(jacobians)
    rows = [upstream] + [torch.zeros_like(upstream) for _ in range(n)]
    for i in reversed(range(n)):
        for k in range(1, n + 1):
            rows[k] = rows[k] + rows[k - 1] @ jacobians[i]
    return torch.stack(rows)


def neighbors(jacobians, upstream):
    rows = [upstream]
    for jacobian in jacobians.flip(0):
        rows.append(rows[-1] @ jacobian)
    return torch.stack(rows)


def means(jacobians, upstream):
    table, n = parts(jacobians, upstream), len(jacobians)
    return torch.stack([row / math.comb(n, k) for k, row in enumerate(table)])


@pytest.mark.parametrize("answer", [parts, parts_in_place])
def test_gradient_by_length_takes_what_is_right(answer):
    assert check.gradient_by_length(answer), check.gradient_by_length(answer)


def test_gradient_by_length_is_that_of_all_paths():
    jacobians, upstream = random(6, 3, 3), random(3)
    right = path_by_path(jacobians, upstream)
    torch.testing.assert_close(gradients.gradient_parts(jacobians, upstream), right)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda jacobians, upstream: None, "no answer so far"),
        (path_by_path, "was stopped"),
        (lambda j, upstream: parts(j.flip(0), upstream), "in reverse order: the upstream"),
        (lambda j, upstream: parts(j.mT, upstream), "are transposed: with"),
        (lambda j, upstream: parts(j.mT.flip(0), upstream), "transposed, and in reverse"),
        (lambda j, upstream: parts(j, upstream).flip(0), "rows stand in reverse order"),
        (lambda j, upstream: parts(j, upstream).cumsum(0), "each row is one length"),
        (parts_passed_twice, "passed twice"),
        (neighbors, "may lie apart"),
        (means, "means over the paths"),
        (lambda j, upstream: parts(j, upstream)[1:], "has shape"),
    ],
)
def test_gradient_by_length_names_the_mistake(answer, words):
    says(check.gradient_by_length(answer), words)


# Lesions ------------------------------------------------------------------------------------------


def energy(weights, x, target):
    return (forward(weights, x)[-1] - target).square().sum() / 2


def lesions(weights, x, target, at=1, sign=-1, times="F"):
    """Right as it stands; each argument changes one place."""
    whole, n = energy(weights, x, target), len(weights)
    costs = [energy(weights[:i] + weights[i + 1 :], x, target) - whole for i in range(n)]
    xs = forward(weights, x.clone().requires_grad_())
    each = torch.autograd.grad((xs[-1] - target).square().sum() / 2, xs)
    predicted = []
    for i in range(n):
        factor = {"F": xs[i + 1] - xs[i], "x": xs[i], "output": xs[i + 1]}[times]
        predicted.append(sign * (each[i + at] @ factor).item())
    return [cost.item() for cost in costs], predicted


def lesions_as_tensors(weights, x, target):
    costs, predicted = lesions(weights, x, target)
    return torch.tensor(costs, dtype=x.dtype), torch.tensor(predicted, dtype=x.dtype)


def other_costs(change):
    def answer(weights, x, target):
        whole = energy(weights, x, target).item()
        return change(weights, x, target, whole), lesions(weights, x, target)[1]

    return answer


def stay_deleted(weights, x, target, whole):
    left, costs = list(weights), []
    for _ in range(len(weights)):
        left.pop(0)
        costs.append(energy(left, x, target).item() - whole)
    return costs


def without_shortcut(weights, x, target, whole):
    costs = []
    for i in range(len(weights)):
        costs.append(energy(weights[i + 1 :], torch.zeros_like(x), target).item() - whole)
    return costs


def only_this(weights, x, target, whole):
    return [energy([pair], x, target).item() - whole for pair in weights]


@pytest.mark.parametrize("answer", [lesions, lesions_as_tensors])
def test_lesions_takes_what_is_right(answer):
    assert check.lesions(answer), check.lesions(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda weights, x, target: None, "no answer so far"),
        (lambda weights, x, target: (lesions(weights, x, target)[0], None), "no answer so far"),
        (lambda weights, x, target: lesions(weights, x, target)[0][0], "two lists"),
        (
            other_costs(lambda w, x, t, whole: [c + whole for c in lesions(w, x, t)[0]]),
            "subtract that of the whole",
        ),
        (other_costs(lambda w, x, t, whole: [-c for c in lesions(w, x, t)[0]]), "sign is wrong"),
        (other_costs(stay_deleted), "stay deleted"),
        (other_costs(without_shortcut), "delete the shortcut as well"),
        (other_costs(only_this), "keep only the block"),
        (lambda w, x, t: lesions(w, x, t, sign=1), "takes F(x_i) away"),
        (lambda w, x, t: lesions(w, x, t, at=0), "gradient at the block's input"),
        (lambda w, x, t: lesions(w, x, t, at=0, sign=1), "and the gradient is that"),
        (lambda w, x, t: lesions(w, x, t, times="x"), "multiply by x"),
        (lambda w, x, t: lesions(w, x, t, times="output"), "the block's output"),
        (lambda w, x, t: (lesions(w, x, t)[0],) * 2, "costs themselves"),
        (lambda w, x, t: ([0.0] * len(w), [0.0] * len(w)), "is off by"),
    ],
)
def test_lesions_names_the_mistake(answer, words):
    says(check.lesions(answer), words)


# Asking -------------------------------------------------------------------------------------------


def test_by_hand_gives_what_the_function_gives():
    assert gradients.by_hand(lambda a, b: a + b, 2, 3) == 5
    with pytest.raises(Mistake, match="no answer so far"):
        gradients.by_hand(lambda a: None, 2)


def test_watched_counts_and_stops():
    def endless(x):
        while True:
            x = x + 1

    told = gradients.watched(endless, 100, torch.zeros(2))
    assert told == {"operations": 101, "automatic": False}
    told = gradients.watched(lambda x: x + 1, 100, torch.zeros(2))
    assert told["operations"] == 1 and told["result"].tolist() == [1, 1]

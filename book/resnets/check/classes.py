"""Checks for chapter 1: function classes and nested functions."""

import copy
from collections.abc import Callable, Sequence
from itertools import permutations

import torch
from torch import Tensor

from resnets.check.asking import Mistake, answered, ask, call, checks, expect, random, same

HIS_SD = "He's initialization has standard deviation √(2/d), where d is the number of inputs"


@checks
def distance_to_class(distance: Callable) -> str:
    """Is `distance(columns, target)` the distance from a target to the nearest function of a class?

    The class holds every linear combination of `columns` (points, functions); `target` is
    (points,). The distance is the Euclidean norm of the difference. Columns may depend on each
    other, and there may be more of them than points. Section 1.1.
    """
    for points, functions in ((9, 3), (20, 6)):
        columns, target = random(points, functions), random(points)
        nearest = columns @ torch.linalg.pinv(columns) @ target
        right = (target - nearest).norm()
        separate = (columns * ((target @ columns) / columns.square().sum(0))).sum(1)
        mistakes = {
            "This is the squared distance: take the root.": right.square(),
            "This is a share of the target's norm; the distance itself is asked for.": right
            / target.norm(),
            "This is the mean squared error: the distance is the root of the sum of squares.": (
                right.square() / points
            ),
            "This is the root of the mean square: the distance has the sum, not the mean.": right
            / points**0.5,
            "This is the norm of the nearest function: the distance is the norm of what is left of "
            "the target.": nearest.norm(),
            "You project onto each column by itself and add the projections: that is right only "
            "where the columns are orthogonal. Fit them together.": (target - separate).norm(),
        }
        expect(ask(call, distance, columns, target), right, "the distance", mistakes)
    columns, target = random(12, 3), random(12)
    twice = torch.cat([columns, columns @ random(3, 2)], 1)
    right = (target - columns @ torch.linalg.pinv(columns) @ target).norm()
    _expect_without_inverse(distance, twice, target, right, "columns depend on each other")
    columns, target = random(5, 8), random(5)
    _expect_without_inverse(distance, columns, target, 0.0, "there are more columns than points")
    return "The distance is right, also where columns depend on each other."


def _expect_without_inverse(
    distance: Callable, columns: Tensor, target: Tensor, right: Tensor | float, where: str
) -> None:
    message = (
        f"Right so far, but not where {where}: the normal equations have no unique solution there. "
        'Use the pseudo-inverse, or torch.linalg.lstsq with driver="gelsd" (the default can go '
        "wrong there: PyTorch issue 187411)."
    )
    try:
        got = ask(call, distance, columns, target)
    except Mistake as mistake:
        raise Mistake(f"{message} ({mistake})") from mistake
    if not same(got, right):
        raise Mistake(message)


@checks
def gains(gain: Callable) -> str:
    """Is `gain(columns, target)` what each further function of nested classes takes off the error?

    Class k has the first k columns of `columns` (points, functions), which are independent; class 0
    has only zero. Number k of the result, (functions,), is the squared error of the best fit in
    class k - 1 less that in class k. Section 1.1.
    """
    for points, functions in ((8, 3), (15, 7)):
        columns, target = random(points, functions), random(points)
        errors = torch.stack([_squared_error(columns[:, :k], target) for k in range(functions + 1)])
        without = [
            _squared_error(torch.cat([columns[:, :k], columns[:, k + 1 :]], 1), target)
            for k in range(functions)
        ]
        right = errors[:-1] - errors[1:]
        mistakes = {
            "Your classes are not nested: each has one column only. Class k has all columns up to "
            "k, so of a new column only the part counts that is orthogonal to those before.": (
                (target @ columns).square() / columns.square().sum(0)
            ),
            "You compare with a class that has all other columns, those behind as well: class k - 1"
            " has only those before.": torch.stack(without) - errors[-1],
            "These are the errors that are left, not what each step takes off.": errors[1:],
            "You add the steps up: each number is one step's.": right.cumsum(0),
            "The sign is wrong: a gain is the error before less the error after.": -right,
            "These are roots: the squared errors are asked for.": right.sqrt(),
            "These are differences of distances; the gain is a difference of squared errors.": (
                errors[:-1].sqrt() - errors[1:].sqrt()
            ),
            "You take the mean over the points; the squared error is the sum.": right / points,
            "These are shares of the target's square: don't divide.": right / errors[0],
            "The first gain is missing: class 0 has the error of zero, the target's own square.": (
                right[1:]
            ),
        }
        expect(ask(call, gain, columns, target), right, "the list of gains", mistakes)
    return "Each gain is right. All are squares, so no step of nested classes can raise the error."


def _squared_error(columns: Tensor, target: Tensor) -> Tensor:
    return (target - columns @ torch.linalg.pinv(columns) @ target).square().sum()


@checks
def dimensions(sizes: Sequence[int]) -> str:
    """Are the four numbers of exercise 1.3 right: how large is each class, on its points?"""
    wrong = {
        "a": {
            5: "each frequency has a sine and a cosine, and there is the constant",
            6: "each frequency has a sine and a cosine",
            10: "the constant counts as well",
            200: "that is the number of points; five frequencies cannot reach all of them",
        },
        "b": {
            10: "these are the functions. On eight points not all of them differ: write down "
            "sin(4x) on the points, and compare frequencies 3 and 5",
            8: "no more than eight are possible, but one is missing: look at sin(4x) on the "
            "points, and count the constant only if it is there",
            9: "no more than eight dimensions fit on eight points; look at sin(4x) as well",
            6: "cos(4x) is not zero on the points: it changes its sign from one to the next",
        },
        "c": {
            61: "these are the functions, and there are only 41 points",
            60: "these are the waves, and there are only 41 points",
            40: "the constant is not one of the waves, and 41 points have room for it",
            20: "each frequency has a sine and a cosine",
        },
        "d": {
            9: "sin(kx + 1) is not new: write it with the sine and the cosine of kx",
            3: "each frequency has a sine and a cosine",
            200: "that is the number of points",
        },
    }
    sizes = answered(sizes)
    if not isinstance(sizes, (list, tuple)) or len(sizes) != 4:
        raise Mistake("Four numbers in a list are asked for.")
    for (letter, messages), got, right in zip(wrong.items(), sizes, (11, 7, 41, 6), strict=True):
        expect(
            answered(got),
            right,
            f"number ({letter})",
            {f"Number ({letter}): {message}.": value for value, message in messages.items()},
        )
    return "All four: a class is as large as its independent columns, and no larger than the data."


def call_and_inputs(answer: Callable, *inputs) -> dict | None:
    """A question: what does the function give, and what are its inputs after the call?"""
    given = copy.deepcopy(inputs)
    result = answer(*given)
    return None if result is None else {"result": result, "inputs": list(given)}


def insertion(insert: Callable, blocks: list, place: int) -> dict | None:
    """A question: the blocks that `insert(blocks, place)` gives, and the given ones after it."""
    given = [(w.clone(), v.clone()) for w, v in blocks]
    grown = insert(given, place)
    if grown is None and len(given) == len(blocks):
        return None
    return {"grown": None if grown is None else _plain(grown), "given": _plain(given)}


def _plain(blocks: list) -> list:
    return [[m.detach() if isinstance(m, Tensor) else m for m in pair] for pair in blocks]


def _stack(x: Tensor, blocks: list) -> Tensor:
    """`x` is (N, d); each block has W (m, d) and V (d, m)."""
    for w, v in blocks:
        x = torch.relu(x + torch.relu(x @ w.T) @ v.T)
    return x


@checks
def inserted_block(insert: Callable) -> str:
    """Does `insert(blocks, place)` add a residual block that changes nothing and can learn?

    A block is a pair of matrices, W (m, d) and V (d, m), and turns `x` (N, d) into
    max(x + max(x Wᵀ, 0) Vᵀ, 0). The result is a new list, with the new block at index `place`, and
    with W by He's initialization; the list that was given stays as it was. Goyal et al. (2017),
    section 5.1, do the same with the last batch normalization.
    """
    for d, m, place in ((24, 60, 1), (40, 24, 0), (20, 50, 3)):
        blocks = [(random(m, d) * 0.1, random(d, m) * 0.1) for _ in range(3)]
        told = ask(insertion, insert, blocks, place)
        _expect_insertion(told["grown"], told["given"], blocks, place)
    return (
        "The outputs stay, bit for bit, and the new V has a gradient, so that training can go on."
    )


def _expect_insertion(grown, given: list, blocks: list, place: int) -> None:
    if len(given) != len(blocks) or not all(
        same(got, old)
        for ours, theirs in zip(given, blocks, strict=True)
        for got, old in zip(ours, theirs, strict=True)
    ):
        raise Mistake(
            "Your function changes the list that it is given, so the smaller network is gone: "
            "give back a new list."
        )
    if grown is None or len(grown) != len(blocks) + 1:
        number = 0 if grown is None else len(grown)
        raise Mistake(f"Of {len(blocks)} blocks it makes {number}: one more is asked for.")
    d, m = blocks[0][1].shape
    for pair in grown:
        shapes = [tuple(matrix.shape) for matrix in pair if isinstance(matrix, Tensor)]
        if shapes != [(m, d), (d, m)]:
            raise Mistake(
                f"A block should be two matrices, W of shape {(m, d)} and V of shape {(d, m)}, as "
                f"the others are; one is {shapes}."
            )
    grown = [(w.detach().double(), v.detach().double()) for w, v in grown]
    others = grown[:place] + grown[place + 1 :]
    if not all(same(w, a) and same(v, b) for (w, v), (a, b) in zip(others, blocks, strict=True)):
        kept = [any(same(w, a) and same(v, b) for w, v in grown) for a, b in blocks]
        if all(kept):
            raise Mistake("The new block is in another place: it should have the index `place`.")
        raise Mistake("The blocks that were there have changed: they should stay as they are.")
    w, v = grown[place]
    if not v.any() and not w.any():
        raise Mistake(
            "Both matrices are zero. The outputs stay, but nothing can learn: V's gradient has the "
            "factor max(x Wᵀ, 0), and W's has the factor V. Only one of them may be zero."
        )
    if not w.any():
        raise Mistake(
            "You zeroed the first matrix. The outputs stay, but max(x Wᵀ, 0) is zero, and with it "
            "V's gradient; the gradient of a ReLU at zero is zero too. Zero the last one instead."
        )
    if v.any():
        raise Mistake(
            "The new block changes the outputs: V has to be zero. Small numbers are not enough."
        )
    x = random(50, d).abs()
    v.requires_grad_()
    (_stack(x, grown) * random(50, d)).sum().backward()
    if not v.grad.any():
        raise Mistake("The new V has no gradient: max(x Wᵀ, 0) is zero for every input.")
    sd = w.square().mean().sqrt().item()
    spreads = {
        "√(2/m)": (2 / m) ** 0.5,
        "√(1/(3d)), as nn.Linear starts": (3 * d) ** -0.5,
        "√(1/d)": d**-0.5,
        "2/d": 2 / d,
        "1": 1.0,
    }
    for name, wrong in spreads.items():
        if abs(sd / wrong - 1) < 0.12:
            raise Mistake(f"The standard deviation of W is about {name}: {HIS_SD}.")
    if abs(sd / (2 / d) ** 0.5 - 1) > 0.2:
        raise Mistake(f"W has another spread than asked for: {HIS_SD}.")


@checks
def nearest_identity(distance: Callable) -> str:
    """Is `distance(W, V)` how far a plain block is from the nearest one that is the identity?

    The block computes max(max(x Wᵀ, 0) Vᵀ, 0) for `x` (N, d) that is not negative; W and V are
    (d, d). The candidates are W = P and V = Pᵀ for every permutation matrix P. The distance is the
    root of the sum of the squares of all 2d² differences. Section 1.3.
    """
    got, right, wrong = [], [], []
    for d in (2, 3, 5, 6, 6):
        w, v = random(d, d), random(d, d) / 10
        # the largest of these stands where choosing it first leaves the smallest
        w[:2, :2] = torch.tensor([[3.0, 2.5], [2.5, -3.0]])
        if d > 3:  # a cycle of three, which is not its own transpose
            w[[2, 3, 4], [3, 4, 2]] = 5.0
        right.append(_distances_to_identity(w, v)[0])
        wrong.append(_distances_to_identity(w, v)[1])
        got.append(ask(call, distance, w, v))
    expect(got, right, "the distance", _over_all(wrong))
    return "The distance is the smallest over all orders of the units."


def _distances_to_identity(w: Tensor, v: Tensor) -> tuple[float, dict[str, float]]:
    """The right distance, and what typical mistakes give."""
    d, fit = len(w), w + v.T
    square = w.square().sum() + v.square().sum() + 2 * d
    orders = torch.tensor(list(permutations(range(d))))
    sums, of_w, of_v, untransposed = (
        matrix[range(d), orders].sum(1) for matrix in (fit, w, v.T, w + v)
    )
    greedy, left = w.new_zeros(()), fit.clone()
    for _ in range(d):
        row, column = divmod(left.argmax().item(), d)
        greedy, left[row], left[:, column] = greedy + fit[row, column], -1e9, -1e9
    squares = {
        "This is the distance to W = V = I alone. The units may stand in any order, as long as "
        "V puts the signal back.": square - 2 * fit.trace(),
        "This is the squared distance: take the root.": (square - 2 * sums.max()).square(),
        "W and V each have the nearest permutation of their own. They have to fit: V undoes what "
        "W does.": square - 2 * (of_w.max() + of_v.max()),
        "You compare both matrices with the same P. What undoes a permutation is its transpose, "
        "so V is compared with Pᵀ.": square - 2 * untransposed.max(),
        "You take the best pair first, and then the best of what is left. An early choice can "
        "cost more later: solve the assignment as a whole.": square - 2 * greedy,
        "Each row chooses its best column for itself, so that two units can have the same: an "
        "assignment has each row and each column once.": square - 2 * fit.max(1).values.sum(),
        "This is the root of the mean over the weights: the distance has the sum.": (
            (square - 2 * sums.max()) / (2 * d * d)
        ),
        "This is the farthest permutation: the sum of the matching weights should be largest, "
        "not smallest.": square - 2 * sums.min(),
    }
    right = (square - 2 * sums.max()).sqrt().item()
    return right, {message: value.sqrt().item() for message, value in squares.items()}


def _over_all(wrong: list[dict]) -> dict[str, list]:
    """One list for each mistake, of what it gives in every draw."""
    return {message: [each[message] for each in wrong] for message in wrong[0]}


@checks
def invisible_directions(invisible: Callable) -> str:
    """Is `invisible(W, b, x)` the dimension of the small changes of `x` that ReLU(Wx + b) ignores?

    W is (n, d), b (n,), `x` (d,). No number that enters the ReLU is zero. Section 1.4.
    """
    d = 5
    got, right, wrong = [], [], []
    # how many rows, how many of them active, how many of these are multiples of the first
    for rows, active, repeats in ((8, 3, 0), (10, 7, 0), (12, 6, 3), (4, 2, 0), (9, 0, 0)):
        w, x = random(rows, d), random(d)
        w[1 : 1 + repeats] = w[:1] * (random(repeats, 1).abs() + 0.5)
        w *= -(w @ x).sign()[:, None]  # without the bias every unit would be off
        on = torch.arange(rows) < active
        b = torch.where(on, 0.5, -0.5) - w @ x
        order = random(rows).argsort()
        w, b, on = w[order], b[order], on[order]
        rank = _rank(w[on])
        right.append(d - rank)
        wrong.append(
            {
                "The ReLU is not in it: only the active rows of W, those with Wx + b > 0, let a "
                "change through.": d - _rank(w),
                "The bias is forgotten: a row is active where Wx + b > 0, not where Wx > 0.": d
                - _rank(w[w @ x > 0]),
                "This is how many directions are seen, the rank of the active rows: the others "
                "are asked for.": rank,
                "This is the number of units that are off. Count directions of `x` instead.": rows
                - active,
                "Each active row is counted as one direction. Rows that are multiples of each "
                "other see the same one: take the rank.": d - active,
                "Each active row is counted as one direction, and at most d of them. Rows that are "
                "multiples of each other see the same one: take the rank.": max(d - active, 0),
                "You have active and inactive rows exchanged.": d - _rank(w[~on]),
            }
        )
        got.append(ask(call, invisible, w, b, x))
    expect(got, right, "the dimension", _over_all(wrong))
    return "A ReLU layer sees as many directions as its active rows span."


def _rank(matrix: Tensor) -> int:
    return torch.linalg.matrix_rank(matrix, rtol=1e-9).item() if len(matrix) else 0


@checks
def gradient_descent_limit(limit: Callable) -> str:
    """Is `limit(A, y, start)` where gradient descent on the squared error `|Ac − y|²` ends?

    A is (points, functions), y (points,), `start` and the result (functions,). The steps are small
    enough to converge, and there are as many as it takes. The rows or columns of A may depend on
    each other. Section 1.5.
    """
    for points, functions, rank in ((4, 12, 4), (12, 4, 4), (6, 10, 3)):
        a, y, start = random(points, rank), random(points), random(functions)
        a = (
            a @ random(rank, functions)
            if rank < min(points, functions)
            else random(points, functions)
        )
        inverse = torch.linalg.pinv(a, rtol=1e-9)
        smallest, seen = inverse @ y, inverse @ a @ start
        ridge = torch.linalg.solve(a.T @ a + torch.eye(functions).double(), a.T @ y)
        mistakes = {
            "Your answer has the smallest coefficients, wherever it started. The steps stay in the "
            "span of A's rows, so what the start has beyond that span remains.": smallest,
            "You add the whole start. Where the data decide, the start is forgotten: only its part "
            "orthogonal to A's rows remains.": smallest + start,
            "You keep the part of the start that the data decide, and drop the part that they do "
            "not see: it is the other way round.": smallest + seen,
            "You subtract what should be added: the correction is the pseudo-inverse of A times "
            "what the start leaves over, y − A·start.": start - inverse @ (y - a @ start),
            "Your answer does not move from the start.": start,
            "This is the end of a descent with a penalty on the coefficients (ridge); here there "
            "is none.": ridge,
            "This is the correction alone: add the start.": smallest - seen,
        }
        expect(ask(call, limit, a, y, start), smallest + start - seen, "the end", mistakes)
    return (
        "Among all functions that fit equally well, descent ends at the one nearest to the start."
    )

"""Checks for chapter 1: function classes and nested functions."""

import copy
from collections.abc import Callable, Sequence
from itertools import permutations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from resnets.check.asking import Mistake, ask, checks, random, same, watched, whole
from resnets.check.exercise import Case, Exercise, Value, exercise

NO_INVERSE = (
    "Right so far, but not where columns depend on each other or outnumber the points: there the "
    "normal equations have no unique solution. Use the pseudo-inverse, or torch.linalg.lstsq with "
    'driver="gelsd" (the default can go wrong there: PyTorch issue 187411).'
)


def _left(columns: Tensor, target: Tensor) -> Tensor:
    """What is left of the target: orthogonal to the columns."""
    return target - columns @ (torch.linalg.pinv(columns, rtol=1e-9) @ target)


def _left_over(change: Callable) -> Callable:
    """The answer `change(left, columns, target)`."""
    return lambda columns, target: change(_left(columns, target), columns, target)


def _by_normal_equations(columns: Tensor, target: Tensor) -> Tensor:
    solved = torch.linalg.solve(columns.T @ columns, columns.T @ target)
    return (target - columns @ solved).norm()


def _one_by_one(columns: Tensor, target: Tensor) -> Tensor:
    return (target - (columns * ((target @ columns) / columns.square().sum(0))).sum(1)).norm()


@exercise(
    right=_left_over(lambda left, c, t: left.norm()),
    what="the distance",
    says="The distance is right, even where columns depend on each other.",
    wrong={
        "This is the squared distance: take the root.": _left_over(
            lambda left, c, t: left.square().sum()
        ),
        "This is the distance as a share of the target's norm: return the distance "
        "itself.": _left_over(lambda left, c, t: left.norm() / t.norm()),
        "This is the mean squared error: the distance is the root of the sum of squares.": (
            _left_over(lambda left, c, t: left.square().mean())
        ),
        "This is the root of the mean square: the distance takes the sum, not the "
        "mean.": _left_over(lambda left, c, t: left.square().mean().sqrt()),
        "You add up absolute differences: the Euclidean norm adds up squares.": _left_over(
            lambda left, c, t: left.abs().sum()
        ),
        "This is the residual itself: take its norm.": _left_over(lambda left, c, t: left),
        "This is the norm of the nearest function: the distance is the norm of the target minus "
        "that function.": _left_over(lambda left, c, t: (t - left).norm()),
        "You project onto each column separately and add the projections, which is right only for "
        "orthogonal columns: fit all columns together.": _one_by_one,
        NO_INVERSE: _by_normal_equations,
    },
)
def distance_to_class(distance: Callable):
    """Is `distance(columns, target)` the distance from a target to the nearest function of a class?

    The class holds every linear combination of `columns` (points, functions); `target` is
    (points,). The distance is the Euclidean norm of the difference. Columns may repeat or depend on
    each other, and there may be more of them than points. Section 1.1.
    """
    yield random(9, 3), random(9)
    yield random(20, 6), random(20)
    columns = whole(-4, 5, 12, 3).double()  # whole, so that repetitions repeat to the last digit
    for repeated in (columns, 2 * columns[:, :1], columns @ whole(-2, 3, 3, 2).double()):
        yield Case((torch.cat([columns, repeated], 1), random(12)), NO_INVERSE)
    yield Case((random(5, 8), random(5)), NO_INVERSE)


def _errors(columns: Tensor, target: Tensor) -> Tensor:
    classes = range(columns.shape[1] + 1)
    return torch.stack([_left(columns[:, :k], target).square().sum() for k in classes])


def _gaining(change: Callable) -> Callable:
    """The answer `change(gains, columns, target)`."""
    return lambda columns, target: change(-_errors(columns, target).diff(), columns, target)


def _over_the_others(columns: Tensor, target: Tensor) -> Tensor:
    number = columns.shape[1]
    rest = [[j for j in range(number) if j != k] for k in range(number)]
    each = torch.stack([_left(columns[:, others], target).square().sum() for others in rest])
    return each - _errors(columns, target)[-1]


@exercise(
    right=_gaining(lambda gains, c, t: gains),
    what="the list of gains",
    says="Each gain is right. All are squares, so no step in nested classes can raise the error.",
    wrong={
        "Your classes are not nested: each has only one column. Class k has all columns up to k, "
        "so only the part of a new column that is orthogonal to the earlier ones counts.": (
            lambda c, t: (t @ c).square() / c.square().sum(0)
        ),
        "You compare with a class that has all other columns, later ones too: class k - 1 has only "
        "the earlier ones.": _over_the_others,
        "These are the errors that remain: return how much each step takes off.": (
            lambda c, t: _errors(c, t)[1:]
        ),
        "You add up the steps: each number should be the gain of one step.": _gaining(
            lambda gains, c, t: gains.cumsum(0)
        ),
        "The sign is wrong: a gain is the error before minus the error after.": _gaining(
            lambda gains, c, t: -gains
        ),
        "You take square roots: leave the gains in squared error.": _gaining(
            lambda gains, c, t: gains.sqrt()
        ),
        "These are inner products with orthonormal columns: square them.": (
            lambda c, t: torch.linalg.qr(c)[0].T @ t
        ),
        "These are differences of distances: a gain is a difference of squared errors.": (
            lambda c, t: -_errors(c, t).sqrt().diff()
        ),
        "You take the mean over the points: the squared error is the sum.": _gaining(
            lambda gains, c, t: gains / len(t)
        ),
        "You divide by the target's squared norm: leave the gains undivided.": _gaining(
            lambda gains, c, t: gains / (t @ t)
        ),
        "The first gain is missing: class 0 holds only zero, so its error is the target's own "
        "square.": _gaining(lambda gains, c, t: gains[1:]),
        "You take the columns from the last one on: class k has the first k.": (
            lambda c, t: -_errors(c.flip(1), t).diff()
        ),
    },
)
def gains(gain: Callable):
    """Is `gain(columns, target)` what each new function of nested classes takes off the error?

    Class k has the first k columns of `columns` (points, functions), which are independent; class 0
    has only zero. Number k of the result, (functions,), is the squared error of the best fit in
    class k - 1 less that in class k. Section 1.1.
    """
    yield random(8, 3), random(8)
    yield random(15, 7), random(15)


_DIMENSIONS = {
    "a": {
        5: "each frequency has a sine and a cosine, and the constant counts too",
        6: "each frequency has a sine and a cosine",
        10: "the constant counts as well",
        200: "that is the number of points; five frequencies do not fill that many dimensions",
    },
    "b": {
        10: "that is the number of functions, but on eight points not all of them differ: write "
        "down sin(4x) on the points, and compare frequencies 3 and 5",
        8: "eight is the most there can be, but one is missing: look at sin(4x) on the points, and "
        "count the constant only if it is there",
        9: "eight points have at most eight dimensions; look at sin(4x) as well",
        6: "cos(4x) is not zero on the points: it changes sign from one to the next",
        5: "each frequency has a sine and a cosine, where they differ on the points",
    },
    "c": {
        61: "that is the number of functions, but there are only 41 points",
        60: "that is the number of waves, but there are only 41 points",
        40: "the constant is not one of the waves, and there is room for it on 41 points",
        20: "each frequency has a sine and a cosine",
        31: "each frequency has a sine and a cosine, and there is room for 20 such pairs on 41 "
        "points",
    },
    "d": {
        9: "sin(kx + 1) is not new: write it as a sum of multiples of sin(kx) and cos(kx)",
        3: "each frequency has a sine and a cosine",
        7: "the constant is not among them",
        200: "that is the number of points",
    },
}


@exercise(
    kind=Value,
    right=[11, 7, 41, 6],
    what=[f"number ({letter})" for letter in "abcd"],
    says="All four: one dimension for each independent column, and no more dimensions than points.",
    wrong={
        f"Number ({letter}): {message}.": [
            value if letter == other else right
            for other, right in zip("abcd", (11, 7, 41, 6), strict=True)
        ]
        for letter, messages in _DIMENSIONS.items()
        for value, message in messages.items()
    },
)
def dimensions(sizes: Sequence[int]):
    """Are the four numbers of exercise 1.3 right: how large is each class, on its points?"""
    yield ()


def call_and_inputs(answer: Callable, *inputs) -> dict | None:
    """A question: what does the function return, and what are its inputs after the call?"""
    given = copy.deepcopy(inputs)
    result = answer(*given)
    return None if result is None else {"result": result, "inputs": list(given)}


def insertion(insert: Callable, blocks: list, place: int) -> dict | None:
    """A question: the blocks that `insert(blocks, place)` returns, and the given ones after it."""
    given = [(w.clone(), v.clone()) for w, v in blocks]
    grown = insert(given, place)
    if (grown is None or grown is ...) and len(given) == len(blocks):
        return None
    return {"grown": None if grown is None else _detached(grown), "given": _detached(given)}


def _detached(blocks: list) -> list:
    return [[m.detach() if isinstance(m, Tensor) else m for m in pair] for pair in blocks]


@checks
def inserted_block(insert: Callable) -> str:
    """Does `insert(blocks, place)` add a residual block that changes nothing and can learn?

    A block is a pair of matrices, W (m, d) and V (d, m), and turns `x` (N, d) into
    max(x + max(x Wᵀ, 0) Vᵀ, 0). The result is a new list, with the new block at index `place`, and
    with W by He's initialization; the list that was given stays as it was. Goyal et al. (2017),
    section 5.1, do the same with the last batch normalization.
    """
    for d, m, place in ((80, 140, 1), (150, 90, 0), (90, 130, 3)):
        blocks = [(random(m, d) * 0.1, random(d, m) * 0.1) for _ in range(3)]
        told = ask(insertion, insert, blocks, place)
        _expect_insertion(told["grown"], told["given"], blocks, place)
    return (
        "The outputs stay the same, bit for bit, and the new V has a gradient: training can go on."
    )


def _expect_insertion(grown, given: list, blocks: list, place: int) -> None:
    if len(given) != len(blocks) or not all(map(_equal, given, blocks)):
        raise Mistake(
            "Your function changes the list that it is given, so the smaller network is gone: "
            "return a new list."
        )
    if grown is None or len(grown) != len(blocks) + 1:
        number = 0 if grown is None else len(grown)
        raise Mistake(f"From {len(blocks)} blocks you make {number}: return exactly one more.")
    d, m = blocks[0][1].shape
    for pair in grown:
        found = [tuple(matrix.shape) for matrix in pair if isinstance(matrix, Tensor)]
        if found != [(m, d), (d, m)]:
            raise Mistake(
                f"A block should be two matrices, W of shape {(m, d)} and V of shape {(d, m)}, "
                f"like the others; one of yours is {found}."
            )
    if not all(map(_equal, grown[:place] + grown[place + 1 :], blocks)):
        if all(any(_equal(new, old) for new in grown) for old in blocks):
            raise Mistake("The new block is in the wrong place: it should have the index `place`.")
        raise Mistake("The old blocks have changed: leave them as they were.")
    w, v = (matrix.detach().double() for matrix in grown[place])
    _expect_start(w, v)
    _expect_he(w, [old for old, _ in blocks])


def _equal(pair: Sequence, other: Sequence) -> bool:
    return same(pair[0], other[0]) and same(pair[1], other[1])


def _expect_start(w: Tensor, v: Tensor) -> None:
    """The outputs stay, and something learns."""
    if not v.any() and not w.any():
        raise Mistake(
            "Both matrices are zero. The outputs are unchanged, but nothing can learn: V's "
            "gradient has the factor max(x Wᵀ, 0), and W's has the factor V. Zero only one of them."
        )
    if not w.any():
        raise Mistake(
            "You zeroed the first matrix. The outputs are unchanged, but max(x Wᵀ, 0) is zero, and "
            "so is V's gradient; a ReLU's gradient at zero is zero too. Zero the last one instead."
        )
    if v.any():
        raise Mistake(
            "The new block changes the outputs: V has to be zero. Small numbers are not enough."
        )
    if not (random(50, w.shape[1]).abs() @ w.T > 0).any():
        raise Mistake("The new V has no gradient: max(x Wᵀ, 0) is zero for every input.")


# With normal numbers each of these bounds is passed at most once in ten million checks: a test
# computes these chances.
SPREAD_WITHIN = 0.05  # of the standard deviation
NORMAL_WITHIN = 3.3  # Kolmogorov's distance × √n
ALIKE_BELOW = 6.5  # correlation with another matrix × √n
HIS_SD = "He's initialization has standard deviation √(2/d), where d is the number of inputs"


def _expect_he(w: Tensor, others: list[Tensor]) -> None:
    """Normal numbers of their own with the standard deviation √(2/d)."""
    m, d = w.shape
    sd, right = w.square().mean().sqrt().item(), (2 / d) ** 0.5
    spreads = {
        "√(2/m)": (2 / m) ** 0.5,
        "√(1/(3d)), the default of nn.Linear": (3 * d) ** -0.5,
        "√(1/d)": d**-0.5,
        "√(2/(d + m)), Glorot's": (2 / (d + m)) ** 0.5,
        "2/d": 2 / d,
        "1": 1.0,
    }
    if abs(sd / right - 1) > SPREAD_WITHIN:
        for name, wrong in spreads.items():
            if abs(sd / wrong - 1) < SPREAD_WITHIN:
                raise Mistake(f"The standard deviation of W is about {name}: {HIS_SD}.")
        raise Mistake(f"The spread of W is wrong: {HIS_SD}.")
    if any(correlation(w, other) > ALIKE_BELOW for other in others):
        raise Mistake("You made W from another block's: draw new numbers.")
    if kolmogorov(w / right) > NORMAL_WITHIN or len(w.unique()) < 0.95 * w.numel():
        raise Mistake(
            "The numbers in W are not normal: draw each one independently, with `torch.randn` or "
            "`nn.init.kaiming_normal_`."
        )


def kolmogorov(z: Tensor) -> float:
    """How far the distribution of these numbers is from the normal one, × √n."""
    z = z.flatten().sort().values
    below = torch.special.ndtr(z)
    steps = torch.arange(len(z) + 1, dtype=torch.double) / len(z)
    return max((steps[1:] - below).max(), (below - steps[:-1]).max()).item() * len(z) ** 0.5


def correlation(one: Tensor, other: Tensor) -> float:
    """Between the entries of two matrices, × √n."""
    return ((one * other).sum() / one.norm() / other.norm()).abs().item() * one.numel() ** 0.5


def _at(w: Tensor, v: Tensor, order: Sequence) -> Tensor:
    p = torch.eye(len(w), dtype=w.dtype)[torch.as_tensor(order)]
    return ((w - p).square().sum() + (v - p.T).square().sum()).sqrt()


def _best(matrix: Tensor, maximize: bool = True) -> Tensor:
    return torch.as_tensor(linear_sum_assignment(matrix.numpy(), maximize=maximize)[1])


def _nearest(w: Tensor, v: Tensor) -> Tensor:
    return _at(w, v, _best(w + v.T))


def _each_its_own(w: Tensor, v: Tensor) -> Tensor:
    rows = range(len(w))
    chosen = sum(matrix[rows, _best(matrix)].sum() for matrix in (w, v))
    return (w.square().sum() + v.square().sum() + 2 * len(w) - 2 * chosen).sqrt()


def _not_transposed(w: Tensor, v: Tensor) -> Tensor:
    p = torch.eye(len(w), dtype=w.dtype)[_best(w + v)]
    return ((w - p).square().sum() + (v - p).square().sum()).sqrt()


def _greedy(w: Tensor, v: Tensor) -> Tensor:
    fit, order = (w + v.T).clone(), [0] * len(w)
    for _ in order:
        row, column = divmod(fit.argmax().item(), len(w))
        order[row] = column
        fit[row], fit[:, column] = -1e9, -1e9
    return _at(w, v, order)


@exercise(
    right=_nearest,
    what="the distance",
    says="Your distance is the smallest over all orders of the units.",
    wrong={
        "This is the distance to W = V = I alone. The units may come in any order, as long as V "
        "puts the signal back in place.": lambda w, v: _at(w, v, range(len(w))),
        "This is the squared distance: take the root.": lambda w, v: _nearest(w, v).square(),
        "You find a nearest permutation for W and another one for V. The two must match: V undoes "
        "what W does.": _each_its_own,
        "You compare both matrices with the same P. The transpose undoes a permutation, so compare "
        "V with Pᵀ.": _not_transposed,
        "You take the best pair first, and then the best of the rest. An early choice can cost "
        "more later: solve the assignment as a whole.": _greedy,
        "Each row chooses its best column by itself, so two units can choose the same one: an "
        "assignment uses each row and each column once.": (
            lambda w, v: _at(w, v, (w + v.T).argmax(1))
        ),
        "This is the root of the mean over the weights: the distance takes the sum.": (
            lambda w, v: _nearest(w, v) / (2 * w.numel()) ** 0.5
        ),
        "This is the farthest permutation: maximize the sum of the matching weights instead of "
        "minimizing it.": lambda w, v: _at(w, v, _best(w + v.T, maximize=False)),
        "This is the distance of W alone: V's differences count as well.": lambda w, v: min(
            (w - torch.eye(len(w)).double()[list(order)]).norm()
            for order in permutations(range(len(w)))
        ),
    },
)
def nearest_identity(distance: Callable):
    """Is `distance(W, V)` how far a plain block is from the nearest one that is the identity?

    The block computes max(max(x Wᵀ, 0) Vᵀ, 0) for `x` (N, d) that is not negative; W and V are
    (d, d). The candidates are W = P and V = Pᵀ for every permutation matrix P. The distance is the
    root of the sum of the squares of all 2d² differences. Section 1.3.
    """
    for d in (2, 3, 5, 6, 6):
        w, v = random(d, d), random(d, d) / 10
        # the largest of these stands where choosing it first leaves the smallest
        w[:2, :2] = torch.tensor([[3.0, 2.5], [2.5, -3.0]])
        if d > 3:  # a cycle of three, which is not its own transpose
            w[[2, 3, 4], [3, 4, 2]] = 5.0
        yield w, v


def _rank(matrix: Tensor) -> int:
    return torch.linalg.matrix_rank(matrix, rtol=1e-9).item() if len(matrix) else 0


def _invisible(change: Callable) -> Callable:
    """The answer `change(which rows are active, W, x)`."""
    return lambda w, b, x: change(w @ x + b > 0, w, x)


@exercise(
    right=_invisible(lambda on, w, x: len(x) - _rank(w[on])),
    what="the dimension",
    exact=True,
    says="A ReLU layer sees as many directions as its active rows span.",
    wrong={
        "You left out the ReLU: only the active rows of W, those with Wx + b > 0, let a change "
        "through.": lambda w, b, x: len(x) - _rank(w),
        "You left out the bias: a row is active where Wx + b > 0, not where Wx > 0.": (
            lambda w, b, x: len(x) - _rank(w[w @ x > 0])
        ),
        "This is how many directions the layer sees, the rank of the active rows: count the "
        "others.": _invisible(lambda on, w, x: _rank(w[on])),
        "This is the number of units that are off. Count directions of `x` instead.": _invisible(
            lambda on, w, x: (~on).sum()
        ),
        "This is the number of units minus the rank: count directions of `x`, of which there are "
        "d.": _invisible(lambda on, w, x: len(w) - _rank(w[on])),
        "You count each active row as one direction. Rows that are multiples of each other see the "
        "same one: take the rank.": _invisible(lambda on, w, x: len(x) - on.sum()),
        "You count each active row as one direction, and at most d of them. Rows that are "
        "multiples of each other see the same one: take the rank.": _invisible(
            lambda on, w, x: (len(x) - on.sum()).clamp(min=0)
        ),
        "You swapped active and inactive rows.": _invisible(
            lambda on, w, x: len(x) - _rank(w[~on])
        ),
    },
)
def invisible_directions(invisible: Callable):
    """Is `invisible(W, b, x)` the dimension of the small changes of `x` that ReLU(Wx + b) ignores?

    W is (n, d), b (n,), `x` (d,). No number that enters the ReLU is zero. Section 1.4.
    """
    d = 5
    # how many rows, how many of them active, how many of these are multiples of the first
    for rows, active, repeats in ((8, 3, 0), (10, 7, 0), (12, 6, 3), (4, 2, 0), (9, 0, 0)):
        w, x = random(rows, d), random(d)
        w[1 : 1 + repeats] = w[:1] * (random(repeats, 1).abs() + 0.5)
        w *= -(w @ x).sign()[:, None]  # without the bias every unit would be off
        b = torch.where(torch.arange(rows) < active, 0.5, -0.5) - w @ x
        order = random(rows).argsort()
        yield w[order], b[order], x


AS_A_FORMULA = "You run the descent step by step: find a formula for where it ends."


class _Formula(Exercise):
    def parts(self, answer, *inputs) -> dict:
        told = ask(watched, answer, 2_000, *inputs)
        if "result" not in told:
            raise Mistake(AS_A_FORMULA)
        return self.named(told["result"])


def _ends(change: Callable) -> Callable:
    """The answer `change(start, pseudo-inverse, y, A)`."""
    return lambda a, y, start: change(start, torch.linalg.pinv(a, rtol=1e-9), y, a)


def _descend(a: Tensor, y: Tensor, start: Tensor) -> Tensor:
    rate = 1 / torch.linalg.matrix_norm(a, 2) ** 2
    for _ in range(20_000):
        start = start - rate * a.T @ (a @ start - y)
    return start


@exercise(
    kind=_Formula,
    right=_ends(lambda start, inverse, y, a: start + inverse @ (y - a @ start)),
    what="the end",
    says="Among all functions that fit equally well, descent ends at the one nearest to the start.",
    wrong={
        AS_A_FORMULA: _descend,
        "Your answer has the smallest coefficients, whatever the start. The steps stay in the span "
        "of A's rows, so the part of the start outside that span remains.": _ends(
            lambda start, inverse, y, a: inverse @ y
        ),
        "You add the whole start. Where the data decide, the start is forgotten: add only its part "
        "orthogonal to A's rows.": _ends(lambda start, inverse, y, a: start + inverse @ y),
        "You keep the part of the start that the data decide, and drop the part that they do not "
        "see: do it the other way round.": _ends(
            lambda start, inverse, y, a: inverse @ (y + a @ start)
        ),
        "You subtract the correction: add it, the pseudo-inverse of A times what the start leaves "
        "over, y − A·start.": _ends(lambda start, inverse, y, a: start - inverse @ (y - a @ start)),
        "Your answer does not move from the start.": _ends(lambda start, inverse, y, a: start),
        "This is one step of the descent: find where it ends after as many as it takes.": _ends(
            lambda start, inverse, y, a: start + a.T @ (y - a @ start)
        ),
        "This is the end of a descent with a penalty on the coefficients (ridge): leave the "
        "penalty out.": lambda a, y, start: torch.linalg.solve(
            a.T @ a + torch.eye(len(start)).double(), a.T @ y
        ),
        "This is the correction alone: add the start.": _ends(
            lambda start, inverse, y, a: inverse @ (y - a @ start)
        ),
        "These are the values of the fit: return its coefficients.": _ends(
            lambda start, inverse, y, a: a @ (start + inverse @ (y - a @ start))
        ),
    },
)
def gradient_descent_limit(limit: Callable):
    """Is `limit(A, y, start)` where gradient descent on the squared error `|Ac − y|²` ends?

    A is (points, functions), y (points,), `start` and the result (functions,). The steps are small
    enough to converge, and there are as many as it takes. The rows or columns of A may depend on
    each other. Section 1.5.
    """
    yield random(4, 12), random(4), random(12)
    yield random(12, 4), random(12), random(4)
    yield random(6, 3) @ random(3, 10), random(6), random(10)

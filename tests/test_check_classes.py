"""Each typical mistake of chapter 1's exercises is recognized by name."""

from itertools import pairwise, permutations

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from resnets import check
from resnets.check.classes import call_and_inputs


def left_over(columns, target):
    # the default driver may go wrong where columns depend on each other: PyTorch issue 187411
    solved = torch.linalg.lstsq(columns, target[:, None], driver="gelsd")
    return target - columns @ solved.solution[:, 0]


def by_normal_equations(columns, target):
    inverse = torch.linalg.inv(columns.T @ columns)
    return (target - columns @ (inverse @ (columns.T @ target))).norm()


def by_singular_vectors(columns, target):
    u, s, _ = torch.linalg.svd(columns, full_matrices=False)
    u = u[:, s > 1e-9 * s.max()]
    return (target - u @ (u.T @ target)).norm().item()


def by_separate_projections(columns, target):
    shares = (columns.T @ target) / columns.square().sum(0)
    return (target - columns @ shares).norm()


@pytest.mark.parametrize(
    "answer", [lambda c, t: left_over(c, t).norm(), by_singular_vectors], ids=["lstsq", "svd"]
)
def test_distance_takes_what_is_right(answer):
    for _ in range(5):
        assert check.distance_to_class(answer), check.distance_to_class(answer)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda c, t: None, "no answer so far"),
        (lambda c, t: left_over(c, t).square().sum(), "squared distance"),
        (lambda c, t: left_over(c, t).norm() / t.norm(), "share of the target's norm"),
        (lambda c, t: left_over(c, t).square().mean(), "mean squared error"),
        (lambda c, t: left_over(c, t).square().mean().sqrt(), "the sum, not the mean"),
        (lambda c, t: (t - left_over(c, t)).norm(), "norm of the nearest function"),
        (by_separate_projections, "each column by itself"),
        (by_normal_equations, "not where columns depend on each other"),
        (left_over, "shape (9,)"),
    ],
)
def test_distance_names_the_mistake(answer, says):
    verdict = check.distance_to_class(answer)
    assert not verdict
    assert says in verdict.message


def gains_by_qr(columns, target):
    q, _ = torch.linalg.qr(columns)
    return (q.T @ target) ** 2


def errors(columns, target):
    classes = [columns[:, :k] for k in range(columns.shape[1] + 1)]
    return torch.stack(
        [left_over(c, target).square().sum() if c.numel() else target @ target for c in classes]
    )


def gains_one_by_one(columns, target):
    return [before - after for before, after in pairwise(errors(columns, target))]


def gains_over_the_others(columns, target):
    whole = errors(columns, target)[-1]
    numbers = range(columns.shape[1])
    rest = [[j for j in numbers if j != k] for k in numbers]
    return torch.stack([left_over(columns[:, r], target).square().sum() - whole for r in rest])


@pytest.mark.parametrize("answer", [gains_by_qr, gains_one_by_one])
def test_gains_takes_what_is_right(answer):
    for _ in range(5):
        assert check.gains(answer), check.gains(answer)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda c, t: None, "no answer so far"),
        (lambda c, t: (c.T @ t) ** 2 / c.square().sum(0), "not nested"),
        (gains_over_the_others, "those behind as well"),
        (lambda c, t: errors(c, t)[1:], "errors that are left"),
        (lambda c, t: gains_by_qr(c, t).cumsum(0), "add the steps up"),
        (lambda c, t: -gains_by_qr(c, t), "sign"),
        (lambda c, t: gains_by_qr(c, t).sqrt(), "roots"),
        (lambda c, t: -errors(c, t).sqrt().diff(), "differences of distances"),
        (lambda c, t: gains_by_qr(c, t) / len(t), "mean over the points"),
        (lambda c, t: gains_by_qr(c, t) / (t @ t), "shares"),
        (lambda c, t: gains_by_qr(c, t)[1:], "first gain is missing"),
    ],
)
def test_gains_names_the_mistake(answer, says):
    verdict = check.gains(answer)
    assert not verdict
    assert says in verdict.message


def waves(frequencies, points):
    x = torch.arange(points).double() * 2 * torch.pi / points
    angle = x[:, None] * torch.tensor(list(frequencies))
    return [angle.sin(), angle.cos()], angle, torch.ones(points, 1).double()


def test_dimensions_are_the_ranks():
    pairs, _, one = waves(range(1, 6), 200)
    ranks = [torch.cat([*pairs, one], 1)]
    ranks.append(torch.cat(waves(range(1, 6), 8)[0], 1))
    pairs, _, one = waves(range(1, 31), 41)
    ranks.append(torch.cat([*pairs, one], 1))
    pairs, angle, _ = waves(range(1, 4), 200)
    ranks.append(torch.cat([*pairs, (angle + 1).sin()], 1))
    ranks = [torch.linalg.matrix_rank(columns).item() for columns in ranks]
    assert ranks == [11, 7, 41, 6]
    assert check.dimensions(ranks)
    assert check.dimensions(tuple(ranks))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (..., "no answer so far"),
        ([..., ..., ..., ...], "no answer so far"),
        ([11, 7, 41], "Four numbers"),
        (11, "Four numbers"),
        ([10, 7, 41, 6], "the constant counts"),
        ([6, 7, 41, 6], "a sine and a cosine"),
        ([11, 10, 41, 6], "frequencies 3 and 5"),
        ([11, 8, 41, 6], "sin(4x)"),
        ([11, 7, 61, 6], "only 41 points"),
        ([11, 7, 41, 9], "not new"),
        ([11, 7, 41, 7], "Number (d) is 7"),
        ([11, "seven", 41, 6], "something else"),
    ],
)
def test_dimensions_names_the_mistake(answer, says):
    verdict = check.dimensions(answer)
    assert not verdict
    assert says in verdict.message


def block(like, w=None, v=None):
    first, last = like
    he = (2 / first.shape[1]) ** 0.5
    w = torch.randn_like(first) * he if w is None else w
    return w, torch.zeros_like(last) if v is None else v


def insert(blocks, place):
    return [*blocks[:place], block(blocks[0]), *blocks[place:]]


def insert_with_torchs_init(blocks, place):
    w, v = (torch.empty_like(matrix, dtype=torch.float32) for matrix in blocks[0])
    nn.init.kaiming_normal_(w, nonlinearity="relu")
    grown = list(blocks)
    grown.insert(place, [nn.Parameter(w), nn.Parameter(nn.init.zeros_(v))])
    return grown


def inserting(make):
    def insert(blocks, place):
        return [*blocks[:place], make(*blocks[0]), *blocks[place:]]

    return insert


def in_place(blocks, place):
    blocks.insert(place, block(blocks[0]))
    return blocks


def in_place_without_result(blocks, place):
    blocks.insert(place, block(blocks[0]))


def writes_into_a_block(blocks, place):
    blocks[0][1].mul_(0.5)
    return insert(blocks, place)


@pytest.mark.parametrize("answer", [insert, insert_with_torchs_init])
def test_inserted_block_takes_what_is_right(answer):
    for _ in range(10):
        assert check.inserted_block(answer), check.inserted_block(answer)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda blocks, place: None, "no answer so far"),
        (in_place, "changes the list"),
        (in_place_without_result, "changes the list"),
        (writes_into_a_block, "changes the list"),
        (lambda blocks, place: list(blocks), "Of 3 blocks it makes 3"),
        (lambda blocks, place: [*blocks, block(blocks[0])], "another place"),
        (lambda blocks, place: insert([(w, 0 * v) for w, v in blocks], place), "have changed"),
        (inserting(lambda w, v: (0 * w, 0 * v)), "Both matrices are zero"),
        (inserting(lambda w, v: (0 * w, torch.randn_like(v))), "zeroed the first"),
        (inserting(lambda w, v: block((w, v), v=torch.randn_like(v) / 1e4)), "changes the outputs"),
        (inserting(lambda w, v: block((w, v), w=torch.randn_like(w))), "about 1:"),
        (inserting(lambda w, v: block((w, v), w=torch.randn_like(w) * 2 / w.shape[1])), "2/d"),
        (
            inserting(lambda w, v: block((w, v), w=nn.init.kaiming_normal_(0 * w, mode="fan_out"))),
            "√(2/m)",
        ),
        (
            inserting(lambda w, v: block((w, v), w=nn.Linear(w.shape[1], w.shape[0]).weight)),
            "nn.Linear",
        ),
        (inserting(lambda w, v: block((w, v), w=w / 40)), "another spread"),
        (inserting(lambda w, v: block((w, v), w=-torch.ones_like(w))), "has no gradient"),
        (inserting(lambda w, v: block((w.T, v.T))), "W of shape (60, 24)"),
        (inserting(lambda w, v: (w, None)), "two matrices"),
        (lambda blocks, place: 3, "TypeError"),
    ],
)
def test_inserted_block_names_the_mistake(answer, says):
    verdict = check.inserted_block(answer)
    assert not verdict
    assert says in verdict.message


def at(w, v, order):
    p = torch.eye(len(w)).double()[torch.as_tensor(order)]
    return ((w - p).square().sum() + (v - p.T).square().sum()).sqrt()


def by_assignment(w, v):
    _, order = linear_sum_assignment((w + v.T).numpy(), maximize=True)
    return at(w, v, order).item()


def by_trying_all(w, v):
    return min(at(w, v, order) for order in permutations(range(len(w))))


def each_for_itself(w, v):
    squares = 0
    for matrix in (w, v):
        rows, columns = linear_sum_assignment(matrix.numpy(), maximize=True)
        squares += matrix.square().sum() + len(w) - 2 * matrix[rows, columns].sum()
    return squares.sqrt()


def not_transposed(w, v):
    rows, columns = linear_sum_assignment((w + v).numpy(), maximize=True)
    squares = w.square().sum() + v.square().sum() + 2 * len(w)
    return (squares - 2 * (w + v)[rows, columns].sum()).sqrt()


def greedy(w, v):
    fit, order = (w + v.T).clone(), [0] * len(w)
    for _ in order:
        row, column = divmod(fit.argmax().item(), len(w))
        order[row] = column
        fit[row], fit[:, column] = -1e6, -1e6
    return at(w, v, order)


@pytest.mark.parametrize("answer", [by_assignment, by_trying_all])
def test_nearest_identity_takes_what_is_right(answer):
    for _ in range(3):
        assert check.nearest_identity(answer), check.nearest_identity(answer)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda w, v: None, "no answer so far"),
        (lambda w, v: at(w, v, range(len(w))), "W = V = I alone"),
        (lambda w, v: by_assignment(w, v) ** 2, "squared distance"),
        (lambda w, v: by_assignment(w, v) / (2 * w.numel()) ** 0.5, "root of the mean"),
        (each_for_itself, "of their own"),
        (not_transposed, "same P"),
        (greedy, "best pair first"),
        (lambda w, v: at(w, v, (w + v.T).argmax(1)), "chooses its best column for itself"),
        (
            lambda w, v: at(w, v, linear_sum_assignment((w + v.T).numpy())[1]),
            "farthest permutation",
        ),
    ],
)
def test_nearest_identity_names_the_mistake(answer, says):
    for _ in range(3):
        verdict = check.nearest_identity(answer)
        assert not verdict
        assert says in verdict.message


def test_the_nearest_permutation_of_a_larger_block_is_not_its_own_transpose():
    orders = []

    def look(w, v):
        orders.append(linear_sum_assignment((w + v.T).numpy(), maximize=True)[1])
        return by_assignment(w, v)

    for _ in range(10):
        assert check.nearest_identity(look)
    larger = [order for order in orders if len(order) > 3]
    assert len(larger) == 30
    for order in larger:
        assert (order[order] != range(len(order))).any()


def rank(matrix):
    return torch.linalg.matrix_rank(matrix, rtol=1e-9).item() if len(matrix) else 0


def by_rank(w, b, x):
    return len(x) - rank(w[w @ x + b > 0])


def by_jacobian(w, b, x):
    jacobian = torch.autograd.functional.jacobian(lambda x: torch.relu(w @ x + b), x)
    return len(x) - torch.linalg.matrix_rank(jacobian)


@pytest.mark.parametrize("answer", [by_rank, by_jacobian])
def test_invisible_directions_takes_what_is_right(answer):
    for _ in range(20):
        assert check.invisible_directions(answer), check.invisible_directions(answer)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda w, b, x: None, "no answer so far"),
        (lambda w, b, x: len(x) - rank(w), "The ReLU is not in it"),
        (lambda w, b, x: len(x) - rank(w[w @ x > 0]), "bias is forgotten"),
        (lambda w, b, x: rank(w[w @ x + b > 0]), "how many directions are seen"),
        (lambda w, b, x: (w @ x + b <= 0).sum(), "units that are off"),
        (lambda w, b, x: len(x) - (w @ x + b > 0).sum(), "one direction"),
        (lambda w, b, x: max(len(x) - (w @ x + b > 0).sum().item(), 0), "at most d of them"),
        (lambda w, b, x: len(x) - rank(w[w @ x + b < 0]), "exchanged"),
    ],
)
def test_invisible_directions_names_the_mistake(answer, says):
    for _ in range(10):
        verdict = check.invisible_directions(answer)
        assert not verdict
        assert says in verdict.message


def nearest(a, y, start):
    return start + torch.linalg.pinv(a) @ (y - a @ start)


def by_descending(a, y, start):
    c, rate = start.clone(), 1 / torch.linalg.matrix_norm(a, 2) ** 2
    for _ in range(20_000):
        c -= rate * (a.T @ (a @ c - y))
    return c


def ridge(a, y):
    return torch.linalg.solve(a.T @ a + torch.eye(a.shape[1]).double(), a.T @ y)


def smallest(a, y):
    return torch.linalg.pinv(a, rtol=1e-9) @ y


@pytest.mark.parametrize("answer", [nearest, by_descending])
def test_gradient_descent_limit_takes_what_is_right(answer):
    assert check.gradient_descent_limit(answer), check.gradient_descent_limit(answer)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda a, y, start: None, "no answer so far"),
        (lambda a, y, start: smallest(a, y), "wherever it started"),
        (lambda a, y, start: smallest(a, y) + start, "add the whole start"),
        (lambda a, y, start: smallest(a, y + a @ start), "the other way round"),
        (lambda a, y, start: start - smallest(a, y - a @ start), "subtract"),
        (lambda a, y, start: start, "does not move"),
        (lambda a, y, start: smallest(a, y - a @ start), "correction alone"),
        (lambda a, y, start: ridge(a, y), "ridge"),
        (lambda a, y, start: torch.linalg.solve(a, y), "RuntimeError"),
        (lambda a, y, start: nearest(a, y, start)[:, None], "shape"),
    ],
)
def test_gradient_descent_limit_names_the_mistake(answer, says):
    verdict = check.gradient_descent_limit(answer)
    assert not verdict
    assert says in verdict.message


def test_inputs_that_an_answer_changes_are_told_and_stay():
    def answer(x, numbers):
        numbers.append(2)
        return x.mul_(3)

    x, numbers = torch.ones(2), [1]
    told = check.ask(call_and_inputs, answer, x, numbers)
    assert told["inputs"][0].tolist() == [3, 3] and told["inputs"][1] == [1, 2]
    assert told["result"].tolist() == [3, 3]
    assert x.tolist() == [1, 1] and numbers == [1]
    with pytest.raises(check.Mistake, match="no answer so far"):
        check.ask(call_and_inputs, lambda x: None, x)

"""Checks for chapter 7: what a transformer's residual stream carries, and what it costs.

Radford et al. (2019) is "Language Models are Unsupervised Multitask Learners"; Dosovitskiy et al.
(2021) is "An Image is Worth 16x16 Words", ICLR 2021.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from resnets.check.asking import random
from resnets.check.exercise import exercise
from resnets.check.gradients import AUTOMATIC, ByHand

EPSILON = 1e-5  # PyTorch's, in layer normalization


@exercise(
    right=lambda n, variance, limit: math.sqrt((limit - 1) / (n * variance)),
    what="the factor",
    says="With this factor the stream ends at the variance that is allowed.",
    wrong={
        "This is the square of the factor: weights that are c times as large make the variance c² "
        "times as large.": lambda n, variance, limit: (limit - 1) / (n * variance),
        "What the sublayers add may only be what the limit leaves: the stream has a variance of 1 "
        "already.": lambda n, variance, limit: math.sqrt(limit / (n * variance)),
        "You add standard deviations: of independent numbers the variances add up.": (
            lambda n, variance, limit: (math.sqrt(limit) - 1) / (n * math.sqrt(variance))
        ),
        "You divide by the number of sublayers, not by its root: variances add up.": (
            lambda n, variance, limit: math.sqrt((limit - 1) / variance) / n
        ),
        "There are n sublayers, two in each block: do not double n.": (
            lambda n, variance, limit: math.sqrt((limit - 1) / (2 * n * variance))
        ),
        "There are n sublayers, not n blocks of one sublayer each: do not halve n.": (
            lambda n, variance, limit: math.sqrt((limit - 1) / (n / 2 * variance))
        ),
        "1/√n is right only where each sublayer adds a variance of 1 and the limit is 2.": (
            lambda n, variance, limit: 1 / math.sqrt(n)
        ),
        "The factor is upside down: the more sublayers there are, the less may each add.": (
            lambda n, variance, limit: math.sqrt(n * variance / (limit - 1))
        ),
    },
)
def sublayer_factor(answer: Callable):
    """Does `answer(n, variance, limit)` return by what n sublayers' last layers are multiplied?

    The stream begins with variance 1; each of n sublayers adds something independent, of this
    `variance` before its last layer is multiplied, so that the stream ends with variance `limit`.
    After Radford et al. (2019), section 2.3, where the factor is 1/√n.
    """
    yield from ((48, 1.0, 2.0), (12, 0.4, 1.5), (7, 2.5, 3.2), (100, 1.3, 11.0))


def _through_norm(
    x: Tensor, upstream: Tensor,
    centered: bool = True, scaled: bool = True, divided: bool = True,
    freedom: int = 0, sign: int = -1,
) -> Tensor:  # fmt: skip
    """By the formula; each argument changes one place."""
    away = x - x.mean()
    sd = (away.square().sum() / (len(x) - freedom)).sqrt()
    normal = away / sd
    gradient = upstream - upstream.mean() if centered else upstream
    if scaled:
        gradient = gradient + sign * normal * (upstream * normal).mean()
    return gradient / sd if divided else gradient


def _projected_on(direction: Callable, count: Callable = len) -> Callable:
    """An answer that takes away the part along another direction, or divides by another number."""

    def answer(x: Tensor, upstream: Tensor) -> Tensor:
        away = x - x.mean()
        sd = away.square().mean().sqrt()
        along = direction(x, away, sd)
        taken = along * (upstream * along).sum() / count(x)
        return (upstream - upstream.mean() - taken) / sd

    return answer


def _norm_by_autograd(x: Tensor, upstream: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    out = (leaf - leaf.mean()) / (leaf - leaf.mean()).square().mean().sqrt()
    return torch.autograd.grad(out, leaf, upstream)[0]


def _normalized(x: Tensor, upstream: Tensor) -> Tensor:
    away = upstream - upstream.mean()
    return away / away.square().mean().sqrt()


@exercise(
    kind=ByHand,
    right=_through_norm,
    what="the gradient",
    says="Your gradient matches automatic differentiation, and two directions of it are gone.",
    wrong={
        AUTOMATIC: _norm_by_autograd,
        "You hold the standard deviation constant: it depends on x, too, and what would only "
        "stretch x has no effect.": partial(_through_norm, scaled=False),
        "You hold the mean constant: it depends on x, too, and what would only shift x has no "
        "effect.": partial(_through_norm, centered=False),
        "You hold mean and standard deviation constant: both depend on x.": (
            partial(_through_norm, centered=False, scaled=False)
        ),
        "The division by the standard deviation is missing.": partial(_through_norm, divided=False),
        "The part along the normalized x has to be subtracted: it is added.": (
            partial(_through_norm, sign=1)
        ),
        "Layer normalization divides by the root of the mean of squares: by d, not by d − 1.": (
            partial(_through_norm, freedom=1)
        ),
        "You project on x: project on the normalized x, with its mean taken out.": (
            _projected_on(lambda x, away, sd: x / sd)
        ),
        "You project on x minus its mean: it has to be divided by the standard deviation, in both "
        "places.": _projected_on(lambda x, away, sd: away),
        "You take the sum of upstream times the normalized x, not its mean.": (
            _projected_on(lambda x, away, sd: away / sd, count=lambda x: 1)
        ),
        "You normalized the gradient: on the way back its own mean and size do not matter, those "
        "of x do.": _normalized,
    },
)
def through_norm(answer: Callable):
    """Does `answer(x, upstream)` return the gradient before a layer normalization?

    The normalization is (x − mean) / sd, with the root of the mean of squares for sd and nothing
    else. `x` (d,) is its input, `upstream` (d,) the gradient at its output; without automatic
    differentiation.
    """
    for d in (5, 8, 3, 32):
        yield 2 * random(d) + 1, random(d)


def _terms(
    terms: Tensor, gain: Tensor, shift: Tensor, weight: Tensor, bias: Tensor,
    sd_of: Callable = lambda terms: terms.sum(0),
    centered: bool = True, freedom: int = 0,
) -> Tensor:  # fmt: skip
    """By the formula; the last three change one place each."""
    whole = sd_of(terms)
    sd = (whole.var(-1, correction=freedom, keepdim=True) + EPSILON).sqrt()
    away = terms - terms.mean(-1, keepdim=True) if centered else terms
    rows = (away / sd * gain).mean(1) @ weight.T
    return torch.cat([rows, (weight @ shift + bias)[None]])


def _constant_everywhere(terms, gain, shift, weight, bias) -> Tensor:
    rows = _terms(terms, gain, shift, weight, bias)
    return torch.cat([rows[:-1] + rows[-1], rows[-1:]])


def _last_row(change: Callable) -> Callable:
    """An answer with another last row, `change(shift, weight, bias)`."""

    def answer(terms, gain, shift, weight, bias) -> Tensor:
        rows = _terms(terms, gain, shift, weight, bias)
        return torch.cat([rows[:-1], change(shift, weight, bias)[None]])

    return answer


def _summed_over_tokens(terms, gain, shift, weight, bias) -> Tensor:
    rows = _terms(terms, gain, shift, weight, bias)
    return torch.cat([rows[:-1] * terms.shape[1], rows[-1:]])


def _sums_so_far(terms, gain, shift, weight, bias) -> Tensor:
    rows = _terms(terms, gain, shift, weight, bias)
    return torch.cat([rows[:-1].cumsum(0), rows[-1:]])


@exercise(
    right=_terms,
    what="the table of contributions",
    says="Each row is what one term says, and the rows add up to the logits.",
    wrong={
        "You normalize each term by its own size: the network divides by that of their sum.": (
            partial(_terms, sd_of=lambda terms: terms)
        ),
        "You divide by the size of the tokens alone, before any sublayer: the last normalization "
        "divides by that of the whole stream.": partial(_terms, sd_of=lambda terms: terms[0]),
        "You average the tokens before you take the standard deviation: each token has its own.": (
            partial(_terms, sd_of=lambda terms: terms.sum(0).mean(0, keepdim=True))
        ),
        "The mean over the width is not taken out of the terms.": partial(_terms, centered=False),
        "Layer normalization divides by the width, not by the width minus 1.": (
            partial(_terms, freedom=1)
        ),
        "The gain of the normalization is missing.": (
            lambda terms, gain, *rest: _terms(terms, torch.ones_like(gain), *rest)
        ),
        "Shift and bias are in every row: they belong in the last one only.": _constant_everywhere,
        "The last row lacks the shift, which the head's weights see, too.": (
            _last_row(lambda shift, weight, bias: bias)
        ),
        "The last row lacks the bias.": _last_row(lambda shift, weight, bias: weight @ shift),
        "You add the tokens up: the head sees their mean.": _summed_over_tokens,
        "The row of shift and bias is missing: the last one.": (lambda *given: _terms(*given)[:-1]),
        "Each of your rows has all terms up to its own: give each its own alone.": _sums_so_far,
    },
)
def contributions(answer: Callable):
    """Does `answer(terms, gain, shift, weight, bias)` take the logits apart, term by term?

    `terms` (S, T, d) add up to a pre-norm transformer's stream; layer normalization with `gain` and
    `shift` (d,), the mean over the T tokens, and the head `weight` (K, d) and `bias` (K,) follow.
    The answer is (S + 1, K): a row for each term, then one for shift and bias; the rows add up to
    the logits. The normalization's ε is 1e-5.
    """
    for count, tokens, width, classes in ((4, 3, 8, 5), (7, 1, 6, 2), (2, 5, 12, 3)):
        terms = random(count, tokens, width) + random(count, tokens, 1)
        yield terms, random(width), random(width), random(classes, width), random(classes)


def _vit_cost(
    size: int, patch: int, width: int, blocks: int, classes: int,
    token: int = 1, placed: int = 1, biases: bool = True, norms: int = 2, last_norm: bool = True,
    products: int = 2, answered: Callable = lambda tokens: 1,
) -> list[int]:  # fmt: skip
    """Counted layer by layer; each of the later arguments changes one place."""
    patches = (size // patch) ** 2
    tokens, pixels = patches + token, 3 * patch**2
    block = 12 * width**2 + 2 * norms * width + 9 * width * biases
    parameters = (
        (pixels + 1) * width
        + token * width
        + (patches + placed * token) * width
        + blocks * block
        + 2 * width * last_norm
        + (width + 1) * classes
    )
    in_block = 12 * width**2 * tokens + products * tokens**2 * width
    return [
        parameters,
        patches * pixels * width + blocks * in_block + answered(tokens) * width * classes,
    ]


def _also(part: int, change: Callable) -> Callable:
    """The right counts, one of them changed."""

    def answer(size, patch, width, blocks, classes) -> list[int]:
        counts = _vit_cost(size, patch, width, blocks, classes)
        counts[part] = change(counts[part], size, patch, width, blocks, classes)
        return counts

    return answer


@exercise(
    right=_vit_cost,
    what=("the parameters", "the multiply-adds"),
    exact=True,
    says="Your counts are right, and with ViT-B/16's settings they are torchvision's.",
    wrong={
        "The class token is missing: a learned vector, and one more token in every block.": (
            partial(_vit_cost, token=0)
        ),
        "One vector of the stream's width is missing: the class token, its position, or the bias "
        "of the patches' layer.": partial(_vit_cost, placed=0),
        "The biases of the blocks' linear layers are missing.": partial(_vit_cost, biases=False),
        "The two normalizations of each block are missing: each has a gain and a shift.": (
            partial(_vit_cost, norms=0)
        ),
        "A block has two normalizations: you count one.": partial(_vit_cost, norms=1),
        "The last normalization is missing.": partial(_vit_cost, last_norm=False),
        "Attention's two products of tokens with tokens are missing.": (
            partial(_vit_cost, products=0)
        ),
        "Attention has two products of tokens with tokens: queries with keys, and weights with "
        "values.": partial(_vit_cost, products=1),
        "The head reads the class token alone: do not count it for each token.": (
            partial(_vit_cost, answered=lambda tokens: tokens)
        ),
        "You count a multiplication and an addition as two: count a multiply-add once.": (
            _also(1, lambda count, *_: 2 * count)
        ),
        "The learned positions are missing.": _also(
            0, lambda count, size, patch, width, *_: count - ((size // patch) ** 2 + 1) * width
        ),
        "A patch has three colors.": _also(
            0, lambda count, size, patch, width, *_: count - 2 * patch**2 * width
        ),
    },
)
def vit_cost(answer: Callable):
    """Does `answer(size, patch, width, blocks, classes)` count a vision transformer?

    It returns the numbers of parameters and of multiply-adds for one image of size×size pixels and
    three colors, cut into patches: Dosovitskiy et al. (2021), section 3.1. The MLPs are four times
    as wide as the stream, all linear layers have biases, the head sees the class token.
    """
    yield from ((224, 16, 768, 12, 1000), (32, 4, 192, 6, 10), (28, 7, 30, 3, 7))

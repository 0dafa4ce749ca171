"""How a check asks an answer, and says what it found.

A check never looks into an answer. It asks questions, gets numbers and tensors back, and judges
these. So an answer may live in another process, and nothing in it can change the verdict but the
numbers that it gives.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

TOLERANCE = 1e-6  # relative to the largest number; everything is computed in float64
NOT_WRITTEN = "There is no answer so far: write yours, and run the cell again."


@dataclass(frozen=True)
class Verdict:
    """What a check found. True in an `if` where the answer is right."""

    right: bool
    message: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{'Right.' if self.right else 'Not yet.'} {self.message}"

    def required(self) -> None:
        """Raise `AssertionError` with the message unless the answer is right."""
        if not self.right:
            raise AssertionError(self.message)


class Mistake(Exception):
    """The answer is wrong; the message says what is wrong and where to look."""


def checks(function: Callable[..., str]) -> Callable[..., Verdict]:
    """Make a check of a function that raises `Mistake` or returns what was right."""

    @functools.wraps(function)
    def check(*args, **options) -> Verdict:
        try:
            return Verdict(True, function(*args, **options))
        except Mistake as mistake:
            return Verdict(False, str(mistake))

    return check


def ask(question: Callable, answer, *inputs):
    """`question(answer, *inputs)`, asked where the answer lives.

    `question` is a function of this package. Inputs and result are numbers, strings, tensors, None,
    or lists, tuples and dictionaries of these.

    Raises:
        Mistake: the answer raised an exception, or gave None: it is not written yet.
    """
    if hasattr(type(answer), "__ask__"):
        result = answer.__ask__(question, inputs)
    else:
        try:
            result = question(answer, *inputs)
        except Mistake:
            raise
        except NotImplementedError as error:
            raise Mistake(NOT_WRITTEN) from error
        except Exception as error:
            raise Mistake(f"Your code stopped with {type(error).__name__}: {error}") from error
    if result is None:
        raise Mistake(NOT_WRITTEN)
    return result


def answered(value):
    """`value`, a number or a list of numbers.

    Raises:
        Mistake: it is still the `...` of the exercise.
    """
    if value is ...:
        raise Mistake(NOT_WRITTEN)
    return value


def call(answer: Callable, *inputs):
    """A question: what does the function give?"""
    return answer(*inputs)


def call_with_gradient(answer: Callable, inputs: list[Tensor], upstream: Tensor) -> dict | None:
    """A question: what does the function give, and which gradients at its inputs?

    The gradients are those of the sum of output × `upstream`.
    """
    inputs = [x.clone().requires_grad_() for x in inputs]
    output = answer(*inputs)
    if output is None:
        return None
    return {"output": output.detach(), "gradients": _gradients(output, inputs, upstream)}


def layers(make: Callable, args: list) -> dict[str, list[int]] | None:
    """A question: the shapes of what `make(*args).state_dict()` holds; None without any."""
    shapes = {name: list(value.shape) for name, value in make(*args).state_dict().items()}
    return shapes or None


def convolutions(make: Callable, args: list) -> dict[str, dict]:
    """A question: stride, padding, dilation and groups of each `nn.Conv2d` in `make(*args)`."""
    return {
        name: {
            "stride": _side(module.stride),
            "padding": _side(module.padding),
            "dilation": _side(module.dilation),
            "groups": module.groups,
        }
        for name, module in make(*args).named_modules()
        if isinstance(module, nn.Conv2d)
    }


def _side(setting):
    return setting[0] if isinstance(setting, tuple) else setting


def evaluate(
    make: Callable, args: list, state: dict, x: Tensor, upstream: Tensor, training: bool = True
) -> dict | None:
    """A question: what does the module `make(*args)` give with these weights, in float64?

    The output, and the gradients of the sum of output × `upstream` at the input and at every
    parameter. In an output of another shape than `upstream` the gradients are left out.
    """
    module = make(*args).double()
    module.load_state_dict(state)
    module.train(training)
    x = x.clone().requires_grad_()
    output = module(x)
    if output is None:
        return None
    parameters = dict(module.named_parameters())
    gradients = _gradients(output, [x, *parameters.values()], upstream)
    names = ["input", *parameters]
    return {"output": output.detach(), "gradients": dict(zip(names, gradients, strict=False))}


def _gradients(output: Tensor, inputs: list[Tensor], upstream: Tensor) -> list[Tensor]:
    if output.shape != upstream.shape or not output.requires_grad:
        return []
    gradients = torch.autograd.grad(output, inputs, upstream, allow_unused=True)
    return [
        torch.zeros_like(x) if gradient is None else gradient
        for x, gradient in zip(inputs, gradients, strict=True)
    ]


def random(*shape: int) -> Tensor:
    """Fresh normal numbers, float64, other ones at each call: not from the global generator."""
    generator = torch.Generator()
    generator.seed()
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def random_state(make: Callable, args: list) -> dict[str, Tensor]:
    """Fresh random weights for `make(*args)`; running variances are positive. float64."""
    state = make(*args).double().state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            drawn = random(*value.shape)
            value.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    return state


def reference(
    make: Callable, args: list, state: dict, x: Tensor, training: bool = True
) -> tuple[dict, Tensor]:
    """What `evaluate` gives for what is right, and the random `upstream` of its gradients."""
    upstream = random(*evaluate(make, args, state, x, x.new_zeros(()), training)["output"].shape)
    return evaluate(make, args, state, x, upstream, training), upstream


def same(got, right) -> bool:
    """Whether two numbers, tensors, or lists of numbers agree in shape and values."""
    got, right = _tensor(got), _tensor(right)
    if got is None or got.shape != right.shape:
        return False
    return torch.allclose(got, right, rtol=0, atol=TOLERANCE * max(1.0, right.abs().max().item()))


def expect(got, right, what: str, mistakes: Mapping[str, object] | None = None) -> None:
    """Raise `Mistake` unless `got` is `right`.

    Args:
        what: the name of what was asked for, for messages: "the output".
        mistakes: what a typical mistake would have given, by the message that names the mistake.
    """
    if same(got, right):
        return
    for message, wrong in (mistakes or {}).items():
        if same(got, wrong) and not same(right, wrong):
            raise Mistake(message)
    got, right, what = _tensor(got), _tensor(right), what[0].upper() + what[1:]
    if got is None:
        raise Mistake(f"{what} should be numbers, and is something else.")
    if got.shape != right.shape:
        raise Mistake(f"{what} has shape {tuple(got.shape)}, and should have {tuple(right.shape)}.")
    if right.ndim == 0:
        raise Mistake(f"{what} is {got.item():.6g}, which is not right.")
    raise Mistake(
        f"{what} is off by up to {(got - right).abs().max().item():.3g}, where the "
        f"largest number is {right.abs().max().item():.3g}."
    )


def _tensor(value) -> Tensor | None:
    try:
        return torch.as_tensor(value).detach().double().cpu()
    except (TypeError, ValueError, RuntimeError):
        return None


def expect_layers(
    got: Mapping,
    right: Mapping,
    missing: Mapping[str, str] | None = None,
    unexpected: Mapping[str, str] | None = None,
) -> None:
    """Raise `Mistake` unless both name the same layers with weights of the same shapes.

    Both are results of `layers`. `missing` and `unexpected` hold a sentence for a layer by the
    start of its name, said where it is not there, or there and should not be.
    """
    lacks, extra = [n for n in right if n not in got], [n for n in got if n not in right]
    for names, advice in ((lacks, missing or {}), (extra, unexpected or {})):
        for start, sentence in advice.items():
            if any(name.startswith(start) for name in names):
                raise Mistake(sentence)
    needed = f"the layers with weights are {', '.join(_modules(right))}, named as in torchvision."
    if lacks:
        raise Mistake(f"There is no {lacks[0]}: {needed}")
    if extra:
        raise Mistake(f"{extra[0]} is one too many: {needed}")
    for name in right:
        if list(got[name]) != list(right[name]):
            raise Mistake(
                f"{name} has shape {tuple(got[name])}, and should have {tuple(right[name])}."
            )


def expect_convolutions(got: Mapping, right: Mapping, advice: Mapping[str, str]) -> None:
    """Raise `Mistake` unless the convolutions have the same settings.

    Both are results of `convolutions`, of networks that passed `expect_layers`. `advice` holds a
    sentence for a setting, by "name setting": "downsample.0 stride".
    """
    for name in right:
        if name not in got:
            raise Mistake(f"{name} should be an `nn.Conv2d`.")
        for setting, value in right[name].items():
            # The layers have the same kernels, so that "same" is the padding that keeps the size.
            if got[name][setting] not in (value, "same"):
                default = f"{name} has {setting} {got[name][setting]}, and should have {value}."
                raise Mistake(advice.get(f"{name} {setting}", default))


def _modules(names) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[0] for name in names))

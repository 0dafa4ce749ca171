"""How a check questions an answer, and says what it found.

A check never looks into an answer. It asks questions, gets numbers and tensors back, and judges
these. So an answer may live in another process, and nothing in it can change the verdict but the
numbers that it gives.
"""

import contextlib
import copy
import functools
import random as python_random
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

TOLERANCE = 1e-6  # relative to the largest number; everything is computed in float64
TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-2}  # for answers that compute in these
NOT_WRITTEN = "There is no answer so far: write yours, and run the cell again."
COUNTER = "num_batches_tracked"  # of batch normalization, and no weight


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
        with as_usual(), same_draws():
            try:
                return Verdict(True, function(*args, **options))
            except Mistake as mistake:
                return Verdict(False, str(mistake))

    return check


@contextlib.contextmanager
def as_usual() -> Iterator[None]:
    """Within this context: gradients, float32 and the CPU, whatever the notebook has set."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        # As a context the device costs time in each operation.
        device = torch.get_default_device().type
        cpu = contextlib.nullcontext() if device == "cpu" else torch.device("cpu")
        with cpu, torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)


@contextlib.contextmanager
def same_draws() -> Iterator[None]:
    """Afterwards the random generators have the states that they had before."""
    python, numpy = python_random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            python_random.setstate(python)
            np.random.set_state(numpy)


def ask(question: Callable, answer, *inputs):
    """`question(answer, *inputs)`, asked where the answer lives.

    `question` is a function of this package. Inputs and result are numbers, strings, tensors, None,
    or lists, tuples and dictionaries of these. The answer gets copies of the inputs.

    Raises:
        Mistake: the answer raised an exception, or gave None: it is not written yet.
    """
    if answer is None or answer is ...:
        raise Mistake(NOT_WRITTEN)
    if hasattr(type(answer), "__ask__"):
        result = answer.__ask__(question, inputs)
    elif not callable(answer):
        raise Mistake(
            "Pass the function or class itself to the check, by its name: this is of type "
            f"{type(answer).__name__}."
        )
    else:
        try:
            result = plain(question(answer, *copy.deepcopy(inputs)))
        except (Exception, SystemExit) as error:
            raise Mistake(stopped(type(error).__name__, str(error))) from error
    if result is None or result is ...:
        raise Mistake(NOT_WRITTEN)
    return result


def stopped(name: str, text: str) -> str:
    """What to say of an answer that raised this exception."""
    if name == "Mistake":
        return text
    if name == "NotImplementedError":
        if 'missing the required "forward"' in text:
            return "The module has no `forward`: write one, or check how its name is spelled."
        if "not implemented for" not in text and "aten::" not in text:
            return NOT_WRITTEN
        text += " (PyTorch lacks this operation for this type of numbers: convert them first.)"
    return f"Your code stopped with {name}: {text}"


TENSOR = "Return a tensor: this is of type {}. `torch.tensor(…)` makes one of numbers."
SEVERAL = "Return several numbers, as a list or a tensor: this is of type {}."
OTHER_TYPES = {  # what Python and PyTorch say of another type than a test can use
    r"'(\w+)' object has no attribute '(?!items|keys|values|get')": TENSOR,
    r"must be Tensor, not (\w+)": TENSOR,
    r"'Tensor' and '(?!Tensor')(\w+)'": TENSOR,
    r"'(\w+)' object is not (?:iterable|subscriptable)": SEVERAL,
    r"object of type '(\w+)' has no len": SEVERAL,
    r"same dtype|expected scalar type()": (
        "Return numbers of the type that the inputs have: convert with `.to(x.dtype)`."
    ),
}


def wanted(error: Exception) -> str | None:
    """What to return instead, where a test stopped because an answer has another type; or None."""
    for pattern, sentence in OTHER_TYPES.items():
        if found := re.search(pattern, str(error)):
            return sentence.format(found[1])
    return None


def plain(value):
    """`value` with arrays as tensors, fractions as floats, and iterators as lists."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub":
            return plain(value.tolist())
        return torch.from_numpy(np.array(value, order="C"))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, Iterator | range):
        return [plain(one) for one in value]
    if isinstance(value, list | tuple):  # named tuples, too
        return (list if isinstance(value, list) else tuple)(plain(one) for one in value)
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    return value


def answered(value):
    """`value`, a number or a list of numbers.

    Raises:
        Mistake: it is still the `...` of the exercise.
    """
    value = plain(value)
    if value is None or value is ...:
        raise Mistake(NOT_WRITTEN)
    if isinstance(value, list | tuple) and any(one is ... for one in value):
        raise Mistake(NOT_WRITTEN)
    return value


class Watch:
    """Within this context: which functions of PyTorch run, and how many lines of the answer.

    `called` holds names such as "torch.nn.functional.interpolate", of functions written in Python.

    Raises:
        RuntimeError: at line `limit` + 1.
    """

    def __init__(self, limit: float = float("inf")) -> None:
        self.limit, self.lines, self.called = limit, 0, set()

    def __enter__(self) -> "Watch":
        self.before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *error) -> None:
        sys.settrace(self.before)

    def _trace(self, frame, event, arg):
        module = frame.f_globals.get("__name__", "")
        if module == __name__:
            return None
        if module.startswith("torch."):
            self.called.add(f"{module}.{frame.f_code.co_name}")
            return None
        if event == "line":
            self.lines += 1
            if self.lines > self.limit:
                raise RuntimeError(f"more than {self.limit} lines of your code ran")
        return self._trace


def watched(answer: Callable, limit: float, *inputs) -> dict | None:
    """A question: what does the function return, and how?

    "result"; "lines", how many lines of it ran; "called", the functions of PyTorch that it used,
    whether by itself or through others. After `limit` lines it is stopped, without a "result".
    """
    watch = Watch(limit)
    try:
        with watch:
            result = answer(*inputs)
    except RuntimeError:
        if watch.lines <= limit:
            raise
        return {"lines": watch.lines, "called": sorted(watch.called)}
    if result is None or result is ...:
        return None
    return {"result": plain(result), "lines": watch.lines, "called": sorted(watch.called)}


def call(answer: Callable, *inputs):
    """A question: what does the function return?"""
    return answer(*inputs)


def call_with_gradients(
    answer: Callable, tensors: list[Tensor], options: list, upstream: Tensor
) -> dict | None:
    """A question: what does `answer(*tensors, *options)` return, with which gradients at `tensors`?

    The gradients are those of the sum of output × `upstream`; none where the output has another
    shape than `upstream`, or does not depend on the tensors. "called" is as in `watched`.
    """
    leaves = [x.clone().requires_grad_() for x in tensors]
    with Watch() as watch:  # clones, since what layers give may be changed in place
        output = plain(answer(*(x.clone() for x in leaves), *options))
    if output is None or output is ...:
        return None
    found = {"output": output, "gradients": [], "called": sorted(watch.called)}
    if isinstance(output, Tensor):
        found |= {"output": output.detach(), "gradients": _gradients(output, leaves, upstream)}
    return found


def layers(make: Callable, args: list, x: Tensor | None = None) -> dict[str, list[int]] | None:
    """A question: the shapes of what `make(*args).state_dict()` holds; None without any.

    `x` is an input, which lazy layers take their shapes from.
    """
    return shapes(make, args, x)["layers"] or None


def shapes(make: Callable, args: list, x: Tensor | None = None) -> dict[str, dict]:
    """A question: `layers`, under the name "layers", of a module that may have none."""
    module = _built(make, args, x)
    known = set(module.modules())
    for part in known:
        for name, value in vars(part).items():
            if name.startswith("_") or not isinstance(value, list | tuple | dict):
                continue
            held = value.values() if isinstance(value, dict) else value
            if any(isinstance(one, nn.Module) and one not in known for one in held):
                raise Mistake(
                    f"PyTorch does not find layers in a plain list, tuple or dictionary (`{name}`) "
                    "and would not train them: use `nn.ModuleList` or `nn.Sequential`."
                )
    state = {name: list(value.shape) for name, value in module.state_dict().items()}
    return {"layers": {n: shape for n, shape in state.items() if not n.endswith(COUNTER)}}


def convolutions(make: Callable, args: list, x: Tensor | None = None) -> dict[str, dict]:
    """A question: stride, padding, dilation and groups of each `nn.Conv2d` in `make(*args)`."""
    return {
        name: {
            "stride": _side(module.stride),
            "padding": _side(module.padding),
            "dilation": _side(module.dilation),
            "groups": module.groups,
        }
        for name, module in _built(make, args, x).named_modules()
        if isinstance(module, nn.Conv2d)
    }


def _side(setting):
    return setting[0] if isinstance(setting, tuple) else setting


def _built(make: Callable, args: list, x: Tensor | None) -> nn.Module:
    """`make(*args)` in float64, on the CPU, its lazy layers filled."""
    if isinstance(make, nn.Module):
        raise Mistake("Pass the class itself to the check: this is one module made from it.")
    module = make(*args)
    if module is None or module is ...:
        raise Mistake(NOT_WRITTEN)
    if not isinstance(module, nn.Module):
        raise Mistake(f"This should be an `nn.Module`, but it is of type {type(module).__name__}.")
    module = module.to("cpu").double()
    if x is not None and any(map(is_lazy, [*module.parameters(), *module.buffers()])):
        with torch.no_grad():
            module.eval()(x.clone())
    return module


def evaluate(
    make: Callable, args: list, state: dict, x: Tensor, upstream: Tensor, training: bool = True
) -> dict | None:
    """A question: what does the module `make(*args)` output with these weights, in float64?

    The output, the gradients of the sum of output × `upstream` at the input and at every
    parameter, and the running statistics afterwards. In an output of another shape than `upstream`
    the gradients are left out. A module that insists on float32 is evaluated so.
    """
    module = _built(make, args, x)
    _load(module, state)
    module.train(training)
    leaf = x.clone().requires_grad_()
    try:
        output = module(leaf.clone())
    except RuntimeError as error:
        if not any(words in str(error) for words in ("should be the same", "same dtype")):
            raise
        _load(module, state)
        output = module.float()(leaf.float())
    if output is None or output is ...:
        return None
    if not isinstance(output, Tensor):
        raise Mistake(f"`forward` should return a tensor: this is of type {type(output).__name__}.")
    parameters = dict(module.named_parameters())
    gradients = _gradients(output, [leaf, *parameters.values()], upstream.to(output.dtype))
    return {
        "output": output.detach(),
        "gradients": dict(zip(["input", *parameters], gradients, strict=False)),
        "statistics": {n: b for n, b in module.named_buffers() if b.is_floating_point()},
    }


def _load(module: nn.Module, state: dict) -> None:
    names = [name for found in module.load_state_dict(state, strict=False) for name in found]
    if names := [name for name in names if not name.endswith(COUNTER)]:
        raise RuntimeError(f"the weights do not fit the module: {', '.join(names)}")


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
    return torch.randn(shape, generator=_generator(), dtype=torch.float64)


def whole(low: int, high: int, *shape: int) -> Tensor:
    """Fresh whole numbers from `low` to `high` − 1, int64: not from the global generator."""
    return torch.randint(low, high, shape, generator=_generator())


def _generator() -> torch.Generator:
    generator = torch.Generator("cpu")
    generator.seed()
    return generator


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
    """What `evaluate` returns for what is right, and the random `upstream` of its gradients."""
    upstream = random(*evaluate(make, args, state, x, x.new_zeros(()), training)["output"].shape)
    return evaluate(make, args, state, x, upstream, training), upstream


def same(got, right, exact: bool = False) -> bool:
    """Whether two numbers, tensors, or lists of numbers agree in shape and values."""
    tolerance = TOLERANCES.get(getattr(got, "dtype", None), TOLERANCE)
    got, right = _tensor(got), _tensor(right)
    if got is None or right is None or got.shape != right.shape:
        return False
    if not right.numel():
        return True
    if torch.equal(got.float().double(), got) and not torch.equal(got.round(), got):
        # Numbers from tensors: computed in float64, they would have more digits.
        tolerance = max(tolerance, TOLERANCES[torch.float32])
    tolerance = 0.0 if exact else tolerance
    atol = tolerance * max(1.0, right.abs().max().item())
    return torch.allclose(got, right, rtol=0, atol=atol, equal_nan=True)


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
    kind, what = type(got).__name__, what[0].upper() + what[1:]
    got, right = _tensor(got), _tensor(right)
    if got is None:
        raise Mistake(f"{what} should be numbers, but is something else: {kind}.")
    if got.shape != right.shape:
        raise Mistake(f"{what} has shape {tuple(got.shape)}, but should have {tuple(right.shape)}.")
    if not got.isfinite().all():
        raise Mistake(f"{what} is not a number (nan) or not finite.")
    if right.ndim == 0:
        raise Mistake(f"{what} is {got.item():.10g}, which is not right.")
    raise Mistake(
        f"{what} is off by up to {(got - right).abs().max().item():.3g}; the largest number should "
        f"be {right.abs().max().item():.3g}."
    )


def _tensor(value) -> Tensor | None:
    """float64; None of what is not real numbers in a regular table."""
    value = plain(value)
    if isinstance(value, Tensor):
        return None if value.is_complex() or value.is_meta else value.detach().cpu().double()
    if isinstance(value, list | tuple):
        parts = [_tensor(one) for one in value]
        if any(part is None for part in parts) or len({part.shape for part in parts}) > 1:
            return None
        return torch.stack(parts) if parts else torch.zeros(0, dtype=torch.float64)
    if isinstance(value, bool | int | float):
        return torch.tensor(value, dtype=torch.float64)
    return None


def expect_layers(got: Mapping, right: Mapping) -> None:
    """Raise `Mistake` unless both name the same layers with weights of the same shapes.

    Both are results of `layers`.
    """
    lacks, extra = [n for n in right if n not in got], [n for n in got if n not in right]
    modules = dict.fromkeys(name.rpartition(".")[0] for name in right)
    needed = f"the layers with weights are {', '.join(modules)}, named as in torchvision."
    if lacks:
        alike = [n for n in extra if list(got[n]) == list(right[lacks[0]])]
        found = f" {alike[0]} has its shape: is it this one, under another name?" if alike else ""
        raise Mistake(f"There is no {lacks[0]}: {needed}{found}")
    if extra:
        raise Mistake(f"{extra[0]} should not be there: {needed}")
    for name in right:
        if list(got[name]) != list(right[name]):
            raise Mistake(
                f"{name} has shape {tuple(got[name])}, but should have {tuple(right[name])}."
            )

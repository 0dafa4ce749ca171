"""An exercise as data: what is right, how inputs are drawn, and a table of wrong answers.

The check of an exercise is a function that yields what an answer is tried on, under a decorator
that holds the right answer and the table: a sentence beside the code that makes the mistake. An
answer is right where it gives what the right one gives. Where it does not, and a mistake of the
table gives the same as it, the check says that mistake's sentence.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from resnets.check.asking import (
    COUNTER,
    NOT_WRITTEN,
    Mistake,
    answered,
    ask,
    call,
    call_with_gradients,
    checks,
    convolutions,
    evaluate,
    expect,
    expect_layers,
    random,
    random_state,
    same,
    shapes,
    stopped,
    watched,
)

CUT_OFF = (
    "{} is right, but it is detached from what it was computed from: `backward` finds no way back."
)
STOPPED = stopped("", "")[:22]  # how the message of an exception begins
LINES = 100_000  # of an answer: more than any needs that goes through its inputs one by one

BY_AUTOGRAD = ("torch.autograd.grad", "torch.autograd.backward", "torch._functorch.eager")


@dataclass(frozen=True)
class Case:
    """Inputs that an answer is tried on; `says` is said if it fails there as no mistake does."""

    inputs: tuple
    says: str = ""


@dataclass
class Exercise:
    """What a check knows; `wrong` holds a wrong answer beside each sentence.

    Args:
        draw: gives the inputs of each trial.
        right: a right answer.
        what: the name of what is asked for, for messages, or of each of its parts.
        gradients: names of the first inputs, at which the gradients are compared as well.
        exact: whole numbers, compared to the last one.
        forbids: a sentence for each function of PyTorch, by the start of its full name, that the
            answer is to do without.
        read: makes a dictionary, name to value, of what the answer gave.
    """

    draw: Callable
    right: Callable
    wrong: Mapping[str, Callable]
    what: str | Sequence[str] = ""
    gradients: Sequence[str] = ()
    exact: bool = False
    forbids: Mapping[str, str] = field(default_factory=dict)
    question: Callable = call
    read: Callable[..., dict] | None = None

    def check(self, answer, *options, **named) -> None:
        """Raise `Mistake` unless the answer is right."""
        trials = self.trials(self.cases(answer, *options, **named), answer)
        passed = []
        for trial in trials:
            if self.differs(*trial[1:]) is not None:
                # The trials that are left are held only where several mistakes fit this one.
                raise Mistake(self.explain(answer, trial, chain(passed, [trial], trials)))
            passed.append(trial)

    def trials(self, cases: Iterable[Case], answer) -> Iterator[tuple]:
        """Each case, with what the answer returns and what is right, up to the first exception."""
        for case in cases:
            got = self.outcome(answer, case)
            yield case, got, self.parts(self.right, *case.inputs)
            if isinstance(got, Mistake):
                return

    def cases(self, answer, *options, **named) -> Iterable[Case]:
        """The trials, with fresh inputs each time."""
        for drawn in self.draw(answer, *options, **named):
            case = drawn if isinstance(drawn, Case) else Case(tuple(drawn))
            if self.gradients:  # the last input is the gradient at the output
                size = self.right(*case.inputs).shape
                case = Case((*case.inputs, random(1, *size)[0]), case.says)
            yield case

    def outcome(self, answer, case: Case) -> dict | Mistake:
        """What the answer returns, by the names of its parts; or what is said of it instead."""
        try:
            return self.parts(answer, *case.inputs)
        except Mistake as mistake:
            return mistake

    def parts(self, answer, *inputs) -> dict:
        """What the answer returns, by the names of its parts."""
        if self.gradients:
            count = len(self.gradients)
            given = list(inputs[:count]), list(inputs[count:-1])
            told = ask(call_with_gradients, answer, *given, inputs[-1])
            names = [f"the gradient at {name}" for name in self.gradients]
            found = {self.what: told["output"]} | dict(zip(names, told["gradients"], strict=False))
        elif self.forbids:
            told = ask(watched, answer, LINES, *inputs)
            if "result" not in told:
                raise Mistake(f"Your code was stopped after {LINES:,} lines: find a shorter way.")
            found = self.named(told["result"])
        else:
            return self.named(ask(self.question, answer, *inputs))
        if answer is not self.right:
            for name, sentence in self.forbids.items():
                if any(one.startswith(name) for one in told["called"]):
                    raise Mistake(sentence)
        return found

    def named(self, result) -> dict:
        """The parts of a result, by their names."""
        if self.read:
            return self.read(result)
        return {self.what: result} if isinstance(self.what, str) else several(result, self.what)

    def differs(self, got: dict | Mistake, right: dict) -> str | None:
        """The first part that is not right, or None."""
        if isinstance(got, Mistake):
            return ""
        return next((name for name in right if not self.agree(got.get(name), right[name])), None)

    def agree(self, got, right) -> bool:
        """Whether one part of two answers is the same."""
        return got == right if isinstance(right, str | dict) else same(got, right, self.exact)

    def explain(self, answer, failed: tuple, trials: Iterable[tuple]) -> str:
        """The sentence of the mistake that gives the same as the answer; else what is wrong."""
        case, got, right = failed
        if isinstance(got, Mistake) and not str(got).startswith(STOPPED):
            return str(got)
        fits = {sentence: self.fit(wrong, *failed) for sentence, wrong in self.wrong.items()}
        fits = {sentence: fit for sentence, fit in fits.items() if fit}
        if len(fits) > 1:
            for one in trials:
                for sentence in fits:
                    fits[sentence] += self.fit(self.wrong[sentence], *one)
        if fits:
            return max(fits, key=fits.get)
        if isinstance(got, Mistake):
            return f"{case.says} ({got})" if case.says else str(got)
        return case.says or self.otherwise(answer, case, got, right)

    def fit(self, wrong: Callable, case: Case, got: dict | Mistake, right: dict) -> float:
        """How well a wrong answer agrees with the given one in this trial, from 0 to 1."""
        outcome = self.outcome(wrong, case)
        if isinstance(got, Mistake) or isinstance(outcome, Mistake):
            # Exceptions agree where their texts do, but for the numbers in them.
            return float(re.sub(r"[\d\W]+", "", str(got)) == re.sub(r"[\d\W]+", "", str(outcome)))
        if (name := self.differs(got, right)) is None:
            return float(self.differs(outcome, right) is None)
        if name not in outcome or name not in got:
            missing = name not in outcome and name not in got
            return float(missing and all(self.agree(outcome[one], got[one]) for one in got))
        if self.agree(outcome[name], right[name]) or not self.agree(outcome[name], got[name]):
            return 0.0
        whole = all(one in got and self.agree(outcome[one], got[one]) for one in outcome)
        return (1 + whole) / 2

    def otherwise(self, answer, case: Case, got: dict, right: dict) -> str:
        """What is wrong with an answer that makes no mistake of the table."""
        name = self.differs(got, right)
        if name not in got:
            return CUT_OFF.format(self.what[0].upper() + self.what[1:])
        where = ""
        if case.inputs and all(isinstance(one, int | float | str) for one in case.inputs):
            where = f" for {', '.join(map(repr, case.inputs))}"
        try:
            if isinstance(right[name], str):
                return f"{name[0].upper()}{name[1:]}: {got[name]}, but should be {right[name]}."
            expect(got[name], right[name], name + where)
        except Mistake as mistake:
            return str(mistake)
        return f"{name[0].upper()}{name[1:]}{where} is {got[name]}, which is not right."


def several(result, names: Sequence[str]) -> dict:
    """An answer of several parts, by their names."""
    if isinstance(result, Tensor) and result.ndim:
        result = list(result)
    if not isinstance(result, list | tuple) or len(result) != len(names):
        count = {2: "two", 3: "three", 4: "four"}[len(names)]
        raise Mistake(f"Return {count} values: {', '.join(names[:-1])} and {names[-1]}.")
    if any(part is None or part is ... for part in result):
        raise Mistake(NOT_WRITTEN)
    return dict(zip(names, result, strict=True))


def exercise(*, says: str, kind: type = Exercise, **data) -> Callable:
    """Make an exercise's check from the function that yields what an answer is tried on."""

    def decorate(draw: Callable) -> Callable:
        one = kind(draw, **data)

        @checks
        @functools.wraps(draw)
        def check(answer, *options, **named) -> str:
            one.check(answer, *options, **named)
            return says

        check.exercise = one
        return check

    return decorate


@dataclass
class Value(Exercise):
    """An exercise whose answers are no functions, but numbers."""

    def parts(self, answer) -> dict:
        """The numbers, by their names."""
        return self.named(answered(answer))


@dataclass
class Network(Exercise):
    """An exercise whose answer makes a module; trials are its arguments and an input's shape.

    `renamed` is a pattern of names under which the answer may call its layers as it likes.
    """

    renamed: str = "$."

    def cases(self, answer, *options, **named) -> Iterable[Case]:
        """Each in training and in evaluation, with fresh weights."""
        for args, size in self.draw(answer, *options, **named):
            state, x = random_state(self.right, args), random(*size)
            output = evaluate(self.right, args, state, x, x.new_zeros(()))["output"]
            for training in (True, False):
                yield Case((args, state, x, random(*output.shape), training))

    def parts(self, answer, args, state, x, upstream, training) -> dict:
        """Layers; if these are right, output, gradients and running statistics."""
        right = {n: list(v.shape) for n, v in state.items() if not n.endswith(COUNTER)}
        names, found = self._names(self.layers(answer, args, x), right)
        if found != right:
            return {"layers": found}
        ours = {name: theirs for theirs, name in names.items()}
        given = {ours.get(name, name): value for name, value in state.items()}
        try:
            told = ask(evaluate, answer, args, given, x, upstream, training)
        except Mistake as mistake:
            mistake.settings = list(ask(convolutions, answer, args, x).values())
            raise
        gradients, statistics = told["gradients"].items(), told["statistics"].items()
        return (
            {"layers": found, "the output": told["output"]}
            | {f"the gradient at {names.get(name, name)}": value for name, value in gradients}
            | {f"{names[name]} after a pass": value for name, value in statistics if name in names}
        )

    def layers(self, answer, args, x) -> dict:
        """The shapes of the answer's weights and statistics, by their names."""
        return ask(shapes, answer, args, x)["layers"]

    def _names(self, got: dict, right: dict) -> tuple[dict, dict]:
        """The library's name of each of the answer's layers, and their shapes by these names."""
        left, names = dict(right), {}
        for name, shape in got.items():
            names[name] = name
            match = re.match(self.renamed, name)
            for one in list(left) if match else ():
                leaf = name.rpartition(".")[2]
                alike = one.startswith(match.group()) and one.endswith(f".{leaf}")
                if alike and left[one] == list(shape):
                    names[name] = one
                    del left[one]
                    break
        return names, {names[name]: list(shape) for name, shape in got.items()}

    def fit(self, wrong: Callable, case: Case, got: dict | Mistake, right: dict) -> float:
        """As in other exercises; of layers, the share of the deviations that both have."""
        if isinstance(got, Mistake):  # many mistakes end in the same exception
            outcome = self.outcome(wrong, case)
            alike = getattr(got, "settings", 0) == getattr(outcome, "settings", 1)
            return super().fit(wrong, case, got, right) * (1 + alike) / 2
        if got["layers"] == right["layers"]:
            return super().fit(wrong, case, got, right)
        layers = self.layers(wrong, case.inputs[0], case.inputs[2])
        if not got["layers"] and layers:
            return 0.0
        ours, theirs = (deviations(one, right["layers"]) for one in (layers, got["layers"]))
        shared = len(ours & theirs) / len(ours | theirs)
        return shared if shared >= 0.25 else 0.0

    def explain(self, answer, failed: tuple, trials: Iterable[tuple]) -> str:
        """As in other exercises; layers that have other names are not called missing."""
        case, got, right = failed
        if isinstance(got, dict) and renames(got["layers"], right["layers"]):
            return self.otherwise(answer, case, got, right)
        return super().explain(answer, failed, trials)

    def otherwise(self, answer, case: Case, got: dict, right: dict) -> str:
        """Names the layer that is not the library's, or what is wrong with what it computes."""
        name = self.differs(got, right)
        if name == "layers":
            if not got["layers"]:
                return NOT_WRITTEN
            try:
                expect_layers(got["layers"], right["layers"])
            except Mistake as mistake:
                return str(mistake)
        if name.endswith(" after a pass") and name in got:
            return _statistics(name.removesuffix(" after a pass"), case, got[name], right[name])
        if name not in got:
            return CUT_OFF.format("The output")
        hint = convolution_settings(answer, self.right, case.inputs[0], case.inputs[2])
        return hint or super().otherwise(answer, case, got, right)


def _statistics(name: str, case: Case, got: Tensor, right: Tensor) -> str:
    """What is wrong with the running statistics of a batch normalization."""
    before, training = case.inputs[1][name], case.inputs[-1]
    if not training:
        return f"{name} changes in evaluation: running statistics should stay as they are there."
    if same(got, before):
        return (
            f"{name} does not change in training: call batch normalization as a module, so that it "
            "updates the running statistics that evaluation needs."
        )
    share = 0.1 * ((got - before) / (right - before)).mean().item()
    return (
        f"In training {name} takes {share:.2g} of the batch's value, but should take 0.1: in "
        "PyTorch `momentum` is the share of the new value, 0.1 by default."
    )


def changed(make: Callable, change: Callable) -> Callable:
    """A wrong network: `change` is done to what `make` makes."""

    def wrong(*args):
        module = make(*args)
        change(module)
        return module

    return wrong


def computing(make: Callable, forward: Callable) -> Callable:
    """A wrong network: the layers are right, and it computes `forward(self, x)`."""
    return changed(make, lambda net: setattr(net, "forward", functools.partial(forward, net)))


def renames(got: Mapping, right: Mapping) -> bool:
    """Whether a layer that is not there is there under another name."""
    modules = {name.rpartition(".")[0] for name in right}
    extra = [name for name in got if name not in right]
    return any(
        got[name] == right[lacking] and name.rpartition(".")[2] == lacking.rpartition(".")[2]
        for lacking in right
        for name in extra
        if lacking not in got and name.rpartition(".")[0] not in modules
    )


def deviations(got: Mapping, right: Mapping) -> set:
    """What layers lack, have, and have in another shape."""
    return (
        {("lacks", name) for name in right if name not in got}
        | {("has", name) for name in got if name not in right}
        | {(name, tuple(got[name])) for name in right if name in got and got[name] != right[name]}
    )


def convolution_settings(answer: Callable, right: Callable, args: list, x: Tensor) -> str:
    """The first setting of a convolution that is not the library's; empty if all are."""
    got = ask(convolutions, answer, args, x)
    for name, values in convolutions(right, args).items():
        for setting, value in values.items():
            if name in got and got[name][setting] not in (value, "same"):
                return f"{name} has {setting} {got[name][setting]}, but should have {value}."
    return ""


ALIKE_WITHIN = 8.0  # for fair draws, at most once in ten million checks


def alike(draws: Tensor) -> float:
    """How much more than by chance draws (N,) that are any distance apart agree: in deviations."""
    draws = draws.double() - draws.double().mean()
    spectrum = torch.fft.rfft(draws)
    products = torch.fft.irfft(spectrum.abs().square(), n=len(draws))[1:]
    return (products.abs().max() / (draws.square().mean() * len(draws) ** 0.5)).item()

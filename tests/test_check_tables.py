"""Every row of every table of wrong answers: this code gets this sentence, and no other does."""

import inspect
import json
import random
import re

import numpy as np
import pytest
import torch
from tables import EXERCISES

from grading import session, wire
from resnets import check
from resnets.check import asking

OPTIONS = {  # where what the public tests of an assignment try does not show every mistake
    "equal_width": {"settings": [(96, 8, 1), (64, 4, 32), (50, 3, 5)]},
    "seen_share": {
        "settings": [
            ("1x1", 7, 10, 2), ("3x3", 8, 12, 4), ("3x3", 9, 10, 4), ("1x1", 10, 11, 3)
        ]
    },
    "resnet_cost": {
        "settings": [
            ((3, 4, 6, 3), True, 225, 160, "3x3"),
            ((1, 2, 1, 1), False, 97, 130, "3x3"),
            ((3, 4, 6, 3), True, 224, 224, "1x1"),
        ]
    },
}  # fmt: skip
ROWS = {}  # what two tables share is tried once
for name, function in EXERCISES.items():
    for sentence, wrong in function.exercise.wrong.items():
        row = pytest.param(function, sentence, wrong, id=f"{name}: {sentence}")
        ROWS.setdefault((sentence, id(wrong)), row)
each = pytest.mark.parametrize("function", EXERCISES.values(), ids=EXERCISES.keys())


def options(function):
    return OPTIONS.get(function.__name__, {})


@pytest.mark.parametrize(("function", "sentence", "wrong"), ROWS.values())
@pytest.mark.usefixtures("same_inputs")
def test_this_code_gets_this_sentence(function, sentence, wrong):
    verdict = function(wrong, **options(function))
    assert not verdict
    assert verdict.message == sentence


def test_the_tables_name_more_mistakes_than_before():
    assert len(ROWS) > 500


@each
def test_the_right_answer_is_right_each_time(function):
    for _ in range(3):
        verdict = function(function.exercise.right, **options(function))
        assert verdict, verdict


@each
def test_no_answer_so_far_is_for_an_empty_answer(function):
    for empty in (..., None):
        assert function(empty).message == asking.NOT_WRITTEN
    if callable(function.exercise.right):
        assert function(lambda *args: None).message == asking.NOT_WRITTEN
        assert function(lambda *args: ...).message == asking.NOT_WRITTEN


@each
def test_anything_else_is_told_and_no_traceback(function):
    for given in ("text", 7, {}, [1, [2]], 1j, np.array("text")):
        assert function(given).message != asking.NOT_WRITTEN
        verdict = function(lambda *args, given=given: given)
        assert not verdict
        in_place = function.__name__ == "dilated_stage"  # what it returns does not matter
        assert (verdict.message == asking.NOT_WRITTEN) == in_place


class Apart:
    """An answer that lives in another process, as in grading: numbers pass to it as JSON."""

    def __init__(self, answer):
        self.answer = answer

    def __ask__(self, question, inputs):
        try:
            return pass_on(asking.plain(question(self.answer, *pass_on(list(inputs)))))
        except Exception as error:
            raise check.Mistake(session._message([type(error).__name__, str(error)])) from error


def pass_on(value):
    return wire.decode(json.loads(json.dumps(wire.encode(value, lambda thing: {}))), lambda _: None)


@each
def test_the_verdict_is_the_same_where_the_answer_lives_in_another_process(function):
    if not callable(function.exercise.right):
        return  # numbers are read there, and judged here
    assert function(Apart(function.exercise.right), **options(function))
    for sentence, wrong in list(function.exercise.wrong.items())[:1]:
        assert function(Apart(wrong), **options(function)).message == sentence


def test_checks_are_functions_with_a_question_for_a_docstring():
    for name in check.__all__:
        function = getattr(check, name)
        if inspect.isfunction(function) and name != "ask" and name != "rerun":
            assert re.match(r"(Is|Are|Does) .*\?", function.__doc__), name


def state():
    return random.getstate(), torch.get_rng_state().tolist(), str(np.random.get_state())


@each
def test_the_students_random_numbers_stay_as_they_were(function):
    before = state()
    function(function.exercise.right)
    assert state() == before


@each
def test_the_settings_of_the_notebook_do_not_matter_and_stay(function):
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")  # as a GPU would be
    try:
        verdict = function(function.exercise.right, **options(function))
        assert not torch.is_grad_enabled()
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
    assert verdict, verdict

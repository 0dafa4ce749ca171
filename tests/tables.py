"""The exercises' tables, and a way to try many answers on the same inputs in little time."""

from resnets import check

EXERCISES = {
    name: function
    for module in check.MODULES
    for name, function in vars(module).items()
    if hasattr(function, "exercise") and function.__module__ == module.__name__
}


def drawn_once(cases):
    known = {}

    def once(_answer, **options):
        key = repr(options)
        if key not in known:
            known[key] = list(cases(None, **options))
        return known[key]

    return once


def computed_once(function):
    """`function`, which computes once what it gives, or raises, for the same arguments."""
    known = {}

    def once(*args):
        key = tuple(map(id, args))  # valid as long as `known` keeps the arguments
        if key not in known:
            try:
                known[key] = args, function(*args)
            except check.Mistake as mistake:
                known[key] = args, mistake
        if isinstance(known[key][1], check.Mistake):
            raise known[key][1]
        return known[key][1]

    return once

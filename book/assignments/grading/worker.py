"""The process that runs a submission, confined: `python -m grading.worker`, or a fork by `warm`.

It reads requests from its standard input and answers on its standard output, a line of JSON each.
Nothing it says is trusted.
"""

import base64
import importlib
import io
import json
import os
import pkgutil
import sys
from collections.abc import Iterator

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import RichOutput, capture_output
from traitlets.config import Config

import resnets
from grading import syscalls, wire
from resnets import check
from resnets.check.asking import as_usual, plain


class Shell(InteractiveShell):
    """IPython's shell without a window system: figures become outputs."""

    def enable_gui(self, gui=None):
        pass


def main() -> None:
    """Answer until the input ends."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what a submission prints past Python's sys.stdout is not a reply
        os.dup2(nothing, stream)
    serve(prepare(), requests, replies)


def prepare() -> Shell:
    """Load what a submission may need: the shell for it."""
    sys.stdin = io.StringIO()
    set_questions_apart()
    shell = Shell.instance(config=Config({"HistoryManager": {"enabled": False}}), colors="nocolor")
    shell.enable_matplotlib("inline")
    shell.run_line_magic("xmode", "Minimal")  # a traceback would show this machine's folders
    return shell


def serve(shell: Shell, requests: int, replies: int) -> None:
    """Answer what is read from one file descriptor on the other, until the input ends."""
    syscalls.forbid()
    kept: list = []
    actions = {"run": run, "names": names, "call": call}
    answers = os.fdopen(replies, "w", encoding="utf-8")
    for line in os.fdopen(requests, encoding="utf-8"):
        request = json.loads(line)
        reply = actions[request["action"]](shell, kept, request)
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


QUESTIONS = {}  # the modules of `resnets.check`, by their names


def set_questions_apart() -> None:
    """Keep `resnets.check` to ourselves: a submission imports, and may patch, another copy."""
    for module in pkgutil.iter_modules(check.__path__, f"{check.__name__}."):
        importlib.import_module(module.name)
    names = [name for name in sys.modules if f"{name}.".startswith(f"{check.__name__}.")]
    QUESTIONS.update({name: sys.modules.pop(name) for name in names})
    del resnets.check


def run(shell: InteractiveShell, kept: list, request: dict) -> dict:
    """Run a cell: its outputs as in a notebook file."""
    with capture_output() as captured:
        result = shell.run_cell(request["source"])
    outputs = [
        {"output_type": "stream", "name": name, "text": text}
        for name, text in (("stdout", captured.stdout), ("stderr", captured.stderr))
        if text
    ]
    outputs += [_displayed(output) for output in captured.outputs]
    error = result.error_before_exec or result.error_in_exec
    return {"outputs": outputs, "error": error and _told(error)}


def _displayed(output: RichOutput) -> dict:
    data = {
        kind: base64.b64encode(content).decode() if isinstance(content, bytes) else content
        for kind, content in output.data.items()
    }
    return {"output_type": "display_data", "data": data, "metadata": {}}


def names(shell: InteractiveShell, kept: list, request: dict) -> dict:
    """What the notebook's names hold, of those that it defined."""
    found = {name: shell.user_ns[name] for name in request["names"] if name in shell.user_ns}
    for name, value in found.items():
        if isinstance(value, Iterator):  # the next test reads it as well
            found[name] = shell.user_ns[name] = list(value)
    return {"names": {name: _encode(value, kept) for name, value in found.items()}}


def call(shell: InteractiveShell, kept: list, request: dict) -> dict:
    """Call a kept object, or a question of the course library about one.

    A question is one of our own copy: a patched helper cannot say that inputs were left alone.
    """
    try:
        inputs, options = wire.decode(request["inputs"], lambda item: kept[item["object"]])
        if request["question"]:
            module, name = request["question"]
            function = getattr(QUESTIONS[module], name)
        else:
            function, inputs = inputs[0], inputs[1:]
        with capture_output(), as_usual():
            result = plain(function(*inputs, **options))
        return {"result": _encode(result, kept)}
    except BaseException as error:  # SystemExit is the submission's as well
        return {"error": _told(error)}


def _encode(value, kept: list):
    def keep(thing):
        kept.append(thing)
        return {"object": len(kept) - 1, "type": type(thing).__name__}

    return wire.encode(value, keep)


def _told(error: BaseException) -> list[str]:
    return [type(error).__name__, str(error)[:2000]]


if __name__ == "__main__":
    main()

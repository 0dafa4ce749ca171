"""The library imported without PyTorch, to read its signatures and docstrings for the site.

What the library imports and the site does without (PyTorch, Matplotlib, …) is replaced by
placeholders while it is imported. Sphinx's own mocks would spoil the page: they appear under their
full names, a class derived from one has no signature, and they know no `Tensor | None`.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Literal

import resnets

PACKAGES = (
    *("d2l", "keras", "matplotlib", "matplotlib_inline", "PIL", "scipy", "torch", "torchvision"),
)


def import_library() -> None:
    """Import the library's modules, but for the experiments themselves, with placeholders.

    Modules that were imported before stay as they are.
    """
    with placeholders():
        for module in pkgutil.walk_packages(resnets.__path__, "resnets."):
            if not module.name.startswith(("resnets.experiments.", "resnets.__main__")):
                importlib.import_module(module.name)


@contextmanager
def placeholders() -> Iterator[None]:
    """In this block, what is imported from `PACKAGES` is a placeholder, installed or not."""
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if _replaced(name)}
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if _replaced(name)]:
            del sys.modules[name]
        sys.modules.update(kept)


class Placeholder(type):
    """A class whose every attribute is another such class, under the name that it was asked for."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__") or "_placeholder" not in vars(cls):  # of the library's own class
            raise AttributeError(name)
        return _placeholder(name, f"{cls.__module__}.{cls.__name__}")

    def __iter__(cls) -> Iterator:
        return iter(())


class Module(metaclass=Placeholder):
    """In place of `torch.nn.Module`."""

    def __init__(self, *args, **kwargs) -> None: ...


class Conv2d(Module):
    """In place of `torch.nn.Conv2d`, whose signature the page shows."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: str | int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        device=None,
        dtype=None,
    ) -> None: ...


def _placeholder(name: str, module: str) -> type:
    def __init__(self, *args, **kwargs): ...

    def __call__(self, function):  # as a decorator: @torch.no_grad()
        return function

    content = {"__init__": __init__, "__call__": __call__, "_placeholder": True}
    return Placeholder(name, (), content | {"__module__": module})


class _Package(ModuleType):
    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _placeholder(name, self.__name__)


class _Finder:
    """Finds and loads every module of `PACKAGES`."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if _replaced(name) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Package(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ == "torch.nn":
            module.Module, module.Conv2d = Module, Conv2d


def _replaced(name: str) -> bool:
    return name.partition(".")[0] in PACKAGES

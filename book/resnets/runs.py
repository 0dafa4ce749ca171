"""A recorded run: one JSON file that says what ran, where, when, with what, and how it went."""

import ast
import hashlib
import io
import json
import math
import subprocess
import zipfile
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from resnets import __version__
from resnets.files import whole_file

if TYPE_CHECKING:  # the site shows what was recorded, and has no PyTorch
    import torch

RECORDED = Path(__file__).parent / "recorded"
REAL = "Fashion-MNIST"  # as `data.REAL`
SCHEMA = 1
FINGERPRINT = ", code "  # stands before it, in a run's `commit`
# Where `changed_since` does not look: changes there change no result.
BOOKKEEPING = ("downloading", "fashion_mnist", "hardware", "whole_file")


@dataclass(frozen=True)
class Run:
    """One run of an experiment.

    Attributes:
        name: the experiment.
        scale: "quick", "hour" or "full".
        seed: of the weights and of the order of the images.
        config: the settings that the scale stands for.
        commit: of the code. Where files were not committed ("+changes"), or git does not know this
            copy ("release 0.1.0"), with a fingerprint of the code that the run uses.
        date: UTC, ISO 8601.
        device: the name of the hardware, with the CPU's number of threads.
        precision: of convolutions and matrix products.
        torch: its version.
        seconds: how long the training took, all networks together, interruptions left out.
        data: the source of the images, "Fashion-MNIST" or the stand-in's name for instance.
        history: for each network, a row an epoch.
        final: after the last epoch; of several networks, for each network.
        measured: tables of what was measured on the trained networks, each a list of rows.
        complete: False for what is left of a run that was stopped.
    """

    name: str
    scale: str
    seed: int
    config: dict
    commit: str
    date: str
    device: str
    precision: str
    torch: str
    seconds: float
    data: str
    history: dict
    final: dict
    measured: dict = field(default_factory=dict)
    complete: bool = True
    schema: int = SCHEMA

    @property
    def filename(self) -> str:
        stand_in = "-standin" if "stand-in" in self.data else ""
        return f"{self.name}-{self.scale}{stand_in}-seed{self.seed}.json"

    def write(self, folder: Path = RECORDED) -> Path:
        """Write the run to `folder` and return the file's path.

        Raises:
            ValueError: a number is not finite.
        """
        path = folder / self.filename
        text = json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return path


def new_run(*, device: "torch.device", history: dict, **what) -> Run:
    """A run made now, on `device`; `what` are `Run`'s other attributes."""
    import torch

    from resnets.device import hardware, precision

    run = Run(
        history=history,
        seconds=sum(rows[-1]["seconds"] for rows in history.values()),
        commit="",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        device=hardware(device),
        precision=str(precision(device)).removeprefix("torch."),
        torch=torch.__version__,
        **what,
    )
    return replace(run, commit=_commit(run))


def read(path: Path) -> Run:
    """Read one recorded run.

    Raises:
        ValueError: the file is not JSON, lacks an entry, or has another schema.
    """
    hint = "record it again with `python -m resnets run`"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): {hint}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"{path} is not a recorded run of schema {SCHEMA}: {hint}")
    values = dict(content)
    for entry in fields(Run):
        optional = entry.default is not MISSING or entry.default_factory is not MISSING
        if optional and entry.name not in content:
            continue
        value = content.pop(entry.name, None)
        kind = (int, float) if entry.type is float else entry.type
        if not isinstance(value, kind):
            raise ValueError(f"{path} has no valid entry {entry.name!r}: {hint}")
    if content:
        raise ValueError(f"{path} has unknown entries {sorted(content)}: {hint}")
    return Run(**values)


def recorded(name: str, scale: str, source: str = REAL, folder: Path = RECORDED) -> list[Run]:
    """The recorded runs of an experiment at one scale on one data source, by seed.

    Raises:
        LookupError: there is none.
    """
    found = [read(path) for path in folder.glob(f"{name}-{scale}-*.json")]
    found = sorted((run for run in found if run.data == source), key=lambda run: run.seed)
    if not found:
        command = f"python -m resnets run {name} --scale {scale} --seed 0"
        raise LookupError(f"no run of {name} at scale {scale} is recorded: run `{command}`")
    return found


def conditions(runs: list[Run]) -> str:
    """Two lines: how many seeds on what data, how long; on what hardware and versions."""

    def each(values) -> str:
        return " and ".join(sorted(set(values)))

    minutes = sum(run.seconds for run in runs) / len(runs) / 60
    seeds = "1 seed" if len(runs) == 1 else f"{len(runs)} seeds"
    return (
        f"{seeds} on {each(run.data for run in runs)}, {minutes:.1f} minutes each\n"
        f"{each(run.device for run in runs)}, {each(run.precision for run in runs)}, "
        f"torch {each(run.torch for run in runs)}"
    )


def finals(runs: list[Run]) -> pd.DataFrame:
    """The final figures: a row for each run and network, a column for each figure."""
    rows = []
    for run in runs:
        nested = all(isinstance(value, dict) for value in run.final.values())
        networks = run.final if nested else {run.name: run.final}
        rows += [{"seed": run.seed, "network": n, **figures} for n, figures in networks.items()]
    return pd.DataFrame(rows)


def measured(runs: list[Run], table: str) -> pd.DataFrame:
    """One table of what the runs measured on their trained networks, with a column `seed`."""
    rows = [{"seed": run.seed, **row} for run in runs for row in run.measured[table]]
    return pd.DataFrame(rows)


def mean_sd(values) -> str:
    """`0.911 ± 0.007`: the mean and the sample standard deviation of a series of numbers.

    Fewer decimals from 10 on. Where there is no number at all, nothing.
    """
    values = [float(value) for value in values if not math.isnan(value)]
    if not values:
        return ""
    mean = math.fsum(values) / len(values)
    digits = 3 if abs(mean) < 10 else 1 if abs(mean) < 1000 else 0
    if len(values) < 2:
        return f"{mean:.{digits}f} (one run)"
    sd = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return f"{mean:.{digits}f} ± {sd:.{digits}f}"


def summary(runs: list[Run]) -> pd.DataFrame:
    """`mean ± sd` over the seeds of every final figure, a row for each network."""
    table = finals(runs).drop(columns="seed")
    return table.groupby("network", sort=False).agg(mean_sd)


def changed_since(run: Run) -> list[str] | None:
    """The library's modules in which something that `run` uses was changed since, by name.

    A comment or a docstring is no change, and neither is what a run does not call. What fetches
    checked files, names the machine or writes files is left out, as is this module.
    None where that is not known: this copy of the course has no history that reaches back to the
    run, or the run's code was not committed and is no longer the same.
    """
    if recorded_code := run.commit.partition(FINGERPRINT)[2]:
        return [] if recorded_code == _fingerprint(run) else None
    if not _sources(run.commit):
        return None
    now, then = _used(run, ""), _used(run, run.commit)
    changed = {use for use in now.keys() | then.keys() if now.get(use) != then.get(use)}
    return sorted({module for module, _ in changed})


def _used(run: Run, commit: str) -> dict[tuple[str, str], str]:
    """The code, at a commit, of each definition that a run uses, by module and name."""
    found, to_follow = {}, {(f"experiments.{run.name}", "run")}
    if run.data != REAL:
        to_follow.add(("data", "stand_in"))
    while to_follow:
        module, name = use = to_follow.pop()
        if use in found or module == "runs" or name in BOOKKEEPING:
            continue
        defined = _definitions(module, commit)
        if name == "*":
            to_follow |= {(module, other) for other in defined}
            continue
        found[use], uses = defined.get(name, ("", set()))
        to_follow |= uses | ({(module, "")} if "" in defined else set())
    return found


@cache
def _definitions(module: str, commit: str) -> dict[str, tuple[str, set[tuple[str, str]]]]:
    """What a module of the library defines, by name: its code, and what that uses of the library.

    Without comments and docstrings. Under "" is what defines nothing; an import defines its names.
    A use is a module and a name, "*" for all of them.
    """
    tree, code, uses = ast.parse(_source(module, commit)), {}, {}
    for node in ast.walk(tree):
        first = getattr(node, "body", None) and isinstance(node.body, list) and node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            node.body[0] = ast.Pass()
    modules = {}  # by the name that they have here
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        origin = getattr(node, "module", None) or ""
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            code[name], uses[name] = f"{origin} {alias.name}", set()
            if origin.partition(".")[0] == "resnets":
                parent = origin.partition(".")[2]
                inside = f"{parent}.{alias.name}".strip(".")
                if _source(inside, commit):
                    modules[name] = inside
                uses[name] = {(inside, "*") if name in modules else (parent, alias.name)}
    rest = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    names = [_names(node) for node in rest]
    for node, defines in zip(rest, names, strict=True):
        for name in defines:
            code[name] = code.get(name, "") + ast.dump(node)
    for node, defines in zip(rest, names, strict=True):
        of_modules = {
            part.value: (modules[part.value.id], part.attr)
            for part in ast.walk(node)
            if isinstance(part, ast.Attribute)
            and isinstance(part.value, ast.Name)
            and part.value.id in modules
        }
        used = set(of_modules.values())
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and part.id in code and part not in of_modules:
                used.add((module, part.id))
        for name in defines:
            uses[name] = uses.get(name, set()) | used
    return {name: (code[name], uses[name]) for name in code}


def _names(node: ast.stmt) -> set[str]:
    """The names that a statement at a module's top level defines, or ""."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    parts = ast.walk(node)
    stored = {p.id for p in parts if isinstance(p, ast.Name) and isinstance(p.ctx, ast.Store)}
    return stored or {""}


def _source(module: str, commit: str) -> str:
    """The text of a module of the library at a commit, now where that is ""; "" if it has none."""
    package = Path(__file__).parent
    for path in (f"{module.replace('.', '/')}.py", f"{module.replace('.', '/')}/__init__.py"):
        path = path.removeprefix("/")
        if commit and path in _sources(commit):
            return _sources(commit)[path]
        if not commit and (package / path).is_file():
            return (package / path).read_text("utf-8")
    return ""


@cache
def _sources(commit: str) -> dict[str, str]:
    """The library's modules at a commit, by path; none where the commit is not known."""
    archive = _git("archive", "--format=zip", commit, "--", "*.py")
    if not archive:
        return {}
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        return {name: files.read(name).decode() for name in files.namelist()}


def _commit(run: Run) -> str:
    commit = _git("rev-parse", "--short=12", "HEAD").decode().strip()
    if not commit or not _git("ls-files", __file__):
        return f"release {__version__}{FINGERPRINT}{_fingerprint(run)}"
    if _git("status", "--porcelain", "--", "*.py"):
        return f"{commit}+changes{FINGERPRINT}{_fingerprint(run)}"
    return commit


def _fingerprint(run: Run) -> str:
    """Of the code, as it is now, that the run uses."""
    code = sorted(_used(run, "").items())
    return hashlib.sha256(repr(code).encode()).hexdigest()[:12]


def _git(*command: str) -> bytes:
    """What git prints, here; empty where it fails or is not installed."""
    command = ["git", *command]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True)
    except FileNotFoundError:
        return b""
    return done.stdout if done.returncode == 0 else b""

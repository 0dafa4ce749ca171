"""Record runs of the experiments, and compare speeds.

    python -m resnets run NAME --scale quick --seed 0    one run
    python -m resnets record --scale hour                every experiment, three seeds each
    python -m resnets bench                              d2l's lesson against the course's

Each is written as a JSON file. What is stopped (Ctrl-C, a lost machine) goes on where it was when
the same command is given again. With several GPUs: `torchrun --nproc-per-node 8 -m resnets run …`.
"""

import argparse
import importlib
import os
import pkgutil
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from resnets import camvid, data, experiments, processes, runs, training
from resnets.device import DEVICES, SCALES, best_device, default_scale, hardware

SEEDS = 3
# Speeds are for a quiet machine: they are recorded by a command of their own.
SPEEDS = ("bench", "scaling", "lesson_d2l", "lesson_d2l_28", "lesson_course")


def main() -> None:
    names = [module.name for module in pkgutil.iter_modules(experiments.__path__)]
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m resnets", description=__doc__, formatter_class=how)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run an experiment and record it as a JSON file")
    run.add_argument("name", choices=names)
    run.add_argument("--seed", type=int, default=0)
    everything = commands.add_parser("record", help="record every experiment at one scale")
    everything.set_defaults(names=[name for name in names if name not in SPEEDS])
    bench = commands.add_parser("bench", help="d2l's lesson and the course's, in turns")
    bench.set_defaults(sync_batch_norm=False)
    for command in (run, everything, bench):
        command.add_argument("--scale", choices=SCALES, default=None)
        command.add_argument("--device", choices=DEVICES, help="instead of the best one found")
        command.add_argument("--stand-in", action="store_true", help="on the drawn stand-in")
    for command in (run, everything):
        command.add_argument(
            "--sync-batch-norm",
            action="store_true",
            help="under torchrun: batch normalization over all processes",
        )
    options = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):  # a file that Windows writes may lack an arrow or a ×
        stream.reconfigure(errors="backslashreplace")
    if options.sync_batch_norm and not torch.distributed.is_torchelastic_launched():
        parser.error("--sync-batch-norm is for several processes: start them with torchrun")
    if options.device:
        os.environ["RESNETS_DEVICE"] = options.device
    options.scale = options.scale or default_scale()
    with processes.joined(best_device(), options.sync_batch_norm):
        {"run": record, "record": record_all, "bench": compare_speeds}[options.command](options)


def record(options: argparse.Namespace) -> runs.Run:
    """Run, resuming from checkpoints if an earlier try was stopped, and write the run."""
    experiment = importlib.import_module(f"resnets.experiments.{options.name}")
    with processes.first_alone():
        if options.name == "camvid":
            height = experiment.CONFIGS[options.scale].height
            images = camvid.stand_in(height) if options.stand_in else camvid.camvid(height=height)
        else:
            images = data.stand_in() if options.stand_in else data.fashion_mnist()
    source = "standin" if "stand-in" in images[0].source else "real"
    folder = f"{options.name}-{options.scale}-{source}-seed{options.seed}"
    checkpoints = experiments.checkpoint_root() / folder
    try:
        run = experiment.run(options.scale, options.seed, data=images, checkpoints=checkpoints)
    except KeyboardInterrupt:
        keep_history(options, images[0].source, experiment, checkpoints)
        raise
    if processes.rank() == 0:
        path = run.write(runs.RECORDED)
        shutil.rmtree(checkpoints, ignore_errors=True)
        print(runs.summary([run]).to_string())
        print(f"{runs.conditions([run])}\nrecorded in {path}")
    return run


def keep_history(options, source: str, experiment, checkpoints: Path) -> None:
    """Write what a stopped run has of its history, marked incomplete, beside its checkpoints."""
    saved = {path.stem: training.read_history(path) for path in checkpoints.glob("*.pt")}
    if not saved or processes.rank() > 0:
        return
    run = runs.new_run(
        name=options.name,
        scale=options.scale,
        seed=options.seed,
        config=asdict(experiment.CONFIGS[options.scale]),
        data=source,
        history=saved,
        final={},
        device=best_device(),
        complete=False,
    )
    path = run.write(checkpoints)
    print(f"\nstopped: the history so far, marked incomplete, is in {path}")
    print("the same command goes on after the last whole epoch")


def record_all(options: argparse.Namespace) -> None:
    """Record `SEEDS` runs of each experiment; leave what today's code recorded on this hardware."""
    for name in options.names:
        for seed in range(SEEDS):
            options.name, options.seed = name, seed
            if recorded_here(options):
                print(f"{name}, seed {seed}: recorded already, with this code and hardware")
                continue
            print(f"{name}, seed {seed}", flush=True)
            record(options)


def recorded_here(options: argparse.Namespace) -> bool:
    source = "-standin" if options.stand_in else ""
    path = runs.RECORDED / f"{options.name}-{options.scale}{source}-seed{options.seed}.json"
    if not path.exists():
        return False
    run = runs.read(path)
    return run.device == hardware(best_device()) and runs.changed_since(run) == []


def compare_speeds(options: argparse.Namespace) -> None:
    """Record `SEEDS` rounds of `bench`, and print its ratios beside those recorded last."""
    source = data.STAND_IN if options.stand_in else data.REAL
    try:
        last = runs.recorded("bench", options.scale, source, runs.RECORDED)
    except LookupError:
        last = []
    options.name, made = "bench", []
    for options.seed in range(SEEDS):
        made.append(record(options))
    for title, group in (("recorded last", last), ("now", made)):
        if group:
            print(f"\n{title}: {runs.conditions(group)}\n{runs.summary(group).to_string()}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError, FloatingPointError, torch.OutOfMemoryError) as error:
        sys.exit(f"error: {error}")

"""Record a run of an experiment: `python -m resnets run NAME --scale quick --seed 0`."""

import argparse
import importlib
import pkgutil
import shutil
import sys

import platformdirs

from resnets import camvid, data, experiments, runs
from resnets.device import SCALES, default_scale


def main() -> None:
    names = [module.name for module in pkgutil.iter_modules(experiments.__path__)]
    parser = argparse.ArgumentParser(prog="python -m resnets", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run an experiment and record it as a JSON file")
    run.add_argument("name", choices=names)
    run.add_argument("--scale", choices=SCALES, default=default_scale())
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--stand-in", action="store_true", help="on the drawn stand-in")
    record(parser.parse_args())


def record(options: argparse.Namespace) -> None:
    """Run, resuming from checkpoints if an earlier try was stopped, and write the run."""
    experiment = importlib.import_module(f"resnets.experiments.{options.name}")
    if options.name == "camvid":
        height = experiment.CONFIGS[options.scale].height
        images = camvid.stand_in(height) if options.stand_in else camvid.camvid(height=height)
    else:
        images = data.stand_in() if options.stand_in else data.fashion_mnist()
    source = "standin" if "stand-in" in images[0].source else "real"
    checkpoints = platformdirs.user_cache_path("resnets") / "checkpoints"
    checkpoints /= f"{options.name}-{options.scale}-{source}-seed{options.seed}"
    run = experiment.run(options.scale, options.seed, data=images, checkpoints=checkpoints)
    path = run.write(runs.RECORDED)
    shutil.rmtree(checkpoints, ignore_errors=True)
    print(runs.summary([run]).to_string())
    print(f"{runs.conditions([run])}\nrecorded in {path}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")

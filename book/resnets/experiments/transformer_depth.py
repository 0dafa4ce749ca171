"""Pre-norm against post-norm transformers, shallow and deep, with a warm-up and without.

All start from the same weights and see the same images in the same order. The schedules fall to
zero along a cosine: "no warm-up" from the first step on, "warm-up" after it rose over the first
quarter of the steps. Each network is trained at each of several rates, because the best ones
differ, and judged on images held out of the training set; the test set is not touched.

    python -m resnets run transformer_depth --scale hour --seed 0
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

from resnets.data import ImageSet, batches, fashion_mnist, split
from resnets.device import best_device, check_scale, seed_everything
from resnets.experiments import resumable
from resnets.runs import Run, new_run
from resnets.training import Recipe, fit
from resnets.transformer import Transformer, gradient_norms, states

HELD_OUT = 2_000


@dataclass(frozen=True)
class Config:
    """Transformers of each of `blocks` are trained at each of `rates`, by `recipe` otherwise."""

    blocks: tuple[int, ...]
    images: int
    rates: tuple[float, ...]
    recipe: Recipe


RATES = (0.1, 0.03, 0.01, 0.003, 0.001)
RECIPE = Recipe(epochs=2, batch_size=64, weight_decay=1e-4)
CONFIGS = {
    "quick": Config((4, 12), 2_560, (0.03,), RECIPE),
    "hour": Config((6, 24), 10_000, RATES, RECIPE),
    "full": Config((6, 24, 48), 55_000, RATES, replace(RECIPE, epochs=10)),
}
PLACES = {"pre-norm": True, "post-norm": False}
SCHEDULES = {"no warm-up": "cosine", "warm-up": "one-cycle"}


@resumable
def run(
    scale: str,
    seed: int,
    data: tuple[ImageSet, ImageSet] | None = None,
    checkpoints: Path | None = None,
) -> Run:
    """Train each network, by each schedule, at each rate; see `compare`."""
    config = CONFIGS[check_scale(scale)]
    builds = {
        f"{place}-{blocks}": partial(Transformer, blocks, norm_first)
        for blocks in config.blocks
        for place, norm_first in PLACES.items()
    }
    return compare("transformer_depth", scale, seed, config, builds, data, checkpoints)


def compare(
    name: str,
    scale: str,
    seed: int,
    config: Config,
    builds: dict[str, partial],
    data: tuple[ImageSet, ImageSet] | None,
    checkpoints: Path | None,
) -> Run:
    """Train what `builds` makes, from the same seed, by each schedule, at each rate.

    The names are such as "pre-norm-24, warm-up at 0.03". `final` has the mean loss of the last
    epoch's batches, and the accuracy on the held-out images. `measured["stream"]` has, for each
    state of the stream (from 0, before the first sublayer, to 2N), the norm of the loss's
    `gradient` there, and the `size` of the stream, its root mean square, on the first batch:
    before training (training ""), and after each. `measured["diverged"]` has what became infinite
    (training, why); that has no history.
    """
    device = best_device()
    images = (data or fashion_mnist())[0].to(device)
    train, held_out = split(images, min(HELD_OUT, len(images) // 5))
    train = train[: config.images]
    batch = next(batches(train, config.recipe.batch_size))
    history, final, stream, diverged = {}, {}, [], []
    for network, build in builds.items():
        seed_everything(seed)
        stream += [{"network": network, "training": "", **row} for row in look(build(), *batch)]
        for (warm_up, schedule), rate in product(SCHEDULES.items(), config.rates):
            training = f"{warm_up} at {rate:g}"
            label = f"{network}, {training}"
            seed_everything(seed)
            model = build()
            try:
                history[label] = fit(
                    model,
                    train,
                    replace(config.recipe, lr=rate, schedule=schedule),
                    seed=seed,
                    validation=held_out,
                    checkpoint=checkpoints and checkpoints / f"{label}.pt",
                    label=f"{label:32}",
                )
            except FloatingPointError as error:
                diverged.append({"training": label, "why": str(error)})
                continue
            last = history[label][-1]
            final[label] = {key: last[key] for key in ("train_loss", "validation_accuracy")}
            after = look(model, *batch)
            stream += [{"network": network, "training": training, **row} for row in after]
    return new_run(
        name=name,
        scale=scale,
        seed=seed,
        config=asdict(config) | {"held_out": len(held_out)},
        data=images.source,
        history=history,
        final=final,
        measured={"stream": stream, "diverged": diverged},
        device=device,
    )


def look(model: Transformer, x, labels) -> Iterator[dict[str, float]]:
    """A row for each state of the stream."""
    model.to(x.device)
    gradients = gradient_norms(model, x, labels)
    for number, (state, gradient) in enumerate(zip(states(model, x), gradients, strict=True)):
        size = state.square().mean().sqrt().item()
        yield {"state": number, "gradient": gradient, "size": size}

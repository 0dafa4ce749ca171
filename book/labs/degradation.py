"""The curves of the lab *Degradation*: training loss and error of each epoch, from recorded runs.

    PYTHONPATH=book python -m labs.degradation

writes the script `web/degradation_data.js`; write it again when the runs are recorded again.
"""

from labs import script
from resnets import runs

NOTICE = "Written by `python -m labs.degradation` from the recorded runs."


def curve(run: runs.Run, network: str, rate: str, rows: list[dict]) -> dict:
    """One network's training: a loss and an error for each epoch, to four digits."""
    return {
        "network": network,
        "rate": rate,
        "seed": run.seed,
        "loss": [float(f"{row['train_loss']:.4g}") for row in rows],
        "error": [float(f"{1 - row['train_accuracy']:.4f}") for row in rows],
    }


def content() -> dict:
    """What the recorded runs say: depths 20 and 56 at three rates, and 110 at one."""
    rates, deep = (runs.recorded(name, "hour") for name in ("learning_rates", "degradation_110"))
    curves = []
    for run in rates:
        for name, rows in run.history.items():
            curves.append(curve(run, *name.split(" at "), rows))
    for run in deep:
        rate = str(run.config["recipe"]["lr"])
        curves += [curve(run, name, rate, rows) for name, rows in run.history.items()]
    return {
        "images": rates[0].config["images"],
        "conditions": runs.conditions(rates).splitlines()[1],
        "curves": curves,
    }


def table() -> str:
    """The figure that stands where there is no lab: losses at the end, for each rate and seed."""
    recorded = runs.recorded("learning_rates", "hour")
    names = list(dict.fromkeys(name.split(" at ")[0] for name in recorded[0].history))
    rates = list(dict.fromkeys(name.split(" at ")[1] for name in recorded[0].history))
    rows = [["training loss", *(f"at rate {rate}" for rate in rates)], ["---"] * (len(rates) + 1)]
    for name in names:
        last = [
            [run.history[f"{name} at {r}"][-1]["train_loss"] for run in recorded] for r in rates
        ]
        rows.append([name, *(", ".join(written(loss) for loss in losses) for losses in last)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def written(loss: float) -> str:
    """As the lab writes it."""
    return f"{loss:.4f}" if loss < 0.01 else f"{loss:.3f}"


def main() -> None:
    """Write the script."""
    script.write("degradation", NOTICE, content())


if __name__ == "__main__":
    main()

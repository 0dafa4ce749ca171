"""Does a network that says 90 % get nine of ten right? Reliability by bins of confidence.

Guo et al. (2017) is "On Calibration of Modern Neural Networks", ICML 2017.
"""

from torch import Tensor

BINS = 15


def reliability(logits: Tensor, labels: Tensor, bins: int = BINS) -> list[dict[str, float]]:
    """How sure the network was and how often right, for each bin of equal width that holds images.

    `logits` (N, classes), `labels` (N,). The confidence is the largest probability. A row has the
    bin's lower end, `low`, how many `images` have a confidence in it, and their mean `confidence`
    and `accuracy`.
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    right = (predicted == labels).double()
    number = (confidence * bins).long().clamp_max(bins - 1)
    rows = []
    for each in number.unique().tolist():
        inside = number == each
        rows.append(
            {
                "low": each / bins,
                "images": int(inside.sum()),
                "confidence": confidence[inside].mean().item(),
                "accuracy": right[inside].mean().item(),
            }
        )
    return rows


def expected_error(rows: list[dict[str, float]]) -> float:
    """The expected calibration error of Guo et al. (2017), equation 3, from `reliability`.

    The mean over the images of the distance between accuracy and confidence of their bin.
    """
    images = sum(row["images"] for row in rows)
    return sum(r["images"] * abs(r["accuracy"] - r["confidence"]) for r in rows) / images


def overconfidence(rows: list[dict[str, float]]) -> float:
    """Mean confidence minus accuracy, from `reliability`; below 0 the network is too modest."""
    images = sum(row["images"] for row in rows)
    return sum(row["images"] * (row["confidence"] - row["accuracy"]) for row in rows) / images

"""What d2l's editions published of their lesson on ResNet-18, read from their notebooks.

d2l's authors keep the executed notebooks, one commit a release, in github.com/d2l-ai: the English
ones in d2l-pytorch-colab, the Chinese ones in d2l-zh-pytorch-colab. `d2l_published.csv` has a row
for each execution of the lesson's training in their history, ten epochs each:

- edition, version, published: of the first release that shows it; commit: of that notebook;
- rate, batch: the constant learning rate, and the images in a batch;
- pooling: what the network pools with before its last layer; "max" up to version 0.14.3;
- test_accuracy, after the last epoch, and how it was read. Up to 0.17.5 and in the Chinese edition
  the notebook prints it. From 1.0 on it does not: the last point of the curve in its plot (SVG) was
  converted with the axis's ticks. On the eight plots whose figure is printed too, this gives the
  printed digits;
- seconds: of the cell, drawing and testing included, where the notebook says when it ran.

An execution that several releases show is in the table once.
"""

from pathlib import Path

import pandas as pd

TABLE = Path(__file__).with_name("d2l_published.csv")


def d2l() -> pd.DataFrame:
    """The table, a row an execution."""
    return pd.read_csv(TABLE)

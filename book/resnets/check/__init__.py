"""Is my answer right? One check for each exercise: `check.residual_block(MyBlock)`.

A check tries an answer on fresh random inputs and says "Right." or "Not yet." and what is wrong.
"""

from resnets.check.asking import Mistake, Verdict, ask
from resnets.check.blocks import residual_block

__all__ = [
    "Mistake",
    "Verdict",
    "ask",
    "residual_block",
]

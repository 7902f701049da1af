"""Names of the choices that the heads offer. Torch-free: configurations bound their values by them.

The paper's own loss and those of its companion are not published in a text that could be read; the
definitions are in `losses.py`, the names are ours.
"""

from typing import Literal, get_args

Loss = Literal["mse", "mce", "nce", "ordinal", "nested_dice", "ordinal+nested_dice"]
SoftmaxLoss = Literal["cross_entropy", "cross_entropy+region_dice"]
SigmoidLoss = Literal["bce", "bce+region_dice"]
Decode = Literal["activation", "cumulative"]

LOSSES: tuple[Loss, ...] = get_args(Loss)  # of the multi-level head
SOFTMAX_LOSSES: tuple[SoftmaxLoss, ...] = get_args(SoftmaxLoss)
SIGMOID_LOSSES: tuple[SigmoidLoss, ...] = get_args(SigmoidLoss)
DECODES: tuple[Decode, ...] = get_args(Decode)

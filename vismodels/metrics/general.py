"""Quantities that every trained model has: its loss, its size and what one forward pass costs."""

from vismodels.results import Metric

_ON_INPUT = "one forward pass in evaluation mode on the input size that the record names"

TRAIN_LOSS = Metric(
    "train_loss",
    "Training loss",
    higher_is_better=False,
    protocol="the quantity that training minimizes; comparable only between equal objectives",
    digits=4,
)
PARAMETERS = Metric(
    "parameters",
    "Parameters",
    higher_is_better=False,
    protocol="trainable and frozen numbers, without buffers; shared ones count once",
    digits=0,
)
MACS = Metric(
    "macs",
    "MACs",
    higher_is_better=False,
    protocol=f"multiply-accumulates of convolutions and matrix products, biases free; {_ON_INPUT}",
    digits=0,
)
ACTIVATIONS = Metric(
    "activations",
    "Activations",
    higher_is_better=False,
    protocol=f"elements put out by convolutions and matrix products; {_ON_INPUT}",
    digits=0,
)
BITOPS = Metric(
    "bitops",
    "BitOPs",
    higher_is_better=False,
    protocol=f"sum over layers of MACs x weight bits x activation bits, float is 32; {_ON_INPUT}",
    digits=0,
)

"""The affine maps while they are learnt: deviations from the identity as parameters."""

from collections.abc import Mapping

import torch
from torch import nn

from vismodels.methods.lineas.config import Mode
from vismodels.methods.lineas.maps import AffineMap, Maps


class TrainableMaps(nn.Module):
    """Deviations from scale 1, and shifts, of every layer; zero, the identity, at the start.

    With the deviation as the parameter, weight decay and soft thresholds pull to the identity, and
    what they set to zero is the identity exactly. Parameters are float32, whatever the pipeline.

    Args:
        units: layer -> number of its units.
        mode: which positions are moved, see `Maps`.
    """

    def __init__(self, units: Mapping[str, int], mode: Mode) -> None:
        super().__init__()
        self.layers = tuple(units)
        self.mode = mode
        self.deviations = nn.ParameterList(torch.zeros(count) for count in units.values())
        self.shifts = nn.ParameterList(torch.zeros(count) for count in units.values())

    def maps(self) -> Maps:
        """Return the maps, through which gradients reach the parameters."""
        parameters = zip(self.layers, self.deviations, self.shifts, strict=True)
        return Maps(
            {name: AffineMap(1 + scale, shift) for name, scale, shift in parameters}, self.mode
        )

    @torch.no_grad()
    def support(self) -> float:
        """Return the share of units that are not at the identity."""
        pairs = zip(self.deviations, self.shifts, strict=True)
        active = torch.cat([(deviation != 0) | (shift != 0) for deviation, shift in pairs])
        return active.sum().item() / len(active)

    @torch.no_grad()
    def clear_small_(self, threshold: float) -> None:
        """Set the numbers of at most this size to zero."""
        for parameter in self.parameters():
            parameter.masked_fill_(parameter.abs() <= threshold, 0)

    def freeze_zeros_(self) -> None:
        """Take the gradient from those numbers that are zero, so that they stay."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.masked_fill_(parameter == 0, 0)

    def without_gradient(self) -> list[str]:
        """Return the layers whose parameters the last backward pass did not reach."""
        return [
            layer
            for layer, shift in zip(self.layers, self.shifts, strict=True)
            if shift.grad is None
        ]

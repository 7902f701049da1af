"""The multi-level activation: one logit for any number of nested classes.

Hu et al. (2018), arXiv 1810.09488, for the four levels of a glioma; Piraud et al. (2018), arXiv
1804.01910, for three. Only their abstracts and introductions could be read: the formula, k = 10 and
h = 0.5 are a reconstruction, what follows from the formula is proved by the tests. C classes,
steepness k, spacing h, logistic function s:

    a(z) = sum over n = 1..C-1 of s(k (z + h (C/2 - n)))

It climbs from 0 to C - 1 with a plateau near every level. Each summand is a soft mask of the region
of all levels from n up, and the masks are nested for every z. Only k * h decides the shape: the
pair (k q, h / q) is the same activation of q z.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vismodels.config import suggestion
from vismodels.methods.multilevel_activation.names import DECODES, Decode

_LARGEST = 1e30  # of a cumulative logit; float32 ends at 3.4e38, and losses of voxels are summed
_HALVINGS = 100  # of a bracket of at most a few thousand / k: down to neighboring float64 numbers


@dataclass(frozen=True)
class Steps:
    """The steps that the activation climbs.

    Args:
        classes: C, levels from 0 to C - 1; at least 2, which is the logistic function of k z.
        steepness: k, of every step; also a factor of the gradient, so of the learning rate.
        spacing: h, from step to step in logits.

    Raises:
        ValueError: for fewer classes, or a steepness or spacing that is not positive.
    """

    classes: int = 4
    steepness: float = 10.0
    spacing: float = 0.5

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ValueError(f"expected at least 2 classes (levels), got {self.classes}")
        for name in ("steepness", "spacing"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite, got {value}")

    @property
    def positions(self) -> tuple[float, ...]:
        """Logits at which the steps 1..C-1 are half climbed, ascending."""
        return tuple(self.spacing * (n - self.classes / 2) for n in range(1, self.classes))


def activate(z: Tensor, steps: Steps) -> Tensor:
    """Return a(z) in [0, C - 1], of the shape and type of `z`; half precision only rounds it.

    Args:
        z: any shape, floating point.
        steps: of the activation.
    """
    wide = widened(z)
    total = torch.zeros_like(wide)
    for position in steps.positions:
        total = total + torch.sigmoid(steps.steepness * (wide - position))
    return total.to(z.dtype)


def derivative(z: Tensor, steps: Steps) -> Tensor:
    """Return da/dz, like `activate`; exact in the tails, where 1 - s rounds to 0."""
    wide = widened(z)
    total = torch.zeros_like(wide)
    for position in steps.positions:
        x = steps.steepness * (wide - position)
        total = total + torch.sigmoid(x) * torch.sigmoid(-x)
    return (steps.steepness * total).to(z.dtype)


def cumulative_logits(z: Tensor, steps: Steps) -> Tensor:
    """Return the logits of the regions, (B, C - 1, ...), descending along axis 1, all finite.

    Computed at least in float32: k z of a half-precision z may overflow. What would overflow there
    too, infinite logits included, becomes the largest number whose loss and sum of losses over a
    volume are finite; probabilities and levels are the same.

    Args:
        z: (B, 1, ...), floating point.
        steps: of the activation.

    Raises:
        ValueError: if `z` has not exactly one channel.
    """
    if z.ndim < 2 or z.shape[1] != 1:
        raise ValueError(f"expected logits (B, 1, ...) with one channel, got {tuple(z.shape)}")
    wide = widened(z)
    logits = [steps.steepness * (wide - position) for position in steps.positions]
    return torch.cat(logits, dim=1).clamp(-_LARGEST, _LARGEST)


def cumulative_probabilities(z: Tensor, steps: Steps) -> Tensor:
    """Return the soft masks of the regions, (B, C - 1, ...): nested, and their sum is a(z)."""
    return torch.sigmoid(cumulative_logits(z, steps))


def inverse(a: Tensor, steps: Steps) -> Tensor:
    """Return the z of a(z), float64 of the shape of `a`, without a gradient.

    There is no closed form for more than two classes: bisection, in the lower half of the range, as
    a(-z) = (C - 1) - a(z).

    Args:
        a: any shape, floating point, strictly between 0 and C - 1.
        steps: of the activation.

    Raises:
        ValueError: for a value outside of the range, or one that is not a number.
    """
    top = steps.classes - 1
    a = a.detach().double()
    if not bool(((a > 0) & (a < top)).all()):
        raise ValueError(
            f"the activation takes values strictly between 0 and {top}, got "
            f"{a.min().item()} to {a.max().item()}; its limits belong to infinite logits"
        )
    lower = torch.minimum(a, top - a)
    # No summand exceeds the first one, so a <= (C - 1) s(k (z - first position)).
    low = torch.logit(lower / top) / steps.steepness + steps.positions[0]
    high = torch.zeros_like(lower)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = activate(middle, steps) < lower
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    root = torch.where(lower == top / 2, 0.0, (low + high) / 2)
    return torch.where(a > top / 2, -root, root)


def thresholds(steps: Steps, decode: Decode = "activation") -> tuple[float, ...]:
    """Return the logits above which a voxel has the levels 1..C-1, ascending, in float64.

    Args:
        steps: of the activation.
        decode: "activation": where a crosses 0.5, 1.5, ...; "cumulative": where the soft masks
            cross 0.5, which is at the positions of the steps. Neighboring steps move the outer
            crossings of a outward, by 0.0026 for k = 10 and h = 0.5.

    Raises:
        ValueError: for another name.
    """
    if decode not in DECODES:
        raise ValueError(f"unknown way to decode {decode!r}{suggestion(decode, DECODES)}")
    if decode == "cumulative":
        return steps.positions
    levels = torch.arange(1, steps.classes, dtype=torch.float64)
    return tuple(inverse(levels - 0.5, steps).tolist())


def levels_above(z: Tensor, bounds: Sequence[float]) -> Tensor:
    """Return how many of the `bounds` lie below each logit, int64 of the shape of `z`.

    Strict and exact in every precision: each bound is rounded down to a number of the type it is
    compared in, which no logit can lie between. A logit that is no number has level 0.

    Args:
        z: any shape, floating point.
        bounds: as `thresholds` returns them.
    """
    levels = torch.zeros(z.shape, dtype=torch.int64, device=z.device)
    for mask in _masks_above(z, bounds):
        levels += mask
    return levels


def regions_above(z: Tensor, bounds: Sequence[float]) -> Tensor:
    """Return where logits (B, 1, ...) lie above each of the `bounds`, (B, bounds, ...) bool.

    Exact as `levels_above`, but every region is decided by itself: that the masks are nested
    follows from the order of the bounds and is not put in, so that counting violations says
    something.

    Args:
        z: floating point.
        bounds: of the regions, from the outermost to the innermost.
    """
    return torch.cat(_masks_above(z, bounds), dim=1)


def background_bias(steps: Steps) -> float:
    """Return the logit at which the outermost region has a probability of 4.7 %.

    It lies 3 / k below the first step: -0.8 for k = 10, h = 0.5 and 4 classes. With a bias of 0
    every voxel would start in the middle of the levels.
    """
    return steps.positions[0] - 3 / steps.steepness


def widened(values: Tensor) -> Tensor:
    """Return `values` in float32 if they are in half precision, else as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _masks_above(z: Tensor, bounds: Sequence[float]) -> list[Tensor]:
    """Return for each bound where `z` lies above it, bool of the shape of `z`."""
    wide = widened(z)
    exact = torch.tensor(bounds, dtype=torch.float64)
    near = exact.to(wide.dtype)
    below = torch.where(near > exact, torch.nextafter(near, near.new_tensor(-math.inf)), near)
    return [wide > bound for bound in below.tolist()]


class MultiLevelActivation(nn.Module):
    """The activation as a layer without parameters, and what is decoded from its logits.

    Args:
        classes: C, levels from 0 to C - 1.
        steepness: k.
        spacing: h.
        decode: where levels begin; see `thresholds`.

    Raises:
        ValueError: for values that `Steps` or `thresholds` refuses.
    """

    def __init__(
        self,
        classes: int = 4,
        steepness: float = 10.0,
        spacing: float = 0.5,
        decode: Decode = "activation",
    ) -> None:
        super().__init__()
        self.steps = Steps(classes, steepness, spacing)
        self.decode = decode
        self.thresholds = thresholds(self.steps, decode)

    def forward(self, z: Tensor) -> Tensor:
        """Return a(z) in [0, C - 1], of the shape and type of `z`."""
        return activate(z, self.steps)

    def levels(self, z: Tensor) -> Tensor:
        """Return the levels in 0..C-1, int64 of the shape of `z`."""
        return levels_above(z, self.thresholds)

    def regions(self, z: Tensor) -> Tensor:
        """Return the masks of the regions, (B, C - 1, ...) bool, of logits (B, 1, ...)."""
        return regions_above(z, self.thresholds)

    def extra_repr(self) -> str:
        """Return the settings, as they are printed."""
        return f"{self.steps}, decode={self.decode!r}"

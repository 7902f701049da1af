"""Losses of the multi-level activation, and those of the heads it is compared with.

That Piraud et al. (2018), arXiv 1804.01910, compare three losses, and that Hu et al. (2018), arXiv
1810.09488, weight the classes, is in texts that could be read; the definitions are not. These are
ours. a is the activation, y the true level, C the number of classes, s_n the soft mask of region n,
g_n its true mask:

    mse          (a - y)^2
    mce          -log P_y with P_c = 1 - |a - c| / (C - 1); binary cross-entropy for C = 2. Weak
                 against neighboring levels: to be wrong by one costs -log(2/3) at C = 4
    nce          -log (P_y / sum over c of P_c)
    ordinal      mean over n of the binary cross-entropy of s_n: convex in z, and its gradient does
                 not vanish where a is saturated
    nested_dice  1 - mean over n of (2 sum s_n g_n + 1) / (sum s_n + sum g_n + 1), sums over a batch

The first four are per voxel and become a mean weighted by the class of the true level. All are
computed at least in float32.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vismodels.config import suggestion
from vismodels.methods.multilevel_activation.activation import (
    Steps,
    activate,
    cumulative_logits,
    widened,
)
from vismodels.methods.multilevel_activation.names import (
    LOSSES,
    SIGMOID_LOSSES,
    SOFTMAX_LOSSES,
    Loss,
    SigmoidLoss,
    SoftmaxLoss,
)
from vismodels.methods.multilevel_activation.nesting import region_masks

_LEAST = 1e-6  # of a probability in front of a logarithm


def level_weights(counts: Sequence[int]) -> Tensor:
    """Return the weights of the levels, (C,) float32 of mean 1: inverse square roots of frequency.

    Args:
        counts: voxels of each level in the training cases.

    Raises:
        ValueError: for a level without a voxel.
    """
    if min(counts, default=0) < 1:
        raise ValueError(
            f"every level needs voxels to be weighted by their number, got counts {list(counts)}; "
            "add cases of the missing level or train without weights"
        )
    weights = torch.tensor([1 / math.sqrt(count) for count in counts], dtype=torch.float64)
    return (weights / weights.mean()).float()


def weighted_mean(values: Tensor, levels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return sum(w v) / sum(w), w the weight of a voxel's true level; the plain mean without.

    Args:
        values: (B, ...).
        levels: (B, ...) int64 in 0..C-1.
        weights: (C,), positive.
    """
    if weights is None:
        return values.mean()
    each = weights.to(values)[levels]
    return (each * values).sum() / each.sum()


def mse(z: Tensor, levels: Tensor, steps: Steps) -> Tensor:
    """Return (a - y)^2 of every voxel, (B, ...).

    Args:
        z: (B, 1, ...) logits.
        levels: (B, ...) int64 in 0..C-1.
        steps: of the activation.
    """
    return (activate(widened(z), steps).squeeze(1) - levels).square()


def mce(z: Tensor, levels: Tensor, steps: Steps) -> Tensor:
    """Return -log P_y of every voxel, like `mse`."""
    probabilities = _level_probabilities(z, steps)
    return -probabilities.gather(1, levels.unsqueeze(1)).squeeze(1).log()


def nce(z: Tensor, levels: Tensor, steps: Steps) -> Tensor:
    """Return -log (P_y / sum over c of P_c) of every voxel, like `mse`."""
    probabilities = _level_probabilities(z, steps)
    normalized = probabilities / probabilities.sum(dim=1, keepdim=True)
    return -normalized.gather(1, levels.unsqueeze(1)).squeeze(1).log()


def ordinal(z: Tensor, levels: Tensor, steps: Steps) -> Tensor:
    """Return the mean binary cross-entropy of the cumulative logits of every voxel, like `mse`."""
    return region_bce(cumulative_logits(z, steps), region_masks(levels, steps.classes))


def nested_dice(z: Tensor, levels: Tensor, steps: Steps) -> Tensor:
    """Return the Dice loss of the soft masks of the nested regions, a scalar in [0, 1)."""
    soft = torch.sigmoid(cumulative_logits(z, steps))
    return region_dice(soft, region_masks(levels, steps.classes))


def region_bce(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the binary cross-entropy of every voxel, (B, ...), mean over the regions.

    Args:
        logits: (B, R, ...), one for each region.
        masks: like `logits`, the true regions.
    """
    logits = widened(logits)
    each = F.binary_cross_entropy_with_logits(logits, masks.to(logits), reduction="none")
    return each.mean(dim=1)


def region_dice(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Return one minus the mean soft Dice of the regions, a scalar in [0, 1).

    Sums are over the whole batch: a patch without a region does not count on its own.

    Args:
        probabilities: (B, R, ...) in [0, 1].
        masks: like `probabilities`, the true regions.
    """
    axes = [axis for axis in range(probabilities.ndim) if axis != 1]
    probabilities = widened(probabilities)
    true = masks.to(probabilities)
    both = (probabilities * true).sum(axes)
    either = probabilities.sum(axes) + true.sum(axes)
    return 1 - ((2 * both + 1) / (either + 1)).mean()


def multilevel_loss(
    name: Loss, z: Tensor, levels: Tensor, steps: Steps, weights: Tensor | None = None
) -> Tensor:
    """Return the loss of the multi-level head, a scalar.

    Args:
        name: which of `LOSSES`.
        z: (B, 1, ...) logits.
        levels: (B, ...) int64 in 0..C-1.
        steps: of the activation.
        weights: (C,), positive, of the levels; the Dice term has none.

    Raises:
        ValueError: for an unknown name or shapes that do not fit.
    """
    check_name(name, LOSSES)
    check_pair(z, levels, 1)
    if name == "nested_dice":
        return nested_dice(z, levels, steps)
    if name == "ordinal+nested_dice":
        ordinal_mean = weighted_mean(ordinal(z, levels, steps), levels, weights)
        return ordinal_mean + nested_dice(z, levels, steps)
    voxel_loss = {"mse": mse, "mce": mce, "nce": nce, "ordinal": ordinal}[name]
    return weighted_mean(voxel_loss(z, levels, steps), levels, weights)


def softmax_loss(
    name: SoftmaxLoss,
    logits: Tensor,
    levels: Tensor,
    classes: int,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the loss of a softmax over the levels, a scalar: what the paper compares with.

    Args:
        name: which of `SOFTMAX_LOSSES`: cross-entropy, alone or with the Dice loss of the regions,
            whose probabilities are sums over their levels.
        logits: (B, C, ...).
        levels: (B, ...) int64 in 0..C-1.
        classes: C.
        weights: (C,), positive, of the levels; the Dice term has none.

    Raises:
        ValueError: for an unknown name or shapes that do not fit.
    """
    check_name(name, SOFTMAX_LOSSES)
    check_pair(logits, levels, classes)
    logits = widened(logits)
    weight = None if weights is None else weights.to(logits)
    loss = F.cross_entropy(logits, levels, weight=weight)
    if name == "cross_entropy+region_dice":
        loss = loss + region_dice(summed_probabilities(logits), region_masks(levels, classes))
    return loss


def sigmoid_loss(
    name: SigmoidLoss,
    logits: Tensor,
    levels: Tensor,
    classes: int,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the loss of independent sigmoids of the regions, a scalar: the usual choice today.

    Args:
        name: which of `SIGMOID_LOSSES`: binary cross-entropy, alone or with the Dice loss.
        logits: (B, C - 1, ...), from the outermost region to the innermost.
        levels: (B, ...) int64 in 0..C-1.
        classes: C.
        weights: (C,), positive, of the levels; the Dice term has none.

    Raises:
        ValueError: for an unknown name or shapes that do not fit.
    """
    check_name(name, SIGMOID_LOSSES)
    check_pair(logits, levels, classes - 1)
    logits, masks = widened(logits), region_masks(levels, classes)
    loss = weighted_mean(region_bce(logits, masks), levels, weights)
    if name == "bce+region_dice":
        loss = loss + region_dice(torch.sigmoid(logits), masks)
    return loss


def summed_probabilities(logits: Tensor) -> Tensor:
    """Return the probabilities of the regions, (B, C - 1, ...): sums of softmax over their levels.

    Args:
        logits: (B, C, ...).
    """
    inward = torch.softmax(widened(logits), dim=1)[:, 1:]
    return inward.flip(1).cumsum(dim=1).flip(1)


def check_name(name: str, known: Sequence[str]) -> None:
    """Raise ValueError, with the nearest name, unless the loss `name` is known."""
    if name not in known:
        raise ValueError(f"unknown loss {name!r}{suggestion(name, known)}")


def check_pair(logits: Tensor, levels: Tensor, channels: int) -> None:
    """Raise ValueError unless logits are (B, channels, ...) and levels (B, ...) int64."""
    fits = logits.shape[:1] + logits.shape[2:] == levels.shape and logits.shape[1] == channels
    if not fits or levels.dtype != torch.int64:
        raise ValueError(
            f"expected logits (B, {channels}, ...) and int64 levels (B, ...) of the same grid, got "
            f"{tuple(logits.shape)} and {tuple(levels.shape)} {levels.dtype}; levels have no "
            "channel axis"
        )


def _level_probabilities(z: Tensor, steps: Steps) -> Tensor:
    """Return P_c = 1 - |a - c| / (C - 1), at least 1e-6, (B, C, ...)."""
    a = activate(widened(z), steps)
    levels = torch.arange(steps.classes, dtype=a.dtype, device=a.device)
    levels = levels.view(1, -1, *[1] * (a.ndim - 2))
    return (1 - (a - levels).abs() / (steps.classes - 1)).clamp(min=_LEAST)

"""Sparse group lasso around the identity: its penalty and its exact proximal operator.

Rodriguez et al. (2025), "LinEAS", arXiv 2503.10679, Sec. 3.2 and Algorithm 1. With deviations
u = scale - 1 and v = shift of a layer with d units, each a group of its own, the penalty is
gamma (l1 (|u|_1 + |v|_1) + group sqrt(d) (|u|_2 + |v|_2)).
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from vismodels.methods.lineas.config import SparsityConfig


def soft_threshold(values: Tensor, threshold: float) -> Tensor:
    """Return sign(v) max(|v| - threshold, 0), the proximal operator of threshold |v|_1."""
    return values.sign() * (values.abs() - threshold).clamp_min(0)


def group_soft_threshold(values: Tensor, threshold: float) -> Tensor:
    """Return max(1 - threshold / |v|_2, 0) v, the proximal operator of threshold |v|_2."""
    norm: Tensor = torch.linalg.vector_norm(values)
    return values * ((norm - threshold).clamp_min(0) / norm.where(norm > 0, 1))


def sparse_group_prox(values: Tensor, l1: float, group: float) -> Tensor:
    """Return argmin over x of |x - v|^2 / 2 + l1 |x|_1 + group |x|_2.

    The two operators one after the other, in this order, are exact (Algorithm 1).

    Args:
        values: one group, any shape.
        l1: threshold of each value, not negative.
        group: threshold of the norm, not negative.

    Returns:
        Tensor like `values`; what is zero is exactly zero.
    """
    return group_soft_threshold(soft_threshold(values, l1), group)


def thresholds(
    config: SparsityConfig, gamma: float, learning_rate: float, units: int
) -> tuple[float, float]:
    """Return the thresholds of values and norm for one group.

    Code and paper disagree. `code` is the proximal step of the penalty as the paper defines it, of
    the length that the gradient step had; with an adaptive optimizer it is that length still, which
    ignores the preconditioner. `paper` is Algorithm 1 by the letter.

    Args:
        config: weights and the rule.
        gamma: of this kind of group, scales or shifts.
        learning_rate: of the gradient step before.
        units: in the group.
    """
    l1, group = gamma * config.l1, gamma * config.group
    if config.thresholds == "code":
        return learning_rate * l1, learning_rate * group * math.sqrt(units)
    return l1, group


@torch.no_grad()
def proximal_step_(
    deviations: Iterable[Tensor],
    shifts: Iterable[Tensor],
    config: SparsityConfig,
    learning_rate: float,
) -> None:
    """Apply the proximal operator to every layer's deviations from scale 1, and to its shifts.

    Args:
        deviations: scale - 1 of each layer, (d,); changed in place.
        shifts: of each layer, (d,); changed in place.
        config: of the penalty.
        learning_rate: of the gradient step before.
    """
    shift_gamma = config.gamma if config.shift_gamma is None else config.shift_gamma
    for groups, gamma in ((deviations, config.gamma), (shifts, shift_gamma)):
        for group in groups if gamma > 0 else ():
            limits = thresholds(config, gamma, learning_rate, group.numel())
            group.copy_(sparse_group_prox(group, *limits))

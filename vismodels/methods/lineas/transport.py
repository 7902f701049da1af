"""The distributional loss: squared 1-D Wasserstein distances between pooled activations.

Rodriguez et al. (2025), "LinEAS", arXiv 2503.10679, Sec. 3.1, Eq. (3) and (4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from vismodels.methods.lineas.config import Reduction, Scaling

SMALLEST_DEVIATION = 1e-4  # of a unit whose gap is scaled; below it, the unit hardly moves at all
Key = TypeVar("Key")


@dataclass(frozen=True)
class Target:
    """What source activations of a layer are compared with, prepared once.

    Args:
        ordered: (m, d), every column ascending.
        deviation: (d,), positive: gaps are divided by it.
    """

    ordered: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, values: Tensor, scaling: Scaling = "none") -> "Target":
        """Return the target of activations (m, d).

        Args:
            values: one row for each prompt.
            scaling: none, as in the paper, or by each unit's standard deviation over the rows, so
                that units of small range count as much as others; units that hardly vary (less
                than 1e-4) are not scaled.

        Raises:
            ValueError: if there are no rows, or only one and its deviation is needed.
        """
        rows, units = values.shape
        if rows < 1 + (scaling == "target_std"):
            raise ValueError(f"expected two target rows or more for a deviation, got {rows}")
        deviation = values.new_ones(units)
        if scaling == "target_std":
            spread = values.std(0)
            deviation = torch.where(spread > SMALLEST_DEVIATION, spread, deviation)
        return cls(values.sort(0).values, deviation)


def quantile_coupling(
    n: int, m: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the optimal coupling of n and m sorted points of equal weight on a line.

    Between two neighbours of the merged grid {i/n} and {j/m} both quantile functions are constant:
    there one pair of points shares the mass between them.

    Args:
        n: number of points on one side.
        m: number of points on the other side.
        device: of the results.

    Returns:
        (k,) ranks on the first side, (k,) ranks on the second, (k,) float64 masses, which add up
        to 1; k is n + m less their greatest common divisor.

    Raises:
        ValueError: if a side has no points.
    """
    if n < 1 or m < 1:
        raise ValueError(f"expected points on both sides, got {n} and {m}")
    grids = [torch.arange(0, n * m + 1, step, device=device) for step in (m, n)]
    edges = torch.cat(grids).sort().values  # in units of 1 / (n m); common ones twice
    edges = edges[torch.cat([edges.diff() > 0, edges.new_ones(1, dtype=torch.bool)])]
    starts = edges[:-1]
    return starts // m, starts // n, edges.diff().double() / (n * m)


def squared_wasserstein(source: Tensor, target: Target) -> Tensor:
    """Return W2^2 of each column, in units of the target's deviation: Eq. (4), before its sum.

    Exact between the empirical measures, whatever their numbers of rows; of equal numbers it is the
    mean squared gap of the sorted columns.

    Args:
        source: (n, d).
        target: of m rows.

    Returns:
        (d,), not negative; gradients flow to `source`.

    Raises:
        ValueError: if the columns do not match.
    """
    if source.shape[1:] != target.ordered.shape[1:]:
        raise ValueError(
            f"source and target have the same units, got {tuple(source.shape)} and "
            f"{tuple(target.ordered.shape)}"
        )
    ours, theirs, masses = quantile_coupling(len(source), len(target.ordered), source.device)
    gaps = (source.sort(0).values[ours] - target.ordered[theirs]) / target.deviation
    return (gaps.square() * masses.to(gaps.dtype)[:, None]).sum(0)


def transport_loss(
    sources: Mapping[Key, Tensor],
    targets: Mapping[Key, Target],
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the distance of the source activations from the target's, over all layers.

    Args:
        sources: layer -> (n, d).
        targets: the same layers.
        reduction: mean over units and then over layers, as in the authors' code, whose learning
            rates belong to it; or the sum over both, Eq. (3).

    Returns:
        A scalar.

    Raises:
        ValueError: if the layers differ or there are none.
    """
    if sources.keys() != targets.keys() or not sources:
        raise ValueError(
            f"source and target have the same layers, at least one; only one side has "
            f"{sorted(map(str, sources.keys() ^ targets.keys())) or 'none'}"
        )
    distances = [squared_wasserstein(source, targets[key]) for key, source in sources.items()]
    if reduction == "sum":
        return torch.stack([each.sum() for each in distances]).sum()
    return torch.stack([each.mean() for each in distances]).mean()

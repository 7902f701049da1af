"""Closed-form maps from pooled source activations to target ones, of one layer.

Mean-AcT, Gaussian-AcT and Linear-AcT: Rodriguez et al. (2024), "Controlling language and diffusion
models by transporting activations", arXiv 2410.23054. ITI: Li et al. (2023), "Inference-time
intervention", arXiv 2306.03341, here a shift of the whole layer as in LinEAS (arXiv 2503.10679,
Sec. 4.1). All take float64 (n, d) and (m, d), and numbers of rows may differ.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from vismodels.methods.lineas.config import ActConfig, Estimator
from vismodels.methods.lineas.maps import AffineMap
from vismodels.methods.lineas.transport import quantile_coupling

SMALLEST_DEVIATION = 1e-4  # of a unit that is scaled, as in the published code


def mean_map(source: Tensor, target: Tensor) -> AffineMap:
    """Return the shift of the means (Mean-AcT; CAA if the rows are the two halves of pairs)."""
    shift = target.mean(0) - source.mean(0)
    return AffineMap(torch.ones_like(shift), shift)


def gaussian_map(source: Tensor, target: Tensor) -> AffineMap:
    """Return the optimal map between Gaussians: mean and unbiased deviation become the target's.

    Units that hardly vary on one side are left alone.

    Raises:
        ValueError: if a side has fewer than two rows.
    """
    if min(len(source), len(target)) < 2:
        raise ValueError(
            f"a deviation needs two prompts on each side, got {len(source)} and {len(target)}"
        )
    ours, theirs = source.std(0), target.std(0)
    varies = (ours > SMALLEST_DEVIATION) & (theirs > SMALLEST_DEVIATION)
    scale = torch.where(varies, theirs / ours.where(varies, 1), 1)
    shift = torch.where(varies, target.mean(0) - scale * source.mean(0), 0)
    return AffineMap(scale, shift)


def linear_map(source: Tensor, target: Tensor) -> AffineMap:
    """Return the least-squares line through optimally coupled values (Linear-AcT).

    Of equal numbers of rows these are the sorted columns, as published; of unequal ones the pairs
    of the exact optimal coupling with their masses. Units whose source hardly varies are shifted
    only (the published code adds noise to them instead, which makes their slopes arbitrary).
    """
    ours, theirs, masses = quantile_coupling(len(source), len(target), source.device)
    mass = masses[:, None]
    x, y = source.sort(0).values[ours], target.sort(0).values[theirs]
    centre_x, centre_y = (mass * x).sum(0), (mass * y).sum(0)
    x, y = x - centre_x, y - centre_y
    variance = (mass * x.square()).sum(0)
    varies = variance > SMALLEST_DEVIATION**2
    scale = torch.where(varies, (mass * x * y).sum(0) / variance.where(varies, 1), 1)
    return AffineMap(scale, centre_y - scale * centre_x)


def iti_map(source: Tensor, target: Tensor, multiplier: float) -> AffineMap:
    """Return the shift along the normal of the boundary between the two sides (ITI-c).

    Units that are the same on all rows up to the rounding of float32 are left alone. Where no mean
    of the two sides differs by more, there is no boundary, and all are.

    Args:
        source: (n, d).
        target: (m, d).
        multiplier: length of the shift in standard deviations of all activations along the normal;
            it has no natural bound and is chosen on validation prompts.
    """
    from sklearn.linear_model import LogisticRegression

    rows = torch.cat([source, target])
    rounding = torch.finfo(torch.float32).eps * rows.abs().amax(0)
    if ((target.mean(0) - source.mean(0)).abs() <= rounding).all():
        return AffineMap(torch.ones_like(rounding), torch.zeros_like(rounding))
    sides = torch.cat([torch.zeros(len(source)), torch.ones(len(target))])
    boundary = LogisticRegression(solver="lbfgs", max_iter=1000)
    boundary.fit(rows.cpu().numpy(), sides.numpy())
    normal = torch.from_numpy(boundary.coef_[0]).to(rows)
    normal = normal.where(rows.std(0) > rounding, 0)
    normal = normal / torch.linalg.vector_norm(normal)
    shift = multiplier * (rows @ normal).std() * normal
    return AffineMap(torch.ones_like(shift), shift)


def estimate(source: Tensor, target: Tensor, config: ActConfig) -> AffineMap:
    """Return the float32 map of one layer.

    Args:
        source: (n, d) pooled activations, of any floating type.
        target: (m, d).
        config: which estimator.

    Raises:
        ValueError: if the units differ, there are too few rows, or activations or the map are not
            finite.
    """
    if source.shape[1] != target.shape[1]:
        raise ValueError(
            f"source and target have the same units, got {source.shape[1]} and {target.shape[1]}"
        )
    _refuse_infinite("activations", source, target)
    estimators: dict[Estimator, Callable[[Tensor, Tensor], AffineMap]] = {
        "mean": mean_map,
        "gaussian": gaussian_map,
        "linear": linear_map,
        "iti": lambda source, target: iti_map(source, target, config.multiplier),
    }
    found = estimators[config.estimator](source.double(), target.double())
    each = AffineMap(found.scale.float(), found.shift.float())
    _refuse_infinite("maps", each.scale[None], each.shift[None])
    return each


def _refuse_infinite(what: str, *rows: Tensor) -> None:
    """Raise ValueError if a unit, a column of (n, d), holds infinity or no number."""
    bad = int((~torch.cat(rows).isfinite()).any(0).sum())
    if bad:
        raise ValueError(
            f"{what} of {bad} of {rows[0].shape[1]} units are not finite; where half precision "
            "overflows run the pipeline in float32 or bfloat16, else leave the layer out"
        )

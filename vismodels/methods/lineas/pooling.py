"""Activations of tokens or pixels pooled to numbers per unit: the rows that are sorted.

Rodriguez et al. (2025), "LinEAS", arXiv 2503.10679, Sec. 3.1, pools by the mean, so that a prompt
gives one number for each unit. The others are options of the authors' code, but `mean_std`, which
sees textures that leave the mean alone.
"""

import torch
from torch import Tensor

from vismodels.methods.lineas.config import Pooling


def pool(activations: Tensor, pooling: Pooling, mask: Tensor | None = None) -> Tensor:
    """Return rows of numbers per unit, in float32.

    Half precision is left before anything is added up: sums over an image overflow there.

    Args:
        activations: (B, P, d), units last; P tokens or pixels.
        pooling: mean, min, max, median (the lower of two), last; mean_std, whose columns are the
            means followed by the deviations over the positions; all, a row for every position.
        mask: (B, P) booleans, the positions that count (an attention mask); None for all.

    Returns:
        (B, d), (B, 2 d) for mean_std, (positions that count, d) for all.

    Raises:
        ValueError: for a mask of another shape, or one that leaves a row without positions.
    """
    values = activations.to(torch.promote_types(activations.dtype, torch.float32))
    if mask is None:
        mask = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    if mask.shape != values.shape[:2] or not mask.any(1).all():
        raise ValueError(
            f"expected a mask {tuple(values.shape[:2])} with a position in every row, got "
            f"{tuple(mask.shape)} with {mask.sum(-1).tolist()}"
        )
    if pooling == "all":
        return values[mask]
    counts, kept = mask.sum(1)[:, None], mask[..., None]
    match pooling:
        case "mean":
            return values.where(kept, 0).sum(1) / counts
        case "mean_std":
            mean = values.where(kept, 0).sum(1) / counts
            squares = (values - mean[:, None]).square().where(kept, 0).sum(1) / counts
            # The root has no finite gradient at zero, where one position or a constant is.
            deviations = torch.where(squares > 0, squares, 1).sqrt().where(squares > 0, 0)
            return torch.cat([mean, deviations], 1)
        case "min":
            return values.where(kept, torch.inf).amin(1)
        case "max":
            return values.where(kept, -torch.inf).amax(1)
        case "median":
            return values.where(kept, torch.nan).nanmedian(1).values
        case "last":
            positions = torch.arange(mask.shape[1], device=mask.device)
            last = positions.where(mask, -1).amax(1)
            return values[torch.arange(len(values), device=mask.device), last]

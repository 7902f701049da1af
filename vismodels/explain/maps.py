"""Raw activation maps made comparable and brought to the input's grid.

The reference implementation of CovidNet3D (He et al., AAAI 2021, arXiv 2101.05442) scales every
slice by itself, which shows a false hot spot in an empty slice, and confuses the axes when it
enlarges; here scaling is by volume and the axes stay (depth, height, width).
"""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def normalize(maps: Tensor, *, relu: bool = False) -> Tensor:
    """Return (map - min) / (max - min + eps) of each item, over its whole volume.

    For maps of Zhou et al., CVPR 2016 (arXiv 1512.04150), and its successors. The divisor is the
    range, not the maximum as in the reference implementation, where a maximum of 0 gives NaN. A
    constant map gives zeros; eps is the smallest normal number, so the unit of a map is no matter.

    Args:
        maps: (B, *cells), any range.
        relu: set negative values, which speak against the class, to zero first.

    Returns:
        Like `maps`, in [0, 1].
    """
    if relu:
        maps = maps.relu()
    axes = tuple(range(1, maps.ndim))
    low, high = maps.amin(axes, keepdim=True), maps.amax(axes, keepdim=True)
    return (maps - low) / (high - low + torch.finfo(maps.dtype).tiny)


def upsample(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the maps on a finer grid: trilinear (bilinear in 2D), cells aligned by their borders.

    Zhou et al., CVPR 2016 (arXiv 1512.04150), enlarge the map to the input's size likewise.

    Args:
        maps: (B, *cells).
        shape: (D, H, W) or (H, W) of the input, in the order of the axes of `maps`.

    Returns:
        (B, *shape).

    Raises:
        ValueError: if the maps have another number of axes than `shape`.
    """
    if maps.ndim != len(shape) + 1 or len(shape) not in _MODES:
        raise ValueError(
            f"expected maps (B, *cells) with as many axes of cells as the shape {tuple(shape)}, "
            f"got {tuple(maps.shape)}; give the spatial axes only, in their order"
        )
    mode = _MODES[len(shape)]
    return interpolate(maps[:, None], tuple(shape), mode=mode, align_corners=False)[:, 0]


def shifted_cam(explain: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the mean of the maps of several windows: the input moved by half a cell on each axis.

    A map of few cells cannot say where inside a cell the evidence lies. All combinations of moved
    and unmoved axes are explained, enlarged, moved back and averaged: 8 runs in 3D. What a move
    pushes out of view is averaged over the other windows; what comes into view repeats the border.
    The maps averaged are those of Zhou et al. (arXiv 1512.04150) or any other of `cam.py`.

    Args:
        explain: (B, C, *shape) -> raw maps (B, *cells) of a fixed class; with "the largest logit"
            every window would choose its own.
        x: (B, C, H, W) or (B, C, D, H, W).

    Returns:
        (B, *shape), not normalized.
    """
    shape = x.shape[2:]
    unmoved = explain(x)
    half_cells = [side // cells // 2 for side, cells in zip(shape, unmoved.shape[1:], strict=True)]
    total, windows = upsample(unmoved, shape), x.new_ones(shape)
    for shifts in product(*(sorted({0, half}) for half in half_cells)):
        if not any(shifts):
            continue
        maps = upsample(explain(_moved(x, shifts)), shape)
        inside = (slice(None), *(slice(0, n - s) for n, s in zip(shape, shifts, strict=True)))
        seen = (slice(None), *(slice(s, None) for s in shifts))
        total[inside] += maps[seen]
        windows[inside[1:]] += 1
    return total / windows


def _moved(x: Tensor, shifts: Sequence[int]) -> Tensor:
    """Return `x` with its content moved towards higher indices, the first border repeated."""
    padding = [side for shift in reversed(shifts) for side in (shift, 0)]
    window = (slice(None), slice(None), *(slice(0, n) for n in x.shape[2:]))
    return pad(x, padding, mode="replicate")[window]

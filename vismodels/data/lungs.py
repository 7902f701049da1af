"""Where the lungs are in a CT scan, and the part of a scan around them. Torch-free."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vismodels.data.scans import Mask, Scan, Voxels

AIR_BELOW = -500.0  # HU; between air-filled lung and tissue
LEAST_SHARE = 0.1  # of the largest piece, for another one to be lung too
OUTSIDE = -1024  # HU, of what lies beyond a scan
Kind = TypeVar("Kind", bound=np.generic)


def find_lungs(hu: NDArray[Any]) -> Mask:
    """Return where air lies within the body, (D, H, W) bool: rough lungs, without what is dense.

    What is below -500 HU and does not reach the edge of its slice; of its connected pieces the
    large ones. Consolidations, vessels and the chest wall are not in it.

    Args:
        hu: (D, H, W) Hounsfield units.

    Raises:
        ValueError: if there is no such air: the scan shows no chest, or is not in Hounsfield units.
    """
    from scipy.ndimage import label
    from skimage.segmentation import clear_border

    if hu.ndim != 3:
        raise ValueError(f"expected a scan (D, H, W), got {hu.shape}")
    inner = np.stack([clear_border(each) for each in hu < AIR_BELOW])  # type: ignore[no-untyped-call]
    pieces, count = label(inner)
    if not count:
        raise ValueError(
            "no air within the body was found; expected a chest scan in Hounsfield units, with air "
            f"around the body: the values go from {hu.min():.0f} to {hu.max():.0f}"
        )
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    mask: Mask = np.isin(pieces, np.flatnonzero(sizes >= LEAST_SHARE * sizes.max()))
    return mask


def lung_box(
    hu: NDArray[Any], spacing: Sequence[float], margin: float
) -> tuple[slice, slice, slice]:
    """Return the part of a scan that its lungs take, with a margin as far as there is one.

    Args:
        hu: (D, H, W) Hounsfield units.
        spacing: millimeters from voxel to voxel.
        margin: millimeters around the lungs.

    Raises:
        ValueError: as `find_lungs`.
    """
    where = np.argwhere(find_lungs(hu))
    wide = np.ceil(margin / np.array(spacing)).astype(int)
    first = np.maximum(where.min(axis=0) - wide, 0).tolist()
    last = (where.max(axis=0) + 1 + wide).tolist()  # a slice may end behind the scan
    return slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2])


def crop_to_lungs(scan: Scan, shape: Sequence[int]) -> Scan:
    """Return the part of `scan` around its lungs, voxels and masks alike.

    The lungs are found in the voxels, not taken from the scan's masks. Nothing is resized: a voxel
    keeps its spacing. Beyond the scan there is air.

    Args:
        scan: a chest.
        shape: (D, H, W) of the part, whose middle is that of the box around the lungs.

    Raises:
        ValueError: as `find_lungs`.
    """
    where = np.argwhere(find_lungs(scan.voxels))
    twice_middle = where.min(axis=0) + where.max(axis=0) + 1
    starts = [(int(t) - edge) // 2 for t, edge in zip(twice_middle, shape, strict=True)]
    voxels: Voxels = _part(scan.voxels, starts, shape, np.int16(OUTSIDE))
    lung, lesion = (
        None if mask is None else _part(mask, starts, shape, np.bool_(False))
        for mask in (scan.lung, scan.lesion)
    )
    return replace(scan, voxels=voxels, lung=lung, lesion=lesion)


def _part(
    volume: NDArray[Kind], starts: Sequence[int], shape: Sequence[int], outside: Kind
) -> NDArray[Kind]:
    part = np.full(tuple(shape), outside, volume.dtype)
    source, target = [], []
    for start, edge, size in zip(starts, shape, volume.shape, strict=True):
        first, last = max(start, 0), min(start + edge, size)
        source.append(slice(first, last))
        target.append(slice(first - start, last - start))
    part[tuple(target)] = volume[tuple(source)]
    return part

"""MRI volumes of NIfTI files in one orientation, and the check that they share a grid. Torch-free.

Axes go to the patient's right, front and head (RAS), whatever the order in the file: the affine
follows them. MRI has no unit that could be checked; see `data.ct` for Hounsfield units.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vismodels.data.nifti import reading_nifti
from vismodels.files import FileError

SAME_PLACE = 0.1  # mm


class Volume(NamedTuple):
    """Voxels in RAS orientation, and where they lie.

    voxels: (D, H, W), or (C, D, H, W) where channels were asked for; the file's numbers.
    affine: (4, 4), voxel index (d, h, w) -> millimeters to the right, front and head.
    """

    voxels: NDArray[Any]
    affine: NDArray[np.float64]


def read_mri(path: Path, channels: int | None = None) -> Volume:
    """Return the volume in a NIfTI file, in RAS orientation.

    Args:
        path: of the file.
        channels: how many volumes it holds along its fourth axis; None for one volume.

    Raises:
        FileError: if it cannot be read, has another number of volumes, values that are not finite,
            or an affine that is no map to millimeters.
    """
    import nibabel

    with reading_nifti(path, "fetch it again"):
        image: Any = nibabel.load(path)
        affine = np.array(image.affine, np.float64)
        if not (np.isfinite(affine).all() and abs(np.linalg.det(affine)) > 0):
            raise FileError(f"{path}: the affine is no map from voxels to millimeters: {affine}")
        _refuse_other_shape(path, image.shape, channels)
        image = nibabel.as_closest_canonical(image)  # type: ignore[no-untyped-call]
        voxels = np.asanyarray(image.dataobj)
    if voxels.dtype.kind not in "iuf" or not np.isfinite(voxels).all():
        raise FileError(
            f"{path}: expected finite numbers, got {voxels.dtype} or NaN; fetch it again"
        )
    if channels is not None:
        voxels = np.moveaxis(voxels.reshape(*voxels.shape[:3], channels), -1, 0)
    else:
        voxels = voxels.reshape(voxels.shape[:3])
    return Volume(voxels, np.array(image.affine, np.float64))


def refuse_other_grid(path: Path, volume: Volume, first: Path, other: Volume) -> None:
    """Check that two volumes have the same voxels at the same places.

    Args:
        path: of the file of `volume`.
        volume: any.
        first: of the file of `other`.
        other: what it is compared with; its last three axes count.

    Raises:
        FileError: if shapes differ, or a corner lies elsewhere; names both files.
    """
    shape, expected = volume.voxels.shape[-3:], other.voxels.shape[-3:]
    if shape != expected:
        raise FileError(
            f"{path}: is {shape}, but {first.name} {expected}; resample them to one grid"
        )
    corners = np.indices((2, 2, 2)).reshape(3, -1) * (np.array(shape)[:, None] - 1)
    moved = (volume.affine - other.affine) @ np.vstack([corners, np.ones(8)])
    apart = np.linalg.norm(moved[:3], axis=0).max()
    if apart > SAME_PLACE:
        raise FileError(
            f"{path}: lies up to {apart:.3g} mm from where {first.name} has the same voxels; "
            "resample them to one grid"
        )


def _refuse_other_shape(path: Path, shape: tuple[int, ...], channels: int | None) -> None:
    beyond = [size for size in shape[3:] if size > 1]
    if len(shape) < 3 or beyond != ([] if channels is None else [channels]):
        wanted = "one volume" if channels is None else f"{channels} volumes"
        raise FileError(f"{path}: expected {wanted} of three axes, got {shape}")

"""Segmentations as NIfTI files: labels that name their scheme, and masks of the regions as bits.

Torch-free.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vismodels.data.label_schemes import LabelScheme, scheme_by_name
from vismodels.data.nifti import load_nifti, reading_nifti, refuse_other_suffix, store_nifti
from vismodels.files import FileError
from vismodels.metrics.segmentation import REGIONS

LABELS, MASKS, PRODUCT = ".nii.gz", "_regions.nii.gz", "_product.nii.gz"  # after a case's name
NAME_BYTES = 15  # of a name in a NIfTI header, without the closing zero
BITS = "region bits"  # the intent's name of files of masks


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a segmentation file holds.

    Args:
        levels: (D, H, W) uint8 in 0..3.
        affine: (4, 4) float64 from voxel indices to millimeters.
        scheme: of the labels in the file.
    """

    levels: NDArray[np.uint8]
    affine: NDArray[np.float64]
    scheme: LabelScheme


def write_segmentation(
    path: Path | str, levels: NDArray[Any], affine: NDArray[np.float64], scheme: LabelScheme
) -> None:
    """Write levels as a NIfTI file of labels that names its label scheme.

    The header has the intent "label" and the scheme's name. Equal segmentations make equal files,
    which appear whole or not at all. NIfTI stores an affine in single precision.

    Args:
        path: ends in `.nii` or `.nii.gz`.
        levels: (D, H, W), integers in 0..3.
        affine: (4, 4) from voxel indices to millimeters: that of the images.
        scheme: of the labels to write.

    Raises:
        ValueError: for other shapes, levels or suffixes, or a scheme whose name is too long.
    """
    path = Path(path)
    refuse_other_suffix(path)
    if levels.ndim != 3 or np.shape(affine) != (4, 4):
        raise ValueError(
            f"{path}: expected levels (D, H, W) and an affine (4, 4), got {levels.shape} and "
            f"{np.shape(affine)}"
        )
    if len(scheme.name.encode()) > NAME_BYTES:
        raise ValueError(
            f"{path}: a NIfTI header takes names of {NAME_BYTES} bytes, {scheme.name!r} is longer; "
            "give the scheme a shorter name"
        )
    store_nifti(path, scheme.to_labels(levels), affine, scheme.name)


def read_segmentation(path: Path | str, scheme: LabelScheme | None = None) -> Segmentation:
    """Return the segmentation in a NIfTI file, as levels.

    Args:
        path: of the file.
        scheme: of its labels, where the file does not name one (only `write_segmentation` writes
            it) or names one of the user's own; None to go by the file.

    Raises:
        FileError: if the file cannot be read as a segmentation.
        LabelError: for labels that the scheme does not have.
        ValueError: if neither file nor caller name a scheme, if they contradict each other, or if
            the file names one that is not known.
    """
    path = Path(path)
    labels, affine, stated = _read(path)
    if labels.ndim != 3:
        raise FileError(f"{path}: expected one volume of three axes, got {labels.shape}")
    if scheme is None:
        if not stated:
            raise ValueError(
                f"{path}: names no label scheme; pass it, e.g. scheme_by_name('brats2021')"
            )
        scheme = scheme_by_name(stated)
    elif stated not in ("", scheme.name):
        raise ValueError(f"{path}: has labels of {stated!r}, not of {scheme.name!r}; pass that")
    return Segmentation(scheme.to_levels(labels), affine, scheme)


def write_regions(
    path: Path | str, regions: NDArray[np.bool_], affine: NDArray[np.float64]
) -> None:
    """Write masks that need not be nested as one NIfTI file of bits: 1 WT, 2 TC, 4 ET.

    Args:
        path: ends in `.nii` or `.nii.gz`.
        regions: (3, D, H, W) bool in the order WT, TC, ET.
        affine: (4, 4) from voxel indices to millimeters.

    Raises:
        ValueError: for another shape or type.
    """
    if regions.ndim != 4 or len(regions) != len(REGIONS) or regions.dtype != np.bool_:
        raise ValueError(
            f"{path}: expected bool masks ({len(REGIONS)}, D, H, W), got {regions.shape} "
            f"{regions.dtype}"
        )
    bits = sum(mask.astype(np.uint8) << place for place, mask in enumerate(regions))
    store_nifti(Path(path), np.asarray(bits, np.uint8), affine, BITS)


def read_regions(path: Path | str) -> NDArray[np.bool_]:
    """Return the masks that `write_regions` wrote, (3, D, H, W) bool.

    Raises:
        FileError: if the file is damaged, or none of masks.
    """
    path = Path(path)
    bits, _, stated = _read(path)
    if stated != BITS or bits.ndim != 3 or bits.max(initial=0) >= 1 << len(REGIONS):
        raise FileError(f"{path}: holds no masks of regions; run the stage that writes it again")
    return np.stack([(bits >> place & 1).astype(bool) for place in range(len(REGIONS))])


def _read(path: Path) -> tuple[NDArray[Any], NDArray[np.float64], str]:
    """Return voxels, affine, and the name in the header if it is one of labels."""
    with reading_nifti(path, "write it again"):
        image = load_nifti(path)
        voxels = np.asanyarray(image.dataobj)
        code, _, name = image.header.get_intent()
        affine = np.array(image.affine, np.float64)
    return voxels, affine, name if code == "label" else ""

"""From the modality files of an examination to one file of labels on the same grid.

Hu et al. (2018), arXiv 1810.09488, segment prepared volumes; this is what users have instead: NIfTI
files of any orientation and voxel size, whose labels are wanted voxel for voxel.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vismodels.data.brain_cases import MODALITIES
from vismodels.data.brats import CaseFiles, read_case
from vismodels.data.label_schemes import scheme_by_name
from vismodels.data.nifti import load_nifti, reading_nifti, refuse_other_suffix
from vismodels.data.regrid import levels_on_grid
from vismodels.methods.multilevel_activation.config import InferenceSettings
from vismodels.methods.multilevel_activation.files import write_segmentation
from vismodels.methods.multilevel_activation.heads import NestedSegmenter
from vismodels.methods.multilevel_activation.segment import case_logits


def segment_files(
    model: NestedSegmenter,
    images: Mapping[str, Path | str],
    path: Path | str,
    inference: InferenceSettings,
    *,
    scheme: str,
    spacing: float | None = None,
    crop: bool = True,
    bias_correction: bool = False,
    device: torch.device | str = "cpu",
) -> NDArray[np.uint8]:
    """Write the labels of an examination on the grid of its files; return the levels, (D, H, W).

    Images are prepared as the training cases were; the levels go back to the grid of the first
    file, in its orientation, by the nearest neighbor.

    Args:
        model: trained network and head; see `NestedSegmenter`.
        images: NIfTI file of each of `MODALITIES`, skull-stripped, all on one grid.
        path: of the labels; ends in `.nii` or `.nii.gz`.
        inference: windows, flips, precision.
        scheme: of the labels; it goes before that of `inference`.
        spacing: as in training: millimeters that voxels are merged to; None keeps them.
        crop: whether only the box of the brain is looked at.
        bias_correction: whether N4 runs first, as in training.
        device: where to compute.

    Raises:
        FileError: if a file cannot be read, or lies on another grid than the rest.
        ValueError: if modalities are missing or unknown, `spacing` does not fit, or `path` is not
            named as a NIfTI file.
        FloatingPointError: for logits that are not finite; nothing is written then.
    """
    refuse_other_suffix(Path(path))  # before minutes of computing
    if set(images) != set(MODALITIES):
        raise ValueError(
            f"expected a file for each of {', '.join(MODALITIES)}, got files for "
            f"{', '.join(images) or 'none'}"
        )
    labels, paths = scheme_by_name(scheme), tuple(Path(images[name]) for name in MODALITIES)
    case = read_case(
        CaseFiles(Path(path).name, paths, None),
        labels,
        spacing=spacing,
        crop=crop,
        bias_correction=bias_correction,
    )
    model.to(device)
    logits = case_logits(model, case, inference, device)
    levels = model.head.levels(logits[None])[0].numpy().astype(np.uint8)
    with reading_nifti(paths[0], "fetch it again"):
        header = load_nifti(paths[0])
        affine = np.array(header.affine, np.float64)
    depth, height, width = header.shape[:3]
    whole = levels_on_grid(levels, case.affine, (depth, height, width), affine)
    write_segmentation(path, whole, affine, labels)
    return whole

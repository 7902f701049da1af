"""Activation maps of a CT file, written as a NIfTI file that lies on the scan voxel for voxel."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vismodels.data.ct import CTVolume, write_nifti
from vismodels.data.ct_sets import spread
from vismodels.data.hounsfield import resize_volume, window
from vismodels.data.lungs import lung_box
from vismodels.data.slices import resample_slices
from vismodels.explain.cam import cam
from vismodels.explain.maps import upsample
from vismodels.methods.covidnet3d.config import CTInput
from vismodels.methods.covidnet3d.evaluation import device_of
from vismodels.methods.covidnet3d.maps import CLASSIFIER, HEAD
from vismodels.methods.covidnet3d.network import CovidNet3D
from vismodels.nn.modes import evaluation_mode


def write_map(
    network: CovidNet3D,
    source: CTInput,
    volume: CTVolume,
    path: Path | str,
    *,
    target: int | None = None,
    lung_margin: float | None = None,
    lung: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Write the class activation map of a scan beside it, and return the logits.

    The volume is brought to the network's input as the workflow prepares a set of scans: slices
    from the first to the last, means over rows and columns, the window of the configuration. The
    map is raw (positive where it speaks for the class), enlarged to the scan's own grid and turned
    to the orientation of its file, whose affine it keeps.

    Args:
        network: trained.
        source: the input it was trained on; its `shape` is the network's.
        volume: of `read_ct`; levels without Hounsfield units are spread over the window of a lung,
            as in the preparation of a set.
        path: ends in `.nii` or `.nii.gz`.
        target: index of the class; None for the one the network names.
        lung_margin: as the set of scans was prepared, millimeters; the map is 0 outside of the box.
            Only for Hounsfield units.
        lung: like `volume.voxels`, for networks that were shown `only_lungs`; where it is False,
            the scan becomes the lower end of the window.

    Returns:
        (classes,) logits.

    Raises:
        ValueError: for an input without a shape, a lung mask that is missing, not wanted or of
            another shape, a margin without Hounsfield units, or another suffix.
    """
    if source.shape is None:
        raise ValueError("expected an input with a shape, that of the network; got shape=None")
    if lung_margin is not None and volume.intensity != "hu":
        raise ValueError("lung_margin needs Hounsfield units, these slices have none; leave it out")
    _refuse_other_masks(source, volume, lung)
    whole = slice(None)
    box = (whole, whole, whole)
    if lung_margin is not None:
        box = lung_box(volume.voxels, volume.spacing, lung_margin)
    part = volume.voxels[box]
    seen = spread(part) if volume.intensity == "unit" else part
    if lung is not None:
        seen = np.where(lung[box], seen, source.window[0])
    resized = resize_volume(resample_slices(seen, source.shape[0]), source.shape)
    x = torch.from_numpy(window(resized, *source.window))[None, None]
    x = x.to(device_of(network))
    with torch.no_grad(), evaluation_mode(network):
        logits = network(x)[0].cpu()
    chosen = int(logits.argmax()) if target is None else target
    cells = cam(network, x, HEAD, CLASSIFIER, chosen)
    values = np.zeros(volume.voxels.shape, np.float32)
    values[box] = upsample(cells, part.shape)[0].detach().cpu().numpy()
    write_nifti(values, volume, path)
    return np.asarray(logits.numpy(), np.float32)


def _refuse_other_masks(source: CTInput, volume: CTVolume, lung: NDArray[np.bool_] | None) -> None:
    if source.only_lungs != (lung is not None):
        raise ValueError(
            f"expected a lung mask for networks that were shown only lungs, and for no others; got "
            f"only_lungs={source.only_lungs} and {'no' if lung is None else 'a'} mask"
        )
    if lung is not None and (lung.dtype != np.bool_ or lung.shape != volume.voxels.shape):
        raise ValueError(
            f"expected a bool mask like the volume, {volume.voxels.shape}, got {lung.dtype} "
            f"{lung.shape}; make it of the voxels of `read_ct`, whose axes are turned"
        )

"""Activation maps of a CT file, written as a NIfTI file that lies on the scan voxel for voxel."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vismodels.data.ct import CTVolume, write_nifti
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
) -> NDArray[np.float32]:
    """Write the class activation map of a scan beside it, and return the logits.

    The volume is brought to the network's input as the workflow prepares a set of scans: slices
    from the first to the last, means over rows and columns, the window of the configuration. The
    map is raw (positive where it speaks for the class), enlarged to the scan's own grid and turned
    to the orientation of its file, whose affine it keeps.

    Args:
        network: trained.
        source: the input it was trained on; its `shape` is the network's.
        volume: of `read_ct`, in Hounsfield units.
        path: ends in `.nii` or `.nii.gz`.
        target: index of the class; None for the one the network names.
        lung_margin: as the set of scans was prepared, millimeters; the map is 0 outside of the box.

    Returns:
        (classes,) logits.

    Raises:
        ValueError: for a volume without Hounsfield units, an input without a shape or one that
            needs lung masks, or another suffix.
    """
    if volume.intensity != "hu":
        raise ValueError(
            "expected a volume in Hounsfield units; slices of images do not have them, convert "
            "them first"
        )
    if source.shape is None or source.only_lungs:
        raise ValueError(
            f"expected an input with a shape and of whole scans, got shape={source.shape} and "
            f"only_lungs={source.only_lungs}; prepare such scans with the workflow"
        )
    whole = slice(None)
    box = (whole, whole, whole)
    if lung_margin is not None:
        box = lung_box(volume.voxels, volume.spacing, lung_margin)
    part = volume.voxels[box]
    resized = resize_volume(resample_slices(part, source.shape[0]), source.shape)
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

"""N4 bias field correction (Tustison et al., 2010) of brain cases, by SimpleITK. Torch-free.

SimpleITK is the extra `n4`: it is imported where it is used.
"""

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vismodels.data.brain_cases import BrainCase

SHRINK = 4  # the field is smooth: it is fitted on every fourth voxel along each axis


def bias_corrected(case: BrainCase) -> BrainCase:
    """Return the case with each modality divided by the bias field that N4 finds in its brain.

    One thread, so that equal cases give equal results.

    Args:
        case: images in the units of the scanner, positive in the brain and 0 outside of it;
            standardize afterwards, not before.

    Raises:
        ImportError: if SimpleITK is not installed.
    """
    sitk = _simpleitk()
    images = [_divided_by_field(sitk, image, case.spacing) for image in case.images]
    return replace(case, images=np.stack(images))


def _simpleitk() -> Any:
    try:
        return import_module("SimpleITK")
    except ImportError as error:
        raise ImportError(
            "N4 bias field correction needs SimpleITK: pip install 'vismodels[n4]'"
        ) from error


def _divided_by_field(
    sitk: Any, image: NDArray[np.float32], spacing: Sequence[float]
) -> NDArray[np.float32]:
    whole = _as_image(sitk, image, spacing)
    brain = _as_image(sitk, (image > 0).astype(np.uint8), spacing)
    factors = [min(SHRINK, size) for size in whole.GetSize()]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.Execute(sitk.Shrink(whole, factors), sitk.Shrink(brain, factors))
    field: NDArray[np.float32] = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(whole))
    divided: NDArray[np.float32] = (image / np.exp(field)).astype(np.float32)
    return divided


def _as_image(sitk: Any, array: NDArray[Any], spacing: Sequence[float]) -> Any:
    result = sitk.GetImageFromArray(array)
    result.SetSpacing(list(spacing)[::-1])  # SimpleITK names axes from the last to the first
    return result

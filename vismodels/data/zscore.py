"""Normalization of brain MR images: z-scores within the brain."""

import numpy as np
from numpy.typing import NDArray

CLIP = 5.0  # standard deviations; Isensee et al. (2018), arXiv 1802.10508, Section 2.1


def normalized(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return every image with mean 0 and standard deviation 1 in its brain, clipped at +-`CLIP`.

    The brain of an image is where it is not 0; outside of it the result is 0. An image that is 0
    everywhere, a modality that a case lacks, stays 0.

    Args:
        images: (C, D, H, W) intensities, 0 outside of the brain.

    Raises:
        ValueError: if an intensity is not finite.
    """
    if not np.isfinite(images).all():
        raise ValueError(
            "images hold intensities that are not finite; expected 0 outside of the brain and "
            "finite numbers in it: check how the images were read"
        )
    result = np.zeros(images.shape, np.float32)
    for image, target in zip(images, result, strict=True):
        brain = image != 0
        if not brain.any():
            continue
        values = image[brain].astype(np.float64)
        spread = values.std()
        scores = (values - values.mean()) / (spread if spread > 0 else 1.0)
        target[brain] = scores.clip(-CLIP, CLIP)
    return result

"""Smooth random fields: what makes generated anatomy, lesions and images irregular. Torch-free."""

import numpy as np
from numpy.typing import NDArray


def smooth_noise(
    shape: tuple[int, ...], sigma: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return Gaussian noise that was blurred, with mean 0 and standard deviation 1.

    The blur is done in the Fourier domain, so its cost does not depend on its width; opposite
    faces of the volume are neighbors.

    Args:
        shape: (D, H, W).
        sigma: standard deviation of the blur, voxels.
        rng: source of the noise.
    """
    from scipy.fft import irfftn, rfftn
    from scipy.ndimage import fourier_gaussian

    spectrum = rfftn(rng.standard_normal(shape, dtype=np.float32))
    spectrum = fourier_gaussian(spectrum, sigma, n=shape[-1])
    spectrum[0, 0, 0] = 0  # the mean
    field = irfftn(spectrum, s=shape)
    return np.asarray(field / field.std(), np.float32)

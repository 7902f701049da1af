"""The four MR images of a generated glioma case: contrasts of tissues, and what a scanner adds.

Torch-free.
"""

import numpy as np
from numpy.typing import NDArray

from vismodels.data.brain_cases import LEVELS, MODALITIES
from vismodels.synthetic.glioma_anatomy import Anatomy, Floats
from vismodels.synthetic.random_fields import smooth_noise

# gray matter, white matter, fluid, edema, core, enhancing tumor, spot of white matter, vessel
CONTRASTS = {
    "t1": (0.55, 0.75, 0.20, 0.48, 0.33, 0.45, 0.66, 0.45),
    "t1ce": (0.55, 0.75, 0.22, 0.50, 0.35, 1.05, 0.66, 1.10),
    "t2": (0.60, 0.45, 1.00, 0.85, 0.90, 0.75, 0.75, 0.45),
    "flair": (0.55, 0.45, 0.15, 0.95, 0.70, 0.80, 0.85, 0.35),
}
DETAIL = {"t1": 1.0, "t1ce": 1.0, "t2": -0.7, "flair": -0.4}  # weight of the template's detail
VARIATION = (0.93, 1.07)  # of every contrast, by case
SOFTNESS = 1.2  # mm, of the tumor's borders
INFILTRATION = (0.7, 1.0)  # share of edema where there is edema; the rest is healthy tissue
TEXTURE, TEXTURE_SIGMA = 0.06, 1.6  # relative; mm
BLUR = (0.0, 1.0)  # mm
BIAS, BIAS_SIGMA = 0.12, 44.0  # log-scale; mm
NOISE = (0.015, 0.04)  # in units of the table
DARKEST = 0.01  # magnitude images are positive; 0 is outside of the brain


def render(
    anatomy: Anatomy,
    levels: NDArray[np.uint8],
    spots: Floats,
    vessels: Floats,
    spacing: float,
    rng: np.random.Generator,
) -> Floats:
    """Return (4, D, H, W) images in the order of `MODALITIES`, positive in the brain, 0 outside.

    Args:
        anatomy: of the patient.
        levels: (D, H, W), see `BrainCase`.
        spots: (D, H, W) share of white matter that is bright without tumor.
        vessels: (D, H, W) share of what enhances without tumor.
        spacing: mm.
        rng: source of contrasts, texture and noise.
    """
    shares = _shares(anatomy, levels, spots, vessels, spacing, rng)
    images = []
    for modality in MODALITIES:
        factors = rng.uniform(*VARIATION, len(shares)).astype(np.float32)
        contrasts = np.array(CONTRASTS[modality], np.float32) * factors
        image = np.tensordot(contrasts, shares, 1)
        image += np.float32(DETAIL[modality]) * anatomy.detail * shares[:3].sum(axis=0)
        images.append(_scanned(image, spacing, rng) * anatomy.brain)
    return np.asarray(images, np.float32)


def _shares(
    anatomy: Anatomy,
    levels: NDArray[np.uint8],
    spots: Floats,
    vessels: Floats,
    spacing: float,
    rng: np.random.Generator,
) -> Floats:
    """Return (8, D, H, W) shares in the order of `CONTRASTS`, with sum 1 in the brain."""
    from scipy.ndimage import gaussian_filter

    healthy = np.stack([anatomy.gray, anatomy.white, anatomy.fluid])
    healthy = healthy * (1 - vessels) * (1 - spots)
    mimics = np.stack([spots * (1 - vessels), vessels])
    soft = np.stack(
        [
            gaussian_filter((levels == level).astype(np.float32), SOFTNESS / spacing)
            for level in range(1, LEVELS)
        ]
    )
    patchy = smooth_noise(levels.shape, 3 * SOFTNESS / spacing, rng) * 0.1 + 0.9
    soft[0] *= patchy.clip(*INFILTRATION)
    rest = 1 - soft.sum(axis=0)
    return np.concatenate([healthy * rest, soft, mimics * rest])


def _scanned(image: Floats, spacing: float, rng: np.random.Generator) -> Floats:
    """Return an image with texture, blur, uneven coil sensitivity and noise."""
    from scipy.ndimage import gaussian_filter

    shape = image.shape
    image = image * (1 + np.float32(TEXTURE) * smooth_noise(shape, TEXTURE_SIGMA / spacing, rng))
    image = gaussian_filter(image, float(rng.uniform(*BLUR)) / spacing)
    image *= np.exp(np.float32(BIAS) * smooth_noise(shape, BIAS_SIGMA / spacing, rng))
    image += np.float32(rng.uniform(*NOISE)) * rng.standard_normal(shape, dtype=np.float32)
    return np.asarray(np.maximum(image, np.float32(DARKEST)))

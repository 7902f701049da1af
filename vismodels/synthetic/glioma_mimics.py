"""What looks like tumor and is none: bright spots of white matter, and vessels that enhance.

White-matter hyperintensities are spots and caps around the ventricles, bright in FLAIR and T2 only.
After contrast agent the venous sinuses, cortical veins, dura and choroid plexus of every healthy
brain are as bright as a tumor's rim. Torch-free.
"""

import numpy as np

from vismodels.synthetic.glioma_anatomy import Anatomy, Floats, Mask
from vismodels.synthetic.random_fields import smooth_noise

SPOTS, SPOT_RADIUS = (2, 12), (1.5, 4.5)  # how many; mm
SPOT_WHITE = 0.7  # share of white matter where spots are
TUMOR_MARGIN = 6.0  # mm around the tumor that stay free of spots
CAP_WIDTH, CAP = 3.0, (0.0, 0.9)  # mm; strength beside the ventricles
SINUS_WIDTH, SINUS_DEPTH = 2.5, 4.5  # mm to the midline, mm below the surface
FALX_WIDTH, FALX_DEPTH = 2.0, 28.0  # mm to the midline, mm below the surface
VEIN_DEPTH = 14.0  # mm below the surface, along sulci
VEIN_SIGMA, VEINS = 5.0, (0.06, 0.16)  # mm; half-width of the noise's level set
PLEXUS_SIGMA, PLEXUS = 3.5, (0.15, 0.4)
UPPER = 0.25  # share of the grid's height below which there is no sagittal sinus
FRONT = 0.58  # share of the grid's length from which on there is no choroid plexus


def hyperintensities(
    anatomy: Anatomy, tumor: Mask, spacing: float, rng: np.random.Generator
) -> Floats:
    """Return (D, H, W) shares of white matter that is bright without tumor, 0 to 1.

    Args:
        anatomy: of the patient.
        tumor: (D, H, W) bool.
        spacing: mm.
        rng: source of number, size and place.
    """
    from scipy.ndimage import binary_dilation, gaussian_filter

    margin = binary_dilation(tumor, iterations=max(1, round(TUMOR_MARGIN / spacing)))
    places = np.argwhere((anatomy.white > SPOT_WHITE) & ~margin)
    spots = np.zeros(tumor.shape, np.float32)
    for _ in range(int(rng.integers(*SPOTS))):
        center = places[rng.integers(len(places))]
        radius = float(rng.uniform(*SPOT_RADIUS)) / spacing
        low = np.maximum(center - int(np.ceil(radius + 1)), 0)
        box = tuple(
            slice(a, b + int(np.ceil(radius + 2))) for a, b in zip(low, center, strict=True)
        )
        offsets = np.indices(spots[box].shape) - (center - low).reshape(3, 1, 1, 1)
        stretched = offsets * rng.uniform(0.7, 1.4, 3).reshape(3, 1, 1, 1)
        ball = (radius + 0.5 - np.sqrt((stretched**2).sum(axis=0))).clip(0, 1)
        np.maximum(spots[box], ball, out=spots[box], casting="same_kind")
    near = gaussian_filter(anatomy.ventricles, CAP_WIDTH / spacing)
    caps = (2.5 * near * float(rng.uniform(*CAP))).clip(0, 1)
    return np.asarray(np.maximum(spots, caps) * anatomy.white * ~margin, np.float32)


def enhancing_structures(anatomy: Anatomy, spacing: float, rng: np.random.Generator) -> Floats:
    """Return (D, H, W) shares of healthy structures that take up contrast agent, 0 to 1.

    Args:
        anatomy: of the patient.
        spacing: mm.
        rng: source of their courses.
    """
    shape = anatomy.brain.shape

    def threads(sigma: float, width: tuple[float, float]) -> Floats:
        """Return a surface of noise, which cuts another surface in a winding line."""
        noise = np.abs(smooth_noise(shape, sigma / spacing, rng))
        return np.asarray((1.5 - noise / np.float32(rng.uniform(*width))).clip(0, 1), np.float32)

    outer = (anatomy.depth < VEIN_DEPTH) & anatomy.brain
    veins = threads(VEIN_SIGMA, VEINS) * outer * (1.5 * anatomy.fluid).clip(0, 1)
    upper = np.arange(shape[2]) > UPPER * shape[2]
    sinus = (anatomy.midline < SINUS_WIDTH) & (anatomy.depth < SINUS_DEPTH) & anatomy.brain & upper
    falx = (anatomy.midline < FALX_WIDTH) & (anatomy.depth < FALX_DEPTH) & upper
    plexus = threads(PLEXUS_SIGMA, PLEXUS) * (1.5 * anatomy.ventricles).clip(0, 1)
    plexus[:, round(FRONT * shape[1]) :] = 0
    return np.asarray(
        np.maximum.reduce([veins, 0.9 * sinus, 0.5 * falx * anatomy.fluid, plexus]), np.float32
    )

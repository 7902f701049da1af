"""Brains of generated glioma cases: the MNI152 template, each time bent and sized another way.

The template is the symmetric MNI ICBM 152 nonlinear atlas of 2009 (Fonov et al. 2011, NeuroImage
54), an average T1 image with maps of gray and white matter. nilearn ships it; its files are read
without importing it. The template equals its mirror image, so that mirroring it would change
nothing: lesions are on either side as often anyway. Torch-free.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files

import numpy as np
from numpy.typing import NDArray

from vismodels.files import FileError
from vismodels.synthetic.random_fields import smooth_noise

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

WARP_SIGMA, WARP = 20.0, 3.5  # mm: how smooth the bending is, and its standard deviation
SIZES = (0.92, 1.0)  # of a brain along each axis, relative to the template
SHARPNESS = 1.6  # of tissue borders: an average of many brains blurs them
ATROPHY = (1.0, 1.8)  # weight of cerebrospinal fluid where tissues share a voxel
VENTRICLE_DEPTH = 18.0  # mm below the surface; the fluid of sulci and cisterns lies higher
T1_RANGE = 0.55  # between fluid and white matter in the table of contrasts


@dataclass(frozen=True)
class Template:
    """The average brain on a coarse grid. Maps are (D, H, W) float32, axes are right, front, up.

    Args:
        gray: share of gray matter, 0 to 1.
        white: share of white matter.
        brain: share of brain, fluid included.
        ventricles: share of ventricle.
        cerebrum: `white` without brain stem and cerebellum, where gliomas of adults are rare.
        detail: what the T1 image shows beyond tissue shares, in units of the table of contrasts.
        depth: mm to the nearest voxel outside of the brain.
        affine: (4, 4) from voxel indices to millimeters of MNI space.
    """

    gray: Floats
    white: Floats
    brain: Floats
    ventricles: Floats
    cerebrum: Floats
    detail: Floats
    depth: Floats
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> float:
        """Millimeters from voxel to voxel."""
        return float(self.affine[0, 0])


@dataclass(frozen=True)
class Anatomy:
    """One person's brain: tissue shares that add up to 1 in the brain, 0 outside of it.

    Args:
        gray: (D, H, W) float32.
        white: like `gray`.
        fluid: like `gray`.
        ventricles: like `gray`, a part of `fluid`.
        detail: see `Template`.
        brain: (D, H, W) bool.
        depth: (D, H, W) float32, about the mm to the surface of the brain.
        midline: (D, H, W) float32, mm to the plane between the hemispheres.
    """

    gray: Floats
    white: Floats
    fluid: Floats
    ventricles: Floats
    detail: Floats
    brain: Mask
    depth: Floats
    midline: Floats


def read_template(spacing: float) -> Template:
    """Return the template, cropped to the brain.

    Args:
        spacing: of the grid, mm; the files have 1.

    Raises:
        FileError: if nilearn or its files are not installed.
    """
    from scipy.ndimage import find_objects

    maps = {kind: _read(kind) for kind in ("t1", "gm", "wm")}
    t1, from_file = maps["t1"]
    (box,) = find_objects((t1 > 0).astype(np.uint8))
    low, high = np.array([(part.start, part.stop) for part in box]).T
    shape = [max(1, round(extent / spacing)) for extent in high - low]
    first = (low + high - 1 - spacing * (np.array(shape) - 1)) / 2
    weights = [
        _overlaps(size, start, spacing, count)
        for size, start, count in zip(t1.shape, first, shape, strict=True)
    ]

    def resampled(volume: NDArray[np.generic]) -> Floats:
        finer = volume.astype(np.float32)
        return np.asarray(np.einsum("dx,hy,wz,xyz->dhw", *weights, finer, optimize=True))

    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = from_file[:3, :3] @ first + from_file[:3, 3]
    brain = resampled(t1 > 0).clip(0, 1)
    gray, white = (resampled(maps[kind][0]).clip(0, 255) / 255 * brain for kind in ("gm", "wm"))
    depth = _depth(brain > 0.5, spacing)
    return Template(
        gray=gray,
        white=white,
        brain=brain,
        ventricles=_ventricles((brain - gray - white).clip(0, 1), depth),
        cerebrum=white * _is_cerebrum(gray.shape, affine),
        detail=_detail(resampled(t1), gray, white, brain),
        depth=depth,
        affine=affine,
    )


def draw_warp(template: Template, rng: np.random.Generator) -> Floats:
    """Return where in the template a person's voxels are: (3, D, H, W) float32, voxel indices."""
    middle = (np.array(template.gray.shape) - 1) / 2
    grid = np.indices(template.gray.shape, dtype=np.float32)
    sigma, strength = WARP_SIGMA / template.spacing, WARP / template.spacing
    axes = []
    for positions, center, size in zip(grid, middle, rng.uniform(*SIZES, 3), strict=True):
        bent = strength * smooth_noise(template.gray.shape, sigma, rng)
        axes.append(np.float32(center) + (positions - np.float32(center)) / np.float32(size) + bent)
    return np.stack(axes)


def sampled(volume: Floats, places: Floats) -> Floats:
    """Return the values of a map of the template at (3, ...) `places`, 0 outside of its grid."""
    from scipy.ndimage import map_coordinates

    return np.asarray(map_coordinates(volume, places, order=1), np.float32)


def draw_anatomy(template: Template, places: Floats, rng: np.random.Generator) -> Anatomy:
    """Return the brain whose voxels are at `places` of the template.

    Args:
        template: of all persons.
        places: (3, D, H, W) voxel indices.
        rng: source of the amount of fluid.
    """
    brain: Mask = sampled(template.brain, places) > 0.5
    gray, white = sampled(template.gray, places), sampled(template.white, places)
    fluid = (1 - gray - white).clip(0, 1)
    powers = [share**SHARPNESS for share in (gray, white, fluid)]
    powers[2] *= rng.uniform(*ATROPHY)
    total = np.maximum(sum(powers), 1e-6)
    gray, white, fluid = (np.where(brain, power / total, 0).astype(np.float32) for power in powers)
    midline = np.abs(places[0] * template.spacing + template.affine[0, 3])
    return Anatomy(
        gray=gray,
        white=white,
        fluid=fluid,
        ventricles=np.minimum(sampled(template.ventricles, places), fluid),
        detail=sampled(template.detail, places),
        brain=brain,
        depth=sampled(template.depth, places),
        midline=midline.astype(np.float32),
    )


def _read(kind: str) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return a map of nilearn's template and its affine."""
    import nibabel

    name = f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    try:
        paths = [path.locate() for path in files("nilearn") or () if path.name == name]
    except PackageNotFoundError:
        paths = []
    if not paths:
        raise FileError(
            f"{name}: expected among the files of the package nilearn, which is not installed or "
            'has no such file; pip install "vismodels[workflows]" (nilearn<0.14)'
        )
    image = nibabel.Nifti1Image.from_filename(str(paths[0]))
    return np.asarray(image.dataobj), np.asarray(image.affine, np.float64)


def _overlaps(size: int, first: float, spacing: float, count: int) -> Floats:
    """Return (count, size) shares of each coarse voxel that lie in each of the file's voxels.

    Args:
        size: voxels of the file along the axis, of width 1.
        first: middle of the first coarse voxel, in indices of the file.
        spacing: width of the coarse voxels.
        count: of the coarse voxels.
    """
    coarse = first + spacing * np.arange(count)[:, None]
    fine = np.arange(size)
    high = np.minimum(coarse + spacing / 2, fine + 0.5)
    low = np.maximum(coarse - spacing / 2, fine - 0.5)
    return np.asarray((high - low).clip(0) / spacing, np.float32)


def _depth(brain: Mask, spacing: float) -> Floats:
    """Return the distance to the nearest voxel outside of the brain, or of the grid, in mm."""
    from scipy.ndimage import distance_transform_edt

    distance = distance_transform_edt(np.pad(brain, 1))[1:-1, 1:-1, 1:-1]
    return np.asarray(distance * spacing, np.float32)


def _ventricles(fluid: Floats, depth: Floats) -> Floats:
    """Return the fluid of the connected part that is large and deep: the lateral ventricles."""
    from scipy.ndimage import gaussian_filter, label

    parts, _ = label((fluid > 0.4) & (depth > VENTRICLE_DEPTH))
    weights = np.bincount(parts.ravel(), weights=depth.ravel() ** 2)
    around = gaussian_filter((parts == weights[1:].argmax() + 1).astype(np.float32), 1) > 0.1
    return np.where(around, fluid, 0).astype(np.float32)


def _is_cerebrum(shape: tuple[int, ...], affine: NDArray[np.float64]) -> Mask:
    """Return False in boxes of MNI space around the cerebellum and the brain stem."""
    x, y, z = (
        np.arange(size).reshape([-1 if axis == i else 1 for i in range(3)]) * affine[axis, axis]
        + affine[axis, 3]
        for axis, size in enumerate(shape)
    )
    cerebellum = (y < -38) & (z < -10)
    stem = (np.abs(x) < 18) & (y < -8) & (z < -4)
    outside: Mask = ~(cerebellum | stem)
    return outside


def _detail(t1: Floats, gray: Floats, white: Floats, brain: Floats) -> Floats:
    """Return the residual of T1 after a least-squares fit by tissue shares."""
    inside = brain > 0.99
    shares = np.stack([gray, white, (brain - gray - white).clip(0, 1)])
    weights, *_ = np.linalg.lstsq(shares[:, inside].T, t1[inside], rcond=None)
    residual = (t1 - np.tensordot(weights, shares, 1)) / (weights[1] - weights[2]) * T1_RANGE
    return np.where(inside, residual, 0).astype(np.float32)

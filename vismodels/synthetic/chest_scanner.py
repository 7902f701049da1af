"""Scans of a generated chest: Hounsfield units on a grid, in some pose, with a scanner's faults.

Nothing of a scan - pose, noise, kernel, slice thickness, table, number of slices - depends on what
is wrong with the person. Torch-free.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vismodels.synthetic.chest_anatomy import AIR, BLOOD, WALL, WATER, Anatomy, Floats, Tubes
from vismodels.synthetic.chest_lesions import Findings, Lesion

FIELD = (320.0, 280.0, 400.0)  # mm along z, y, x
THICKNESS = (1.0, 1.25, 2.0, 3.0, 5.0, 8.0)  # mm, of the slices of a scanner
TEXTURE_SD = 25.0  # HU, of parenchyma


@dataclass(frozen=True)
class Acquisition:
    """How a person lies and is scanned.

    Args:
        rotation: about the long axis, degrees.
        shift: (z, y, x), mm.
        scale: of the person.
        noise: standard deviation, HU.
        blur: sigma of the reconstruction's kernel, voxels.
        thickness: of the slices, mm.
        table: whether it is in the picture.
    """

    rotation: float
    shift: tuple[float, float, float]
    scale: float
    noise: float
    blur: float
    thickness: float
    table: bool

    @property
    def slices(self) -> int:
        """Number of slices of the scanner over the field of view."""
        return round(FIELD[0] / self.thickness)


def draw_acquisition(rng: np.random.Generator) -> Acquisition:
    """Return a scan's circumstances."""
    shift = rng.uniform(-15, 15, 3)
    return Acquisition(
        rotation=rng.uniform(-8, 8),
        shift=(float(shift[0]), float(shift[1]), float(shift[2])),
        scale=rng.uniform(0.9, 1.1),
        noise=rng.uniform(15, 60),
        blur=rng.uniform(0.5, 1.5),
        thickness=float(rng.choice(THICKNESS)),
        table=bool(rng.random() < 0.5),
    )


@dataclass(frozen=True)
class Rendered:
    """What a scan shows.

    Args:
        hu: (D, H, W) float32.
        lung: (D, H, W) bool, lesions and vessels in it included.
        lesion: (D, H, W) bool.
    """

    hu: Floats
    lung: NDArray[np.bool_]
    lesion: NDArray[np.bool_]


def scan(
    anatomy: Anatomy,
    findings: Findings,
    acquisition: Acquisition,
    shape: tuple[int, int, int],
    rng: np.random.Generator,
) -> Rendered:
    """Return a scan.

    Args:
        anatomy: of the person.
        findings: what is wrong with the lungs.
        acquisition: pose and scanner.
        shape: (D, H, W) of the grid over `FIELD`.
        rng: source of texture and noise.
    """
    spacing = tuple(extent / count for extent, count in zip(FIELD, shape, strict=True))
    z, y, x = _coordinates(shape, acquisition)
    hu, inside_body = _body(anatomy, z, y, x)
    sides = [anatomy.in_lung(lung, z, y, x) & inside_body for lung in anatomy.lungs]
    lung = sides[0] | sides[1]
    mean, gradient = anatomy.parenchyma
    texture = TEXTURE_SD * _smooth_noise(shape, 8, rng)
    hu = np.where(lung, mean + gradient * y / anatomy.body[0] + texture, hu)
    hu, lesion = _with_findings(hu, anatomy, findings, sides, z, y, x)
    scale = acquisition.scale
    vessels = _tube_weights(anatomy.vessels, acquisition, shape, spacing)
    hu = np.where(lung, hu + np.minimum(vessels, 1) * np.maximum(BLOOD - hu, 0), hu)
    open_airways = _tube_weights(anatomy.airways, acquisition, shape, spacing, 1.35)
    lumen = _tube_weights(anatomy.airways, acquisition, shape, spacing)
    hu = np.where(open_airways > 0, hu + open_airways * 0.5 * (np.maximum(hu, WALL) - hu), hu)
    closed = lesion & (hu > WALL) & ~_with_bronchograms(findings, z, y, x)
    hu = np.where(closed, hu, hu + lumen * (AIR - hu))
    if acquisition.table:
        height = (anatomy.body[0] + 12) * scale
        top = _centers(shape[1], spacing[1])[None, :, None] - acquisition.shift[1]
        hu = np.where((top > height) & (top < height + 8), 60.0, hu)
    return Rendered(_scanned(hu, acquisition, spacing, rng), lung, lesion)


def _coordinates(
    shape: tuple[int, int, int], acquisition: Acquisition
) -> tuple[Floats, Floats, Floats]:
    """Return the person's coordinates of all voxels, (D, H, W) each, mm."""
    z, y, x = (
        (_centers(count, extent / count) - move) / acquisition.scale
        for count, extent, move in zip(shape, FIELD, acquisition.shift, strict=True)
    )
    angle = np.deg2rad(acquisition.rotation)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    turned_y = y[:, None] * cos - x[None, :] * sin
    turned_x = y[:, None] * sin + x[None, :] * cos
    grid = [np.broadcast_to(part, shape) for part in (z[:, None, None], turned_y, turned_x)]
    return grid[0], grid[1], grid[2]


def _centers(count: int, step: float) -> Floats:
    return ((np.arange(count) - (count - 1) / 2) * step).astype(np.float32)


def _body(anatomy: Anatomy, z: Floats, y: Floats, x: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the HU of everything but the lungs, and where lungs may be."""
    deep, wide = anatomy.body
    power = np.float32(anatomy.exponent)
    slab_y, slab_x = y[0], x[0]  # one slice: the trunk is a cylinder
    rho = (np.abs(slab_y / deep) ** power + np.abs(slab_x / wide) ** power) ** (1 / power)
    fat_mm, fat_hu = anatomy.fat
    inner = 1 - fat_mm / deep
    flat = np.where(rho < inner, anatomy.muscle, np.where(rho < 1, fat_hu, AIR))
    hu = np.broadcast_to(flat, y.shape).astype(np.float32)
    cage = (rho < inner - 0.02) & (rho > inner - 0.10)
    phase = z + 0.35 * y  # ribs run down to the front
    ribs = cage[None] & (np.mod(phase, 28) < 10)
    spine = ((slab_y - 0.72 * deep) / 18) ** 2 + (slab_x / 20) ** 2 < 1
    sternum = ((slab_y + (inner - 0.06) * deep) / 7) ** 2 + (slab_x / 18) ** 2 < 1
    bones = ribs | (spine & (np.mod(z, 32) < 26)) | sternum[None]
    within = np.broadcast_to(rho < inner - 0.10, y.shape) & ~bones
    return np.where(bones, anatomy.bone, hu).astype(np.float32), within


def _with_findings(
    hu: Floats,
    anatomy: Anatomy,
    findings: Findings,
    sides: list[NDArray[np.bool_]],
    z: Floats,
    y: Floats,
    x: Floats,
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the HU with opacities, fluid and filled segments, and where opacities are."""
    lung = sides[0] | sides[1]
    hu, marked = hu.copy(), np.zeros(hu.shape, bool)
    for lesion in findings.lesions:
        box = _box(lesion, z, y, x)
        if box is None:
            continue
        weight, core = _opacity(lesion, z[box], y[box], x[box])
        weight = weight * lung[box]
        density = lesion.hu + core * (lesion.core - lesion.hu)
        hu[box] += weight * np.maximum(density - hu[box], 0)
        marked[box] |= weight > 0.5
    for side, deep in findings.effusions:
        part = sides[0 if side < 0 else 1]
        own = anatomy.lungs[0 if side < 0 else 1]
        behind = y > own.center[1] + own.axes[1] - deep - 0.12 * (z - own.base)
        hu = np.where(part & behind & (z < own.center[0]), WATER, hu)
    if findings.filled is not None:
        side, low, high, front, filling = findings.filled
        part = sides[0 if side < 0 else 1]
        segment = part & (z > low) & (z < high) & (y > front)
        hu = np.where(segment, filling, hu)
        marked |= segment
    return hu.astype(np.float32), marked


def _box(lesion: Lesion, z: Floats, y: Floats, x: Floats) -> tuple[slice, slice, slice] | None:
    """Return the voxels around a lesion; coordinates are nearly those of the grid."""
    reach = 1.6 * max(lesion.axes)
    near = (
        np.abs(z[:, 0, 0] - lesion.center[0]) < reach,
        (np.abs(y[0] - lesion.center[1]) < reach).any(axis=1),
        (np.abs(x[0] - lesion.center[2]) < reach).any(axis=0),
    )
    spans = [np.flatnonzero(axis) for axis in near]
    if any(span.size == 0 for span in spans):
        return None
    slices = [slice(int(span[0]), int(span[-1]) + 1) for span in spans]
    return slices[0], slices[1], slices[2]


def _opacity(lesion: Lesion, z: Floats, y: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Return the share of a lesion's substance in [0, 1], and that of its core."""
    parts = [
        ((value - middle) / axis) ** 2
        for value, middle, axis in zip((z, y, x), lesion.center, lesion.axes, strict=True)
    ]
    radius = np.sqrt(parts[0] + parts[1] + parts[2])
    rng = np.random.default_rng(lesion.texture)
    outline: Floats = radius + 0.35 * _smooth_noise(radius.shape, 3, rng)
    weight = np.clip((1 - outline) / 0.3 + 0.5, 0, 1).astype(np.float32)
    core = np.zeros_like(weight)
    if lesion.kind == "mixed":
        core = np.clip((0.6 - outline) / 0.2 + 0.5, 0, 1).astype(np.float32)
    return weight, core


def _with_bronchograms(findings: Findings, z: Floats, y: Floats, x: Floats) -> NDArray[np.bool_]:
    """Return where airways stay open within an opacity."""
    airy = np.zeros(z.shape, bool)
    for lesion in findings.lesions:
        if lesion.bronchogram and (box := _box(lesion, z, y, x)):
            airy[box] = True
    return airy


def _tube_weights(
    tubes: Tubes,
    acquisition: Acquisition,
    shape: tuple[int, int, int],
    spacing: tuple[float, ...],
    widened: float = 1.0,
) -> Floats:
    """Return the share of each voxel that tubes take, (D, H, W); they are thin beside voxels."""
    angle = np.deg2rad(acquisition.rotation)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])  # person to scanner
    step = np.array(spacing)
    middle = (np.array(shape) - 1) / 2

    def index(points: Floats) -> NDArray[np.float64]:
        placed = points @ turn.T * acquisition.scale + np.array(acquisition.shift)
        return np.asarray(placed / step + middle)

    starts, ends = index(tubes.start), index(tubes.end)
    radii = tubes.radius * acquisition.scale * widened
    # Drawn as points every third of a voxel along each tube, whose sections they share out.
    counts = np.maximum(np.ceil(3 * np.abs(ends - starts).max(axis=1)).astype(int), 1)
    which = np.repeat(np.arange(len(counts)), counts)
    along = (np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts) + 0.5) / counts[
        which
    ]
    points = starts[which] + along[:, None] * (ends - starts)[which]
    lengths = np.linalg.norm((ends - starts) * step, axis=1) / counts
    volume = np.pi * radii[which] ** 2 * lengths[which] / np.prod(step)
    taken = np.zeros(shape, np.float32)
    spread = np.maximum(radii[which, None] / step, 0.5) * 0.6
    offsets = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    for offset in offsets:  # a tube that is wider than a voxel reaches its neighbours
        places = np.rint(points + offset * spread).astype(int)
        kept = ((places >= 0) & (places < np.array(shape))).all(axis=1)
        flat = np.ravel_multi_index(tuple(places[kept].T), shape)
        np.add.at(taken.ravel(), flat, (volume[kept] / len(offsets)).astype(np.float32))
    return np.minimum(taken, 1)


def _smooth_noise(shape: tuple[int, ...], cell: int, rng: np.random.Generator) -> Floats:
    """Return noise of unit variance that varies over `cell` voxels."""
    from scipy import ndimage

    coarse = rng.standard_normal([-(-size // cell) + 3 for size in shape]).astype(np.float32)
    fine = ndimage.zoom(coarse, cell, order=1, grid_mode=True, mode="nearest")
    cut = fine[tuple(slice(cell, cell + size) for size in shape)]
    deviation = float(cut.std())
    return np.asarray(cut / deviation if deviation > 0 else cut, np.float32)


def _scanned(
    hu: Floats, acquisition: Acquisition, spacing: tuple[float, ...], rng: np.random.Generator
) -> Floats:
    """Return what the scanner makes of it: thick slices, a kernel, noise."""
    from scipy import ndimage

    slab = max(acquisition.thickness / spacing[0] / np.sqrt(12), 0.2)  # sigma of a box
    blurred = ndimage.gaussian_filter(hu, (slab, acquisition.blur, acquisition.blur), truncate=3)
    noise = rng.standard_normal(hu.shape).astype(np.float32) * np.float32(acquisition.noise)
    return np.asarray(blurred + noise, np.float32)

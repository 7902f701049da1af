"""Binary shapes as inputs of networks, and as features without a network. Torch-free.

For sets that hold masks only, as AdrenalMNIST3D: thickness is the signal there, so nothing is
scaled to a common size. Distances are Euclidean and exact; beyond the volume there is background.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

CROP = (40, 56, 56)  # voxels of 1 mm; sizes of AdrenalMNIST3D
POOL = 2
FARTHEST = 12.0  # mm
DISTANCE_UNIT = 6.0  # mm
_QUANTILES = (0.25, 0.5, 0.75, 0.9)

Mask = NDArray[np.bool_]


def signed_distance(mask: Mask, spacing: float = 1.0) -> NDArray[np.float32]:
    """Return for each voxel how deep inside the shape it lies, negative outside.

    Args:
        mask: any shape; at least one voxel is set.
        spacing: millimetres from voxel to voxel.

    Returns:
        mm to the center of the nearest voxel on the other side: at least `spacing`, at most
        -`spacing`.

    Raises:
        TypeError: unless the mask is bool.
        ValueError: if it is empty.
    """
    from scipy.ndimage import distance_transform_edt

    _require_shape(mask)
    padded = np.pad(mask, 1)
    distances = distance_transform_edt(padded) - distance_transform_edt(~padded)
    inner = distances[tuple(slice(1, -1) for _ in mask.shape)]
    return np.asarray(spacing * inner, np.float32)


def shape_channels(
    mask: Mask, spacing: float = 1.0, crop: tuple[int, int, int] = CROP, pool: int = POOL
) -> NDArray[np.float32]:
    """Return a shape as two channels: soft mask and scaled signed distance.

    Distances are taken at full resolution, then cut out around the middle of the bounding box,
    averaged over blocks of `pool` voxels along each axis, clipped to 12 mm and divided by 6.

    Args:
        mask: (D, H, W) bool; parts beyond `crop` are lost.
        spacing: millimetres from voxel to voxel.
        crop: voxels that are cut out, multiples of `pool`; may reach beyond the volume.
        pool: edge of a block in voxels.

    Returns:
        (2, D', H', W') with crop / pool voxels: the share of each block inside the shape, in
        [0, 1], and the distance, positive inside, in [-2, 2].

    Raises:
        TypeError: unless the mask is bool.
        ValueError: if it is empty or no volume, or the crop is no multiple of `pool`.
    """
    _require_volume(mask)
    if pool < 1 or any(size < 1 or size % pool for size in crop):
        raise ValueError(f"expected a crop of multiples of {pool}, got {crop}")
    box = _bounding_box(mask)
    # As large as the shape and the crop: distances in it are those in the whole volume.
    window = _centered(
        mask, box, [max(s, b.stop - b.start) for s, b in zip(crop, box, strict=True)]
    )
    distances = _centered(signed_distance(window, spacing), _whole(window), crop)
    soft = _centered(window, _whole(window), crop).astype(np.float32)
    scaled = np.clip(_pooled(distances, pool), -FARTHEST, FARTHEST) / DISTANCE_UNIT
    return np.stack([_pooled(soft, pool), scaled]).astype(np.float32)


def shape_features(mask: Mask, spacing: float = 1.0) -> dict[str, float]:
    """Return 25 standard features of a shape, for a classifier without a network.

    None depends on where the shape lies in the volume. `thickness`, volume by surface voxels, is
    the strongest single one on AdrenalMNIST3D.

    Args:
        mask: (D, H, W) bool.
        spacing: millimetres from voxel to voxel; lengths are in mm, areas in mm^2, volumes in
            mm^3.

    Raises:
        TypeError: unless the mask is bool.
        ValueError: if it is empty or no volume.
    """
    from scipy.ndimage import binary_erosion, label

    _require_volume(mask)
    box = _bounding_box(mask)
    tight = np.pad(mask[box], 1)
    surface = tight & ~binary_erosion(tight)  # by the 6-neighbourhood
    volume, outside = int(tight.sum()), int(surface.sum())
    depth, height, width = (float(b.stop - b.start) for b in box)
    parts, count = label(tight, np.ones((3, 3, 3)))
    features = {
        "volume": volume * spacing**3,
        "surface_voxels": float(outside),
        "thickness": volume / outside * spacing,
        "depth": depth * spacing,
        "height": height * spacing,
        "width": width * spacing,
        "box_fraction": volume / (depth * height * width),
        "parts": float(count),
        "largest_part": float(np.bincount(parts[tight]).max()) / volume,
    }
    inner = signed_distance(tight, spacing)[tight].astype(np.float64)
    features |= {
        "inner_mean": float(inner.mean()),
        "inner_max": float(inner.max()),
        "inner_deviation": float(inner.std()),
        **{f"inner_{q * 100:.0f}": float(np.quantile(inner, q)) for q in _QUANTILES},
    }
    return features | _axes(tight, spacing) | _hull_and_surface(tight, surface, spacing)


def _axes(mask: Mask, spacing: float) -> dict[str, float]:
    """Return the spread along the principal axes; voxels are cubes, so that none is zero."""
    points = np.argwhere(mask) * spacing
    centered = points - points.mean(axis=0)
    covariance = centered.T @ centered / len(points) + np.eye(3) * spacing**2 / 12
    minor, middle, major = np.sqrt(np.linalg.eigvalsh(covariance)).tolist()
    return {
        "spread_major": major,
        "spread_middle": middle,
        "spread_minor": minor,
        "elongation": middle / major,
        "flatness": minor / middle,
    }


def _hull_and_surface(mask: Mask, surface: Mask, spacing: float) -> dict[str, float]:
    from scipy.spatial import ConvexHull
    from skimage.measure import euler_number, marching_cubes, mesh_surface_area

    levels = mask.astype(np.float32)
    vertices, faces, _, _ = marching_cubes(levels, 0.5)  # type: ignore[no-untyped-call]
    area = float(mesh_surface_area(vertices, faces))  # type: ignore[no-untyped-call]
    corners = np.indices((2, 2, 2)).reshape(3, 8).T - 0.5
    cloud = np.argwhere(surface)[:, None, :] + corners
    hull = ConvexHull(np.unique(cloud.reshape(-1, 3), axis=0))
    volume = float(mask.sum())
    euler = euler_number(mask, connectivity=3)  # type: ignore[no-untyped-call]
    return {
        "surface": area * spacing**2,
        "sphericity": float(np.cbrt(np.pi) * (6 * volume) ** (2 / 3) / area),
        "solidity": volume / float(hull.volume),
        "euler": float(euler),
    }


def _require_shape(mask: Mask) -> None:
    if mask.dtype != np.bool_:
        raise TypeError(f"expected a bool mask, got {mask.dtype}; compare it with a level first")
    if not mask.any():
        raise ValueError("the mask is empty; a shape needs at least one voxel")


def _require_volume(mask: Mask) -> None:
    if mask.ndim != 3:
        raise ValueError(f"expected a (D, H, W) mask, got {mask.shape}")
    _require_shape(mask)


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    from scipy.ndimage import find_objects

    box: tuple[slice, ...] = find_objects(mask.astype(np.uint8))[0]
    return box


def _whole(volume: NDArray[Any]) -> tuple[slice, ...]:
    return tuple(slice(0, size) for size in volume.shape)


def _centered(
    volume: NDArray[Any], box: tuple[slice, ...], shape: tuple[int, ...] | list[int]
) -> NDArray[Any]:
    """Return `shape` voxels around the middle of `box`; zeros beyond the volume."""
    starts = [(b.start + b.stop - size) // 2 for b, size in zip(box, shape, strict=True)]
    result = np.zeros(shape, volume.dtype)
    source, target = [], []
    for start, size, limit in zip(starts, shape, volume.shape, strict=True):
        low, high = max(start, 0), min(start + size, limit)
        source.append(slice(low, high))
        target.append(slice(low - start, high - start))
    result[tuple(target)] = volume[tuple(source)]
    return result


def _pooled(volume: NDArray[np.float32], pool: int) -> NDArray[np.float32]:
    depth, height, width = (size // pool for size in volume.shape)
    blocks = volume.reshape(depth, pool, height, pool, width, pool)
    return np.asarray(blocks.mean(axis=(1, 3, 5)), np.float32)

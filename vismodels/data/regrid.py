"""Levels of a prepared case back on the grid of the files it was read from. Torch-free."""

import numpy as np
from numpy.typing import NDArray


def levels_on_grid(
    levels: NDArray[np.uint8],
    affine: NDArray[np.float64],
    shape: tuple[int, int, int],
    target: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Return the level of the nearest voxel for every voxel of another grid, (D, H, W) of `shape`.

    It undoes crop, merged voxels and turned axes at once: the affines tell all of it. What lies
    outside of `levels` is background.

    Args:
        levels: (d, h, w).
        affine: (4, 4) from voxel indices of `levels` to millimeters.
        shape: of the result.
        target: like `affine`, of the result.
    """
    from scipy.ndimage import affine_transform

    to_levels = np.linalg.solve(affine, target)  # index in the result -> in `levels`
    found: NDArray[np.uint8] = affine_transform(
        levels,
        to_levels[:3, :3],
        to_levels[:3, 3],
        output_shape=shape,
        order=0,
        mode="grid-constant",  # half a voxel beyond the last center is still in its voxel
        cval=0,
    )
    return found

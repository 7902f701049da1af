"""Predictor and denoiser applied to whole pages, tile by tile, without seams.

Every step of the solver is taken on the page, not on its tiles: the tiles' estimates are blended
first, and there is one noise field. Tiles that show blank paper only are not computed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vismodels.diffusion.sampling import sample
from vismodels.methods.nafdpm.config import Task
from vismodels.nn.blending import TileGrid, blend, tile_grid
from vismodels.nn.nafnet import ConditionalNAFNet, NAFNet
from vismodels.nn.nafnet_inference import FoldedNAFNet

BLOCK = 8  # edge of the squares whose means tell blank paper from text, pixels
LIGHT = 0.5  # blank paper that is darker is no paper to a binarization


@dataclass(frozen=True)
class Tiling:
    """How pages are cut into tiles, and which tiles are left out.

    Args:
        tile: wished edge of the tiles, pixels: that of the training patches, unless the networks
            pool locally.
        overlap: pixels that neighbours share at least, over which they fade into one another.
        batch_size: tiles computed at a time; None for the fastest on CPUs.
        blank_tolerance: a tile is blank if the means of its 8x8 blocks span no more than this; None
            to compute all tiles.
    """

    tile: int
    overlap: int = 16
    batch_size: int | None = None
    blank_tolerance: float | None = 0.03

    def grid(self, page: Tensor, multiple_of: int) -> TileGrid:
        """Return the tiles of a page (B, C, H, W)."""
        height, width = page.shape[2:]
        return tile_grid(height, width, self.tile, self.overlap, multiple_of)


@torch.no_grad()
def predict_page(predictor: NAFNet, page: Tensor, tiling: Tiling, task: Task) -> Tensor:
    """Return the predictor's output for pages of any size, (B, C, H, W), not clamped.

    Blank tiles come back smoothed over 8x8 pixels, of a binarization white.

    Args:
        predictor: in evaluation or training mode, which are alike.
        page: (B, C, H, W) in [0, 1], degraded.
        tiling: tiles, and what is blank.
        task: a binarization skips blank tiles only if they are light.
    """
    grid = tiling.grid(page, predictor.multiple_of)
    blank = blank_tiles(page, grid, tiling.blank_tolerance, task)
    fill = torch.ones_like(page) if task == "binarization" else smoothed(page)
    return blend(
        FoldedNAFNet(predictor),
        [page],
        grid,
        channels=page.shape[1],
        batch_size=tiling.batch_size,
        skip=blank,
        fill=fill,
    )


@torch.no_grad()
def sample_residual(
    denoiser: ConditionalNAFNet,
    scheduler: Any,
    page: Tensor,
    condition: Tensor,
    noise: Tensor,
    num_steps: int,
    tiling: Tiling,
    task: Task,
    time_scale: float,
) -> Tensor:
    """Return what the prediction lacks, (B, C, H, W): one sample of the residual, not clamped.

    Estimates of the clean residual are clamped to [-1, 1]; the residual of blank tiles is zero.

    Args:
        denoiser: in evaluation or training mode, which are alike.
        scheduler: of diffusers; its state is reset.
        page: (B, C, H, W) in [0, 1], degraded; tells which tiles are blank.
        condition: (B, C', H, W), what the denoiser sees beside the noise.
        noise: (1, C, H, W) for one field for all pages, or (B, C, H, W); standard normal.
        num_steps: calls of the denoiser for each tile, at least 1.
        tiling: tiles, and what is blank.
        task: as for `predict_page`.
        time_scale: the denoiser sees timestep / T * time_scale.
    """
    grid = tiling.grid(page, denoiser.multiple_of)
    blank = blank_tiles(page, grid, tiling.blank_tolerance, task)
    clip = 1.0 if scheduler.config.prediction_type == "sample" else None

    def denoise(noisy: Tensor, timestep: Tensor) -> Tensor:
        time = timestep.to(page.dtype) / scheduler.config.num_train_timesteps * time_scale
        return blend(
            _clipped(FoldedNAFNet(denoiser, time), clip),
            [noisy, condition],
            grid,
            channels=page.shape[1],
            batch_size=tiling.batch_size,
            skip=blank,
        )

    residual = sample(denoise, scheduler, noise.expand_as(page), num_steps, clip)
    if blank.any():  # what the solver leaves there is noise
        residual = residual * _computed_share(blank, grid, page)
    return residual


def refine_page(prediction: Tensor, residuals: list[Tensor]) -> Tensor:
    """Return prediction + mean residual, clamped to [0, 1].

    Args:
        prediction: (B, C, H, W), not clamped.
        residuals: samples like `prediction`, at least one.
    """
    return (prediction + torch.stack(residuals).mean(0)).clamp(0, 1)


def blank_tiles(page: Tensor, grid: TileGrid, tolerance: float | None, task: Task) -> Tensor:
    """Return (B, tiles) bool: True where a tile shows blank paper only.

    Means over 8x8 pixels average the noise of a scan away; one letter moves them by far more than
    the tolerance.

    Args:
        page: (B, C, H, W) in [0, 1].
        grid: the tiles.
        tolerance: largest range of the block means of a blank tile; None if no tile is blank.
        task: what is blank and dark may still be ink to a binarization.
    """
    windows = grid.windows
    if tolerance is None:
        return torch.zeros(len(page), len(windows), dtype=torch.bool)
    blocks = _block_means(page)
    flags = []
    for rows, columns in windows:
        inside = blocks[:, :, _block_range(rows), _block_range(columns)].flatten(2)
        low, high = inside.amin(2), inside.amax(2)
        flat = (high - low <= tolerance).all(1)
        flags.append(flat & (low >= LIGHT).all(1) if task == "binarization" else flat)
    return torch.stack(flags, dim=1).cpu()


def smoothed(page: Tensor) -> Tensor:
    """Return pages averaged over 8x8 blocks, with linear transitions between their centres.

    Args:
        page: (B, C, H, W).
    """
    height, width = page.shape[2:]
    blocks = _block_means(page)
    size = (blocks.shape[2] * BLOCK, blocks.shape[3] * BLOCK)
    return functional.interpolate(blocks, size, mode="bilinear")[:, :, :height, :width]


def _block_means(page: Tensor) -> Tensor:
    return functional.avg_pool2d(page, BLOCK, ceil_mode=True, count_include_pad=False)


def _block_range(pixels: slice) -> slice:
    """Return the blocks that hold any of the pixels."""
    return slice(pixels.start // BLOCK, -(-pixels.stop // BLOCK))


def _clipped(function: Callable[..., Tensor], clip: float | None) -> Callable[..., Tensor]:
    if clip is None:
        return function
    return lambda *tiles: function(*tiles).clamp_(-clip, clip)


def _computed_share(blank: Tensor, grid: TileGrid, page: Tensor) -> Tensor:
    """Return the total weight of the tiles that are not blank at each pixel, (B, 1, H, W)."""
    share = page.new_zeros(len(page), 1, *page.shape[2:])
    for index, ((rows, columns), weight) in enumerate(
        zip(grid.windows, grid.weights(page), strict=True)
    ):
        for item in range(len(page)):
            if not blank[item, index]:
                share[item, 0, rows, columns] += weight
    return share

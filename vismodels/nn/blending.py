"""Overlapping tiles of one size whose results are blended, for networks that see whole tiles.

Where `nn.tiles` crops each tile's context away, which is exact for small receptive fields, blending
hides the seams of networks that look at everything: neighbours fade into one another over their
overlap, with weights that sum to 1 at every pixel.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor

# Pixels of a batch of tiles: the fastest on CPUs at 16 and 32 channels, since what is larger is
# given back to the system by every layer, and cleared by the system for the next.
BATCH_PIXELS = 2**15


@dataclass(frozen=True)
class TileGrid:
    """Where the tiles of an image lie, all of the same size.

    Args:
        height: of the image.
        width: of the image.
        tile_height: of each tile, at most `height`.
        tile_width: of each tile, at most `width`.
        tops: first row of each row of tiles, from 0 to `height` - `tile_height`.
        lefts: first column of each column of tiles.
    """

    height: int
    width: int
    tile_height: int
    tile_width: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @property
    def windows(self) -> list[tuple[slice, slice]]:
        """Rows and columns of every tile, row by row."""
        return [
            (slice(top, top + self.tile_height), slice(left, left + self.tile_width))
            for top, left in product(self.tops, self.lefts)
        ]

    def weights(self, like: Tensor) -> list[Tensor]:
        """Return the weight of every pixel of every tile, (tile_height, tile_width), row by row.

        Raised cosines over each overlap. At every pixel of the image they sum to 1.

        Args:
            like: whose dtype and device the weights get.
        """
        rows = _axis_weights(self.height, self.tile_height, self.tops).to(like)
        columns = _axis_weights(self.width, self.tile_width, self.lefts).to(like)
        return [row[:, None] * column for row, column in product(rows, columns)]


def tile_grid(height: int, width: int, tile: int, overlap: int, multiple_of: int = 1) -> TileGrid:
    """Return a grid of tiles about as large as wished, spread evenly over an image.

    Along each axis the size is chosen, from 3/4 to 3/2 of `tile`, with which tiles have the fewest
    pixels in total. An axis of up to 3/2 of `tile` is covered by one tile of exactly its length.

    Args:
        height: of the image, at least 1.
        width: of the image, at least 1.
        tile: wished height and width of the tiles, more than twice `overlap`.
        overlap: pixels that neighbours share at least.
        multiple_of: tiles are multiples of this, except where one tile covers an axis; what the
            network pads to.

    Raises:
        ValueError: if a size is below 1, or `overlap` is negative or half of `tile` or more.
    """
    if min(height, width, multiple_of) < 1:
        raise ValueError(f"expected an image of at least 1x1 pixel, got {height}x{width}")
    if overlap < 0 or tile <= 2 * overlap:
        raise ValueError(
            f"tiles must be more than twice as large as their overlap, which is at least 0; got "
            f"tiles of {tile} pixels that overlap by {overlap}"
        )
    tile_height, tops = _spread(height, tile, overlap, multiple_of)
    tile_width, lefts = _spread(width, tile, overlap, multiple_of)
    return TileGrid(height, width, tile_height, tile_width, tops, lefts)


def blend(
    function: Callable[..., Tensor],
    pages: Sequence[Tensor],
    grid: TileGrid,
    *,
    channels: int,
    batch_size: int | None = None,
    skip: Tensor | None = None,
    fill: Tensor | None = None,
) -> Tensor:
    """Return `function(*pages)`, computed from tiles and blended.

    Args:
        function: takes the tiles of all `pages`, (N, C_i, h, w), and returns (N, channels, h, w).
        pages: (B, C_i, H, W) of the size of the grid.
        grid: from `tile_grid`.
        channels: of the result.
        batch_size: tiles that `function` gets at a time; None for as many as have `BATCH_PIXELS`.
        skip: (B, tiles), True for tiles that are not computed; None to compute all.
        fill: (B, channels, H, W), what skipped tiles contribute; None for zeros.

    Returns:
        (B, channels, H, W), of the dtype and on the device of the first page.

    Raises:
        ValueError: if `batch_size` is below 1, or a page is not of the grid's size.
    """
    if batch_size is None:
        batch_size = max(1, BATCH_PIXELS // (grid.tile_height * grid.tile_width))
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1 tile, got {batch_size}")
    for page in pages:
        if page.ndim != 4 or page.shape[2:] != (grid.height, grid.width):
            raise ValueError(
                f"expected images (B, C, {grid.height}, {grid.width}), got {tuple(page.shape)}"
            )
    first = pages[0]
    result = first.new_zeros(len(first), channels, grid.height, grid.width)
    windows, weights = grid.windows, grid.weights(first)
    chosen = []
    for item, index in product(range(len(first)), range(len(windows))):
        if skip is None or not skip[item, index]:
            chosen.append((item, index))
        elif fill is not None:
            rows, columns = windows[index]
            result[item, :, rows, columns] += weights[index] * fill[item, :, rows, columns]
    for start in range(0, len(chosen), batch_size):
        batch = chosen[start : start + batch_size]
        tiles = (
            torch.stack([page[item, :, windows[i][0], windows[i][1]] for item, i in batch])
            for page in pages
        )
        for (item, index), computed in zip(batch, function(*tiles), strict=True):
            rows, columns = windows[index]
            result[item, :, rows, columns] += weights[index] * computed
    return result


def _spread(size: int, tile: int, overlap: int, multiple_of: int) -> tuple[int, tuple[int, ...]]:
    """Return the size of the tiles of one axis and the first pixel of each."""
    if size <= tile * 3 // 2:
        return size, (0,)
    multiples = range(multiple_of, tile * 3 // 2 + 1, multiple_of)
    edges = [edge for edge in multiples if edge >= tile * 3 / 4] or [multiple_of]

    def count(edge: int) -> int:
        return -(-(size - overlap) // (edge - overlap))

    best = min(edges, key=lambda edge: (count(edge) * edge, abs(edge - tile)))
    edge, last = min(best, size), max(count(best) - 1, 1)
    return edge, tuple((size - edge) * number // last for number in range(last + 1))


def _axis_weights(size: int, edge: int, starts: Sequence[int]) -> Tensor:
    """Return the weights along one axis, (tiles, edge) in float64, which sum to 1 at each pixel."""
    weights = torch.ones(len(starts), edge, dtype=torch.float64)
    for number, (first, second) in enumerate(pairwise(starts)):
        shared = first + edge - second
        phase = (torch.arange(shared, dtype=torch.float64) + 0.5) / shared
        rise = (1 - torch.cos(math.pi * phase)) / 2
        weights[number, edge - shared :] *= 1 - rise
        weights[number + 1, :shared] *= rise
    total = torch.zeros(size, dtype=torch.float64)  # 1, but where three tiles or more meet
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + edge] += weight
    return torch.stack(
        [
            weight / total[start : start + edge]
            for start, weight in zip(starts, weights, strict=True)
        ]
    )

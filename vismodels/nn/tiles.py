"""Tile arithmetic: compute a large image piece by piece, each piece with context around it."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor


@dataclass(frozen=True)
class Span:
    """What one tile reads and keeps along one axis, in pixels of the image.

    Args:
        start: first pixel that is kept.
        stop: end of the kept pixels, exclusive.
        context_start: first pixel that is read, at most `start`.
        context_stop: end of the read pixels, exclusive, at least `stop`.
    """

    start: int
    stop: int
    context_start: int
    context_stop: int

    @property
    def read(self) -> slice:
        """The pixels of the image that the tile is computed from."""
        return slice(self.context_start, self.context_stop)

    def write(self, scale: int = 1) -> slice:
        """The pixels of the result that the tile fills, at `scale` times the size."""
        return slice(self.start * scale, self.stop * scale)

    def keep(self, scale: int = 1) -> slice:
        """The pixels of the computed tile that go into the result; the others are context."""
        first = self.start - self.context_start
        return slice(first * scale, (first + self.stop - self.start) * scale)


@dataclass(frozen=True)
class TileBox:
    """One tile: its rows and its columns."""

    rows: Span
    columns: Span


def tile_spans(size: int, tile: int | None, overlap: int) -> list[Span]:
    """Return spans that keep every pixel of an axis exactly once, in order.

    The axis is cut into as few parts as possible, of lengths that differ by at most one: no sliver
    is left at the end. Context ends at the border of the image.

    Args:
        size: pixels along the axis, at least 1.
        tile: the most pixels that one span keeps; None for a single span.
        overlap: pixels of context at each side.

    Raises:
        ValueError: if `size` or `tile` is below 1 or `overlap` below 0.
    """
    if size < 1:
        raise ValueError(f"expected a size of at least 1 pixel, got {size}")
    if tile is not None and tile < 1:
        raise ValueError(f"tile must be at least 1 pixel, or None for no tiles, got {tile}")
    if overlap < 0:
        raise ValueError(f"overlap must be at least 0 pixels, got {overlap}")
    parts = 1 if tile is None else -(-size // tile)
    edges = [size * part // parts for part in range(parts + 1)]
    return [
        Span(start, stop, max(start - overlap, 0), min(stop + overlap, size))
        for start, stop in pairwise(edges)
    ]


def tile_boxes(height: int, width: int, tile: int | None, overlap: int) -> list[TileBox]:
    """Return tiles that keep every pixel of an image exactly once, row by row.

    Args:
        height: of the image in pixels, at least 1.
        width: of the image in pixels, at least 1.
        tile: greatest height and width that a tile keeps; None for a single tile.
        overlap: pixels of context at each side; a tile reads up to tile + 2 * overlap pixels.

    Raises:
        ValueError: if a size or `tile` is below 1 or `overlap` below 0.
    """
    columns = tile_spans(width, tile, overlap)
    return [TileBox(row, column) for row in tile_spans(height, tile, overlap) for column in columns]


def compute_in_tiles(
    function: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    tile: int | None,
    overlap: int,
    scale: int = 1,
) -> Tensor:
    """Return `function(image)`, computed from one tile of one image at a time.

    Equal to `function(image)` (up to rounding of floating-point numbers, whose order of summation
    may depend on sizes) if no output pixel depends on input pixels more than `overlap` away and the
    function commutes with shifts. Otherwise an approximation that may show seams.

    Args:
        function: (1, C, h, w) -> (1, C', scale * h, scale * w), for every h and w.
        image: (B, C, H, W).
        tile: greatest height and width that a tile keeps; None for whole images.
        overlap: pixels of context that a tile reads beyond each side and drops from its result.
        scale: size of the result over size of the input.

    Returns:
        (B, C', scale * H, scale * W), of the dtype and on the device of the function's results.

    Raises:
        ValueError: if the image is empty, `tile` is below 1 or `overlap` below 0, or if `function`
            returns another size.
    """
    if image.ndim != 4 or image.numel() == 0:
        raise ValueError(f"expected images (B, C, H, W) with pixels, got {tuple(image.shape)}")
    batch, _, height, width = image.shape
    boxes = tile_boxes(height, width, tile, overlap)
    result: Tensor | None = None
    for item in range(batch):
        for box in boxes:
            part = image[item : item + 1, :, box.rows.read, box.columns.read]
            computed = function(part)
            expected = (part.shape[2] * scale, part.shape[3] * scale)
            if computed.shape[2:] != expected:
                raise ValueError(
                    f"expected a result of {expected[0]}x{expected[1]} pixels for a tile of "
                    f"{part.shape[2]}x{part.shape[3]}, got shape {tuple(computed.shape)}"
                )
            if result is None:
                result = computed.new_empty(batch, computed.shape[1], height * scale, width * scale)
            kept = computed[0, :, box.rows.keep(scale), box.columns.keep(scale)]
            result[item, :, box.rows.write(scale), box.columns.write(scale)] = kept
    assert result is not None  # there is at least one item and one box
    return result

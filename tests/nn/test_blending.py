import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vismodels.nn.blending import BATCH_PIXELS, TileGrid, blend, tile_grid

sizes = st.integers(1, 90)
tiles = st.integers(9, 40)
overlaps = st.integers(0, 4)


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_a_hand_computed_grid():
    # Three tiles of 10 have 30 pixels, two of 12, which overlap by 4, have 24.
    assert tile_grid(20, 7, 10, 4) == TileGrid(20, 7, 12, 7, tops=(0, 8), lefts=(0,))


def test_tiles_are_rounded_up_to_a_multiple():
    grid = tile_grid(100, 21, 32, 4, multiple_of=16)
    # Four tiles of 32 have 128 pixels, three of 48 have 144.
    assert (grid.tile_height, grid.tops) == (32, (0, 22, 45, 68))
    assert (grid.tile_width, grid.lefts) == (21, (0,))


@given(size=sizes, tile=tiles, overlap=overlaps, multiple=st.sampled_from([1, 4, 16]))
def test_tiles_cover_the_axis_and_overlap_as_wished(size, tile, overlap, multiple):
    grid = tile_grid(size, 1, tile, overlap, multiple)
    starts, edge = grid.tops, grid.tile_height
    assert starts[0] == 0
    assert starts[-1] + edge == size
    gaps = [second - first for first, second in pairwise(starts)]
    assert all(0 <= gap <= edge - overlap for gap in gaps)
    if len(starts) > 1:
        assert edge % multiple == 0 or edge == size


@given(size=st.integers(1, 500), tile=st.integers(40, 90), overlap=st.integers(0, 10))
def test_tiles_are_about_as_large_as_wished(size, tile, overlap):
    grid = tile_grid(size, size, tile, overlap)
    if len(grid.tops) > 1:
        assert 0.75 * tile <= grid.tile_height <= 1.5 * tile
    else:
        assert grid.tile_height == size <= 1.5 * tile


@given(height=sizes, width=sizes, tile=tiles, overlap=overlaps)
def test_the_identity_returns_the_page(height, width, tile, overlap):
    page = random(2, 3, height, width)
    grid = tile_grid(height, width, tile, overlap)
    result = blend(lambda part: part, [page], grid, channels=3, batch_size=3)
    torch.testing.assert_close(result, page, rtol=0, atol=1e-6)


@given(height=sizes, width=sizes, tile=tiles, overlap=overlaps)
def test_weights_sum_to_one_at_every_pixel(height, width, tile, overlap):
    grid = tile_grid(height, width, tile, overlap)
    total = torch.zeros(height, width, dtype=torch.float64)
    for (rows, columns), weight in zip(grid.windows, grid.weights(total), strict=True):
        assert (weight >= 0).all()
        total[rows, columns] += weight
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


def test_neighbours_fade_into_one_another_along_a_raised_cosine():
    grid = TileGrid(1, 16, 1, 10, tops=(0,), lefts=(0, 6))
    page = torch.zeros(1, 1, 1, 16)
    values = iter([0.0, 1.0])
    result = blend(
        lambda part: torch.full_like(part, next(values)), [page], grid, channels=1, batch_size=1
    )
    rise = [(1 - math.cos(math.pi * (k + 0.5) / 4)) / 2 for k in range(4)]
    torch.testing.assert_close(result.flatten(), torch.tensor([0.0] * 6 + rise + [1.0] * 6))


def test_all_tiles_have_one_size_and_batches_are_bounded():
    shapes = []

    def function(first, second):
        shapes.append(tuple(first.shape))
        return second[:, :1]

    grid = tile_grid(70, 50, 24, 4, multiple_of=8)
    pages = [random(2, 1, 70, 50), random(2, 2, 70, 50, seed=1)]
    result = blend(function, pages, grid, channels=1, batch_size=5)
    torch.testing.assert_close(result, pages[1][:, :1], rtol=0, atol=1e-6)
    number = 2 * len(grid.windows)
    assert [shape[0] for shape in shapes] == [5] * (number // 5) + [number % 5] * (number % 5 > 0)
    assert {shape[1:] for shape in shapes} == {(1, grid.tile_height, grid.tile_width)}


def test_without_a_batch_size_batches_have_a_bounded_number_of_pixels():
    counts = []
    page = torch.zeros(1, 1, 1000, 1000)
    grid = tile_grid(1000, 1000, 64, 8)

    def function(part):
        counts.append(len(part))
        return part

    blend(function, [page], grid, channels=1)
    assert 1 < max(counts) <= BATCH_PIXELS / (grid.tile_height * grid.tile_width)


def test_skipped_tiles_are_not_computed_and_filled():
    page = random(2, 1, 40, 40)
    grid = tile_grid(40, 40, 20, 4)
    skip = torch.zeros(2, len(grid.windows), dtype=torch.bool)
    skip[0] = True
    seen = []

    def function(part):
        seen.append(len(part))
        return part

    filled = blend(function, [page], grid, channels=1, skip=skip, fill=torch.full_like(page, 7.0))
    torch.testing.assert_close(filled[0], torch.full_like(page[0], 7.0))
    torch.testing.assert_close(filled[1], page[1], rtol=0, atol=1e-6)
    assert sum(seen) == len(grid.windows)
    assert not blend(function, [page], grid, channels=1, skip=skip)[0].any()


def test_nothing_is_called_if_all_tiles_are_skipped():
    page = torch.zeros(1, 2, 9, 9)
    grid = tile_grid(9, 9, 9, 0)
    result = blend(None, [page], grid, channels=3, skip=torch.ones(1, 1, dtype=torch.bool))
    assert result.shape == (1, 3, 9, 9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5, 8, 1), "at least 1x1 pixel, got 0x5"),
        ((5, 5, 8, 4), "more than twice as large as their overlap"),
        ((5, 5, 8, -1), "which is at least 0"),
    ],
)
def test_impossible_grids_are_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        tile_grid(*arguments)


def test_impossible_batches_and_pages_are_an_error():
    grid = tile_grid(9, 9, 9, 0)
    with pytest.raises(ValueError, match="batch_size must be at least 1 tile, got 0"):
        blend(lambda x: x, [torch.zeros(1, 1, 9, 9)], grid, channels=1, batch_size=0)
    with pytest.raises(ValueError, match=r"expected images \(B, C, 9, 9\), got \(1, 1, 8, 9\)"):
        blend(lambda x: x, [torch.zeros(1, 1, 8, 9)], grid, channels=1)

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from vismodels.nn.tiles import Span, compute_in_tiles, tile_boxes, tile_spans

sizes = st.integers(1, 60)
tiles = st.none() | st.integers(1, 70)
overlaps = st.integers(0, 20)


def mean_filter(image):
    """A 5x5 sum, zero outside: looks 2 pixels away."""
    return F.conv2d(image, torch.ones(1, 1, 5, 5, dtype=image.dtype), padding=2)


def test_a_hand_computed_row_of_tiles():
    assert tile_spans(10, 4, 2) == [Span(0, 3, 0, 5), Span(3, 6, 1, 8), Span(6, 10, 4, 10)]


def test_slices_of_a_hand_computed_tile():
    span = Span(start=3, stop=6, context_start=1, context_stop=8)
    assert (span.read, span.write(), span.keep()) == (slice(1, 8), slice(3, 6), slice(2, 5))
    assert (span.write(4), span.keep(4)) == (slice(12, 24), slice(8, 20))


@given(size=sizes, tile=tiles, overlap=overlaps)
def test_every_pixel_is_kept_exactly_once_and_in_order(size, tile, overlap):
    spans = tile_spans(size, tile, overlap)
    kept = [pixel for span in spans for pixel in range(span.start, span.stop)]
    assert kept == list(range(size))


@given(size=sizes, tile=st.integers(1, 70), overlap=overlaps)
def test_tiles_are_as_few_as_possible_and_of_nearly_equal_size(size, tile, overlap):
    spans = tile_spans(size, tile, overlap)
    lengths = [span.stop - span.start for span in spans]
    assert len(spans) == -(-size // tile)
    assert max(lengths) <= tile
    assert max(lengths) - min(lengths) <= 1


@given(size=sizes, tile=tiles, overlap=overlaps)
def test_context_has_the_full_width_inside_the_image_and_ends_at_its_border(size, tile, overlap):
    for span in tile_spans(size, tile, overlap):
        assert span.context_start == max(0, span.start - overlap)
        assert span.context_stop == min(size, span.stop + overlap)


def test_no_tile_size_is_one_tile():
    assert tile_spans(1000, None, 8) == [Span(0, 1000, 0, 1000)]


def test_boxes_go_row_by_row():
    boxes = tile_boxes(2, 3, 1, 0)
    assert [(box.rows.start, box.columns.start) for box in boxes] == [
        (row, column) for row in range(2) for column in range(3)
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4, 1), "expected a size of at least 1 pixel, got 0"),
        ((8, 0, 1), "tile must be at least 1 pixel, or None for no tiles, got 0"),
        ((8, 4, -1), "overlap must be at least 0 pixels, got -1"),
    ],
)
def test_impossible_tiles_are_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        tile_spans(*arguments)


@given(height=sizes, width=sizes, tile=tiles, overlap=overlaps, scale=st.integers(1, 3))
def test_a_function_of_single_pixels_is_exact_with_any_tiles(height, width, tile, overlap, scale):
    image = torch.arange(height * width).view(1, 1, height, width)

    def enlarge(part):
        return part.repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    result = compute_in_tiles(enlarge, image, tile=tile, overlap=overlap, scale=scale)
    assert torch.equal(result, enlarge(image))


@given(height=sizes, width=sizes, tile=tiles)
def test_a_filter_is_exact_if_the_context_is_as_wide_as_its_radius(height, width, tile):
    image = torch.arange(float(height * width)).view(1, 1, height, width)
    tiled = compute_in_tiles(mean_filter, image, tile=tile, overlap=2)
    assert torch.equal(tiled, mean_filter(image))


def test_a_filter_with_less_context_shows_seams_and_only_there():
    image = torch.ones(1, 1, 20, 20)
    difference = compute_in_tiles(mean_filter, image, tile=10, overlap=1) - mean_filter(image)
    assert difference[..., 9:11, :].any()
    assert not difference[..., :9, :9].any()


def test_every_image_of_a_batch_is_computed_alone(generator):
    image = torch.rand(3, 2, 9, 9, generator=generator)
    seen = []

    def function(part):
        seen.append(part.shape)
        return part[:, :1]

    result = compute_in_tiles(function, image, tile=5, overlap=0)
    assert torch.equal(result, image[:, :1])
    assert len(seen) == 3 * 4
    assert {shape[:2] for shape in seen} == {(1, 2)}


def test_the_result_has_the_dtype_of_the_function():
    image = torch.zeros(1, 1, 4, 4)
    assert compute_in_tiles(lambda part: part.byte(), image, tile=2, overlap=1).dtype == torch.uint8


def test_a_function_that_returns_another_size_is_an_error():
    with pytest.raises(ValueError, match="expected a result of 6x6 pixels for a tile of 3x3, got"):
        compute_in_tiles(lambda p: p, torch.zeros(1, 1, 4, 4), tile=2, overlap=1, scale=2)


@pytest.mark.parametrize("shape", [(1, 4, 4), (0, 1, 4, 4), (1, 1, 0, 4)])
def test_no_image_is_an_error(shape):
    with pytest.raises(ValueError, match=r"expected images \(B, C, H, W\) with pixels, got"):
        compute_in_tiles(lambda part: part, torch.zeros(shape), tile=2, overlap=1)

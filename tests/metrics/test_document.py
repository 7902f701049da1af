import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vismodels.metrics.document import (
    EMPTY_PAGES,
    F_MEASURE,
    drd,
    empty_pages,
    f_measure,
    precision,
    psnr_binary,
    recall,
)
from vismodels.results import mean_value

MEASURES = [f_measure, precision, recall, psnr_binary, drd]
# DRD's weights, from the rounded table of the literature: one away, diagonal, two away, knight's
# move, corner.
ONE, DIAGONAL, TWO, KNIGHT, CORNER = 0.072357, 0.051164, 0.036179, 0.032359, 0.025582

NEIGHBORS = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if (i, j) != (0, 0)]


def blank(height=16, width=16):
    return np.zeros((height, width), bool)


def square():
    """Return a page with text in one of its four 8x8 blocks: rows and columns 0 to 6."""
    page = blank()
    page[:7, :7] = True
    return page


def flipped(page, *pixels):
    page = page.copy()
    for pixel in pixels:
        page[pixel] ^= True
    return page


def random_pages(seed, shape=(24, 32), density=0.3, noise=0.1):
    generator = np.random.default_rng(seed)
    target = generator.random(shape) < density
    return target ^ (generator.random(shape) < noise), target


def test_shares_of_a_page_counted_by_hand():
    # 2 hits, 1 false, 2 missed: P = 2/3, R = 1/2, F = 4/7; 3 wrong of 12 pixels.
    target = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]], bool)
    prediction = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    assert precision(prediction, target) == pytest.approx(200 / 3)
    assert recall(prediction, target) == pytest.approx(50)
    assert f_measure(prediction, target) == pytest.approx(400 / 7)
    assert psnr_binary(prediction, target) == pytest.approx(10 * math.log10(4))


def test_a_perfect_page_has_the_best_value_of_every_measure():
    page = square()
    assert (f_measure(page, page), precision(page, page), recall(page, page)) == (100, 100, 100)
    assert drd(page, page) == 0
    assert psnr_binary(page, page) == math.inf


@pytest.mark.parametrize(
    ("pixel", "expected"),
    [
        ((3, 3), 1),  # missed, all 24 neighbors are text
        ((12, 12), 1),  # false, all 24 neighbors are background
        ((15, 15), 2 * ONE + DIAGONAL + 2 * TWO + 2 * KNIGHT + CORNER),  # false, at the corner
        ((0, 0), 2 * ONE + DIAGONAL + 2 * TWO + 2 * KNIGHT + CORNER),  # missed, at the corner
        # False, right of the square: the ten neighbors in the two columns at its left are text.
        ((3, 7), 1 - (ONE + 2 * DIAGONAL + 2 * KNIGHT + TWO + 2 * KNIGHT + 2 * CORNER)),
        # Missed, at the right edge of the square: the ten in the two columns at its right are not.
        ((3, 6), 1 - (ONE + 2 * DIAGONAL + 2 * KNIGHT + TWO + 2 * KNIGHT + 2 * CORNER)),
    ],
)
def test_drd_of_one_wrong_pixel(pixel, expected):
    target = square()
    assert drd(flipped(target, pixel), target) == pytest.approx(expected, abs=1e-5)


def test_drd_counts_every_wrong_pixel():
    """NAF-DPM's code stops after the first."""
    target = square()
    pixels = [(3, 3), (12, 12), (15, 15), (3, 7)]
    alone = [drd(flipped(target, pixel), target) for pixel in pixels]
    assert drd(flipped(target, *pixels), target) == pytest.approx(sum(alone), abs=1e-12)


def test_drd_is_divided_by_the_blocks_of_both_colors():
    target = square()
    target[12, 12] = True  # a second block
    target[:8, 8:] = True  # all text: not counted
    assert drd(flipped(target, (3, 3)), target) == pytest.approx(1 / 2)


def test_incomplete_blocks_are_not_counted():
    target = np.zeros((23, 20), bool)
    target[:7, :7] = True
    target[17:, 17:] = True
    assert drd(flipped(target, (3, 3)), target) == pytest.approx(1)


@pytest.mark.parametrize("target", [blank(), ~blank(), flipped(blank(11, 9), (9, 8))])
def test_drd_is_not_defined_without_a_block_of_both_colors(target):
    assert math.isnan(drd(target, target))
    assert math.isnan(drd(~target, target))


@pytest.mark.parametrize("prediction", [blank(), square()])
def test_a_page_without_text_has_no_share_instead_of_an_inflated_one(prediction):
    """NAF-DPM's code counts one hit where there is none."""
    assert all(math.isnan(measure(prediction, blank())) for measure in MEASURES[:3])


def test_psnr_of_a_page_without_text_counts_the_false_pixels():
    assert psnr_binary(flipped(blank(), (3, 3)), blank()) == pytest.approx(10 * math.log10(256))


@pytest.mark.parametrize("prediction", [blank(), ~square()])
def test_a_page_whose_text_is_not_found_has_zero(prediction):
    assert [measure(prediction, square()) for measure in MEASURES[:3]] == [0, 0, 0]


def test_empty_pages_are_counted_where_the_mean_leaves_them_out():
    items = {"a": 80.0, "b": math.nan, "c": 60.0, "d": math.nan}
    empty = empty_pages(items)
    assert (empty.metric, empty.value) == (EMPTY_PAGES, 2)
    assert empty.items == {"a": 0, "b": 1, "c": 0, "d": 1}
    assert mean_value(F_MEASURE, items).value == 70


@given(st.integers(0, 2**32 - 1))
def test_exchanging_the_pages_exchanges_precision_and_recall(seed):
    a, b = random_pages(seed)
    assert precision(a, b) == recall(b, a)
    assert f_measure(a, b) == pytest.approx(f_measure(b, a), abs=1e-12)
    assert psnr_binary(a, b) == psnr_binary(b, a)


@given(st.integers(0, 2**32 - 1))
def test_measures_do_not_depend_on_the_orientation_of_whole_blocks(seed):
    a, b = random_pages(seed)
    for measure in MEASURES:
        expected = pytest.approx(measure(a, b), abs=1e-9)
        assert measure(a.T, b.T) == expected
        assert measure(a[::-1], b[::-1]) == expected


@pytest.mark.parametrize("shape", [(40, 48), (43, 53), (8, 100)])
@pytest.mark.parametrize("noise", [0.01, 0.2])
def test_measures_equal_those_of_doxa(shape, noise):
    """Doxa follows the contests' tool, but its DRD has weights of six digits and blocks of 7x7.

    On these pages every block has both colors, whichever way they are counted.
    """
    doxapy = pytest.importorskip("doxapy")
    prediction, target = random_pages(7, shape, noise=noise)
    levels = [np.where(page, 0, 255).astype(np.uint8) for page in (target, prediction)]
    expected = doxapy.calculate_performance(*levels)
    assert f_measure(prediction, target) == pytest.approx(expected["fm"], abs=1e-9)
    assert psnr_binary(prediction, target) == pytest.approx(expected["psnr"], abs=1e-9)
    assert drd(prediction, target) == pytest.approx(expected["drdm"], rel=1e-5)


def drd_by_definition(prediction, target):
    """Return the DRD pixel by pixel: sum of weight * |truth of the neighbor - predicted color|."""
    total, blocks = 0.0, 0
    norm = sum(1 / math.hypot(i, j) for i, j in NEIGHBORS)
    for y, x in np.argwhere(prediction != target):
        for i, j in NEIGHBORS:
            if 0 <= y + i < target.shape[0] and 0 <= x + j < target.shape[1]:
                difference = abs(int(target[y + i, x + j]) - int(prediction[y, x]))
                total += difference / math.hypot(i, j) / norm
    for y in range(0, target.shape[0] - 7, 8):
        for x in range(0, target.shape[1] - 7, 8):
            blocks += target[y : y + 8, x : x + 8].min() != target[y : y + 8, x : x + 8].max()
    return total / blocks


@pytest.mark.parametrize("shape", [(24, 24), (25, 31), (31, 17)])
@pytest.mark.parametrize("density", [0.01, 0.3, 0.99])
def test_drd_follows_its_definition(shape, density):
    prediction, target = random_pages(3, shape, density)
    assert drd(prediction, target) == pytest.approx(drd_by_definition(prediction, target), rel=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_what_is_not_a_pair_of_masks_is_refused(measure):
    page = square()
    with pytest.raises(TypeError, match=r"boolean prediction.* got uint8; .*page < 128"):
        measure(page.astype(np.uint8), page)
    with pytest.raises(
        TypeError, match="expected a boolean target, True where text is, got float64"
    ):
        measure(page, page.astype(float))
    with pytest.raises(ValueError, match=r"shape \(H, W\) .* got \(1, 16, 16\)"):
        measure(page[None], page[None])
    with pytest.raises(ValueError, match=r"at least one pixel, got \(0, 16\)"):
        measure(page[:0], page[:0])
    with pytest.raises(ValueError, match=r"prediction \(8, 16\) and target \(16, 16\) differ"):
        measure(page[:8], page)

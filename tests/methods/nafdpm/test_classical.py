from itertools import pairwise

import numpy as np
import pytest
from skimage.filters import threshold_otsu, threshold_sauvola, unsharp_mask

from vismodels.data.blur import blur, defocus_kernel
from vismodels.data.pages import PagePair
from vismodels.methods.nafdpm.classical import (
    otsu,
    sauvola,
    tune_deblurring,
    tune_sauvola,
    unsharp,
    wiener,
    wiener_disc,
)
from vismodels.metrics.document import f_measure
from vismodels.metrics.restoration import psnr


def noise(height=40, width=50, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def strokes(height=96, width=120):
    """A mask of strokes three pixels wide, as text has them."""
    mask = np.zeros((height, width), dtype=bool)
    for row in range(8, height - 8, 16):
        for column in range(8, width - 12, 12):
            mask[row : row + 9, column : column + 3] = True
            mask[row : row + 3, column : column + 7] = True
    return mask


def rgb(grey):
    return np.repeat(np.asarray(grey, dtype=np.uint8)[:, :, None], 3, axis=2)


def clean_page():
    return rgb(np.where(strokes(), 0, 255))


def shaded_page(seed=0):
    """Dark strokes on paper whose light falls off to a third, with noise."""
    light = np.linspace(1, 0.33, 120)
    ink = np.where(strokes(), 0.55, 1.0)
    grain = np.random.default_rng(seed).normal(0, 4, strokes().shape)
    return rgb(np.clip(230 * light * ink + grain, 0, 255))


def blurred_page(radius=2.5, sigma=2.0):
    degraded = blur((clean_page() / 255).astype(np.float32), defocus_kernel(radius))
    grain = np.random.default_rng(0).normal(0, sigma, degraded.shape)
    return np.clip(np.rint(255 * degraded + grain), 0, 255).astype(np.uint8)


# --- binarization ------------------------------------------------------------------------------


def test_otsu_divides_at_the_threshold_of_scikit_image():
    grey = noise()
    assert np.array_equal(otsu(grey), grey <= threshold_otsu(grey))


def test_otsu_tells_the_two_levels_of_a_page_apart():
    grey = np.where(strokes(), 90, 91).astype(np.uint8)
    assert np.array_equal(otsu(grey), strokes())


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_page_of_one_level_has_no_text(level):
    grey = np.full((30, 30), level, dtype=np.uint8)
    assert not otsu(grey).any()
    assert not sauvola(grey, 15, 0.2).any()


@pytest.mark.parametrize(("window", "k"), [(3, 0.05), (15, 0.2), (31, 0.5), (101, 0.3)])
def test_sauvola_is_that_of_scikit_image_up_to_windows_beyond_the_page(window, k):
    grey = noise()
    threshold = threshold_sauvola(grey, window, k, r=128)
    clear = np.abs(grey - threshold) > 1e-6  # ties are decided by rounding
    assert clear.mean() > 0.99
    assert np.array_equal(sauvola(grey, window, k)[clear], (grey < threshold)[clear])


def test_sauvola_equals_its_formula_computed_by_hand():
    grey = np.full((5, 5), 200, dtype=np.uint8)
    grey[2, 2] = 20  # in the middle window m = 180, s = sqrt(3200) = 56.57
    threshold = 180 * (1 + 0.5 * (np.sqrt(3200) / 128 - 1))
    assert 20 < threshold < 200
    expected = np.zeros((5, 5), dtype=bool)
    expected[2, 2] = True
    assert np.array_equal(sauvola(grey, 3, 0.5), expected)
    assert not sauvola(grey, 3, 1.7).any()  # the threshold falls below 20


def test_more_k_never_finds_more_text():
    grey = noise(seed=1)
    masks = [sauvola(grey, 15, k) for k in (0.1, 0.3, 0.5)]
    assert all((more <= less).all() for less, more in pairwise(masks))
    assert masks[0].sum() > masks[-1].sum()


def test_an_even_window_is_refused():
    with pytest.raises(ValueError, match="expected an odd window, got 16"):
        sauvola(noise(), 16, 0.2)


def test_sauvola_reads_a_shaded_page_that_otsu_cannot():
    grey = shaded_page()[:, :, 0]
    assert f_measure(otsu(grey), strokes()) < 60
    assert f_measure(sauvola(grey, 25, 0.2), strokes()) > 90


def test_tuning_finds_the_best_mean_f_measure_of_the_grid():
    pages = [PagePair(str(seed), shaded_page(seed), clean_page()) for seed in (0, 1)]
    window, k, table = tune_sauvola(pages, (9, 25), (0.02, 0.2, 0.6))
    assert set(table) == {(w, q) for w in (9, 25) for q in (0.02, 0.2, 0.6)}
    for (each_window, each_k), mean in table.items():
        each = [
            f_measure(sauvola(page.degraded[:, :, 0], each_window, each_k), strokes())
            for page in pages
        ]
        assert mean == pytest.approx(np.mean(each), abs=1e-9)
    assert table[window, k] == max(table.values()) > 90
    assert isinstance(window, int)


def test_pages_without_text_do_not_count_when_tuning():
    page = PagePair("a", shaded_page(), clean_page())
    empty = PagePair("b", shaded_page(), np.full_like(clean_page(), 255))
    assert tune_sauvola([page, empty], [25], [0.2]) == tune_sauvola([page], [25], [0.2])


def test_tuning_on_pages_without_any_text_is_refused():
    empty = PagePair("a", shaded_page(), np.full_like(clean_page(), 255))
    for pages in ([empty], []):
        with pytest.raises(ValueError, match="no page with text to tune on"):
            tune_sauvola(pages, [25], [0.2])


# --- deblurring --------------------------------------------------------------------------------


def test_unsharp_is_that_of_scikit_image_in_each_channel():
    page = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    result = unsharp(page, 1.5, 0.7)
    for channel in range(3):
        theirs = 255 * unsharp_mask(page[:, :, channel], 1.5, 0.7)
        assert np.abs(result[:, :, channel] - theirs).max() <= 0.5 + 1e-6  # rounding


def test_unsharp_by_nothing_changes_nothing():
    page = blurred_page()
    assert np.array_equal(unsharp(page, 2.0, 0.0), page)


def test_unsharp_steepens_an_edge_and_leaves_the_flat_alone():
    step = rgb(np.tile(np.where(np.arange(40) < 20, 80, 160), (10, 1)))
    result = unsharp(step, 1.5, 1.0)
    assert (result[:, 19] < 80).all() and (result[:, 20] > 160).all()
    assert (result[:, 2] == 80).all() and (result[:, -3] == 160).all()


@pytest.mark.parametrize(
    "restore", [lambda p: unsharp(p, 2.0, 1.0), lambda p: wiener_disc(p, 2.5, 0.05)]
)
def test_baselines_come_closer_to_the_sharp_page_than_the_blurred_one(restore):
    page = blurred_page()
    result = restore(page)
    assert (result.shape, result.dtype) == (page.shape, np.uint8)
    assert psnr(result, clean_page()) > psnr(page, clean_page()) + 1


def test_wiener_with_the_right_disc_undoes_blur_without_noise():
    page = blurred_page(radius=2.0, sigma=0)
    assert psnr(wiener_disc(page, 2.0, 1e-3), clean_page()) > psnr(page, clean_page()) + 6


def test_wiener_keeps_an_even_page_even_up_to_its_border():
    page = np.full((31, 47, 3), 200, dtype=np.uint8)
    assert np.array_equal(wiener(page, defocus_kernel(3.0), 0.01), page)


def test_wiener_does_not_move_the_page():
    page = rgb(np.where(strokes(), 60, 200))
    point = np.zeros((7, 7))
    point[3, 3] = 1
    assert np.abs(wiener(page, point, 1e-6).astype(int) - page).max() <= 1


def test_tuning_a_deblurring_finds_the_best_mean_psnr_of_the_grid():
    pages = [PagePair("a", blurred_page(2.5), clean_page())]
    radius, balance, table = tune_deblurring(wiener_disc, pages, (1.0, 2.5), (0.01, 0.1))
    assert radius == 2.5
    assert table[radius, balance] == max(table.values())
    assert table[1.0, 0.1] == pytest.approx(
        psnr(wiener_disc(blurred_page(2.5), 1.0, 0.1), clean_page())
    )
    assert len(table) == 4


def test_a_deblurring_is_not_tuned_on_nothing():
    with pytest.raises(ValueError, match="no page to tune on"):
        tune_deblurring(unsharp, [], [1.0], [1.0])

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio

from vismodels.metrics.restoration import edge_mse, psnr, ssim

SHAPES = [(30, 26), (30, 26, 3)]


def random_page(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def laplacian(page):
    """Return H(page) with levels in [0, 1] and zeros outside, each channel alone."""
    kernel = torch.full((1, 1, 3, 3), -1.0, dtype=torch.float64)
    kernel[0, 0, 1, 1] = 8
    channels = torch.from_numpy(page.reshape(*page.shape[:2], -1) / 255).permute(2, 0, 1)
    return torch.nn.functional.conv2d(channels[:, None], kernel, padding=1)


def test_psnr_of_a_difference_of_known_size():
    page = np.full((20, 20, 3), 100, np.uint8)
    assert psnr(page + 5, page) == pytest.approx(20 * math.log10(255 / 5))
    one = page.copy()
    one[0, 0, 0] += 5  # at the border, in one channel: 1200 numbers
    assert psnr(one, page) == pytest.approx(20 * math.log10(255 / 5) + 10 * math.log10(1200))


@pytest.mark.parametrize("shape", SHAPES)
def test_psnr_equals_skimage(shape):
    a, b = random_page(shape), random_page(shape, seed=1)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(b, a), abs=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_pages_have_the_best_values(shape):
    page = random_page(shape)
    assert (psnr(page, page), ssim(page, page), edge_mse(page, page)) == (math.inf, 1, 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_measures_are_symmetric(shape):
    a, b = random_page(shape), random_page(shape, seed=1)
    assert psnr(a, b) == psnr(b, a)
    assert ssim(a, b) == pytest.approx(ssim(b, a), abs=1e-12)
    assert edge_mse(a, b) == edge_mse(b, a)


def test_ssim_of_flat_pages_is_its_luminance_term():
    # Without variance SSIM is (2ab + C1) / (a^2 + b^2 + C1), C1 = (0.01 * 255)^2.
    c1 = 2.55**2
    expected = (2 * 50 * 200 + c1) / (50**2 + 200**2 + c1)
    a, b = np.full((15, 13), 50, np.uint8), np.full((15, 13), 200, np.uint8)
    assert ssim(a, b) == pytest.approx(expected, abs=1e-12)


def test_ssim_equals_the_formula_of_wang_on_one_window():
    x, y = random_page((11, 11)), random_page((11, 11), seed=1)
    a, b = x.astype(float), y.astype(float)
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    w = np.outer(line, line) / line.sum() ** 2
    ma, mb = (w * a).sum(), (w * b).sum()
    va, vb = (w * a * a).sum() - ma**2, (w * b * b).sum() - mb**2
    cov = (w * a * b).sum() - ma * mb
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    assert ssim(x, y) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_rgb_is_the_mean_over_channels():
    a, b = random_page((20, 24, 3)), random_page((20, 24, 3), seed=1)
    channels = [ssim(a[..., i], b[..., i]) for i in range(3)]
    assert ssim(a, b) == pytest.approx(np.mean(channels), abs=1e-12)


@pytest.mark.parametrize(("pixel", "neighbors"), [((10, 10), 8), ((0, 10), 5), ((0, 0), 3)])
def test_edge_error_of_one_wrong_pixel(pixel, neighbors):
    page = np.zeros((20, 20), np.uint8)
    wrong = page.copy()
    wrong[pixel] = 255
    assert edge_mse(wrong, page) == pytest.approx((8**2 + neighbors) / 400)


@pytest.mark.parametrize("shape", SHAPES)
def test_edge_error_equals_the_term_of_the_loss(shape):
    a, b = random_page(shape), random_page(shape, seed=1)
    expected = torch.nn.functional.mse_loss(laplacian(a), laplacian(b)).item()
    assert edge_mse(a, b) == pytest.approx(expected, rel=1e-12)


def test_blur_costs_more_edge_than_a_change_of_brightness_of_equal_psnr():
    page = np.where(np.arange(40) % 8 < 4, 60, 180)[None].repeat(40, axis=0).astype(np.uint8)
    blurred = gaussian_filter(page, 1)
    shift = round(math.sqrt(np.mean((blurred.astype(float) - page) ** 2)))
    brighter = page + np.uint8(shift)
    assert psnr(brighter, page) == pytest.approx(psnr(blurred, page), abs=0.5)
    assert edge_mse(blurred, page) > 3 * edge_mse(brighter, page)


@pytest.mark.parametrize("score", [psnr, ssim, edge_mse])
def test_wrong_pages_are_refused_with_what_came(score):
    page = random_page((24, 24, 3))
    with pytest.raises(TypeError, match="expected a uint8 result, got float32; round and clip"):
        score(page.astype(np.float32), page)
    with pytest.raises(TypeError, match="expected a uint8 target, got bool"):
        score(page, page > 100)
    with pytest.raises(ValueError, match=r"\(H, W\) or \(H, W, 3\), got \(24, 24, 4\)"):
        score(random_page((24, 24, 4)), page)
    with pytest.raises(ValueError, match=r"result \(24, 20, 3\) and target \(24, 24, 3\) differ"):
        score(page[:, :20], page)
    with pytest.raises(ValueError, match=r"\(24, 24\) and target \(24, 24, 3\) differ"):
        score(page[..., 0], page)
    with pytest.raises(ValueError, match=r"at least 1+x1+ pixels, got 0x24"):
        score(page[:0], page[:0])


def test_ssim_asks_for_a_full_window():
    with pytest.raises(ValueError, match="at least 11x11 pixels, got 10x40"):
        ssim(random_page((10, 40)), random_page((10, 40)))

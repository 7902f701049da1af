import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio

from vismodels.metrics.image import luma, psnr_y, ssim_y


def random_image(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def flat(color, height=24, width=24):
    return np.broadcast_to(np.array(color, np.uint8), (height, width, 3)).copy()


@pytest.mark.parametrize(
    ("color", "exact", "level"),
    [
        ((0, 0, 0), 16, 16),
        ((255, 255, 255), 235, 235),
        ((255, 0, 0), 81.481, 81),
        ((0, 255, 0), 144.553, 145),
        ((0, 0, 255), 40.966, 41),
        ((100, 150, 200), 16 + 30824.25 / 255, 137),  # 136.879...
    ],
)
def test_luma_of_known_colors(color, exact, level):
    assert luma(flat(color))[0, 0] == level
    assert luma(flat(color), rounded=False)[0, 0] == pytest.approx(exact, abs=1e-12)


def test_luma_equals_skimage_before_rounding():
    image = random_image((20, 20, 3))
    np.testing.assert_allclose(luma(image, rounded=False), rgb2ycbcr(image)[:, :, 0], atol=1e-9)
    assert np.array_equal(luma(image), np.round(rgb2ycbcr(image)[:, :, 0]))


def test_psnr_of_a_difference_of_known_size():
    # White against (255, 255, 245): Y falls by 10 * 24.966 / 255 = 0.979, rounded 235 - 234 = 1.
    white, tinted = flat((255, 255, 255)), flat((255, 255, 245))
    assert psnr_y(tinted, white) == pytest.approx(20 * math.log10(255))
    unrounded = psnr_y(tinted, white, rounded=False)
    assert unrounded == pytest.approx(20 * math.log10(255 / (249.66 / 255)))


def test_psnr_equals_skimage_on_the_cropped_luma():
    a, b = random_image((30, 26, 3)), random_image((30, 26, 3), seed=1)
    expected = peak_signal_noise_ratio(luma(b)[3:-3, 3:-3], luma(a)[3:-3, 3:-3], data_range=255)
    assert psnr_y(a, b, border=3) == pytest.approx(expected, abs=1e-9)


def test_identical_images_have_infinite_psnr_and_ssim_one():
    image = random_image((24, 24, 3))
    assert psnr_y(image, image) == math.inf
    assert ssim_y(image, image) == 1


@pytest.mark.parametrize("score", [psnr_y, ssim_y])
def test_the_border_does_not_count_and_the_first_pixel_inside_does(score):
    target = random_image((24, 20, 3))
    result = target.copy()
    result[:4], result[-4:], result[:, :4], result[:, -4:] = 0, 0, 0, 0
    assert score(result, target, border=4) == score(target, target, border=4)
    for corner in ((4, 4), (19, 15)):
        touched = target.copy()
        touched[corner] = 255 - touched[corner]
        assert score(touched, target, border=4) < score(target, target, border=4)


def test_ssim_of_flat_images_is_its_luminance_term():
    # Without variance SSIM is (2ab + C1) / (a^2 + b^2 + C1), C1 = (0.01 * 255)^2; Y = 16 and 235.
    c1 = 2.55**2
    expected = (2 * 16 * 235 + c1) / (16**2 + 235**2 + c1)
    assert ssim_y(flat((0, 0, 0)), flat((255, 255, 255))) == pytest.approx(expected, abs=1e-12)


def test_ssim_equals_the_formula_of_wang_on_one_window():
    # 11x11 pixels leave one window: weighted moments by hand.
    a, b = random_image((11, 11, 3)), random_image((11, 11, 3), seed=1)
    x, y = luma(a).astype(float), luma(b).astype(float)
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    w = np.outer(line, line) / line.sum() ** 2
    mx, my = (w * x).sum(), (w * y).sum()
    vx, vy = (w * x * x).sum() - mx**2, (w * y * y).sum() - my**2
    cov = (w * x * y).sum() - mx * my
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim_y(a, b, border=0) == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 2**32 - 1))
def test_scores_are_symmetric_and_bounded(seed):
    a, b = random_image((20, 20, 3), seed), random_image((20, 20, 3), seed + 1)
    assert psnr_y(a, b) == psnr_y(b, a)
    assert ssim_y(a, b) == pytest.approx(ssim_y(b, a), abs=1e-12)
    assert -1 <= ssim_y(a, b) <= 1


@pytest.mark.parametrize("score", [psnr_y, ssim_y])
def test_wrong_images_are_refused_with_what_came(score):
    image = random_image((24, 24, 3))
    with pytest.raises(ValueError, match=r"result \(24, 20, 3\) and target \(24, 24, 3\) differ"):
        score(image[:, :20], image)
    with pytest.raises(TypeError, match="expected uint8 RGB, got float32"):
        score(image.astype(np.float32), image.astype(np.float32))
    with pytest.raises(ValueError, match=r"expected an RGB image .* got \(24, 24\)"):
        score(image[:, :, 0], image[:, :, 0])
    with pytest.raises(ValueError, match=r"border of 12 must leave at least \d+x\d+ pixels"):
        score(image, image, border=12)
    with pytest.raises(ValueError, match="border of -1"):
        score(image, image, border=-1)


def test_ssim_asks_for_a_full_window():
    image = random_image((18, 40, 3))
    with pytest.raises(ValueError, match="at least 11x11 pixels of the 18x40 image"):
        ssim_y(image, image, border=4)

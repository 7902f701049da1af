import numpy as np
import pytest
from scipy.signal import convolve2d

from vismodels.data.blur import (
    BlurConfig,
    blur,
    convolved,
    defocus_kernel,
    degrade_blur,
    shake_kernel,
)

STILL = BlurConfig(
    defocus_radius=(0, 0), shake_size=(1, 1), light=(0, 0), noise=(0, 0), jpeg_quality=(100, 100)
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def text_like(height=64, width=64, seed=0):
    """Return strokes on paper: (H, W, 3) uint8."""
    image = np.full((height, width, 3), 240, np.uint8)
    rng = np.random.default_rng(seed)
    for row, column in rng.integers(8, 52, (30, 2)):
        image[row : row + 8, column : column + 2] = 30
    return image


# --- defocus -----------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0, 0.5, 1, 2.5, 3.7, 6])
def test_disc_is_a_positive_symmetric_kernel_of_sum_one(radius):
    kernel = defocus_kernel(radius)
    assert kernel.sum() == pytest.approx(1)
    assert kernel.min() >= 0
    assert np.array_equal(kernel, kernel.T)
    assert np.array_equal(kernel, kernel[::-1])


@pytest.mark.parametrize("radius", [0, 0.3, 0.5])
def test_disc_within_a_pixel_is_that_pixel(radius):
    assert defocus_kernel(radius).tolist() == [[1]]


@pytest.mark.parametrize("radius", [1.5, 2.5, 4.2])
def test_disc_holds_its_area_at_equal_height(radius):
    kernel = defocus_kernel(radius)
    height = kernel[kernel.shape[0] // 2, kernel.shape[1] // 2]  # a pixel that is covered whole
    assert kernel.max() == height
    assert 1 / height == pytest.approx(np.pi * radius**2, rel=0.01)  # of the subsampled edge


def test_spread_of_the_disc_grows_steadily_with_its_radius():
    spreads = []
    for radius in np.arange(2, 6, 0.25):
        kernel = defocus_kernel(radius)
        offsets = np.arange(len(kernel)) - len(kernel) // 2
        spreads.append((kernel.sum(axis=0) * offsets**2).sum())
        # About that of a disc, r^2 / 4, plus that of the pixels it is sampled with.
        assert spreads[-1] == pytest.approx(radius**2 / 4 + 1 / 12, rel=0.05)
    assert (np.diff(spreads) > 0).all()


def test_negative_radius_is_refused():
    with pytest.raises(ValueError, match="at least 0 pixels, got -1"):
        defocus_kernel(-1)


# --- shake -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5, 8.5, 21])
def test_walk_is_a_positive_kernel_of_sum_one_and_odd_size(rng, size):
    kernel = shake_kernel(size, rng)
    assert kernel.sum() == pytest.approx(1)
    assert kernel.min() >= 0
    assert kernel.shape == (kernel.shape[1],) * 2
    assert kernel.shape[0] % 2 == 1
    assert size <= kernel.shape[0] < size + 2


def test_walk_of_one_pixel_is_a_still_hand(rng):
    assert shake_kernel(1, rng).tolist() == [[1]]


@pytest.mark.parametrize("seed", range(5))
def test_walk_does_not_move_the_page_and_reaches_the_edge(seed):
    kernel = shake_kernel(13, np.random.default_rng(seed))
    offsets = np.arange(13) - 6
    assert abs((kernel.sum(axis=0) * offsets).sum()) < 1e-9
    assert abs((kernel.sum(axis=1) * offsets).sum()) < 1e-9
    edges = kernel[0].sum() + kernel[-1].sum() + kernel[:, 0].sum() + kernel[:, -1].sum()
    assert edges > 0


def test_walk_is_one_connected_line_thinner_than_its_extent(rng):
    from scipy.ndimage import label

    for _ in range(5):
        kernel = shake_kernel(21, rng)
        assert label(kernel > 0, np.ones((3, 3)))[1] == 1
        assert (kernel > 0).mean() < 0.4


def test_walks_differ_and_depend_on_the_generator_only():
    first, again, other = (shake_kernel(9, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_size_below_a_pixel_is_refused(rng):
    with pytest.raises(ValueError, match=r"at least 1 pixel, got 0\.5"):
        shake_kernel(0.5, rng)


# --- convolution -------------------------------------------------------------------------------


def test_two_kernels_make_the_kernel_of_both_blurs(rng):
    disc, walk = defocus_kernel(2), shake_kernel(7, rng)
    kernel = convolved(disc, walk)
    assert kernel.shape == (11, 11)
    assert kernel.sum() == pytest.approx(1)
    image = np.zeros((41, 41), np.float32)
    image[20, 20] = 1
    np.testing.assert_allclose(blur(blur(image, disc), walk), blur(image, kernel), atol=1e-6)


@pytest.mark.parametrize("size", [3, 9, 15])  # OpenCV computes large kernels in another way
def test_blur_is_the_convolution_of_scipy_within_the_image(rng, size):
    image = rng.random((40, 50), dtype=np.float32)
    kernel = rng.random((size, size))
    kernel /= kernel.sum()
    expected = convolve2d(image, kernel, mode="valid")
    half = size // 2
    np.testing.assert_allclose(blur(image, kernel)[half:-half, half:-half], expected, atol=1e-5)


def test_blur_keeps_the_mean_of_ink_away_from_the_edges(rng):
    image = np.ones((60, 60, 3), np.float32)
    image[25:35, 28:31] = 0.1
    blurred = blur(image, convolved(defocus_kernel(3), shake_kernel(9, rng)))
    assert blurred.mean() == pytest.approx(image.mean(), abs=1e-6)
    assert blurred.min() > image.min() + 0.2


def test_blur_repeats_the_edge():
    ramp = np.ones((20, 20), np.float32)
    ramp[:, 10:] = 0
    blurred = blur(ramp, defocus_kernel(3))
    assert blurred[:, 0] == pytest.approx(1)
    np.testing.assert_allclose(blurred, np.tile(blurred[:1], (20, 1)), atol=1e-6)


def test_a_kernel_without_a_centre_is_refused():
    with pytest.raises(ValueError, match=r"odd height and width, got \(2, 3\)"):
        blur(np.ones((8, 8), np.float32), np.full((2, 3), 1 / 6))


# --- the whole ---------------------------------------------------------------------------------


def test_without_any_degradation_a_grey_page_stays_as_it_is(rng):
    image = text_like()
    difference = np.abs(degrade_blur(image, STILL, rng).astype(int) - image)
    assert difference.max() <= 2  # JPEG of quality 100


@pytest.mark.parametrize(
    "change",
    [
        {"defocus_radius": (3, 3)},
        {"shake_size": (9, 9)},
        {"light": (0.3, 0.3)},
        {"noise": (6, 6)},
        {"jpeg_quality": (30, 30)},
    ],
)
def test_every_setting_takes_effect(change):
    image = text_like()
    still, changed = (
        degrade_blur(image, STILL.model_copy(update=update), np.random.default_rng(0))
        for update in ({}, change)
    )
    assert np.abs(changed.astype(int) - still).mean() > 0.5


def test_degraded_pages_depend_on_the_generator_only():
    config = STILL.model_copy(update={"shake_size": (3, 9), "noise": (1, 5)})
    image = text_like()
    first, again, other = (
        degrade_blur(image, config, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(image, text_like())

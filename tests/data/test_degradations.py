import numpy as np
import pytest

from vismodels.data.degradations import (
    WarpConfig,
    add_noise,
    draw_warp,
    jpeg_round_trip,
    smooth_field,
    to_float,
    to_uint8,
    uneven_light,
    warp,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def smooth_image(height=48, width=40):
    """Return a colour image that varies slowly, uint8."""
    rows, columns = np.mgrid[:height, :width]
    channels = [120 + 60 * np.sin(rows / 9), 120 + 50 * np.cos(columns / 8), 90 + rows]
    return np.stack(channels, axis=2).astype(np.uint8)


# --- numbers -----------------------------------------------------------------------------------


def test_every_level_survives_the_way_to_floats_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = to_float(levels)
    assert image.dtype == np.float32
    assert (image.min(), image.max()) == (0, 1)
    assert np.array_equal(to_uint8(image), levels)


def test_values_outside_are_clipped_and_never_wrap_around():
    assert to_uint8(np.array([[-0.2, 1.7]], np.float32)).tolist() == [[0, 255]]


def test_floats_are_not_taken_for_levels():
    with pytest.raises(TypeError, match="expected uint8, got float32"):
        to_float(np.zeros((2, 2), np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", [1, 5, 500])
def test_a_smooth_field_spans_zero_to_one(rng, cell):
    field = smooth_field((37, 50), cell, rng)
    assert field.shape == (37, 50)
    assert field.dtype == np.float32
    assert (field.min(), field.max()) == (0, 1)


def test_a_field_of_larger_cells_is_smoother(rng):
    fine, coarse = (smooth_field((64, 64), cell, rng) for cell in (2, 16))
    assert np.abs(np.diff(coarse)).mean() < np.abs(np.diff(fine)).mean() / 3


def test_a_cell_below_a_pixel_is_refused(rng):
    with pytest.raises(ValueError, match=r"at least 1 pixel, got 0\.5"):
        smooth_field((4, 4), 0.5, rng)


# --- geometry ----------------------------------------------------------------------------------

LIMITS = WarpConfig(rotation=2.0, stretch=0.02, shear=0.01)


def test_limits_of_zero_leave_every_pixel_in_place(rng):
    matrix = draw_warp((48, 40), WarpConfig(rotation=0, stretch=0, shear=0), rng)
    assert np.array_equal(matrix, np.eye(2, 3))
    image = smooth_image()
    assert np.array_equal(warp(image, matrix), image)


def test_the_centre_stays_and_limits_are_respected(rng):
    for _ in range(50):
        matrix = draw_warp((48, 40), LIMITS, rng)
        np.testing.assert_allclose(matrix @ [19.5, 23.5, 1], [19.5, 23.5])
        corner = matrix @ [39, 47, 1] - [39, 47]
        assert np.abs(corner).max() < (np.deg2rad(2) + 0.02 + 0.01) * 24


def test_a_point_moves_where_the_matrix_says(rng):
    image = np.zeros((64, 64), np.float32)
    image[10, 50] = 1
    matrix = draw_warp(image.shape, WarpConfig(rotation=10, stretch=0.1, shear=0.1), rng)
    moved = warp(image, matrix)
    rows, columns = np.mgrid[:64, :64]
    center = [(columns * moved).sum(), (rows * moved).sum()] / moved.sum()
    np.testing.assert_allclose(center, matrix @ [50, 10, 1], atol=0.3)  # overshoot is clipped


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_paper_continues_beyond_the_edges(rng, dtype):
    image = np.full((32, 32, 3), 0.5 if dtype == np.float32 else 200, dtype)
    warped = warp(image, draw_warp((32, 32), LIMITS, rng))
    assert warped.dtype == dtype
    np.testing.assert_allclose(warped, image, atol=1e-6)


def test_a_warped_float_image_stays_between_zero_and_one(rng):
    image = (np.indices((40, 40)).sum(axis=0) // 5 % 2).astype(np.float32)
    warped = warp(image, draw_warp((40, 40), LIMITS, rng))
    assert (warped.min(), warped.max()) == (0, 1)


# --- light, sensor, file -----------------------------------------------------------------------


def test_light_falls_from_full_to_what_the_strength_leaves(rng):
    lit = uneven_light(np.ones((40, 60, 3), np.float32), 0.3, rng)
    np.testing.assert_allclose([lit.min(), lit.max()], [0.7, 1], atol=1e-6)
    assert np.array_equal(lit[:, :, 0], lit[:, :, 2])
    assert np.abs(np.diff(lit, axis=0)).max() < 0.05


def test_light_without_strength_changes_nothing(rng):
    image = to_float(smooth_image())
    assert np.array_equal(uneven_light(image, 0, rng), image)


def test_noise_has_the_deviation_it_was_asked_for(rng):
    image = np.full((200, 200), 0.5, np.float32)
    noisy = add_noise(image, 5, rng)
    assert 255 * (noisy - image).std() == pytest.approx(5, rel=0.02)  # 40 000 samples
    assert abs(255 * (noisy - image).mean()) < 0.1
    assert noisy.dtype == np.float32


def test_noise_of_zero_changes_nothing_and_noise_is_clipped(rng):
    white = np.ones((20, 20, 3), np.float32)
    assert np.array_equal(add_noise(white, 0, rng), white)
    assert add_noise(white, 20, rng).max() == 1


def test_jpeg_of_best_quality_is_close_and_of_low_quality_is_not():
    image = smooth_image()
    error = {
        quality: np.abs(jpeg_round_trip(image, quality).astype(int) - image).mean()
        for quality in (5, 60, 100)
    }
    assert error[100] < 1.5  # rounding in another colour space, colour at half resolution
    assert error[100] < error[60] < error[5]


def test_jpeg_keeps_channels_in_order():
    red = np.zeros((16, 16, 3), np.uint8)
    red[:, :, 0] = 250
    decoded = jpeg_round_trip(red, 95)
    assert decoded[..., 0].min() > 240
    assert decoded[..., 2].max() < 10


def test_jpeg_takes_grey_pages():
    grey = smooth_image()[:, :, 0]
    decoded = jpeg_round_trip(grey, 100)
    assert decoded.shape == grey.shape
    assert np.abs(decoded.astype(int) - grey).max() <= 2


@pytest.mark.parametrize("quality", [0, 101])
def test_jpeg_refuses_other_qualities(quality):
    with pytest.raises(ValueError, match=f"from 1 to 100, got {quality}"):
        jpeg_round_trip(smooth_image(), quality)


def test_jpeg_refuses_floats():
    with pytest.raises(TypeError, match="to_uint8"):
        jpeg_round_trip(np.zeros((8, 8), np.float32), 90)  # type: ignore[arg-type]

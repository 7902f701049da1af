import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from vismodels.data.hounsfield import WINDOWS, centered, resize_volume, window

sizes = st.tuples(*[st.integers(1, 9)] * 3)


def volume(shape, seed=0):
    return np.random.default_rng(seed).normal(-500, 300, shape).astype(np.float32)


def test_windows_are_known_by_name_and_by_center_and_width():
    assert WINDOWS["lung"] == (-1000, 400)
    assert WINDOWS["lung_display"] == centered(-600, 1500) == (-1350, 150)


def test_limits_become_minus_one_and_one_and_what_lies_beyond_is_clipped():
    hu = np.array([-3024, -1000, -300, 50, 400, 3000], np.int16)
    scaled = window(hu, *WINDOWS["lung"])
    assert scaled.dtype == np.float32
    assert scaled.tolist() == [-1, -1, 0, 0.5, 1, 1]


@pytest.mark.parametrize(("low", "high"), [(400, -1000), (0, 0), (float("nan"), 1)])
def test_a_window_that_does_not_rise_is_refused(low, high):
    with pytest.raises(ValueError, match=r"from low to high, got low="):
        window(np.zeros(3, np.int16), low, high)


def test_halving_takes_means_of_blocks_of_eight():
    before = volume((4, 6, 8))
    blocks = before.reshape(2, 2, 3, 2, 4, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(resize_volume(before, (2, 3, 4)), blocks, rtol=1e-5)


def test_shrinking_five_to_three_weighs_voxels_by_the_space_they_share():
    line = np.arange(5, dtype=np.int16)[:, None, None] * np.ones((1, 1, 1), np.int16)
    # Each new voxel covers 5/3: e.g. the first one voxel 0 and two thirds of voxel 1.
    np.testing.assert_allclose(resize_volume(line, (3, 1, 1))[:, 0, 0], [0.4, 2, 3.6], rtol=1e-6)


@given(sizes, st.tuples(*[st.integers(1, 3)] * 3))
def test_growing_is_the_trilinear_interpolation_of_torch(shape, factors):
    before = volume(shape)
    after = tuple(size * factor + 1 for size, factor in zip(shape, factors, strict=True))
    wanted = functional.interpolate(
        torch.from_numpy(before)[None, None], after, mode="trilinear", align_corners=False
    )[0, 0].numpy()
    # float32 coordinates in torch: about 1e-6 of the range of 2000 HU
    np.testing.assert_allclose(resize_volume(before, after), wanted, atol=0.02)


@given(sizes, sizes)
def test_a_constant_stays_constant_in_any_shape(before, after):
    resized = resize_volume(np.full(before, -700, np.int16), after)
    assert resized.shape == after
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, -700, rtol=1e-5)


@given(sizes, sizes)
def test_shrinking_keeps_the_mean(shape, other):
    before, smaller = volume(shape), tuple(np.minimum(shape, other).tolist())
    mean = before.mean(dtype=np.float64)
    assert resize_volume(before, smaller).mean(dtype=np.float64) == pytest.approx(mean, rel=1e-5)


def test_the_middle_of_a_ramp_stays_in_the_middle_of_any_shape():
    ramp = np.linspace(-1, 1, 12, dtype=np.float32)[None, :, None].repeat(4, 0)
    for height in (5, 12, 31):
        line = resize_volume(ramp, (4, height, 1))[0, :, 0]
        np.testing.assert_allclose(line, -line[::-1], atol=1e-6)


def test_the_same_shape_changes_nothing():
    before = volume((3, 4, 5))
    np.testing.assert_array_equal(resize_volume(before, (3, 4, 5)), before)


@pytest.mark.parametrize(
    ("shape", "wanted"), [((4, 4), (2, 2, 2)), ((4, 4, 4), (2, 2)), ((4, 4, 4), (0, 2, 2))]
)
def test_other_than_three_positive_sizes_are_refused(shape, wanted):
    with pytest.raises(ValueError, match=r"expected \(D, H, W\) and a shape of three"):
        resize_volume(np.zeros(shape, np.int16), wanted)

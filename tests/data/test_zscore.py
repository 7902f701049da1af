import numpy as np
import pytest
from monai.transforms import NormalizeIntensity

from vismodels.data.zscore import CLIP, normalized


@pytest.fixture
def images():
    volume = np.random.default_rng(0).gamma(4, 50, (4, 6, 7, 8)).astype(np.float32)
    volume[:, :2] = 0
    return volume


def test_the_brain_has_mean_0_and_deviation_1():
    images = np.array([1, 3, 0, 5, 7], np.float32).reshape(1, 5, 1, 1)
    expected = np.array([-3, -1, 0, 1, 3]) / np.sqrt(5)  # mean 4, variance (9 + 1 + 1 + 9) / 4
    np.testing.assert_allclose(normalized(images).ravel(), expected, rtol=1e-6)


def test_it_agrees_with_monai(images):
    oracle = np.asarray(NormalizeIntensity(nonzero=True, channel_wise=True)(images.copy()))
    np.testing.assert_allclose(normalized(images), oracle.clip(-CLIP, CLIP), atol=1e-5)


def test_the_surroundings_stay_0(images):
    assert (normalized(images)[:, :2] == 0).all()


def test_scores_are_clipped(images):
    images[0, 3, 3, 3] = 1e6
    assert normalized(images)[0].max() == CLIP


def test_the_unit_of_an_image_does_not_matter(images):
    units = np.array([1, 10, 0.1, 1000], np.float32).reshape(4, 1, 1, 1)
    np.testing.assert_allclose(normalized(images * units), normalized(images), atol=1e-5)


def test_an_image_that_is_missing_stays_0(images):
    images[2] = 0
    result = normalized(images)
    assert (result[2] == 0).all()
    assert (result[[0, 1, 3]] != 0).any()


def test_a_constant_brain_is_0():
    assert (normalized(np.full((1, 2, 2, 2), 7, np.float32)) == 0).all()


def test_the_images_themselves_are_left_alone(images):
    before = images.copy()
    normalized(images)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(images, value):
    images[1, 4, 4, 4] = value
    with pytest.raises(ValueError, match="not finite"):
        normalized(images)

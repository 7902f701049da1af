import numpy as np
import pytest

from vismodels.synthetic.random_fields import smooth_noise


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("sigma", [0.0, 0.8, 3.0, 20.0])
def test_mean_is_0_and_deviation_1(rng, sigma):
    field = smooth_noise((20, 21, 22), sigma, rng)
    assert field.shape == (20, 21, 22)
    assert field.dtype == np.float32
    assert field.mean() == pytest.approx(0, abs=1e-5)
    assert field.std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbors_are_alike_as_a_gaussian_blur_makes_them(rng, sigma, axis):
    """Blurred white noise has the correlation exp(-d^2 / (4 sigma^2)) at distance d."""
    field = smooth_noise((48, 48, 48), sigma, rng)
    correlation = (field * np.roll(field, 1, axis)).mean()
    assert correlation == pytest.approx(np.exp(-1 / (4 * sigma**2)), abs=0.03)


def test_equal_generators_make_equal_fields():
    first, again = (smooth_noise((8, 9, 10), 2, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)

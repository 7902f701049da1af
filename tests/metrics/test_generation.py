import numpy as np
import pytest
from scipy.linalg import sqrtm

from vismodels.metrics.generation import frechet_distance

RNG = np.random.default_rng(0)


def test_distance_by_hand():
    # Variances 2 and 8 (unbiased), means 0 and 3: 9 + 2 + 8 - 2 * sqrt(16).
    first, second = np.array([[-1.0], [1.0]]), np.array([[1.0], [5.0]])
    assert frechet_distance(first, second) == pytest.approx(11)


def test_independent_features_add_up_by_hand():
    square = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    # Variances 4/3, and 4 and 9 times as much: (1 - 2)^2 and (1 - 3)^2 in units of 4/3.
    assert frechet_distance(square, square * [2, 3]) == pytest.approx(4 / 3 * (1 + 4))


def test_it_equals_the_definition_with_a_matrix_root():
    first = RNG.normal(size=(200, 5)) @ RNG.normal(size=(5, 5))
    second = RNG.normal(size=(300, 5)) @ RNG.normal(size=(5, 5)) + 0.3
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    shift = first.mean(0) - second.mean(0)
    expected = shift @ shift + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [4, 50])  # also fewer samples than features
def test_equal_sets_have_distance_zero_and_order_does_not_matter(count):
    first, second = RNG.normal(size=(2, count, 10))
    # The roots of eigenvalues that should be zero are about 1e-8 each.
    assert frechet_distance(first, first[::-1]) == pytest.approx(0, abs=1e-5)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first))


def test_a_rotation_of_both_changes_nothing():
    first, second = RNG.normal(size=(2, 40, 6))
    rotation = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
    rotated = frechet_distance(first @ rotation, second @ rotation)
    assert frechet_distance(first, second) == pytest.approx(rotated)


@pytest.mark.parametrize(
    "shapes", [((5, 2), (5, 3)), ((1, 2), (5, 2)), ((5,), (5,)), ((5, 2), (0, 2))]
)
def test_other_shapes_are_refused(shapes):
    with pytest.raises(ValueError, match=r"two sets of at least two samples"):
        frechet_distance(*(np.zeros(shape) for shape in shapes))

import pytest

from vismodels.metrics.quantized import above_floor


@pytest.mark.parametrize(
    ("distance", "expected"), [(3.0, 1.0), (2.0, 0.02), (2.01, 0.02), (0.0, 0.02)]
)
def test_what_lies_below_the_floor_counts_as_a_hundredth_of_it(distance, expected):
    assert above_floor(distance, 2.0) == pytest.approx(expected)

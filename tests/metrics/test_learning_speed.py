import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vismodels.metrics.learning_speed import learning_speed

CURVES = st.lists(st.tuples(st.integers(1, 500), st.floats(0, 1)), min_size=2, max_size=8)


def curve(steps):
    """Return iterations from 0, and the Dice at each."""
    lengths, dice = zip(*steps, strict=True)
    return [0, *np.cumsum(lengths[1:]).tolist()], list(dice)


def test_areas_computed_by_hand():
    assert learning_speed([0, 100], [0.2, 0.8]) == pytest.approx(0.5)
    # 100 x 0.2 + 300 x 0.6 of 400
    assert learning_speed([0, 100, 400], [0.0, 0.4, 0.8]) == pytest.approx(0.5)
    # A point on the line between its neighbors changes nothing.
    assert learning_speed([0, 100, 250, 400], [0.0, 0.4, 0.6, 0.8]) == pytest.approx(0.5)


def test_of_two_runs_that_end_at_one_dice_the_earlier_is_faster():
    iterations = [0, 100, 200, 300]
    early, late = [0.1, 0.7, 0.8, 0.8], [0.1, 0.2, 0.3, 0.8]
    assert learning_speed(iterations, early) == pytest.approx(0.65)
    assert learning_speed(iterations, late) == pytest.approx(0.95 / 3)


@given(st.floats(0, 1), st.integers(1, 10_000))
def test_a_network_that_never_changes_has_the_speed_of_its_dice(dice, last):
    assert learning_speed([0, last], [dice, dice]) == pytest.approx(dice)


@given(CURVES, st.integers(2, 50))
def test_the_unit_of_iterations_does_not_matter(steps, factor):
    iterations, dice = curve(steps)
    speed = learning_speed(iterations, dice)
    assert min(dice) - 1e-12 <= speed <= max(dice) + 1e-12
    longer = [factor * iteration for iteration in iterations]
    assert learning_speed(longer, dice) == pytest.approx(speed)


@given(CURVES)
def test_the_area_is_that_of_a_densely_drawn_curve(steps):
    iterations, dice = curve(steps)
    drawn = np.interp(np.arange(iterations[-1]) + 0.5, iterations, dice)  # midpoints: exact
    assert learning_speed(iterations, dice) == pytest.approx(drawn.mean(), abs=1e-12)


@pytest.mark.parametrize(
    ("iterations", "dice", "message"),
    [
        ([0], [0.5], "two or more iterations, got 1 iterations and 1 values"),
        ([0, 10], [0.5], "got 2 iterations and 1 values"),
        ([10, 20], [0.1, 0.5], r"increase from 0, got \[10, 20\]; measure the untrained"),
        ([0, 20, 20], [0.1, 0.2, 0.3], r"increase from 0, got \[0, 20, 20\]"),
        ([0, 20, 10], [0.1, 0.2, 0.3], r"increase from 0"),
        ([0, 10], [0.1, 1.5], r"in \[0, 1\], got 1.5 at iteration 10"),
        ([0, 10], [-0.1, 0.5], r"got -0.1 at iteration 0"),
        ([0, 10], [0.1, float("nan")], "got nan at iteration 10"),
    ],
)
def test_what_is_no_curve_of_training_is_refused(iterations, dice, message):
    with pytest.raises(ValueError, match=message):
        learning_speed(iterations, dice)

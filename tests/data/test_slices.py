import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vismodels.data.slices import resample_slices, slice_positions

counts = st.integers(1, 460)


def test_five_of_nine_slices_are_every_second_one():
    assert slice_positions(9, 5).tolist() == [0, 2, 4, 6, 8]


def test_a_short_stack_repeats_slices_in_order():
    assert slice_positions(3, 7).tolist() == [0, 0, 1, 1, 1, 2, 2]


def test_a_single_slice_is_the_middle():
    assert slice_positions(9, 1).tolist() == [4]


@pytest.mark.parametrize(
    ("count", "wanted", "published"), [(40, 32, (4, 35)), (28, 16, (6, 21)), (45, 16, (8, 38))]
)
def test_apex_and_base_are_kept_where_the_published_pattern_drops_them(count, wanted, published):
    ours = slice_positions(count, wanted)
    first, last = published  # measured on the reference code
    assert (ours[0], ours[-1]) == (0, count - 1)
    assert (ours < first).any()
    assert (ours > last).any()
    assert len(set(ours.tolist())) == wanted


@given(counts, st.integers(2, 300))
def test_tests_see_the_first_and_the_last_slice_in_even_steps(count, wanted):
    positions = slice_positions(count, wanted)
    steps = np.diff(positions)
    assert positions.shape == (wanted,)
    assert (positions[0], positions[-1]) == (0, count - 1)
    assert steps.min() >= 0
    assert steps.max() - steps.min() <= 1


def test_slices_are_taken_whole():
    volume = np.arange(5)[:, None, None] * np.ones((1, 2, 3), np.int16)
    taken = resample_slices(volume, 3)
    assert taken.shape == (3, 2, 3)
    assert taken[:, 0, 0].tolist() == [0, 2, 4]


@pytest.mark.parametrize(("count", "wanted"), [(0, 4), (4, 0), (-1, 1)])
def test_numbers_below_one_are_refused(count, wanted):
    with pytest.raises(ValueError, match=f"at least one slice, got {wanted} wanted of {count}"):
        slice_positions(count, wanted)


def test_an_array_of_other_axes_is_no_stack():
    with pytest.raises(ValueError, match=r"expected a \(D, H, W\) volume, got \(1, 4, 5, 5\)"):
        resample_slices(np.zeros((1, 4, 5, 5)), 2)

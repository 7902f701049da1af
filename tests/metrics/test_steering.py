"""Presence, fidelity and the area between them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vismodels.metrics.steering import area, fidelity, remaining_share

SHARES = st.floats(0, 1)
CURVES = st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=6)


def test_fidelity_is_one_for_equal_features_and_zero_at_chance():
    assert fidelity(1.0, 0.8) == 1
    assert fidelity(0.8, 0.8) == 0
    assert fidelity(0.9, 0.8) == pytest.approx(0.5)


def test_features_that_tell_nothing_apart_are_refused():
    with pytest.raises(ValueError, match="tell nothing apart"):
        fidelity(1.0, 1.0)


def test_what_remains_is_counted_between_prompts_with_and_without():
    assert remaining_share(60, unsteered=100, without=20) == 0.5
    assert remaining_share(10, unsteered=100, without=20) == 0
    assert remaining_share(100, unsteered=90, without=0) == 1


def test_a_concept_that_prompts_do_not_bring_cannot_be_removed():
    with pytest.raises(ValueError, match="nothing to remove"):
        remaining_share(10, unsteered=30, without=30)


def test_area_by_hand():
    assert area([(1.0, 1.0)]) == 0  # the unsteered image alone removes nothing
    assert area([(0.0, 1.0)]) == 1
    # half of it removed at no loss, all of it at a fidelity of .5
    assert area([(1.0, 1.0), (0.5, 1.0), (0.0, 0.5)]) == pytest.approx(0.5 * 0.5 + 0.5 * 1.0)
    # nothing below a share of .4: that part counts 0
    assert area([(0.4, 0.8)]) == pytest.approx(0.6 * 0.8)


def test_a_fidelity_below_chance_counts_as_none():
    assert area([(0.0, -0.5)]) == 0


def test_shares_outside_of_their_range_are_refused():
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        area([(1.2, 1.0)])


@given(CURVES, st.tuples(SHARES, SHARES))
def test_more_points_never_make_it_smaller_and_order_does_not_matter(curve, point):
    assert area([*curve, point]) >= area(curve) - 1e-12
    assert math.isclose(area(curve), area(curve[::-1]))
    assert 0 <= area(curve) <= 1

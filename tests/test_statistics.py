import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from vismodels.statistics import (
    Interval,
    bootstrap_by_group,
    bootstrap_interval,
    exact_interval,
    holm,
    holm_levels,
    order_agreement,
    paired_differences,
    paired_interval,
    sign_flip_p,
    t_interval,
    t_test_p,
    verdict,
)

NUMBERS = st.floats(-100, 100).map(lambda x: round(x, 3))
SEEDS = st.lists(NUMBERS, min_size=3, max_size=8)
P_VALUES = st.lists(st.floats(0, 0.1) | st.floats(0, 1), max_size=8)


def test_the_t_interval_of_1_2_3_is_2_plus_minus_4_303_over_root_3():
    interval = t_interval([3, 1, 2])
    t = 0.95 / math.sqrt(2 * 0.975 * 0.025)  # closed form of t(0.975) with 2 degrees of freedom
    half = t / math.sqrt(3)  # s = 1
    assert interval.low == pytest.approx(2 - half, rel=1e-12)
    assert interval.high == pytest.approx(2 + half, rel=1e-12)
    assert (interval.kind, interval.n) == ("95 % t interval", 3)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0]])
def test_below_three_seeds_there_is_no_interval_and_no_p(values):
    assert t_interval(values) is None
    assert t_test_p(values, 0.0, "greater") is None


@given(SEEDS, st.sampled_from([0.8, 0.95, 0.99]))
def test_the_t_interval_agrees_with_scipy(values, level):
    assume(np.std(values) > 1e-6)
    oracle = stats.ttest_1samp(values, 0).confidence_interval(level)
    interval = t_interval(values, level)
    assert (interval.low, interval.high) == pytest.approx((oracle.low, oracle.high), rel=1e-6)


@given(SEEDS)
def test_the_t_interval_contains_the_mean_whatever_the_order(values):
    interval = t_interval(values)
    slack = 1e-9 * (1 + max(map(abs, values)))
    assert interval.low - slack <= math.fsum(values) / len(values) <= interval.high + slack
    assert t_interval(sorted(values)) == interval


@given(SEEDS, st.integers(2, 4))
def test_the_t_interval_shrinks_with_more_of_the_same_seeds(values, times):
    assume(np.std(values) > 1e-6)
    few, many = t_interval(values), t_interval(values * times)
    assert many.high - many.low < few.high - few.low


def test_equal_values_have_an_interval_without_width():
    assert t_interval([0.1] * 3) == Interval(0.1, 0.1, "95 % t interval", 3)


def test_only_common_seeds_are_paired():
    assert paired_differences({2: 5.0, 0: 3.0, 7: 1.0}, {0: 1.0, 2: 1.0, 8: 9.0}) == {
        0: 2.0,
        2: 4.0,
    }
    assert paired_interval({0: 1.0, 1: 2.0, 2: 3.0}, {0: 1.0, 1: 2.0, 3: 3.0}) is None


def test_a_deterministic_side_is_paired_with_every_seed():
    assert paired_differences({1: 3.0, 2: 5.0}, {None: 1.0}) == {1: 2.0, 2: 4.0}
    assert paired_differences({None: 1.0}, {1: 3.0, 2: 5.0}) == {1: -2.0, 2: -4.0}
    assert paired_differences({None: 1.0}, {None: 3.0}) == {None: -2.0}


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=8))
def test_the_paired_interval_is_antisymmetric(pairs):
    a, b = ({seed: pair[side] for seed, pair in enumerate(pairs)} for side in (0, 1))
    forth, back = paired_interval(a, b), paired_interval(b, a)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))


def test_the_bootstrap_needs_eight_items_and_repeats_itself():
    assert bootstrap_interval([1.0] * 7, seed=0) is None
    values = [0.3, -0.1, 0.4, 0.0, 0.2, 0.9, -0.5, 0.1]
    assert bootstrap_interval(values, seed=0) == bootstrap_interval(values, seed=0)
    assert bootstrap_interval(values, seed=0) != bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=0).n == 8


def test_the_bootstrap_agrees_with_scipy_within_its_own_noise():
    values = np.random.default_rng(3).normal(1.0, 2.0, 40)
    oracle = stats.bootstrap(
        (values,), np.mean, method="percentile", rng=np.random.default_rng(9)
    ).confidence_interval
    interval = bootstrap_interval(values, seed=0)
    # An end of a 10 000-draw interval wanders by about 0.03 standard errors of the mean (0.3).
    assert (interval.low, interval.high) == pytest.approx((oracle.low, oracle.high), abs=0.05)


def test_the_bootstrap_draws_in_pieces_without_losing_draws():
    values = np.arange(3000.0)  # 333 draws a piece: 10 000 draws are not a whole number of pieces
    interval = bootstrap_interval(values, seed=0, draws=1000)
    error = values.std() / math.sqrt(3000)
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)


def mean_over(values):
    return lambda drawn: float(np.mean(np.asarray(values)[drawn]))


def test_groups_of_one_item_give_the_bootstrap_over_items():
    values = np.random.default_rng(3).normal(1.0, 2.0, 40)
    rng = np.random.default_rng(0)
    interval = bootstrap_by_group(mean_over(values), range(40), 4000, rng)
    expected = bootstrap_interval(values, seed=0)
    # An end of a 4 000-draw interval wanders by about 0.05 standard errors of the mean (0.3).
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=0.08)
    assert (interval.kind, interval.n) == ("95 % bootstrap interval over groups", 40)


def test_repeating_the_scans_of_a_patient_does_not_narrow_the_interval():
    values = np.random.default_rng(3).normal(size=20)
    once = bootstrap_by_group(mean_over(values), range(20), 500, np.random.default_rng(0))
    repeated, patients = np.repeat(values, 5), np.repeat(np.arange(20), 5).tolist()
    often = bootstrap_by_group(mean_over(repeated), patients, 500, np.random.default_rng(0))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert often.n == 20
    by_item = bootstrap_interval(repeated, seed=0)
    assert by_item.high - by_item.low < 0.6 * (often.high - often.low)


def test_a_drawn_patient_brings_all_scans_and_the_number_of_patients_is_kept():
    patients = ["a", "b", "a", "c", "d", "e", "f", "g", "h", "a"]
    drawn = []
    bootstrap_by_group(lambda items: drawn.append(items) or 0.0, patients, 50,
                       np.random.default_rng(0))  # fmt: skip
    for items in drawn:
        counts = np.bincount(items, minlength=10)
        assert counts[0] == counts[2] == counts[9]
        assert counts.sum() - 2 * counts[0] == 8
    assert len({tuple(items) for items in drawn}) > 40


def test_draws_without_a_value_are_left_out():
    values = np.array([math.nan, *[2.0] * 9])
    rng = np.random.default_rng(0)
    interval = bootstrap_by_group(mean_over(values), range(10), 200, rng)
    assert (interval.low, interval.high) == (2, 2)
    assert bootstrap_by_group(lambda drawn: math.nan, range(10), 20, rng) is None


def test_below_eight_groups_there_is_no_interval():
    rng = np.random.default_rng(0)
    assert bootstrap_by_group(mean_over(np.ones(70)), [*range(7)] * 10, 20, rng) is None
    assert bootstrap_by_group(mean_over(np.ones(80)), [*range(8)] * 10, 20, rng).n == 8


def test_a_clear_order_is_kept_by_every_resample_and_a_tied_top_by_none():
    base = np.arange(8.0)
    assert order_agreement([base + 2, base + 1, base], seed=0) == (1.0, 1.0)
    assert order_agreement([base, base, base - 1], seed=0) == (0.0, 0.0)
    assert order_agreement([base + 1, base - 1, base], seed=0) == (0.0, 1.0)
    assert order_agreement([base[:7], base[:7]], seed=0) is None


def test_three_seeds_of_one_sign_have_p_one_eighth():
    assert sign_flip_p([0.1, 0.2, 0.3]) == 0.125
    assert sign_flip_p([-0.1, -0.2, -0.3]) == 1.0
    assert sign_flip_p([1.0, 1.0, -1.0]) == 0.5  # sums 3 (once), 1 (3 times), of 8
    assert sign_flip_p([0.0, 0.0]) == 1.0


def test_rounding_does_not_pull_tied_sums_apart():
    # 0.1 + 0.2 - 0.3 is 5.6e-17 in floating point; exactly, two of eight sums tie at zero
    assert sign_flip_p([0.1, 0.2, -0.3]) == sign_flip_p([1.0, 2.0, -3.0]) == 5 / 8


@given(st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=7))
def test_the_sign_flip_test_agrees_with_scipy(differences):
    oracle = stats.permutation_test(
        (np.array(differences),),
        lambda values, axis: np.sum(values, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        alternative="greater",
        vectorized=True,
    )
    assert sign_flip_p(differences) == pytest.approx(oracle.pvalue, abs=1e-12)


@pytest.mark.parametrize("count", [0, 21])
def test_the_exact_sign_flip_test_refuses_what_it_cannot_enumerate(count):
    with pytest.raises(ValueError, match=f"1 to 20 differences, got {count}"):
        sign_flip_p([1.0] * count)


def test_holm_multiplies_by_the_number_of_claims_left_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@given(P_VALUES)
def test_holm_keeps_the_order_and_raises_within_bounds(p_values):
    adjusted = holm(p_values)
    assert all(
        p <= q <= min(1.0, len(p_values) * p) + 1e-12
        for p, q in zip(p_values, adjusted, strict=True)
    )
    ranked = [q for _, q in sorted(zip(p_values, adjusted, strict=True))]
    assert ranked == sorted(ranked)


def test_holm_levels_stop_at_the_first_claim_that_fails():
    # 0.01 <= .05/3 passes, 0.03 > .05/2 fails, and 0.04 with it although 0.04 <= .05/1
    levels = holm_levels([0.04, 0.01, 0.03])
    assert levels == pytest.approx([1 - 0.05 / 2, 1 - 0.05 / 3, 1 - 0.05 / 2])
    assert holm_levels([0.9]) == pytest.approx([0.95])


@given(P_VALUES)
def test_holm_levels_and_holm_p_values_say_the_same(p_values):
    for p, adjusted, level in zip(p_values, holm(p_values), holm_levels(p_values), strict=True):
        assume(abs(adjusted - 0.05) > 1e-9)
        assert (adjusted <= 0.05) == (p <= 1 - level)


@given(SEEDS, st.sampled_from([0.0, 0.5, 3.0]))
def test_the_p_of_a_greater_claim_agrees_with_scipy(differences, margin):
    assume(np.std(differences) > 1e-6)
    oracle = stats.ttest_1samp(differences, margin).pvalue
    assert t_test_p(differences, margin, "greater") == pytest.approx(oracle, abs=1e-9)
    mirrored = [-difference for difference in differences]
    assert t_test_p(mirrored, margin, "less") == pytest.approx(oracle, abs=1e-9)


@given(SEEDS, st.sampled_from([1.0, 10.0, 60.0]))
def test_the_p_of_an_equality_claim_is_twice_the_larger_one_sided_p(differences, margin):
    assume(np.std(differences) > 1e-6)
    above = stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(differences, margin, alternative="less").pvalue
    p = t_test_p(differences, margin, "equal_within")
    assert p == pytest.approx(min(1, 2 * max(above, below)), abs=1e-9)


@given(
    SEEDS,
    st.sampled_from([0.0, 0.5, 3.0]),
    st.sampled_from(["greater", "less", "equal_within"]),
    st.sampled_from([0.9, 0.95, 0.99]),
)
def test_a_claim_is_reproduced_exactly_when_its_p_clears_the_level(values, margin, kind, level):
    p, interval = t_test_p(values, margin, kind), t_interval(values, level)
    assume(0 < p < 1 and abs(p - (1 - level)) > 1e-9)
    mean = math.fsum(values) / len(values)
    right_side = {"greater": mean > margin, "less": mean < -margin}.get(kind, True)
    reproduced = verdict(interval, mean, margin, kind) == "reproduced"
    assert reproduced == (right_side and p < 1 - level)


def between(low, high):
    return Interval(low, high, "95 % t interval", 3)


@pytest.mark.parametrize(
    ("low", "high", "margin", "kind", "expected"),
    [
        (0.2, 0.4, 0.1, "greater", "reproduced"),
        (0.2, 0.4, 0.3, "greater", "direction only"),  # above zero, not above the margin
        (-0.1, 0.4, 0.0, "greater", "direction only"),
        (-0.4, 0.1, 0.0, "greater", "not reproduced"),
        (-0.1, 0.1, 0.0, "greater", "not reproduced"),  # a mean of zero has no sign
        (-0.4, -0.1, 0.0, "greater", "contradicted"),
        (0.0, 0.4, 0.0, "greater", "direction only"),  # the end touches the margin
        (-0.4, -0.2, 0.1, "less", "reproduced"),
        (-0.4, 0.1, 0.0, "less", "direction only"),
        (-0.1, 0.4, 0.0, "less", "not reproduced"),
        (0.1, 0.4, 0.0, "less", "contradicted"),
        (-0.1, 0.2, 0.2, "equal_within", "reproduced"),
        (-0.1, 0.3, 0.2, "equal_within", "direction only"),
        (0.1, 0.5, 0.2, "equal_within", "not reproduced"),
        (0.3, 0.5, 0.2, "equal_within", "contradicted"),
        (-0.5, -0.3, 0.2, "equal_within", "contradicted"),
        (math.log(4), math.log(4), math.log(4), "ratio_at_least", "reproduced"),
        (math.log(2), math.log(3), math.log(4), "ratio_at_least", "direction only"),
        (math.log(0.5), math.log(0.9), math.log(4), "ratio_at_least", "contradicted"),
    ],
)
def test_verdicts_follow_from_the_interval(low, high, margin, kind, expected):
    assert verdict(between(low, high), (low + high) / 2, margin, kind) == expected


def test_without_an_interval_there_is_no_verdict():
    assert verdict(None, 5.0, 0.1, "greater") == "single run"
    assert verdict(None, None, 0.1, "greater") == "not testable"


def test_exact_counts_range_over_all_runs():
    assert exact_interval([3.0, 1.0, 2.0]) == Interval(1.0, 3.0, "exact", 3)

"""Intervals, paired tests and verdicts: what may be said about a difference, fixed beforehand.

The one interval that decides is Student's t over the per-seed values, from three seeds on. Fewer
seeds are called "single run" and get no verdict. Beside it stand an exact sign-flip test over seeds
and a bootstrap over items, which decide nothing. Torch-free.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

MIN_SEEDS = 3
MIN_ITEMS = 8
MAX_SIGN_FLIPS = 20  # 2**20 sums are 8 MB

Verdict = Literal[
    "reproduced", "direction only", "not reproduced", "contradicted", "single run", "not testable"
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Entry = TypeVar("Entry")
Kind = Literal["greater", "less", "equal_within", "ratio_at_least"]


@dataclass(frozen=True)
class Interval:
    """A range for a mean.

    Args:
        low: lower end.
        high: upper end.
        kind: what it is, for captions: `95 % t interval`, `95 % bootstrap interval`, `exact`.
        n: how many seeds (t), items or groups (bootstrap) or runs (exact) it rests on.
    """

    low: float
    high: float
    kind: str
    n: int


# --- intervals ---------------------------------------------------------------------------------


def t_interval(values: Iterable[float], level: float = 0.95) -> Interval | None:
    """Return the t interval of the mean of one value per seed, None below three values.

    The order of the values does not matter (sums are exact).

    Args:
        values: one number per seed.
        level: confidence level in (0, 1).
    """
    values = list(values)
    if len(values) < MIN_SEEDS:
        return None
    mean, error = _mean_and_error(values)
    half = float(stdtrit(len(values) - 1, (1 + level) / 2)) * error
    return Interval(mean - half, mean + half, f"{_percent(level)} t interval", len(values))


def paired_values(
    a: Mapping[int | None, Entry], b: Mapping[int | None, Entry]
) -> dict[int | None, tuple[Entry, Entry]]:
    """Return the pair of entries of every seed that both sides have, in the order of the seeds.

    A deterministic side (its only key is None) is paired with every seed of the other.
    """
    if set(a) == {None} != set(b):
        a = dict.fromkeys(b, a[None])
    elif set(b) == {None} != set(a):
        b = dict.fromkeys(a, b[None])
    common = sorted(set(a) & set(b), key=lambda seed: (seed is not None, seed or 0))
    return {seed: (a[seed], b[seed]) for seed in common}


def paired_differences(
    a: Mapping[int | None, float], b: Mapping[int | None, float]
) -> dict[int | None, float]:
    """Return a - b for every seed that both have; see `paired_values`."""
    return {seed: of_a - of_b for seed, (of_a, of_b) in paired_values(a, b).items()}


def paired_interval(
    a: Mapping[int | None, float], b: Mapping[int | None, float], level: float = 0.95
) -> Interval | None:
    """Return the t interval of the mean of a - b over common seeds, None below three of them.

    Args:
        a: seed -> value.
        b: seed -> value; seeds that only one side has are left out.
        level: confidence level in (0, 1).
    """
    return t_interval(paired_differences(a, b).values(), level)


def bootstrap_interval(
    item_differences: Sequence[float], seed: int, draws: int = 10_000, level: float = 0.95
) -> Interval | None:
    """Return the percentile bootstrap interval of a mean over items, None below eight items.

    It tells how much the choice of items matters, not the choice of seeds: it stands beside the
    t interval and never replaces it.

    Args:
        item_differences: one number per item (averaged over seeds before, if there are several).
        seed: seed of the draws; equal seeds and values give the equal interval.
        draws: number of resamples.
        level: confidence level in (0, 1).
    """
    if len(item_differences) < MIN_ITEMS:
        return None
    means = _resampled_means(item_differences, seed, draws)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    kind = f"{_percent(level)} bootstrap interval over items"
    return Interval(float(low), float(high), kind, len(item_differences))


def bootstrap_by_group(
    statistic: Callable[[NDArray[np.intp]], float],
    groups: Sequence[Hashable],
    draws: int,
    rng: np.random.Generator,
    level: float = 0.95,
) -> Interval | None:
    """Return the percentile bootstrap interval of any statistic, with whole groups resampled.

    Several scans of one patient are alike: patients are drawn with replacement, each with all its
    items, so that the interval is as wide as the number of patients makes it.

    Args:
        statistic: indices of the drawn items, repeated as often as drawn -> value; NaN where it is
            not defined, for instance an AUC without positives: such draws are left out.
        groups: group (patient) of every item.
        draws: number of resamples.
        rng: source of the draws.
        level: confidence level in (0, 1).

    Returns:
        None below eight groups, or if no draw has a value; its `n` is the number of groups.
    """
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    if len(members) < MIN_ITEMS:
        return None
    items = [np.array(indices, np.intp) for indices in members.values()]
    values = np.empty(draws)
    for draw in range(draws):
        drawn = rng.integers(0, len(items), len(items))
        values[draw] = statistic(np.concatenate([items[group] for group in drawn]))
    values = values[~np.isnan(values)]
    if values.size == 0:
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    kind = f"{_percent(level)} bootstrap interval over groups"
    return Interval(float(low), float(high), kind, len(items))


def order_agreement(
    item_values: ArrayLike, seed: int, draws: int = 10_000
) -> tuple[float, float] | None:
    """Return how often a resample of the items keeps the claimed order, and its first place.

    Args:
        item_values: (variants, items), variants in the claimed order, best (largest) first.
        seed: seed of the draws.
        draws: number of resamples.

    Returns:
        Share of draws with the full order, share of draws whose best is the claimed best, both in
        [0, 1]; ties break the order. None below eight items.
    """
    table = np.asarray(item_values, dtype=np.float64)
    if table.shape[1] < MIN_ITEMS:
        return None
    means = _resampled_means(table, seed, draws)
    full = (means[:-1] > means[1:]).all(axis=0).mean()
    top = (means[0] > means[1:]).all(axis=0).mean()
    return float(full), float(top)


# --- tests -------------------------------------------------------------------------------------


def t_test_p(differences: Iterable[float], margin: float, kind: Kind) -> float | None:
    """Return the p value that belongs to the t interval, None below three differences.

    It is the smallest 1 - level at which the interval still excludes what the claim excludes: the
    margin for `greater`, `less` (-margin) and `ratio_at_least` (two-sided), everything outside
    [-margin, margin] for `equal_within` (two one-sided tests, doubled). So `p <= 0.05` and "the
    95 % interval clears the margin" are one statement.

    Args:
        differences: one per seed; for `ratio_at_least` logarithms of ratios.
        margin: what the claim asks for, not negative (for `ratio_at_least` its logarithm).
        kind: kind of the claim.
    """
    values = list(differences)
    if len(values) < MIN_SEEDS:
        return None
    mean, error = _mean_and_error(values)
    if kind == "equal_within":
        gap = margin - abs(mean)
        return min(1.0, 2 * _upper_tail(gap, error, len(values) - 1))
    gap = abs(mean - (-margin if kind == "less" else margin))
    return min(1.0, 2 * _upper_tail(gap, error, len(values) - 1))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Return the exact one-sided p of "the mean is above zero" when all signs may be flipped.

    With n seeds it cannot fall below 1 / 2**n (0.125 for three, 0.031 for five).

    Raises:
        ValueError: without a difference, or with more than twenty.
    """
    if not 1 <= len(differences) <= MAX_SIGN_FLIPS:
        raise ValueError(
            f"the exact test takes 1 to {MAX_SIGN_FLIPS} differences, got {len(differences)}"
        )
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    # The first sum has no sign flipped; the slack counts ties that rounding has pulled apart.
    slack = 1e-12 * math.fsum(map(abs, differences))
    return float((sums >= sums[0] - slack).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the Holm-adjusted p values, in the order given: never below the raw ones."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(_ascending(p_values)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def holm_levels(p_values: Sequence[float], level: float = 0.95) -> list[float]:
    """Return the confidence level at which each claim of a family is judged.

    Holm compares the smallest of m p values with (1 - level) / m, the next with (1 - level) /
    (m - 1), and stops at the first that fails; that one and all after it are judged at its level.
    An interval at the level returned excludes the margin exactly if `holm` gives p <= 1 - level.
    """
    levels, left = [level] * len(p_values), len(p_values)
    for index in _ascending(p_values):
        error_rate = (1 - level) / left
        levels[index] = 1 - error_rate
        if p_values[index] <= error_rate and left > 1:
            left -= 1
    return levels


# --- verdicts ----------------------------------------------------------------------------------


def verdict(interval: Interval | None, mean: float | None, margin: float, kind: Kind) -> Verdict:
    """Return what the interval of a difference says about a claim.

    `reproduced`: the interval lies beyond the margin (within it, for `equal_within`).
    `contradicted`: the interval lies on the wrong side of zero (outside the margin).
    `direction only`: neither, and the mean has the right sign (lies within the margin).
    `not reproduced`: neither, and it has not.
    `single run`: no interval, because there are fewer than three seeds.
    `not testable`: not even a mean.

    Args:
        interval: of the mean difference A - B, at the level that Holm's correction asks for; for
            `ratio_at_least` of the logarithm of A / B.
        mean: the mean difference (or log ratio), None if the claim could not be measured.
        margin: not negative; for `ratio_at_least` the logarithm of the ratio claimed.
        kind: kind of the claim.
    """
    if mean is None:
        return "not testable"
    if interval is None:
        return "single run"
    low, high = interval.low, interval.high
    if kind == "equal_within":
        if -margin <= low and high <= margin:
            return "reproduced"
        if low > margin or high < -margin:
            return "contradicted"
        return "direction only" if abs(mean) <= margin else "not reproduced"
    if kind == "less":
        low, high, mean = -high, -low, -mean
    if low > margin or (kind == "ratio_at_least" and low == margin):
        return "reproduced"
    if high < 0:
        return "contradicted"
    return "direction only" if mean > 0 else "not reproduced"


def exact_interval(values: Iterable[float]) -> Interval:
    """Return the range of exact counts: no chance is involved, so every run must agree."""
    values = list(values)
    return Interval(min(values), max(values), "exact", len(values))


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error."""
    n = len(values)
    mean = math.fsum(values) / n
    # The mean of equal values may differ from them by a rounding; they have no spread.
    if min(values) == max(values):
        return values[0], 0.0
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return mean, math.sqrt(variance / n)


def _upper_tail(gap: float, error: float, degrees: int) -> float:
    if error == 0:
        return 0.0 if gap > 0 else 0.5 if gap == 0 else 1.0
    return float(stdtr(degrees, -gap / error))


def _ascending(p_values: Sequence[float]) -> list[int]:
    return sorted(range(len(p_values)), key=lambda index: (p_values[index], index))


def _percent(level: float) -> str:
    return f"{100 * level:.4g} %"


def _resampled_means(values: ArrayLike, seed: int, draws: int) -> NDArray[np.float64]:
    """Return the means of `draws` resamples of the last axis, drawn in pieces of bounded memory."""
    table = np.asarray(values, dtype=np.float64)
    items = table.shape[-1]
    generator, piece = np.random.default_rng(seed), max(1, 1_000_000 // items)
    means = []
    for start in range(0, draws, piece):
        drawn = generator.integers(0, items, (min(piece, draws - start), items))
        means.append(np.take(table, drawn, axis=-1).mean(axis=-1))
    return np.concatenate(means, axis=-1)

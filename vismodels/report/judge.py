"""The verdict on a claim, from stored scores, with the statistics fixed beforehand.

It is read from the t interval over per-seed differences at the level that Holm's correction within
the paper asks for; the other tests are shown beside it and decide nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vismodels.report.claims import Claim, Comparison, Judgement, PaperClaims
from vismodels.report.claims_text import in_words
from vismodels.results import Metric, Score, Value
from vismodels.seeding import derive_seed
from vismodels.statistics import (
    MAX_SIGN_FLIPS,
    MIN_SEEDS,
    Interval,
    Kind,
    Verdict,
    bootstrap_interval,
    exact_interval,
    holm,
    holm_levels,
    order_agreement,
    paired_values,
    sign_flip_p,
    t_interval,
    t_test_p,
    verdict,
)
from vismodels.tables.layout import Select
from vismodels.tables.lookup import (
    UnknownNameError,
    condition_text,
    failed_gates,
    find_values,
    gate_text,
    unrecorded_gates,
)
from vismodels.tables.table import number

Values = Mapping[int | None, Value]  # seed -> what was measured


def judge(claims: PaperClaims, scores: Iterable[Score]) -> list[Judgement]:
    """Return a judgement of every claim of one paper, in the order of the claims.

    A claim is `not testable` if it says so, if a gate it requires has failed or was not recorded,
    or if its variants were not run; the sentence gives the reason.
    """
    scores = list(scores)
    evidence = [_collect(claims.paper, claim, scores) for claim in claims.claims]
    tested = [index for index, found in enumerate(evidence) if found.p is not None]
    p_values = [found.p for found in evidence if found.p is not None]
    adjusted = dict(zip(tested, holm(p_values), strict=True))
    levels = dict(zip(tested, holm_levels(p_values), strict=True))
    return [
        found.judgement(adjusted.get(index), levels.get(index, 0.95), len(tested))
        for index, found in enumerate(evidence)
    ]


@dataclass(frozen=True)
class _Step:
    """Two variants and their per-seed differences (logarithms of ratios, for ratios)."""

    a: str
    b: str
    differences: tuple[float, ...]
    deterministic: bool


@dataclass(frozen=True)
class _Evidence:
    """What was measured for a claim, before the other claims of the paper are known."""

    paper: str
    claim: Claim
    metric: Metric | None = None
    steps: tuple[_Step, ...] = ()
    sign: int = 1  # -1 where lower is better, in a ranking
    p: float | None = None
    beside: Mapping[str, Any] | None = None  # fields of the judgement that decide nothing
    reason: str = ""  # why the claim cannot be tested

    def judgement(self, p_holm: float | None, level: float, tested: int) -> Judgement:
        """Return the judgement at the confidence level that Holm's correction asks for."""
        if self.reason:
            sentence = f"Not tested: {self.reason}{'' if self.reason.endswith('?') else '.'}"
            return Judgement(self.paper, self.claim, "not testable", sentence=sentence)
        kind: Kind = "greater" if self.claim.kind == "ranking" else self.claim.kind
        margin = math.log(self.claim.margin) if kind == "ratio_at_least" else self.claim.margin
        verdicts, usual, comparisons = [], [], []
        for step in self.steps:
            mean = self.sign * _mean(step.differences)
            interval, judged = self._interval(step, 0.95), self._interval(step, level)
            verdicts.append(verdict(judged, mean, margin, kind))
            usual.append(verdict(interval, mean, margin, kind))
            seeds = 0 if step.deterministic and not self.claim.count else len(step.differences)
            comparison = Comparison(step.a, step.b, seeds, self.sign * mean)
            if self.sign < 0:
                interval, judged = _negated(interval), _negated(judged)
            comparison = replace(comparison, interval=interval, judged=judged)
            comparisons.append(_as_ratio(comparison) if kind == "ratio_at_least" else comparison)
        judgement = Judgement(
            paper=self.paper,
            claim=self.claim,
            verdict=_weakest(verdicts),
            metric=self.metric,
            comparisons=tuple(comparisons),
            p=self.p,
            p_holm=p_holm,
            **(self.beside or {}),
        )
        sentence = self._sentence(judgement, _weakest(usual), tested)
        return replace(judgement, sentence=sentence)

    def _interval(self, step: _Step, level: float) -> Interval | None:
        values = [self.sign * difference for difference in step.differences]
        if self.claim.count is not None:
            return exact_interval(values)
        return t_interval(values, level)

    def _sentence(self, judgement: Judgement, without_holm: Verdict, tested: int) -> str:
        facts = [in_words(self.claim, judgement.metric, c) for c in judgement.comparisons]
        if judgement.tau is not None:
            facts.append(f"Kendall's tau with the claimed order is {number(judgement.tau, 2)}.")
        closing = _CLOSINGS[judgement.verdict]
        if self.claim.count is not None:
            closing = _EXACT_CLOSINGS.get(judgement.verdict, closing)
        elif judgement.verdict == "single run" and any(step.deterministic for step in self.steps):
            closing = "Nothing varies with a seed, so there is no interval and no verdict."
        elif judgement.verdict != without_holm:
            closing = (
                f"Alone this would read “{without_holm}”; with Holm's correction over {tested} "
                f"claims it is “{judgement.verdict}”."
            )
        return " ".join(part for part in (*facts, closing) if part)


_CLOSINGS: Mapping[Verdict, str] = {
    "reproduced": "That is what the claim says.",
    "direction only": "The mean agrees with the claim, but the evidence does not suffice.",
    "not reproduced": "The mean disagrees with the claim, but the evidence does not refute it.",
    "contradicted": "That is the opposite of the claim.",
    "single run": f"Fewer than {MIN_SEEDS} seeds: no interval, no verdict.",
}
_EXACT_CLOSINGS: Mapping[Verdict, str] = {
    "direction only": "The direction agrees, but not by as much, or not in every run.",
    "not reproduced": "That is not what the claim says.",
}


def _collect(paper: str, claim: Claim, scores: Sequence[Score]) -> _Evidence:
    nothing = _Evidence(paper, claim)
    if claim.not_testable:
        return replace(nothing, reason=claim.not_testable.rstrip("."))
    unmet = [gate_text(gate) for _, gate in failed_gates(claim.requires, scores)]
    unmet += [
        f"the check {name} was not recorded in this run"
        for name in unrecorded_gates(claim.requires, scores)
    ]
    if unmet:
        return replace(nothing, reason="; ".join(unmet))

    measured: dict[str, Values] = {}
    for variant in claim.variants:
        try:
            select = Select(stage=claim.stage, variant=variant, condition=claim.condition)
            found = find_values(scores, select, claim)
        except UnknownNameError as error:
            return replace(nothing, reason=str(error))
        measured[variant] = {
            seed: value
            for seed, value in found.items()
            if isinstance(value, Value) and value.value is not None
        }
        if not measured[variant]:
            what = "is not a number" if found else "was not run"
            at = f" at {condition_text(claim.condition)}" if claim.condition else ""
            reason = f"{claim.metric or claim.count} of {variant}{at} {what}"
            return replace(nothing, reason=reason)

    as_log_ratios = claim.kind == "ratio_at_least"
    if (
        as_log_ratios
        and min(n for values in measured.values() for n in _numbers(values).values()) <= 0
    ):
        return replace(nothing, reason="a ratio needs values above zero")
    metric = next(iter(measured[claim.variants[0]].values())).metric
    sign = -1 if claim.kind == "ranking" and metric.higher_is_better is False else 1
    steps = []
    for a, b in zip(claim.variants, claim.variants[1:], strict=False):
        differences = _differences(measured[a], measured[b], as_log_ratios)
        if not differences:
            return replace(nothing, reason=f"{a} and {b} have no seed in common")
        steps.append(_Step(a, b, tuple(differences.values()), set(differences) == {None}))
    evidence = replace(nothing, metric=metric, steps=tuple(steps), sign=sign, beside={})
    if claim.count is not None:
        return evidence
    return replace(evidence, p=_p_value(evidence), beside=_beside(evidence, measured))


def _differences(a: Values, b: Values, as_log_ratios: bool) -> dict[int | None, float]:
    pairs = paired_values(_numbers(a), _numbers(b))
    # log(a / b) and not log(a) - log(b): a ratio of counts that is exactly the margin stays so.
    return {seed: math.log(x / y) if as_log_ratios else x - y for seed, (x, y) in pairs.items()}


def _numbers(values: Values) -> dict[int | None, float]:
    return {seed: value.value for seed, value in values.items() if value.value is not None}


def _p_value(evidence: _Evidence) -> float | None:
    """Return the p of the claim: of a ranking, the largest of its steps; None below 3 seeds."""
    claim = evidence.claim
    kind: Kind = "greater" if claim.kind == "ranking" else claim.kind
    margin = math.log(claim.margin) if kind == "ratio_at_least" else claim.margin
    p_values = []
    for step in evidence.steps:
        p = t_test_p([evidence.sign * d for d in step.differences], margin, kind)
        if p is None:
            return None
        p_values.append(p)
    return max(p_values)


def _beside(evidence: _Evidence, measured: Mapping[str, Values]) -> dict[str, Any]:
    """Return the fields of the judgement that are printed beside the interval."""
    claim, sign = evidence.claim, evidence.sign
    seed = derive_seed(0, "claims", evidence.paper, claim.id)
    beside: dict[str, Any] = {}
    if claim.kind != "equal_within":
        direction = -1 if claim.kind == "less" else sign
        counts = [len(step.differences) for step in evidence.steps]
        if max(counts) <= MAX_SIGN_FLIPS and min(counts) >= MIN_SEEDS:
            flips = [sign_flip_p([direction * d for d in s.differences]) for s in evidence.steps]
            beside["p_sign_flip"] = max(flips)
    if claim.kind == "ranking":
        means = [_mean(list(_numbers(values).values())) for values in measured.values()]
        beside["tau"] = _kendall_tau([sign * mean for mean in means])
        items = [_item_means(values.values()) for values in measured.values()]
        names = sorted(set.intersection(*(set(of_variant) for of_variant in items)))
        table = [[sign * of_variant[name] for name in names] for of_variant in items]
        beside["agreement"] = order_agreement(table, seed) if names else None
    elif claim.kind != "ratio_at_least":
        a, b = (measured[variant] for variant in claim.variants)
        beside["items"] = bootstrap_interval(_item_differences(a, b), seed)
    return beside


def _item_differences(a: Values, b: Values) -> list[float]:
    """Return the difference of every item that all runs share, averaged over common seeds."""
    pairs = paired_values(a, b).values()
    of_a, of_b = _item_means([x for x, _ in pairs]), _item_means([y for _, y in pairs])
    return [of_a[name] - of_b[name] for name in sorted(set(of_a) & set(of_b))]


def _item_means(values: Iterable[Value]) -> dict[str, float]:
    """Return the mean over runs of every item that all of them have."""
    runs = [value.items for value in values]
    names = set.intersection(*(set(items) for items in runs))
    return {name: _mean([items[name] for items in runs]) for name in names}


def _kendall_tau(means_in_claimed_order: Sequence[float]) -> float | None:
    from scipy.stats import kendalltau  # a second of import time, for rankings only

    claimed = range(len(means_in_claimed_order), 0, -1)
    tau = float(kendalltau(claimed, means_in_claimed_order).statistic)
    return None if math.isnan(tau) else tau  # all means equal: no order at all


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _weakest(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict of a ranking: one contradicted step contradicts it, all must hold."""
    order: tuple[Verdict, ...] = ("contradicted", "single run", "not reproduced", "direction only")
    return next((name for name in order if name in verdicts), "reproduced")


def _negated(interval: Interval | None) -> Interval | None:
    return interval and replace(interval, low=-interval.high, high=-interval.low)


def _as_ratio(comparison: Comparison) -> Comparison:
    """Return a comparison of logarithms as one of ratios."""

    def back(interval: Interval | None) -> Interval | None:
        return interval and replace(
            interval, low=math.exp(interval.low), high=math.exp(interval.high)
        )

    return replace(
        comparison,
        estimate=math.exp(comparison.estimate),
        interval=back(comparison.interval),
        judged=back(comparison.judged),
    )

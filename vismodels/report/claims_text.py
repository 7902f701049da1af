"""Judged claims as text: the sentence about a comparison, the tables of claims and of checks."""

from collections.abc import Iterable, Sequence

from vismodels.report.claims import Claim, Comparison, Judgement, summary_line
from vismodels.results import Metric, Score
from vismodels.tables.lookup import condition_text
from vismodels.tables.table import DASH, MINUS, Cell, Column, Row, Table, decimals_of_spread, number


def claims_table(judgements: Sequence[Judgement]) -> Table:
    """Return one row for every claim: verdict, estimate, p values, and the sentence."""
    return Table(
        title="Claims",
        caption=f"{summary_line(judgements)}. The verdict follows from the t interval over "
        "per-seed differences at the level that Holm's correction within a paper asks for; the "
        "95 % interval is shown. The sign-flip test over seeds and the bootstrap over items stand "
        "beside it and decide nothing.",
        row_title="Claim",
        columns=(
            Column("Paper", numeric=False),
            Column("Verdict", numeric=False),
            Column("Estimate", description="mean difference, ratio, or Kendall's tau"),
            Column("Seeds"),
            Column("p", description="t test over seeds, two-sided, against the claim's margin"),
            Column("p (Holm)", description="corrected over the claims of the paper"),
            Column("p (sign flip)", description="exact, one-sided, over seeds"),
            Column("Items", description="95 % bootstrap interval over items"),
            Column("In words", numeric=False),
            Column("Source", numeric=False),
        ),
        rows=tuple(Row(j.claim.text, _claim_cells(j)) for j in judgements),
    )


def gates_table(scores: Iterable[Score]) -> Table:
    """Return every recorded gate with its value, its bound and whether it held."""
    gates = [(score, gate) for score in scores for gate in score.gates]
    gates.sort(key=lambda pair: (pair[0].stage, pair[0].variant, pair[0].seed or 0, pair[1].name))
    rows = []
    for score, gate in gates:
        parts = [score.stage, score.variant, condition_text(score.condition)]
        parts += [] if score.seed is None else [f"seed {score.seed}"]
        outcome = "passed" if gate.passed else "failed"
        cells = (
            Cell(", ".join(part for part in parts if part)),
            Cell(f"{gate.value:.4g}", value=gate.value),
            Cell(f"{'at least' if gate.at_least else 'at most'} {gate.bound:.4g}"),
            Cell(outcome, kind=outcome),
        )
        rows.append(Row(gate.name, cells))
    failed = sum(not gate.passed for _, gate in gates)
    return Table(
        title="Checks",
        caption=f"Bounds fixed beforehand. Recorded: {len(gates)}, failed: {failed}.",
        row_title="Check",
        columns=(
            Column("Where", numeric=False),
            Column("Value"),
            Column("Bound", numeric=False),
            Column("Outcome", numeric=False),
        ),
        rows=tuple(rows),
    )


def in_words(claim: Claim, metric: Metric | None, comparison: Comparison) -> str:
    """Return the estimate of a comparison and its interval as a sentence."""
    assert metric is not None
    interval, where = comparison.interval, ""
    if claim.dataset:
        where = f" on {claim.dataset.card} ({claim.dataset.split})"
    if claim.condition:
        where += f" at {condition_text(claim.condition)}"
    unit = f" {metric.unit}" if metric.unit and claim.kind != "ratio_at_least" else ""
    size, low, high = _texts(claim, metric, comparison)
    if claim.kind == "ratio_at_least":
        relation = f"is {size} times that"
    elif comparison.estimate == 0:
        relation = "equals that"
    else:
        side = "higher" if comparison.estimate > 0 else "lower"
        relation = f"is {size.lstrip('+' + MINUS)}{unit} {side} than that"
    fact = f"{metric.title} of {comparison.a} {relation} of {comparison.b}{where}"
    if interval is None:
        return f"{fact}."
    if interval.kind == "exact":
        spread = "" if interval.low == interval.high else f"; {low} to {high}{unit} over all runs"
        return f"{fact} (exact{spread})."
    return f"{fact}; {interval.kind} over {interval.n} seeds: {low} to {high}{unit}."


def _texts(claim: Claim, metric: Metric, comparison: Comparison) -> tuple[str, str, str]:
    """Return the estimate and the ends of its interval, rounded alike; differences have signs."""
    interval = comparison.interval
    numbers = [comparison.estimate]
    numbers += [comparison.estimate] * 2 if interval is None else [interval.low, interval.high]
    digits = 2 if claim.kind == "ratio_at_least" else metric.digits
    half = (numbers[2] - numbers[1]) / 2
    digits = decimals_of_spread(half, digits) if half and claim.count is None else digits
    signed = claim.kind != "ratio_at_least"
    estimate, low, high = (number(value, digits, signed) for value in numbers)
    return estimate, low, high


def _claim_cells(judgement: Judgement) -> tuple[Cell, ...]:
    seeds = [comparison.seeds for comparison in judgement.comparisons]
    verdict_class = judgement.verdict.replace(" ", "-")
    return (
        Cell(judgement.paper),
        Cell(judgement.verdict, kind=verdict_class),
        _estimate_cell(judgement),
        Cell(str(min(seeds)), value=min(seeds)) if seeds else Cell(DASH, kind="none"),
        _p_cell(judgement.p),
        _p_cell(judgement.p_holm),
        _p_cell(judgement.p_sign_flip),
        _items_cell(judgement),
        Cell(judgement.sentence),
        Cell(judgement.claim.source),
    )


def _estimate_cell(judgement: Judgement) -> Cell:
    if judgement.claim.kind == "ranking" and judgement.tau is not None:
        return Cell(f"tau {number(judgement.tau, 2)}", value=judgement.tau)
    if judgement.metric is None or len(judgement.comparisons) != 1:
        return Cell(DASH, kind="none")
    (comparison,) = judgement.comparisons
    interval, is_ratio = comparison.interval, judgement.claim.kind == "ratio_at_least"
    estimate, low, high = _texts(judgement.claim, judgement.metric, comparison)
    unit = f" {judgement.metric.unit}" if judgement.metric.unit and not is_ratio else ""
    if interval is None or interval.low == interval.high:
        return Cell(f"{estimate}{unit}", value=comparison.estimate)
    spread = f"[{low}, {high}]{unit}"
    return Cell(estimate, comparison.estimate, interval, interval.n, spread)


def _p_cell(p: float | None) -> Cell:
    if p is None:
        return Cell(DASH, kind="none")
    return Cell("< 0.001" if p < 0.001 else f"{p:.3f}", value=p)


def _items_cell(judgement: Judgement) -> Cell:
    if judgement.agreement is not None:
        full, top = judgement.agreement
        return Cell(f"order kept in {full:.0%}, first place in {top:.0%}")
    if judgement.items is None:
        return Cell(DASH, kind="none")
    low, high = judgement.items.low, judgement.items.high
    digits = decimals_of_spread((high - low) / 2, 3)
    return Cell(f"[{number(low, digits, True)}, {number(high, digits, True)}]")

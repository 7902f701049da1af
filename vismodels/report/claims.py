"""Claims of the papers, and what our scores say about them.

A claim compares variants of one stage; `report.judge` gives the verdict. What contradicts a claim
or could not be tested is always shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from vismodels.config import Config
from vismodels.results import Metric
from vismodels.tables.layout import Quantity

if TYPE_CHECKING:
    from vismodels.statistics import Interval, Verdict


class Claim(Quantity):
    """A statement of a paper that our scores can support or contradict, in our own words.

    `greater` and `less` compare the two variants in order; `equal_within` asks that they differ by
    at most the margin; `ratio_at_least` that first / second reaches it. `ranking` lists variants
    from best to worst (largest first for a quantity without direction) and asks for every step.
    A `count` is exact: no interval, no p value, and every run has to agree. All variants are taken
    at one `condition`, selected as by `tables.layout.Select`.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    text: str
    kind: Literal["greater", "less", "equal_within", "ratio_at_least", "ranking"]
    stage: str
    variants: tuple[str, ...] = Field(min_length=2)
    condition: Mapping[str, str | int | float] = Field(default_factory=dict)
    margin: float = Field(default=0.0, ge=0)  # in the metric's unit; a factor for ratios
    source: str  # where the paper says so: table, figure or section
    requires: tuple[str, ...] = ()  # gates that must be recorded and hold, else it is not testable
    not_testable: str | None = None  # why no run of ours can test it

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Claim:
        if self.kind != "ranking" and len(self.variants) != 2:
            raise ValueError(f"`{self.kind}` compares two variants, got {len(self.variants)}")
        if len(set(self.variants)) != len(self.variants):
            raise ValueError("a variant is listed twice")
        if self.kind == "ratio_at_least" and self.margin < 1:
            raise ValueError("the margin of a ratio is 1 or more; swap the variants if need be")
        if self.kind == "equal_within" and self.margin == 0 and self.metric is not None:
            raise ValueError("`equal_within` needs a margin above zero")
        return self


class PaperClaims(Config):
    """The claims of one paper, as in `workflows/claims/*.yaml`: one family for Holm."""

    paper: str
    claims: tuple[Claim, ...]

    @model_validator(mode="after")
    def _ids_are_unique(self) -> PaperClaims:
        ids = [claim.id for claim in self.claims]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"claims with the same id: {', '.join(twice)}")
        return self


@dataclass(frozen=True)
class Comparison:
    """Two variants of a claim.

    Args:
        a: name of the first.
        b: name of the second.
        seeds: number of seeds both have (runs, for exact counts).
        estimate: mean of a - b over seeds; for ratios the geometric mean of a / b.
        interval: of the estimate, at 95 %; None below three seeds.
        judged: the same at the level that Holm's correction asks for.
    """

    a: str
    b: str
    seeds: int
    estimate: float
    interval: Interval | None = None
    judged: Interval | None = None


@dataclass(frozen=True)
class Judgement:
    """What our scores say about a claim.

    Args:
        paper: whose claim it is.
        claim: the claim.
        verdict: one of `statistics.VERDICTS`.
        metric: what was compared, None if the claim was not tested.
        comparisons: one; for a ranking every step of it; none if the claim was not tested.
        p: raw p value of the t test that belongs to the interval (the largest of a ranking).
        p_holm: the same after Holm's correction over the paper's claims that have one.
        p_sign_flip: exact one-sided sign-flip test over seeds.
        items: bootstrap interval of the difference over items.
        tau: Kendall's tau between the claimed ranking and ours.
        agreement: share of item resamples with the claimed full order, and with its first place.
        sentence: the result in words.
    """

    paper: str
    claim: Claim
    verdict: Verdict
    metric: Metric | None = None
    comparisons: tuple[Comparison, ...] = ()
    p: float | None = None
    p_holm: float | None = None
    p_sign_flip: float | None = None
    items: Interval | None = None
    tau: float | None = None
    agreement: tuple[float, float] | None = None
    sentence: str = ""


def summary_line(judgements: Sequence[Judgement]) -> str:
    """Return the count of every verdict; contradicted and not testable also when there are none.

    `12 claims: 5 reproduced, 4 direction only, 1 not reproduced, 0 contradicted, 2 not testable`.
    """
    from vismodels.statistics import VERDICTS  # loads scipy, which reading claims does not need

    counts = {name: sum(j.verdict == name for j in judgements) for name in VERDICTS}
    always = ("contradicted", "not testable")
    parts = [f"{count} {name}" for name, count in counts.items() if count or name in always]
    return f"{len(judgements)} claim{'s' * (len(judgements) != 1)}: {', '.join(parts)}"


def to_records(judgements: Iterable[Judgement]) -> list[dict[str, Any]]:
    """Return the judgements as JSON-able mappings, everything at full precision."""
    return [asdict(j) | {"claim": j.claim.model_dump(mode="json")} for j in judgements]


def from_records(records: Iterable[Mapping[str, Any]]) -> list[Judgement]:
    """Return the judgements that `to_records` wrote, also after a round trip through JSON."""
    from vismodels.statistics import Interval

    def interval(record: Mapping[str, Any] | None) -> Interval | None:
        return None if record is None else Interval(**record)

    def comparison(record: Mapping[str, Any]) -> Comparison:
        ends = {name: interval(record[name]) for name in ("interval", "judged")}
        return Comparison(**{**record, **ends})

    return [
        Judgement(
            **{
                **record,
                "claim": Claim.model_validate_json(json.dumps(record["claim"])),
                "metric": record["metric"] and Metric(**record["metric"]),
                "comparisons": tuple(comparison(entry) for entry in record["comparisons"]),
                "items": interval(record["items"]),
                "agreement": record["agreement"] and tuple(record["agreement"]),
            }
        )
        for record in records
    ]

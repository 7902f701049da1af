import json
import math

import pytest

from vismodels.config import ConfigError, parse_config
from vismodels.report.claims import PaperClaims, from_records, summary_line, to_records
from vismodels.report.claims_text import claims_table, gates_table
from vismodels.report.judge import judge
from vismodels.results import Gate, Metric, Score, Value, mean_value
from vismodels.statistics import sign_flip_p, t_interval, t_test_p
from vismodels.tables.render import to_html
from vismodels.tables.table import DASH, MINUS

PSNR = Metric("psnr_y", "PSNR-Y", "dB", True, digits=2)
CER = Metric("cer", "CER", "%", False, digits=1)
SET = {"card": "photographs", "split": "test", "items": 8}
ON_SET = {"card": "photographs", "split": "test"}


def runs(variant, *values, metric=PSNR, **more):
    return [
        Score("score", variant, [Value(metric, value)], seed, SET, **more)
        for seed, value in enumerate(values)
    ]


def fixed(variant, value, metric=PSNR):
    return Score("score", variant, [Value(metric, value)], None, SET)


def counted(variant, *counts):
    return [
        Score("score", variant, [], seed, budget={"parameters": count})
        for seed, count in enumerate(counts)
    ]


def claim(**changes):
    base = {"id": "a", "text": "A is better.", "kind": "greater", "stage": "score",
            "variants": ["a", "b"], "source": "Table 1"}  # fmt: skip
    if "count" not in changes:
        base |= {"metric": "psnr_y", "dataset": ON_SET}
    return base | changes


def parsed(*claims):
    return parse_config(PaperClaims, {"paper": "p", "claims": list(claims)}, "claims")


def judged(scores, *claims):
    return judge(parsed(*claims), scores)


def only(scores, **changes):
    (judgement,) = judged(scores, claim(**changes))
    return judgement


# --- differences -------------------------------------------------------------------------------


def test_a_clear_difference_over_three_seeds_is_reproduced():
    # differences 1.0, 1.1, 1.2: mean 1.1, half width 4.3027 x 0.1 / sqrt(3) = 0.2484
    judgement = only([*runs("a", 3.0, 3.1, 3.2), *runs("b", 2.0, 2.0, 2.0)])
    (comparison,) = judgement.comparisons
    assert judgement.verdict == "reproduced"
    assert (comparison.a, comparison.b, comparison.seeds) == ("a", "b", 3)
    assert comparison.estimate == pytest.approx(1.1)
    assert comparison.interval.low == pytest.approx(1.1 - 0.24841, abs=1e-5)
    assert comparison.judged == comparison.interval  # a single claim needs no correction
    assert judgement.p == judgement.p_holm == pytest.approx(0.00274, abs=1e-5)  # t = 19.05
    assert judgement.p_sign_flip == 0.125
    assert judgement.sentence == (
        "PSNR-Y of a is 1.10 dB higher than that of b on photographs (test); 95 % t interval over "
        "3 seeds: +0.85 to +1.35 dB. That is what the claim says."
    )


@pytest.mark.parametrize(
    ("kind", "margin", "a", "expected"),
    [
        ("greater", 0.0, [1.0, 1.1, 1.2], "reproduced"),
        ("greater", 1.0, [1.0, 1.1, 1.2], "direction only"),
        ("greater", 0.0, [-1.0, 1.0, 1.2], "direction only"),
        ("greater", 0.0, [1.0, -1.0, -1.2], "not reproduced"),
        ("greater", 0.0, [-1.0, -1.1, -1.2], "contradicted"),
        ("less", 0.5, [-1.0, -1.1, -1.2], "reproduced"),
        ("less", 0.5, [1.0, 1.1, 1.2], "contradicted"),
        ("equal_within", 2.0, [1.0, 1.1, 1.2], "reproduced"),
        ("equal_within", 0.5, [1.0, 1.1, 1.2], "contradicted"),
        ("equal_within", 1.2, [1.0, 1.1, 1.2], "direction only"),
        ("greater", 0.0, [1.0, 1.1], "single run"),
    ],
)
def test_verdicts_of_paired_differences(kind, margin, a, expected):
    b = [10.0, 20.0, 30.0][: len(a)]  # seeds differ much more than the variants: pairing matters
    scores = [*runs("a", *(x + y for x, y in zip(a, b, strict=True))), *runs("b", *b)]
    assert only(scores, kind=kind, margin=margin).verdict == expected


def test_a_deterministic_variant_is_compared_with_every_seed():
    judgement = only([*runs("a", 3.0, 3.1, 3.2), fixed("b", 2.0)])
    assert (judgement.verdict, judgement.comparisons[0].seeds) == ("reproduced", 3)


def test_two_deterministic_variants_get_no_verdict():
    judgement = only([fixed("a", 3.0), fixed("b", 2.0)])
    assert (judgement.verdict, judgement.comparisons[0].seeds) == ("single run", 0)
    assert judgement.sentence.endswith(
        "Nothing varies with a seed, so there is no interval and no verdict."
    )


def test_a_single_run_shows_its_difference_and_no_interval():
    judgement = only([*runs("a", 3.0), *runs("b", 3.5)])
    (comparison,) = judgement.comparisons
    assert (judgement.verdict, comparison.interval, judgement.p) == ("single run", None, None)
    assert judgement.sentence == (
        "PSNR-Y of a is 0.50 dB lower than that of b on photographs (test). "
        "Fewer than 3 seeds: no interval, no verdict."
    )


def test_only_common_seeds_with_a_value_count():
    scores = [*runs("a", 3.0, 3.1, 3.2, None), *runs("b", 2.0, 2.0, 2.0, 2.0, 9.0)]
    assert only(scores).comparisons[0].seeds == 3


# --- Holm --------------------------------------------------------------------------------------


def test_holm_within_a_paper_can_take_a_verdict_away_and_says_so():
    differences = [1.0, 1.3, 1.9]
    p = t_test_p(differences, 0.0, "greater")
    assert 0.05 / 2 < p < 0.05
    scores = [*runs("a", *differences), *runs("b", 0.0, 0.0, 0.0), *runs("c", -1.0, 0.1, 1.0)]
    weak = claim(id="weak", variants=["c", "b"])
    alone = only(scores)
    first, second = judged(scores, claim(), weak)
    assert alone.verdict == "reproduced"
    assert first.verdict == "direction only"
    assert (first.p, first.p_holm) == (p, pytest.approx(2 * p))
    assert first.comparisons[0].interval == t_interval(differences)
    assert first.comparisons[0].judged == t_interval(differences, 0.975)
    assert second.p_holm >= first.p_holm
    assert first.sentence.endswith(
        "Alone this would read “reproduced”; with Holm's correction over 2 claims it is “direction "
        "only”."
    )


def test_claims_without_a_p_value_do_not_count_for_holm():
    scores = [*runs("a", 1.0, 1.3, 1.9), *runs("b", 0.0, 0.0, 0.0), *runs("single", 5.0)]
    scores += counted("a", 5, 5, 5) + counted("b", 7, 7, 7)
    others = [
        claim(id="single", variants=["single", "b"]),
        claim(id="count", count="parameters", kind="less"),
        claim(id="never", not_testable="needs a GPU."),
    ]
    first = judged(scores, claim(), *others)[0]
    assert first.verdict == "reproduced"
    assert first.p == first.p_holm


# --- ratios and counts -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "margin", "expected"),
    [
        ([40246], [20123], 2.0, "reproduced"),
        ([3, 3], [1, 1], 3.0, "reproduced"),
        ([40245], [20123], 2.0, "direction only"),
        ([40, 20], [20, 20], 1.5, "direction only"),  # one run of two
        ([20], [20], 2.0, "not reproduced"),
        ([10], [20], 2.0, "contradicted"),
    ],
)
def test_ratios_of_counts_are_exact_and_every_run_has_to_agree(a, b, margin, expected):
    scores = [*counted("a", *a), *counted("b", *b)]
    judgement = only(scores, count="parameters", kind="ratio_at_least", margin=margin)
    assert judgement.verdict == expected
    assert (judgement.p, judgement.p_holm, judgement.items) == (None, None, None)
    assert "(exact" in judgement.sentence


def test_a_ratio_is_told_as_a_ratio():
    scores = [*counted("a", 30, 40), *counted("b", 20, 20)]
    judgement = only(scores, count="parameters", kind="ratio_at_least", margin=1.25)
    (comparison,) = judgement.comparisons
    assert comparison.estimate == pytest.approx(math.sqrt(1.5 * 2))
    assert judgement.sentence == (
        "Parameters of a is 1.73 times that of b (exact; 1.50 to 2.00 over all runs). "
        "That is what the claim says."
    )


def test_a_measured_ratio_needs_seeds():
    seconds = Metric("seconds", "Seconds", "s", False)
    few = [*runs("a", 4.0, metric=seconds), *runs("b", 1.0, metric=seconds)]
    ask = {"metric": "seconds", "kind": "ratio_at_least", "margin": 2}
    assert only(few, **ask).verdict == "single run"
    many = [*runs("a", 4.0, 4.2, 4.4, metric=seconds), *runs("b", 1.0, 1.0, 1.0, metric=seconds)]
    judgement = only(many, **ask)
    oracle = t_interval([math.log(x) for x in (4.0, 4.2, 4.4)])
    assert judgement.verdict == "reproduced"
    assert judgement.comparisons[0].interval.low == pytest.approx(math.exp(oracle.low))
    assert judgement.comparisons[0].interval.high == pytest.approx(math.exp(oracle.high))


def test_a_ratio_of_zero_is_not_testable():
    scores = [*counted("a", 4), *counted("b", 0)]
    judgement = only(scores, count="parameters", kind="ratio_at_least", margin=2)
    assert judgement.verdict == "not testable"
    assert judgement.sentence == "Not tested: a ratio needs values above zero."


def test_equal_counts_are_equal():
    scores = [*counted("a", 5), *counted("b", 5)]
    judgement = only(scores, count="parameters", kind="equal_within")
    assert judgement.verdict == "reproduced"
    assert judgement.sentence.startswith("Parameters of a equals that of b (exact).")


# --- rankings ----------------------------------------------------------------------------------


def ranked(metric, *levels):
    spread = [0.0, 0.01, 0.02]
    return [
        score
        for name, level in zip("abcd", levels, strict=False)
        for score in runs(name, *(level + s * (ord(name) - 96) for s in spread), metric=metric)
    ]


@pytest.mark.parametrize(
    ("levels", "expected", "tau"),
    [
        ((3.0, 2.0, 1.0), "reproduced", 1.0),
        ((3.0, 1.0, 2.0), "contradicted", 1 / 3),
        ((1.0, 2.0, 3.0), "contradicted", -1.0),
        ((3.0, 1.015, 1.0), "direction only", 1.0),
    ],
)
def test_a_ranking_asks_for_every_step(levels, expected, tau):
    judgement = only(ranked(PSNR, *levels), kind="ranking", variants=["a", "b", "c"])
    assert judgement.verdict == expected
    assert judgement.tau == pytest.approx(tau)
    assert [(c.a, c.b) for c in judgement.comparisons] == [("a", "b"), ("b", "c")]
    assert judgement.comparisons[0].estimate == pytest.approx(levels[0] - levels[1] - 0.01)


def test_a_ranking_follows_the_direction_of_the_metric():
    ask = {"kind": "ranking", "variants": ["a", "b", "c"], "metric": "cer"}
    judgement = only(ranked(CER, 1.0, 2.0, 3.0), **ask)
    assert (judgement.verdict, judgement.tau) == ("reproduced", 1.0)
    assert judgement.comparisons[0].estimate == pytest.approx(-1.01)
    assert judgement.comparisons[0].interval.high < 0
    assert judgement.sentence.startswith("CER of a is 1.010 % lower than that of b")


def test_the_p_of_a_ranking_is_that_of_its_weakest_step():
    scores = ranked(PSNR, 3.0, 1.1, 1.0)
    judgement = only(scores, kind="ranking", variants=["a", "b", "c"])
    steps = [only(scores, variants=list(pair)) for pair in ("ab", "bc")]
    assert judgement.p == max(step.p for step in steps)
    assert judgement.p_sign_flip == max(step.p_sign_flip for step in steps)


def test_a_ranking_of_equal_means_has_no_tau():
    scores = [s for name in "abc" for s in runs(name, 1.0, 1.0, 1.0)]
    judgement = only(scores, kind="ranking", variants=["a", "b", "c"])
    assert (judgement.verdict, judgement.tau) == ("not reproduced", None)


# --- items -------------------------------------------------------------------------------------


def with_items(variant, offset, count, seeds=3):
    return [
        Score(
            "score",
            variant,
            [mean_value(PSNR, {f"i{k}": k + offset + 0.01 * k * seed for k in range(count)})],
            seed,
            SET,
        )
        for seed in range(seeds)
    ]


def test_the_bootstrap_over_items_is_paired_by_item():
    # Items differ by up to 9, the variants by 0.5 on every item: paired, nothing is left to chance.
    judgement = only([*with_items("a", 0.5, 10), *with_items("b", 0.0, 10)])
    assert (judgement.items.low, judgement.items.high) == pytest.approx((0.5, 0.5))
    assert judgement.items.n == 10


def test_items_that_a_run_lacks_are_left_out_and_few_items_give_no_bootstrap():
    judgement = only([*with_items("a", 0.5, 10), *with_items("b", 0.0, 8)])
    assert judgement.items.n == 8
    assert only([*with_items("a", 0.5, 10), *with_items("b", 0.0, 7)]).items is None
    uneven = [*with_items("a", 0.5, 10)[:2], with_items("a", 0.5, 9)[2]]  # of one seed only
    assert only([*uneven, *with_items("b", 0.0, 10)]).items.n == 9


def test_the_agreement_of_a_ranking_over_items():
    scores = [*with_items("a", 1.0, 10), *with_items("b", 0.5, 10), *with_items("c", 0.7, 10)]
    judgement = only(scores, kind="ranking", variants=["a", "b", "c"])
    assert judgement.agreement == (0.0, 1.0)


# --- not testable ------------------------------------------------------------------------------


def test_a_failed_gate_makes_the_claim_not_testable():
    gate = Gate("judge accuracy", 0.85, 0.9)
    scores = [*runs("a", 3.0, 3.1, 3.2, gates=[gate]), *runs("b", 2.0, 2.0, 2.0)]
    judgement = only(scores, requires=["judge accuracy"])
    assert (judgement.verdict, judgement.comparisons) == ("not testable", ())
    assert "judge accuracy is 0.85, at least 0.9 is asked for" in judgement.sentence
    assert only(scores).verdict == "reproduced"  # a claim that does not require it


def test_a_gate_that_was_not_recorded_makes_the_claim_not_testable():
    held = Gate("images", 20, 20)
    scores = [*runs("a", 3.0, 3.1, 3.2, gates=[held]), *runs("b", 2.0, 2.0, 2.0)]
    judgement = only(scores, requires=["images", "judge accuracy"])
    assert (judgement.verdict, judgement.comparisons) == ("not testable", ())
    assert judgement.sentence == (
        "Not tested: the check judge accuracy was not recorded in this run."
    )
    assert only(scores, requires=["images"]).verdict == "reproduced"


def test_failed_and_unrecorded_gates_are_all_named():
    scores = [*runs("a", 3.0, gates=[Gate("images", 19, 20)]), *runs("b", 2.0)]
    assert only(scores, requires=["judge accuracy", "images"]).sentence == (
        "Not tested: images is 19, at least 20 is asked for; the check judge accuracy was not "
        "recorded in this run."
    )


# --- conditions --------------------------------------------------------------------------------


def curve():
    weak, strong = {"condition": {"strength": 0.5}}, {"condition": {"strength": 1}}
    return [
        *runs("a", 3.0, 3.1, 3.2, **weak),
        *runs("b", 2.0, 2.0, 2.0, **weak),
        *runs("a", 1.0, 1.1, 1.2, **strong),
        *runs("b", 2.0, 2.0, 2.0, **strong),
        *runs("a", 9.0, 9.0, 9.0),
        *runs("c", 9.0, 9.0, 9.0),
    ]


def test_a_claim_is_judged_at_its_condition_and_says_so():
    weak = only(curve(), condition={"strength": 0.5})
    assert weak.verdict == "reproduced"
    assert weak.sentence.startswith(
        "PSNR-Y of a is 1.10 dB higher than that of b on photographs (test) at strength 0.5; 95 %"
    )
    assert only(curve(), condition={"strength": 1.0}).verdict == "contradicted"
    assert from_records(json.loads(json.dumps(to_records([weak])))) == [weak]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "psnr_y of score/b was recorded only at strength 0.5 and at strength 1: select it"),
        ({"condition": {"strenght": 1}}, "no score has the condition 'strenght'; did you mean"),
        (
            {"condition": {"strength": 1}, "variants": ["a", "c"]},
            "psnr_y of c at strength 1 was not run.",
        ),
    ],
)
def test_a_claim_at_a_condition_that_was_not_run_is_not_testable(changes, reason):
    judgement = only(curve(), **changes)
    assert judgement.verdict == "not testable"
    assert reason in judgement.sentence


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"not_testable": "needs the paper's data."}, "Not tested: needs the paper's data."),
        ({"variants": ["aa", "b"]}, "Not tested: no score has the variant 'aa'; did you mean 'a'?"),
        ({"metric": "psnr"}, "no score has the metric 'psnr'; did you mean 'psnr_y'?"),
        ({"variants": ["a", "undefined"]}, "psnr_y of undefined is not a number."),
        ({"variants": ["a", "elsewhere"]}, "psnr_y of elsewhere was not run."),
        ({"variants": ["a", "other-seeds"]}, "a and other-seeds have no seed in common."),
    ],
)
def test_what_was_not_measured_is_not_testable_and_says_why(changes, reason):
    scores = [
        *runs("a", 3.0),
        *runs("b", 2.0),
        *runs("undefined", None),
        Score("score", "elsewhere", [Value(PSNR, 1.0)], 0, {"card": "set5", "split": "test"}),
        Score("score", "other-seeds", [Value(PSNR, 1.0)], 7, SET),
    ]
    judgement = only(scores, **changes)
    assert judgement.verdict == "not testable"
    assert judgement.sentence.endswith(reason)


# --- what is written ---------------------------------------------------------------------------


def mixed():
    scores = [
        *with_items("a", 0.5, 10),
        *with_items("b", 0.0, 10),
        *counted("a", 5),
        *counted("b", 2),
    ]
    claims = [
        claim(),
        claim(id="wrong", kind="less"),
        claim(id="ratio", kind="ratio_at_least", margin=2, count="parameters"),
        claim(id="rank", kind="ranking"),
        claim(id="never", not_testable="needs a GPU"),
    ]
    return judged(scores, *claims)


def test_the_summary_counts_every_verdict_and_hides_neither_bad_nor_missing():
    assert summary_line(mixed()) == "5 claims: 3 reproduced, 1 contradicted, 1 not testable"
    assert summary_line(mixed()[:1]) == "1 claim: 1 reproduced, 0 contradicted, 0 not testable"
    assert summary_line([]) == "0 claims: 0 contradicted, 0 not testable"


def test_judgements_survive_json():
    judgements = mixed()
    text = json.dumps(to_records(judgements), allow_nan=False)
    assert from_records(json.loads(text)) == judgements
    assert json.loads(text)[0]["comparisons"][0]["interval"]["n"] == 3


def test_judging_twice_gives_equal_bytes_whatever_the_order_of_scores():
    scores = [*with_items("a", 0.5, 10), *with_items("b", 0.1, 9)]
    first, second = (
        judged(s, claim(), claim(id="r", kind="ranking")) for s in (scores, scores[::-1])
    )
    assert json.dumps(to_records(first)) == json.dumps(to_records(second))


def test_the_table_of_claims_has_a_row_for_each():
    table = claims_table(mixed())
    verdicts = [(row.cells[1].text, row.cells[1].kind) for row in table.rows]
    assert verdicts == [
        ("reproduced", "reproduced"),
        ("contradicted", "contradicted"),
        ("reproduced", "reproduced"),
        ("reproduced", "reproduced"),
        ("not testable", "not-testable"),
    ]
    assert [row.cells[2].text for row in table.rows] == [
        "+0.50 dB",
        "+0.50 dB",
        "2.50",
        "tau 1.00",
        DASH,
    ]
    assert [row.cells[3].text for row in table.rows] == ["3", "3", "1", "3", DASH]
    assert table.rows[3].cells[7].text == "order kept in 100%, first place in 100%"
    assert table.caption.startswith("5 claims: 3 reproduced, 1 contradicted, 1 not testable.")
    assert 'class="contradicted"' in to_html(table)


def test_the_estimate_of_a_claim_carries_interval_and_unit():
    cell = (
        claims_table([only([*runs("a", 1.0, 1.1, 1.2), *runs("b", 2.0, 2.0, 2.0)])])
        .rows[0]
        .cells[2]
    )
    assert (cell.text, cell.spread) == (f"{MINUS}0.90", f"[{MINUS}1.15, {MINUS}0.65] dB")
    assert cell.n == 3


def test_gates_are_listed_with_their_outcome():
    scores = [
        *runs("b", 1.0, gates=[Gate("gain", 0.5, 0.1), Gate("error", 2.0, 1.0, at_least=False)]),
        Score("acquire", "photographs", [], gates=[Gate("images", 20, 20)]),
        *runs("c", 1.0, gates=[Gate("gain", 1.0, 0.1)], condition={"weight_bits": 4}),
    ]
    table = gates_table(scores)
    assert [(row.label, *(cell.text for cell in row.cells)) for row in table.rows] == [
        ("images", "acquire, photographs", "20", "at least 20", "passed"),
        ("error", "score, b, seed 0", "2", "at most 1", "failed"),
        ("gain", "score, b, seed 0", "0.5", "at least 0.1", "passed"),
        ("gain", "score, c, weight bits 4, seed 0", "1", "at least 0.1", "passed"),
    ]
    assert table.caption == "Bounds fixed beforehand. Recorded: 4, failed: 1."
    assert [row.cells[3].kind for row in table.rows] == ["passed", "failed", "passed", "passed"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": ["a", "b", "c"]}, "`greater` compares two variants, got 3"),
        ({"variants": ["a", "a"]}, "a variant is listed twice"),
        ({"kind": "ratio_at_least", "margin": 0.5}, "the margin of a ratio is 1 or more"),
        ({"kind": "equal_within"}, "`equal_within` needs a margin above zero"),
        ({"margin": -1}, "greater than or equal to 0"),
        ({"kind": "better"}, "claims.claims.0.kind"),
        ({"id": "A b"}, "claims.claims.0.id"),
        ({"metrik": "x"}, "did you mean 'metric'"),
    ],
)
def test_a_wrong_claim_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        parsed(claim(**changes))


def test_two_claims_with_one_id_are_refused():
    with pytest.raises(ConfigError, match="claims with the same id: a"):
        parsed(claim(), claim())


def test_the_sign_flip_test_looks_in_the_direction_of_the_claim():
    scores = [*runs("a", 1.0, 1.1, 1.2), *runs("b", 2.0, 2.0, 2.1)]
    assert only(scores, kind="less").p_sign_flip == sign_flip_p([1.0, 0.9, 0.9]) == 0.125
    assert only(scores, kind="greater").p_sign_flip == 1.0
    assert only(scores, kind="equal_within", margin=1).p_sign_flip is None

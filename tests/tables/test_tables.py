import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vismodels.config import ConfigError, parse_config
from vismodels.results import Gate, Metric, Score, Value
from vismodels.statistics import t_interval
from vismodels.tables.build import build_table
from vismodels.tables.layout import DataSplit, Layout, PaperValues, Quantity, Select
from vismodels.tables.lookup import find_values
from vismodels.tables.render import (
    RENDERERS,
    to_csv,
    to_html,
    to_json,
    to_latex,
    to_markdown,
    write_table,
)
from vismodels.tables.table import (
    DASH,
    MINUS,
    Cell,
    Column,
    Footnote,
    Row,
    Table,
    decimals_of_spread,
    number,
)

PSNR = Metric("psnr_y", "PSNR-Y", "dB", True, "8-bit luma", 2)
CER = Metric("cer", "CER", "%", False, "characters", 1)
SET = {"card": "photographs", "split": "test", "items": 4}
ON_SET = {"card": "photographs", "split": "test"}


def score(variant, value, seed=None, metric=PSNR, stage="sr_score", dataset=SET, **more):
    return Score(stage, variant, [Value(metric, value)], seed, dataset, **more)


def seeds(variant, *values, **more):
    return [score(variant, value, seed, **more) for seed, value in enumerate(values)]


def row(variant, **more):
    return {"label": variant, "select": {"stage": "sr_score", "variant": variant}, **more}


def layout(rows, columns, **more):
    section = {"title": "T", "caption": "C.", "rows": rows, "columns": columns, **more}
    return parse_config(Layout, section, "table")


def build(rows, columns, scores, papers=(), **more):
    papers = [parse_config(PaperValues, paper, "paper") for paper in papers]
    return build_table(layout(rows, columns, **more), scores, papers, t_interval)


def only_cell(scores, column=None, **more):
    column = column or {"metric": "psnr_y", "dataset": ON_SET}
    table = build([row("ours", **more)], [column], scores)
    return table.rows[0].cells[0], table


PSNR_COLUMN = {"metric": "psnr_y", "dataset": ON_SET}


# --- cells of ours -----------------------------------------------------------------------------


def test_three_seeds_give_mean_and_half_width_rounded_by_its_two_digits():
    # mean 29, s = 0.1: half width 4.3027 x 0.1 / sqrt(3) = 0.2484
    cell, table = only_cell(seeds("ours", 28.9, 29.0, 29.1))
    assert (cell.text, cell.spread, cell.n) == ("29.00", "± 0.25", 3)
    assert cell.value == pytest.approx(29.0, abs=1e-12)
    assert cell.interval.high - cell.value == pytest.approx(0.24841, abs=1e-5)
    assert "Mean ± half width of the 95 % t interval over 3 seeds." in table.caption
    assert "Data: photographs, test (4 items)." in table.caption


def test_a_single_seed_is_marked_and_has_no_interval():
    cell, table = only_cell(seeds("ours", 29.123))
    assert (cell.text, cell.spread, cell.marks, cell.n) == ("29.12", "", ("*",), 1)
    assert cell.interval is None
    assert table.footnotes == (Footnote("*", "single run: no interval, no verdict"),)
    assert "interval" not in table.caption


def test_two_seeds_are_printed_one_by_one():
    cell, table = only_cell(seeds("ours", 29.1, 29.3))
    assert (cell.text, cell.interval, cell.marks) == ("29.10; 29.30", None, ("a",))
    assert cell.value == pytest.approx(29.2)
    assert table.footnotes == (Footnote("a", "two runs: both values, no interval"),)


def test_a_deterministic_variant_is_unmarked():
    cell, table = only_cell([score("ours", 28.0)])
    assert (cell.text, cell.marks, cell.n, table.footnotes) == ("28.00", (), None, ())


def test_what_could_not_be_scored_is_undefined_and_says_so():
    cell, table = only_cell(seeds("ours", None))
    assert (cell.text, cell.value, cell.kind) == ("undefined", None, "missing")
    assert table.footnotes[0].text == "not defined on this data"
    cell, table = only_cell(seeds("ours", 1.0, None, 2.0, 3.0))
    assert (cell.n, cell.marks) == (3, ("a",))
    assert table.footnotes[0].text == "not defined on this data in 1 of 4 runs"


@pytest.mark.parametrize(
    ("aggregate", "expected"), [("median", "2.00"), ("min", "1.00"), ("max", "6.00")]
)
def test_other_aggregates_have_no_interval(aggregate, expected):
    cell, _ = only_cell(seeds("ours", 1.0, 6.0, 2.0), {**PSNR_COLUMN, "aggregate": aggregate})
    assert (cell.text, cell.interval) == (expected, None)


def test_the_number_of_seeds_stands_in_the_cells_when_it_varies():
    scores = [*seeds("ours", 1.0, 2.0, 3.0), *seeds("theirs", 1.0, 2.0, 3.0, 4.0)]
    table = build([row("ours"), row("theirs")], [PSNR_COLUMN], scores)
    assert [r.cells[0].spread[-5:] for r in table.rows] == ["(n=3)", "(n=4)"]
    assert "over 3 to 4 seeds" in table.caption


def test_counts_are_exact_scaled_and_from_the_stage_that_has_them():
    trained = [
        Score("train", "ours", [], seed, budget={"parameters": 20_480, "bits": "4/8"})
        for seed in range(3)
    ]
    columns = [
        {"count": "parameters", "stage": "train", "scale": 1.0e-3, "unit": "K", "digits": 1},
        {"count": "bits", "stage": "train"},
    ]
    scores = [*trained, score("ours", 29.0, 0), score("bicubic", 28.0)]
    table = build([row("ours"), row("bicubic")], columns, scores)
    parameters, bits = table.rows[0].cells
    assert (parameters.text, parameters.value, parameters.spread) == ("20.5", 20.48, "")
    assert (bits.text, bits.value) == ("4/8", None)
    assert table.columns[0].title == "Parameters"
    # Bicubic ran, and has no training stage: nothing is missing.
    assert [cell.text for cell in table.rows[1].cells] == [DASH, DASH]


def test_counts_that_differ_between_seeds_have_an_interval():
    trained = [
        Score("sr_score", "ours", [], seed, budget={"macs": n})
        for seed, n in enumerate([10, 20, 30])
    ]
    cell, _ = only_cell(trained, {"count": "macs"})
    assert (cell.text, cell.spread) == ("20", "± 25")  # 4.3027 x 10 / sqrt(3) = 24.84


def test_a_count_may_also_be_a_recorded_metric():
    parameters = Metric("parameters", "Parameters", digits=0)
    cell, _ = only_cell(seeds("ours", 12.0, metric=parameters), {"count": "parameters"})
    assert (cell.text, cell.marks) == ("12", ())


# --- missing and mistyped ----------------------------------------------------------------------


def test_a_known_name_in_an_unmeasured_combination_is_not_run():
    other = {"card": "set5", "split": "test", "items": 5}
    scores = [score("ours", 29.0), score("lanczos", 28.0, dataset=other)]
    columns = [PSNR_COLUMN, {"metric": "psnr_y", "dataset": {"card": "set5", "split": "test"}}]
    table = build([row("ours"), row("lanczos")], columns, scores)
    assert [[c.text for c in r.cells] for r in table.rows] == [
        ["29.00", "not run"],
        ["not run", "28.00"],
    ]
    assert [column.title for column in table.columns] == [
        "PSNR-Y, photographs, test",
        "PSNR-Y, set5, test",
    ]


@pytest.mark.parametrize(
    ("rows", "column", "message"),
    [
        (
            row("our"),
            PSNR_COLUMN,
            r"row 'our': no score has the variant 'our'; did you mean 'ours'",
        ),
        (
            row("ours"),
            {**PSNR_COLUMN, "metric": "psnr"},
            r"the metric 'psnr'; did you mean 'psnr_y'",
        ),
        (row("ours"), {**PSNR_COLUMN, "stage": "sr_scor"}, r"the stage 'sr_scor'; did you mean"),
        (row("ours"), {"count": "macs"}, r"the count 'macs'"),
        (
            row("ours"),
            {"metric": "psnr_y", "dataset": {"card": "photographs", "split": "tset"}},
            r"the data set 'photographs/tset'; did you mean 'photographs/test'",
        ),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest_one_unless_optional(rows, column, message):
    scores = [score("ours", 29.0)]
    with pytest.raises(ConfigError, match=message):
        build([rows], [column], scores)
    table = build([{**rows, "optional": True}], [column], scores)
    assert table.rows[0].cells[0].text in ("not run", DASH)
    assert build([rows], [{**column, "optional": True}], scores).columns == ()


SET5_COLUMN = {"metric": "psnr_y", "title": "PSNR-Y, Set5",
               "dataset": {"card": "set5", "split": "test"}}  # fmt: skip
SET14_COLUMN = {"metric": "psnr_y", "dataset": {"card": "set14", "split": "test"}}


def test_optional_columns_without_any_score_are_left_out_and_named_in_the_caption():
    columns = [{**SET5_COLUMN, "optional": True}, PSNR_COLUMN, {**SET14_COLUMN, "optional": True}]
    table = build([row("ours")], columns, [score("ours", 29.0)])
    assert [column.title for column in table.columns] == ["PSNR-Y, photographs, test"]
    assert [cell.text for cell in table.rows[0].cells] == ["29.00"]
    assert table.caption == (
        "C. Data: photographs, test (4 items). Not run: PSNR-Y, Set5; PSNR-Y, set14, test."
    )


def test_optional_rows_without_any_score_are_left_out_and_named_in_the_caption():
    rows = [row("ours"), {**row("theirs"), "optional": True}, {**row("bicubic"), "optional": True}]
    table = build(rows, [PSNR_COLUMN], [score("ours", 29.0), score("bicubic", 28.0)])
    assert [r.label for r in table.rows] == ["ours", "bicubic"]
    assert [r.cells[0].text for r in table.rows] == ["29.00", "28.00"]
    assert "Rows not run: theirs." in table.caption


def test_many_rows_that_were_not_run_are_counted_not_listed():
    rows = [row("ours"), *({**row(f"theirs {i}"), "optional": True} for i in range(5))]
    table = build(rows, [PSNR_COLUMN], [score("ours", 29.0)])
    assert "5 further rows belong to other runs." in table.caption
    assert "theirs" not in table.caption


def test_an_optional_row_with_a_score_in_some_column_stays():
    other = {"card": "set5", "split": "test", "items": 5}
    scores = [score("ours", 29.0), score("theirs", 28.0, dataset=other)]
    rows = [row("ours"), {**row("theirs"), "optional": True}]
    table = build(rows, [PSNR_COLUMN, SET5_COLUMN], scores)
    assert [[cell.text for cell in r.cells] for r in table.rows] == [
        ["29.00", "not run"],
        ["not run", "28.00"],
    ]
    assert "Rows not run" not in table.caption


def test_optional_rows_alone_stay_for_an_empty_table_says_less():
    table = build([{**row("theirs"), "optional": True}], [PSNR_COLUMN], [score("ours", 29.0)])
    assert [r.cells[0].text for r in table.rows] == ["not run"]
    assert "Rows not run" not in table.caption


def test_an_optional_column_stays_when_one_row_has_a_score():
    other = {"card": "set5", "split": "test", "items": 5}
    scores = [score("ours", 29.0), score("bicubic", 28.0, dataset=other)]
    columns = [PSNR_COLUMN, {**SET5_COLUMN, "optional": True}]
    table = build([row("ours"), row("bicubic")], columns, scores)
    assert [r.cells[1].text for r in table.rows] == ["not run", "28.00"]
    assert "Not run" not in table.caption


def test_a_column_that_is_not_optional_stays_without_a_score():
    other = {"card": "set5", "split": "test", "items": 5}
    scores = [score("ours", 29.0), score("elsewhere", 28.0, dataset=other)]
    table = build([row("ours")], [PSNR_COLUMN, SET5_COLUMN], scores)
    assert [cell.text for cell in table.rows[0].cells] == ["29.00", "not run"]
    assert "Not run" not in table.caption


def test_the_column_of_the_paper_leaves_with_ours_and_takes_its_footnotes_along():
    beside_set5 = {**SET5_COLUMN, "optional": True, "paper": PAPER_COLUMN["paper"]}
    rows = [row("ours", paper="net")]
    table = build(rows, [beside_set5, PSNR_COLUMN], [score("ours", 28.05)], [paper(**SAME)])
    assert [column.title for column in table.columns] == ["PSNR-Y, photographs, test"]
    assert table.footnotes == ()


def test_an_undefined_score_is_a_score():
    table = build([row("ours")], [{**PSNR_COLUMN, "optional": True}], seeds("ours", None))
    assert table.rows[0].cells[0].text == "undefined"


def test_two_different_records_of_one_seed_are_refused():
    with pytest.raises(
        ConfigError, match="two different values of psnr_y of sr_score/ours, seed 0"
    ):
        only_cell([score("ours", 1.0, 0), score("ours", 2.0, 0)])


def test_records_with_and_without_a_seed_do_not_mix():
    with pytest.raises(ConfigError, match="with and without a seed"):
        only_cell([score("ours", 1.0, 0), score("ours", 1.0)])


def test_values_come_in_the_order_of_the_seeds():
    select = Select(stage="sr_score", variant="ours")
    found = find_values(
        reversed(seeds("ours", 1.0, 2.0, 3.0)),
        select,
        Quantity(metric="psnr_y", dataset=DataSplit(**ON_SET)),
    )
    assert [(seed, value.value) for seed, value in found.items()] == [(0, 1.0), (1, 2.0), (2, 3.0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": []}, "at least 1 item"),
        ({"columns": [{"metric": "a", "count": "b"}]}, "either `metric` or `count`"),
        ({"columns": [{}]}, "either `metric` or `count`"),
        ({"columns": [{"count": "macs", "scale": 1.0e-9}]}, "needs `digits` and `unit`"),
        ({"columns": [{"metrik": "a"}]}, "did you mean 'metric'"),
    ],
)
def test_a_wrong_layout_is_refused(change, message):
    good = {"title": "T", "caption": "C", "rows": [row("ours")], "columns": [PSNR_COLUMN]}
    with pytest.raises(ConfigError, match=message):
        parse_config(Layout, {**good, **change}, "table")


# --- conditions --------------------------------------------------------------------------------


def at(**condition):
    return {"stage": "sr_score", "variant": "ours", "condition": condition}


CURVE = [
    score("ours", 1.0, 0),
    score("ours", 2.0, 0, condition={"strength": 0.5}),
    score("ours", 3.0, 0, condition={"strength": 1}),
]


def test_a_plain_row_takes_only_the_record_without_a_condition():
    assert only_cell(CURVE)[0].value == 1.0


def test_rows_of_a_curve_take_the_records_at_their_condition():
    rows = [row("ours", select=at(strength=strength)) for strength in (0.5, 1.0)]
    table = build(rows, [PSNR_COLUMN], CURVE)
    assert [r.cells[0].value for r in table.rows] == [2.0, 3.0]


def test_every_item_of_the_condition_has_to_be_equal():
    grid = [
        score("ours", 10 * steps + bits, 0, condition={"steps": steps, "bits": bits})
        for steps in (5, 6)
        for bits in (4, 8)
    ]
    assert only_cell(grid, select=at(steps=6, bits=4))[0].value == 64.0
    only_one = [grid[1], *CURVE]
    assert only_cell(only_one, select=at(steps=5))[0].value == 58.0
    assert only_cell(only_one, select=at(steps=5, strength=1))[0].text == "not run"


def test_an_incomplete_condition_does_not_mix_points_of_a_grid_even_of_different_seeds():
    grid = [
        score("ours", 1.0, bits, condition={"steps": 5, "weight_bits": bits}) for bits in (4, 8)
    ]
    message = "was recorded at steps 5, weight bits 4 and at steps 5, weight bits 8: select one"
    with pytest.raises(ConfigError, match=message):
        only_cell(grid, select=at(steps=5))


def test_a_plain_row_of_a_variant_with_conditions_only_is_an_error_unless_optional():
    message = "row 'ours': .* recorded only at strength 0.5 and at strength 1: select it by"
    with pytest.raises(ConfigError, match=message):
        only_cell(CURVE[1:])
    assert only_cell(CURVE[1:], optional=True)[0].text == "not run"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"strenght": 0.5}, "no score has the condition 'strenght'; did you mean 'strength'"),
        ({"strength": 0.6}, "has the condition 'strength 0.6'; did you mean 'strength 0.5'"),
        ({"strength": True}, "condition.strength"),
        ({"strength": [1]}, "condition.strength"),
    ],
)
def test_an_unknown_or_wrong_condition_is_an_error(condition, message):
    with pytest.raises(ConfigError, match=message):
        only_cell(CURVE, select=at(**condition))


# --- best --------------------------------------------------------------------------------------


def best_rows(metric, values, **references):
    scores = [score(name, value, metric=metric) for name, value in values.items()]
    rows = [row(name, reference=name in references) for name in values]
    table = build(rows, [{"metric": metric.name, "dataset": ON_SET}], scores)
    return [r.label for r in table.rows if r.cells[0].best], table


def test_the_best_value_is_marked_in_the_direction_of_the_metric():
    values = {"a": 1.0, "b": 3.0, "c": 3.0, "d": None}
    assert best_rows(PSNR, values)[0] == ["b", "c"]
    assert best_rows(CER, values)[0] == ["a"]
    assert "Bold: best of the column." in best_rows(CER, values)[1].caption


def test_nothing_is_best_without_a_direction_or_without_a_difference():
    plain = Metric("psnr_y", "PSNR-Y")
    assert best_rows(plain, {"a": 1.0, "b": 3.0})[0] == []
    assert best_rows(PSNR, {"a": 1.0, "b": 1.0})[0] == []
    names, table = best_rows(PSNR, {"a": 1.0})
    assert names == []
    assert "Bold" not in table.caption


def test_a_reference_row_is_never_best():
    assert best_rows(PSNR, {"bound": 9.0, "a": 1.0, "b": 3.0}, bound=True)[0] == ["b"]


# --- the paper beside --------------------------------------------------------------------------

PAPER_COLUMN = {**PSNR_COLUMN, "paper": {"paper": "p", "table": "Table 1", "column": "psnr"}}


def paper(**entry):
    base = {"table": "Table 1", "row": "net", "column": "psnr", "value": 27.8, "unit": "dB"}
    return {"paper": "p", "reference": "Doe et al. 2024", "values": [{**base, **entry}]}


SAME = {"dataset": "Photos", "card": "photographs", "split": "test", "protocol": "8-bit luma"}


def beside(entry, scores=None):
    return build(
        [row("ours", paper="net")],
        [PAPER_COLUMN],
        scores or [score("ours", 28.05)],
        [paper(**entry)],
    )


def test_a_difference_appears_when_card_split_and_protocol_are_equal():
    table = beside({**SAME, "budget": "30 epochs", "seeds": 3, "plus_minus": 0.05})
    assert [c.title for c in table.columns] == [
        "PSNR-Y",
        "PSNR-Y, paper",
        f"PSNR-Y, ours {MINUS} paper",
    ]
    _, theirs, difference = table.rows[0].cells
    assert (theirs.text, theirs.spread, theirs.kind, theirs.marks) == (
        "27.8",
        "± 0.05",
        "paper",
        ("†",),
    )
    assert (difference.text, difference.value) == ("+0.25", pytest.approx(0.25))
    assert table.footnotes == (
        Footnote("†", "Doe et al. 2024, Table 1: Photos; budget: 30 epochs; 3 seeds"),
    )


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"card": "set14"}, "data set"),
        ({"split": "validation"}, "data set"),
        ({"card": None, "split": None}, "data set"),
        ({"protocol": ""}, "protocol"),
        ({"unit": ""}, "unit"),
        ({"card": "set14", "protocol": ""}, "data set and protocol"),
    ],
)
def test_there_is_no_difference_between_numbers_of_different_things(change, what):
    table = beside({**SAME, **change})
    assert [column.title for column in table.columns] == ["PSNR-Y", "PSNR-Y, paper"]
    (note,) = table.footnotes
    assert note.text.endswith(f"; another {what} than ours, so no difference is given")


def test_the_column_of_the_paper_says_what_the_paper_measured_if_it_is_not_ours():
    column = {**PSNR_COLUMN, "paper": {**PAPER_COLUMN["paper"], "title": "SSIM"}}
    table = build([row("ours", paper="net")], [column], [score("ours", 28.0)], [paper()])
    assert [column.title for column in table.columns] == ["PSNR-Y", "SSIM, paper"]


def test_a_missing_paper_table_prints_its_reason():
    entry = {"row": None, "column": None, "value": None, "reason": "table not readable"}
    table = beside(entry)
    cell = table.rows[0].cells[1]
    assert (cell.text, cell.value, cell.marks) == ("n/a", None, ("a",))
    assert table.footnotes == (Footnote("a", "not available: table not readable"),)


def test_a_value_wins_over_an_entry_for_the_whole_table():
    entries = paper(**SAME)
    entries["values"].insert(0, {"table": "Table 1", "reason": "not readable"})
    values = parse_config(PaperValues, entries, "paper")
    assert values.find("Table 1", "net", "psnr").value == 27.8
    assert values.find("Table 1", "other", "psnr").reason == "not readable"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (("Table 2", "net", "psnr"), "p has no table 'Table 2'; did you mean 'Table 1'"),
        (("Table 1", "nets", "psnr"), "p, Table 1 has no row 'nets'; did you mean 'net'"),
        (("Table 1", "net", "ssim"), "p, Table 1 has no column 'ssim'; known: psnr"),
    ],
)
def test_an_unknown_place_in_a_paper_is_an_error_with_the_nearest_name(place, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(PaperValues, paper(), "paper").find(*place)


def test_a_paper_whose_values_were_not_given_is_an_error():
    with pytest.raises(ConfigError, match="no values of the paper 'p' were given"):
        build([row("ours", paper="net")], [PAPER_COLUMN], [score("ours", 28.0)])


@pytest.mark.parametrize(
    ("entry", "message"),
    [({"value": None}, "needs a `reason`"), ({"row": None}, "needs its `row` and `column`")],
)
def test_a_wrong_paper_value_is_refused(entry, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(PaperValues, paper(**entry), "paper")


def test_numbers_of_a_paper_are_aligned_to_the_longest_of_its_column():
    values = paper(**SAME)
    values["values"].append({**values["values"][0], "row": "other", "value": 28.0})
    values["values"].append({**values["values"][0], "row": "third", "value": 27.125})
    rows = [row("ours", paper="net"), row("ours", paper="other"), row("ours")]
    table = build(rows, [PAPER_COLUMN], [score("ours", 28.0)], [values])
    assert [r.cells[1].text for r in table.rows] == ["27.800", "28.000", DASH]
    assert table.rows[0].cells[1].marks == table.rows[1].cells[1].marks == ("†",)


# --- gates -------------------------------------------------------------------------------------


def test_a_failed_gate_puts_a_banner_above_the_table():
    gates = [Gate("accuracy", 0.85, 0.9), Gate("loss", 2.0, 1.0, at_least=False)]
    scores = [score("ours", 1.0, gates=gates)]
    table = build([row("ours")], [PSNR_COLUMN], scores, requires=["accuracy", "speed"])
    assert table.banner == (
        "These numbers rest on checks that did not hold: accuracy is 0.85, at least 0.9 is asked "
        "for: not passed; speed: not recorded in this run."
    )
    held = [score("ours", 1.0, gates=[Gate("accuracy", 0.95, 0.9)])]
    assert build([row("ours")], [PSNR_COLUMN], held, requires=["accuracy"]).banner == ""


# --- numbers as text ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("half", "digits", "decimals"),
    [(0.0532, 2, 3), (0.0996, 2, 2), (0.25, 2, 2), (1.26, 2, 1), (12.7, 2, 0), (127.0, 2, 0),
     (0.0, 2, 2), (1e-9, 2, 5)],
)  # fmt: skip
def test_two_digits_of_the_half_width_decide_the_decimals(half, digits, decimals):
    assert decimals_of_spread(half, digits) == decimals


def test_numbers_have_a_true_minus_and_no_negative_zero():
    assert number(-1.25, 1) == f"{MINUS}1.2"
    assert number(-0.001, 2) == "0.00"
    assert number(0.001, 2, signed=True) == "0.00"
    assert number(2.0, 1, signed=True) == "+2.0"


# --- renderers ---------------------------------------------------------------------------------

NASTY = 'a|b_c*d & <e> "f" 50 % #1 {g} \\h ~i ^j $k\nl'
EXAMPLE = Table(
    title="Title",
    caption="Caption.",
    columns=(Column("PSNR", "dB", "long form", True), Column("Note", numeric=False)),
    rows=(
        Row(
            "ours",
            (
                Cell("29.0", 29.04, t_interval([29.0, 29.04, 29.08]), 3, "± 0.1", best=True),
                Cell("text", marks=("a",)),
            ),
        ),
        Row(
            NASTY, (Cell("27.0", 27.0, kind="paper", marks=("†", "a")), Cell("n/a", kind="missing"))
        ),
    ),
    footnotes=(Footnote("a", "reason"), Footnote("†", "their data")),
    banner="Beware.",
)


class Tags(HTMLParser):
    """Collects what an HTML fragment is made of, and checks that its tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.cells = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)
        if tag in ("td", "th", "caption", "p", "li"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.cells:
            self.cells[-1] += data


def test_html_is_semantic_and_has_neither_style_nor_script():
    parsed = Tags(to_html(EXAMPLE))
    names = [name for name, _ in parsed.tags]
    assert names.count("caption") == names.count("thead") == names.count("tbody") == 1
    scopes = [attributes.get("scope") for name, attributes in parsed.tags if name == "th"]
    assert scopes == ["col"] * 3 + ["row"] * 2
    titles = [attributes["title"] for name, attributes in parsed.tags if name == "abbr"]
    assert titles == ["long form", "higher is better"]
    assert {key for _, attributes in parsed.tags for key in attributes} <= {
        "scope",
        "class",
        "title",
        "role",
    }
    assert ("strong", {"class": "best"}) in parsed.tags
    assert ("td", {"class": "number paper"}) in parsed.tags
    assert {"script", "style"}.isdisjoint(names)


def test_html_shows_texts_as_they_are():
    cells = Tags(to_html(EXAMPLE)).cells
    assert cells[0].strip() == "Beware."
    assert NASTY in [cell.strip("\n") for cell in cells]
    assert "27.0†, a" in [cell.strip() for cell in cells]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30))
def test_no_text_breaks_out_of_html(text):
    table = replace(EXAMPLE, title=text, banner="", rows=(Row(text, EXAMPLE.rows[0].cells),))
    plain = replace(EXAMPLE, banner="", rows=EXAMPLE.rows[:1])
    broken_out = Tags(to_html(table))
    assert broken_out.tags == Tags(to_html(plain)).tags
    assert text.strip() in [cell.strip() for cell in broken_out.cells]


def test_markdown_escapes_and_needs_no_colour():
    lines = to_markdown(EXAMPLE).splitlines()
    assert lines[:3] == ["> **Beware.**", "", "**Title.** Caption."]
    assert lines[4:7] == [
        "| Method | PSNR (dB) ↑ | Note |",
        "| :--- | ---: | :--- |",
        "| ours | **29.0 ± 0.1** | text<sup>a</sup> |",
    ]
    assert lines[7] == (
        r'| a\|b\_c\*d &amp; &lt;e&gt; "f" 50 % \#1 {g} \\h \~i ^j $k l '
        r"| *27.0*<sup>†</sup><sup>a</sup> | n/a |"
    )
    assert lines[-2:] == ["- <sup>a</sup> reason", "- <sup>†</sup> their data"]


def test_latex_is_booktabs_and_escaped():
    text = to_latex(EXAMPLE)
    order = [r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    assert [text.index(word) for word in order] == sorted(text.index(word) for word in order)
    assert r"\begin{tabular}{lrl}" in text
    assert r"Method & PSNR (dB) $\uparrow$ & Note \\" in text
    assert r"ours & \textbf{29.0 $\pm$ 0.1} & text\textsuperscript{a} \\" in text
    assert (
        r'a|b\_c{*}d \& \textless{}e\textgreater{} "f" 50 \% \#1 \{g\} \textbackslash{}h '
        r"\textasciitilde{}i \textasciicircum{}j \$k l & \textcolor{gray}{27.0}"
    ) in text


def test_csv_has_full_precision_with_interval_and_runs_in_columns():
    rows = list(csv.reader(io.StringIO(to_csv(EXAMPLE))))
    psnr = [f"PSNR (dB){part}" for part in ("", " low", " high", " runs")]
    assert rows[0] == ["Method", *psnr, "Note"]
    interval = EXAMPLE.rows[0].cells[0].interval
    assert rows[1] == ["ours", "29.04", repr(interval.low), repr(interval.high), "3", "text"]
    assert rows[2] == [NASTY, "27", "", "", "", "n/a"]


def test_json_holds_everything():
    content = json.loads(to_json(EXAMPLE))
    cell = content["rows"][0]["cells"][0]
    interval = EXAMPLE.rows[0].cells[0].interval
    assert cell["value"] == 29.04
    assert cell["interval"] == vars(interval)
    assert (cell["n"], cell["best"], cell["marks"]) == (3, True, [])
    assert content["columns"][0]["higher_is_better"] is True
    assert content["footnotes"] == [
        {"mark": "a", "text": "reason"},
        {"mark": "†", "text": "their data"},
    ]
    assert content["banner"] == "Beware."


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="row 'x' has 1 cells for 2 columns"):
        replace(EXAMPLE, rows=(Row("x", (Cell("1"),)),))


def test_all_formats_are_written_and_repeat_themselves(tmp_path):
    scores = [*seeds("ours", 28.9, 29.0, 29.1), *seeds("single", 29.2), score("bicubic", 28.0)]
    rows = [row("ours", paper="net"), row("single"), row("bicubic")]
    for folder, ordered in (("first", scores), ("second", scores[::-1])):
        (tmp_path / folder).mkdir()
        table = build(rows, [PAPER_COLUMN], ordered, [paper(**SAME)])
        write_table(table, tmp_path / folder, "quality")
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == ["quality.csv", "quality.html", "quality.json", "quality.md", "quality.tex"]
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.mark.parametrize("suffix", RENDERERS)
def test_a_table_without_rows_renders(suffix):
    assert "Title" in RENDERERS[suffix](replace(EXAMPLE, rows=())) or suffix == "csv"


def test_tables_and_statistics_import_neither_torch_nor_pandas():
    code = (
        "import sys, vismodels.tables.build, vismodels.tables.render, vismodels.report.judge;"
        "sys.exit(bool({'torch', 'pandas', 'scipy.stats'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

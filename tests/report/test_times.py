import pytest

from vismodels.files import VOLATILE, write_json
from vismodels.report.times import times_table
from vismodels.results import SCORES, Score, write_scores
from vismodels.tables.table import DASH


@pytest.fixture
def stage(tmp_path):
    """Return a function that writes a stage folder with its measured times."""

    def write(variant, seed, cpu, **timings):
        folder = tmp_path / f"{variant}{seed}"
        folder.mkdir()
        write_json(folder / VOLATILE, {"timings": timings, "cpu_seconds": cpu})
        write_scores(folder / SCORES, [Score("search", variant, [], seed)])
        return folder

    return write


def texts(table):
    return {
        row.label: [f"{cell.text} {cell.spread}".strip() for cell in row.cells]
        for row in table.rows
    }


def test_a_row_holds_the_mean_and_the_range_over_the_runs(stage):
    table = times_table(
        [
            stage("noise", 0, 30.0, cpu_seconds_per_step=0.1),
            stage("noise", 1, 40.0, cpu_seconds_per_step=0.3),
            stage("direct", 0, 1234.5, cpu_seconds_per_step=0.0123456),
        ]
    )
    assert [column.title for column in table.columns] == ["Runs", "CPU per step", "CPU, whole job"]
    assert texts(table) == {
        "search, noise": ["2", "0.200 0.100 to 0.300", "35.0 30.0 to 40.0"],
        "search, direct": ["1", "0.0123", "1234"],
    }
    assert table.rows[0].cells[1].value == pytest.approx(0.2)


def test_it_says_that_times_vary_and_are_in_no_digest(stage):
    table = times_table([stage("noise", 0, 30.0, step=0.1)])
    assert "vary from run to run" in table.caption
    assert "outside every score and every digest" in table.caption


def test_stages_that_measured_nothing_have_no_row_and_no_table(stage):
    silent = stage("noise", 0, 30.0)
    assert times_table([silent]) is None
    assert list(texts(times_table([silent, stage("direct", 0, 1.0, step=0.5)]))) == [
        "search, direct"
    ]


def test_a_time_that_only_others_measured_is_a_dash(stage):
    table = times_table([stage("a", 0, 1.0, step=0.5), stage("b", 0, 1.0, load=0.25)])
    assert texts(table) == {
        "search, a": ["1", "0.500", DASH, "1.00"],
        "search, b": ["1", DASH, "0.250", "1.00"],
    }


def test_problems_that_share_a_variant_have_rows_of_their_own(stage):
    """An image of twenty steps takes longer than one of four: no mean of them."""
    folders = [stage("float", seed, 9.0, step=1.0 + seed) for seed in (0, 1)]
    for folder, problem in zip(folders, ("four", "twenty"), strict=True):
        write_scores(
            folder / SCORES, [Score("score", "float", [], 0, condition={"problem": problem})]
        )
    assert [row.label for row in times_table(folders).rows] == [
        "score, float, four",
        "score, float, twenty",
    ]

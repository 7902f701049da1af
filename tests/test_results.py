import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vismodels.files import FileError, read_json
from vismodels.results import (
    SCHEMA_VERSION,
    Gate,
    Metric,
    Score,
    Value,
    mean_value,
    read_scores,
    write_scores,
)

PSNR = Metric("psnr", "PSNR", unit="dB", higher_is_better=True, digits=2)


def score(**changes):
    values = [Value(PSNR, 30.0, {"a": 29.0, "b": 31.0})]
    return Score(**{"stage": "score", "variant": "net", "values": values, "seed": 1, **changes})


# --- round trip --------------------------------------------------------------------------------

number = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(max_size=8)
metrics = st.builds(
    Metric, text, text, unit=text, higher_is_better=st.none() | st.booleans(), digits=st.integers()
)


def distinct(records):
    metrics = [value.metric for record in records for value in record.values]
    return len(set(metrics)) == len({metric.name for metric in metrics})


values = st.builds(Value, metrics, st.none() | number, st.dictionaries(text, number, max_size=3))
scores = st.builds(
    Score,
    stage=text,
    variant=text,
    values=st.lists(values, max_size=3, unique_by=lambda value: value.metric.name),
    seed=st.none() | st.integers(min_value=0),
    dataset=st.dictionaries(text, text | st.integers(), max_size=2),
    gates=st.lists(st.builds(Gate, text, number, number, st.booleans()), max_size=2),
    budget=st.dictionaries(text, st.integers() | text, max_size=2),
    condition=st.dictionaries(text, text | st.integers() | number, max_size=2),
    note=text,
)


@given(records=st.lists(scores, max_size=3).filter(distinct))
def test_what_is_written_is_read_back_equal(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("größe und form") / "scores.json"
    write_scores(path, records)
    assert read_scores(path) == records


def test_a_record_with_defaults_is_read_back_equal(tmp_path):
    write_scores(tmp_path / "s", [score()])
    assert read_scores(tmp_path / "s") == [score()]


def test_a_metric_is_described_once_in_a_file(tmp_path):
    seeds = [score(seed=seed, condition={"strength": 0.5}) for seed in range(3)]
    write_scores(tmp_path / "s", seeds)
    content = read_json(tmp_path / "s")
    about = {"title": "PSNR", "unit": "dB", "higher_is_better": True, "protocol": "", "digits": 2}
    assert content["metrics"] == {"psnr": about}
    assert content["scores"][2]["values"] == {"psnr": {"value": 30.0, "items": {"a": 29, "b": 31}}}
    assert content["scores"][2]["condition"] == {"strength": 0.5}


def test_equal_scores_make_equal_bytes(tmp_path):
    for name, items in (("a", {"x": 1.0, "y": 2.0}), ("b", {"y": 2.0, "x": 1.0})):
        write_scores(tmp_path / name, [score(values=[mean_value(PSNR, items)])])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_gate_is_stored_with_its_verdict_for_readers_without_this_package(tmp_path):
    write_scores(tmp_path / "s", [score(gates=[Gate("gain", 0.05, 0.1)])])
    (gate,) = read_json(tmp_path / "s")["scores"][0]["gates"]
    assert gate == {"name": "gain", "value": 0.05, "bound": 0.1, "at_least": True, "passed": False}


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("place", ["value", "item", "gate"])
def test_what_is_not_a_number_is_refused_and_nothing_is_written(tmp_path, bad, place):
    values = [Value(PSNR, bad if place == "value" else 1.0, {"a": bad} if place == "item" else {})]
    gates = [Gate("gain", bad, 0.1)] if place == "gate" else []
    with pytest.raises(ValueError, match=r"s\.json: a score is infinite or NaN.*leave the item"):
        write_scores(tmp_path / "s.json", [score(values=values, gates=gates)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "records",
    [
        [score(), score(values=[Value(replace(PSNR, digits=3), 1.0)])],
        [score(values=[Value(PSNR, 1.0)]), score(values=[Value(replace(PSNR, title="P"), 1.0)])],
    ],
)
def test_two_metrics_of_one_name_are_refused_and_nothing_is_written(tmp_path, records):
    with pytest.raises(ValueError, match=r"s\.json: two different metrics have the name 'psnr'"):
        write_scores(tmp_path / "s.json", records)
    assert list(tmp_path.iterdir()) == []


def test_two_values_of_one_metric_are_refused():
    with pytest.raises(ValueError, match="score/net has two values of the metric 'psnr'"):
        score(values=[Value(PSNR, 1.0), Value(PSNR, 1.0)])


@pytest.mark.parametrize("content", [[], {}, {"schema": SCHEMA_VERSION + 1, "scores": []}, 3, None])
def test_another_schema_is_refused(tmp_path, content):
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(FileError, match=r"s\.json: not a score file of schema 1; run the stage"):
        read_scores(tmp_path / "s.json")


def stored(tmp_path: Path) -> dict:
    write_scores(tmp_path / "s.json", [score(gates=[Gate("gain", 1.0, 0.1)])])
    return read_json(tmp_path / "s.json")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("scores"),
        lambda content: content.update(scores=None),
        lambda content: content.update(scores=["text"]),
        lambda content: content["scores"][0].pop("values"),
        lambda content: content["scores"][0].update(unknown=1),
        lambda content: content["scores"][0].update(gates=[3]),
        lambda content: content["scores"][0].update(values=[]),
        lambda content: content["scores"][0]["values"].update(psnr=None),
        lambda content: content["scores"][0]["values"]["psnr"].pop("items"),
        lambda content: content.pop("metrics"),
        lambda content: content.update(metrics=[]),
        lambda content: content["metrics"]["psnr"].pop("title"),
        lambda content: content["metrics"]["psnr"].update(unknown=1),
    ],
)
def test_a_damaged_record_names_the_file_and_the_remedy(tmp_path, damage):
    content = stored(tmp_path)
    damage(content)
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(FileError, match=r"s\.json: damaged score record .*; run the stage again"):
        read_scores(tmp_path / "s.json")


def test_a_value_of_a_metric_that_is_not_described_names_the_metric(tmp_path):
    content = stored(tmp_path)
    content["metrics"].clear()
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(FileError, match=r"record \(the metric 'psnr' is not described\); run"):
        read_scores(tmp_path / "s.json")


def test_a_file_cut_off_names_the_file(tmp_path):
    stored(tmp_path)
    whole = (tmp_path / "s.json").read_text()
    (tmp_path / "s.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(FileError, match=r"s\.json: not valid JSON"):
        read_scores(tmp_path / "s.json")


def test_absent_scores_name_the_file(tmp_path):
    with pytest.raises(FileError, match=r"s\.json: no such file"):
        read_scores(tmp_path / "s.json")


# --- values and gates --------------------------------------------------------------------------


def test_mean_is_that_of_the_items_and_they_are_kept():
    assert mean_value(PSNR, {"a": 1.0, "b": 2.0, "c": 6.0}) == Value(
        PSNR, 3.0, {"a": 1.0, "b": 2.0, "c": 6.0}
    )


def test_nan_items_are_left_out_of_the_mean_and_of_the_items():
    assert mean_value(PSNR, {"a": 1.0, "b": math.nan}) == Value(PSNR, 1.0, {"a": 1.0})


@pytest.mark.parametrize("items", [{}, {"a": math.nan}])
def test_a_mean_over_nothing_is_not_defined(items):
    assert mean_value(PSNR, items) == Value(PSNR, None, {})


@given(items=st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=6), seed=st.randoms())
def test_mean_does_not_depend_on_the_order_of_the_items(items, seed):
    named = [(str(number), value) for number, value in enumerate(items)]
    before = mean_value(PSNR, dict(named)).value
    seed.shuffle(named)
    assert mean_value(PSNR, dict(named)).value == before


@pytest.mark.parametrize(
    ("value", "at_least", "passed"),
    [(0.1, True, True), (0.09, True, False), (0.1, False, True), (0.11, False, False)],
)
def test_a_gate_includes_its_bound(value, at_least, passed):
    assert Gate("gain", value, 0.1, at_least).passed is passed


def test_looking_up_a_metric_that_is_absent_lists_those_that_are_there():
    assert score().value("psnr").value == 30.0
    with pytest.raises(KeyError, match="score/net has no metric 'ssim'; it has: psnr"):
        score().value("ssim")

import pytest

from vismodels.config import ConfigError, parse_config
from vismodels.methods.covidnet3d.audit import audit, false_alarms, fitting_positives, hits
from vismodels.methods.covidnet3d.config import AuditConfig

TEST = {"positives": 42, "others": 82, "largest_class": 82, "classes": 2, "denominators": [202]}
ROW = {
    "data": "covid_ctset", "model": "covidnet3d_l", "accuracy": 96.88, "precision": 97.50,
    "sensitivity": 92.86, "f1": 95.12,
}  # fmt: skip


def audited(test=None, **row):
    section = {"tests": {"covid_ctset": TEST | (test or {})}, "rows": [ROW | row]}
    (score,) = audit(parse_config(AuditConfig, section, "audit"))
    values = {v.metric.name: v.value for v in score.values}
    return values, {gate.name: gate.passed for gate in score.gates}


def test_a_percentage_names_a_count():
    assert hits(92.86, 42) == [39]
    assert hits(95.54, 42) == []
    assert false_alarms(97.50, 39) == [1]


def test_small_sets_leave_no_doubt_and_large_ones_may():
    assert len(hits(50.00, 20000)) > 1


def test_the_published_accuracy_of_the_large_network_is_not_that_of_its_counts():
    values, gates = audited()
    assert (values["hits"], values["false_alarms"]) == (39, 1)
    assert values["implied_accuracy"] == pytest.approx(100 * 120 / 124)
    assert gates == {
        "F1 is that of precision and sensitivity": True,
        "sensitivity is a share of the test's positives": True,
        "other rows with these scores": True,
        "accuracy is that of hits and false alarms": False,
    }
    assert values["contradictions"] == 1


def test_a_table_that_agrees_with_itself_passes():
    values, gates = audited(accuracy=96.77)
    assert all(gates.values())
    assert values["contradictions"] == 0


def test_a_sensitivity_of_another_split_is_found_out():
    values, gates = audited(sensitivity=95.54, precision=92.34, f1=93.91, accuracy=93.87)
    assert values["fitting_positives"] == 202
    assert not gates["sensitivity is a share of the test's positives"]
    assert "implied_accuracy" not in values


def test_rows_that_agree_in_all_but_the_accuracy_are_found_out():
    rows = [ROW, ROW | {"model": "other", "accuracy": 96.77}, ROW | {"model": "x", "f1": 95.13}]
    section = {"tests": {"covid_ctset": TEST}, "rows": rows}
    copied = [
        {gate.name: gate.value for gate in score.gates}["other rows with these scores"]
        for score in audit(parse_config(AuditConfig, section, "audit"))
    ]
    assert copied == [1, 1, 0]


def test_what_was_counted_is_not_called_published():
    section = {"tests": {"covid_ctset": TEST}, "rows": [ROW | {"counted": True}]}
    (score,) = audit(parse_config(AuditConfig, section, "audit"))
    assert "split lists" in score.note


def test_three_classes_leave_the_accuracy_open():
    values, gates = audited(test={"classes": 3})
    assert "implied_accuracy" not in values
    assert "accuracy is that of hits and false alarms" not in gates


def test_the_largest_class_stands_beside():
    assert audited()[0]["majority_accuracy"] == pytest.approx(100 * 82 / 124)


def test_no_size_may_fit():
    assert fitting_positives(33.34, (10, 20)) == []


def test_an_unknown_set_is_named():
    section = {"tests": {"covid_ctset": TEST}, "rows": [ROW | {"data": "covid_ctse"}]}
    with pytest.raises(ConfigError, match="did you mean 'covid_ctset'"):
        parse_config(AuditConfig, section, "audit")

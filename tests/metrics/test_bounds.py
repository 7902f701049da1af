from dataclasses import replace

import pytest

from vismodels.metrics.bounds import Bound, with_bounds
from vismodels.metrics.general import MACS, PARAMETERS
from vismodels.results import Gate, Score, Value

RECORD = Score(
    "stage",
    "small",
    [Value(PARAMETERS, 10), Value(MACS, None)],
    dataset={"card": "pages"},
    gates=[Gate("other", 1.0, 0.0)],
)


def checked(**changes):
    fields = {"set": "pages", "variant": "small", "metric": "parameters", "value": 9.0} | changes
    return with_bounds([Bound(**fields)], [RECORD])[0].gates


def test_a_bound_becomes_a_gate_beside_those_that_are_there():
    other, gate = checked()
    assert other.name == "other"
    assert (gate.name, gate.value, gate.bound) == ("parameters on pages", 10, 9.0)
    assert gate.passed
    assert not checked(at_least=False)[1].passed


@pytest.mark.parametrize(("value", "passed"), [(10.0, [True, False]), (10.5, [False, False])])
def test_a_bound_holds_for_every_seed(value, passed):
    other = replace(RECORD, seed=1, values=[Value(PARAMETERS, 9)])
    bound = Bound(set="pages", variant="small", metric="parameters", value=value)
    found = with_bounds([bound], [RECORD, other])
    assert [record.gates[1].passed for record in found] == passed


@pytest.mark.parametrize(("value", "passed"), [(9.5, True), (9.6, False)])
def test_a_bound_of_the_mean_is_one_gate_of_the_first_record(value, passed):
    other = replace(RECORD, seed=1, values=[Value(PARAMETERS, 9)])
    bound = Bound(set="pages", variant="small", metric="parameters", value=value, mean=True)
    first, second = with_bounds([bound], [RECORD, other])
    assert first.gates[1] == Gate("parameters on pages, mean over 2 seeds", value=9.5, bound=value)
    assert first.gates[1].passed is passed
    assert second == other


def test_bounds_of_others_do_nothing():
    for change in ({"set": "x"}, {"variant": "x"}, {"metric": "auc"}, {"metric": "macs"}):
        assert len(checked(**change)) == 1


def test_records_without_data_are_left_alone():
    record = Score("stage", "small", [Value(PARAMETERS, 10)])
    bound = Bound(set="pages", variant="small", metric="parameters", value=9.0)
    assert with_bounds([bound], [record]) == [record]


def test_a_bound_without_a_set_is_of_records_without_data():
    record = Score("stage", "small", [Value(PARAMETERS, 10)])
    bound = Bound(variant="small", metric="parameters", value=9.0, at_least=False)
    (gate,) = with_bounds([bound], [record])[0].gates
    assert (gate.name, gate.passed) == ("parameters", False)
    assert with_bounds([bound], [RECORD]) == [RECORD]

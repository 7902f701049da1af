from vismodels.metrics.general import PARAMETERS
from vismodels.metrics.scenes import LOWEST_ACCURACY
from vismodels.results import Score, Value
from vismodels.synthetic.scene_scores import CARD, with_gate


def record(metric, value):
    return Score("scene_model", "pipeline", [Value(metric, value)], dataset={"card": CARD})


SCORES = [record(PARAMETERS, 7), record(LOWEST_ACCURACY, 89.9), record(LOWEST_ACCURACY, 90)]


def test_a_bound_is_checked_where_attributes_were_read():
    gates = [score.gates for score in with_gate(90.0, SCORES)]
    assert [[gate.passed for gate in each] for each in gates] == [[], [False], [True]]


def test_a_gate_bears_the_name_of_its_stage():
    *_, checked = with_gate(90.0, SCORES)
    assert [gate.name for gate in checked.gates] == ["lowest_accuracy of scene_model"]


def test_without_a_bound_there_is_no_gate():
    assert with_gate(None, SCORES) == SCORES

from vismodels.metrics.floors import Floor, with_floors
from vismodels.metrics.image import PSNR_Y
from vismodels.results import Gate, Score, Value


def score(card, variant, value, gates=()):
    return Score("stage", variant, [Value(PSNR_Y, value)], 0, {"card": card}, gates)


def test_a_floor_is_a_gate_of_its_network_on_its_set_only():
    floors = [Floor(set="set5", network="net", psnr_y=30.0)]
    scores = [score("set5", "net", 30.5), score("set14", "net", 27.0), score("set5", "other", 31.0)]
    first, *others = with_floors(floors, scores)
    (gate,) = first.gates
    assert (gate.name, gate.value, gate.bound) == ("PSNR-Y on set5, dB", 30.5, 30.0)
    assert gate.passed
    assert others == scores[1:]


def test_what_lies_below_its_floor_is_recorded_as_failed_beside_other_gates():
    earlier = Gate("other", 1.0, 0.0)
    floors = [Floor(set="set5", network="net", psnr_y=30.0)]
    (record,) = with_floors(floors, [score("set5", "net", 29.99, [earlier])])
    assert record.gates[0] == earlier
    assert not record.gates[1].passed


def test_a_value_that_is_not_defined_has_no_gate():
    floors = [Floor(set="set5", network="net", psnr_y=30.0)]
    (record,) = with_floors(floors, [score("set5", "net", None)])
    assert record.gates == []

import pytest

from vismodels.metrics.scenes import ACCURACIES, attribute_values

TOLD = {name: [0, 1, 1, 0] for name in ACCURACIES}
ITEMS = ["a", "b", "c", "d"]


def test_accuracies_count_items_and_the_lowest_is_one_of_them():
    read = {**TOLD, "shape": [0, 1, 2, 0], "star": [1, 1, 0, 0]}
    values = {v.metric.name: v for v in attribute_values(read, TOLD, ITEMS)}
    assert values["size_accuracy"].value == 100
    assert values["shape_accuracy"].value == 75
    mean = values["mean_accuracy"]
    assert mean.items == pytest.approx({"a": 500 / 6, "b": 100, "c": 400 / 6, "d": 100})
    assert mean.value == pytest.approx((4 * 100 + 75 + 50) / 6)
    assert values["star_accuracy"].value == values["lowest_accuracy"].value == 50
    assert len(values) == len(ACCURACIES) + 2


def test_an_attribute_that_is_missing_or_unknown_is_refused():
    with pytest.raises(ValueError, match=r"expected labels of size, color.*got size"):
        attribute_values({"size": [0]}, TOLD, ITEMS)
    with pytest.raises(ValueError, match="mood"):
        attribute_values(TOLD, {**TOLD, "mood": [0] * 4}, ITEMS)


def test_numbers_of_items_must_agree():
    with pytest.raises(ValueError, match="zip"):
        attribute_values(TOLD, TOLD, ITEMS[:3])
    with pytest.raises(ValueError, match="got none"):
        attribute_values({name: [] for name in ACCURACIES}, {name: [] for name in ACCURACIES}, [])

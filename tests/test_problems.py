from vismodels.problems import of_problem
from vismodels.results import Gate, Metric, Score, Value


def test_the_problem_is_a_part_of_the_condition():
    first, second = of_problem("phantom", [Score("s", "a", []), Score("s", "b", [], seed=1)])
    assert first.condition == {"problem": "phantom"}
    assert (second.variant, second.seed) == ("b", 1)


def test_everything_else_of_a_record_is_kept():
    before = Score(
        "s", "a", [Value(Metric("dice", "Dice"), 0.5, {"x": 0.5})], 2, {"card": "c"},
        [Gate("g", 1, 0)], {"iterations": 3}, {"strength": 0.5}, "semi-synthetic",
    )  # fmt: skip
    (after,) = of_problem("glioma", [before])
    assert after.condition == {"strength": 0.5, "problem": "glioma"}
    assert before.condition == {"strength": 0.5}
    assert {**vars(after), "condition": {}} == {**vars(before), "condition": {}}

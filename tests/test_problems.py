from vismodels.problems import of_problem
from vismodels.results import Score


def test_the_problem_is_a_part_of_the_condition():
    first, second = of_problem("phantom", [Score("s", "a", []), Score("s", "b", [], seed=1)])
    assert first.condition == {"problem": "phantom"}
    assert (second.variant, second.seed) == ("b", 1)

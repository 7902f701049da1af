import pytest
from pydantic import TypeAdapter, ValidationError

from vismodels.arms import Seeds, check_runs


def test_seeds_are_some_that_differ_and_are_not_negative():
    seeds = TypeAdapter(Seeds)
    assert seeds.validate_python([3, 0, 1]) == (3, 0, 1)
    for wrong, said in (
        ([], "at least 1"),
        ([1, 2, 1], r"seeds must differ, got \[1, 2, 1\]"),
        ([-1], "greater than or equal to 0"),
    ):
        with pytest.raises(ValidationError, match=said):
            seeds.validate_python(wrong)


def test_an_arm_has_no_more_runs_than_there_are_seeds():
    check_runs((5, 7), {"a": 1, "b": 2})
    with pytest.raises(ValueError, match=r"^b\.c runs on 3 seeds, but there are 2$"):
        check_runs((5, 7), {"a": 2, "b.c": 3})

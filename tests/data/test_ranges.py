import numpy as np
import pytest

from vismodels.config import Config, ConfigError, parse_config
from vismodels.data.ranges import Counts, Range, Shares, draw, draw_count


class Example(Config):
    size: Range = (0, 1)
    share: Shares = (0, 1)
    number: Counts = (0, 1)


def test_ranges_are_lists_of_two_numbers_in_order():
    parsed = parse_config(Example, {"size": [2.5, 7], "share": [0, 0.5], "number": [3, 3]}, "x")
    assert (parsed.size, parsed.share, parsed.number) == ((2.5, 7), (0, 0.5), (3, 3))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("size", [3, 2], r"low <= high, got \[3.0, 2.0\]"),
        ("size", [-1, 2], r"0 <= low"),
        ("size", [1], "size"),
        ("number", [2, 1], r"got \[2, 1\]"),
        ("number", [0.5, 1.0], "number"),
        ("share", [0, 1.2], r"shares between 0 and 1, got \[0.0, 1.2\]"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(key, value, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(Example, {key: value}, "x")


def test_numbers_fill_their_range_and_stay_in_it():
    rng = np.random.default_rng(0)
    drawn = [draw((2, 3), rng) for _ in range(500)]
    assert 2 <= min(drawn) < 2.02
    assert 2.98 < max(drawn) <= 3
    assert draw((4, 4), rng) == 4


def test_counts_reach_both_limits():
    rng = np.random.default_rng(0)
    assert {draw_count((1, 4), rng) for _ in range(200)} == {1, 2, 3, 4}
    assert draw_count((2, 2), rng) == 2

"""The settings that stages leave for one another."""

import pytest

from vismodels.choices import CHOICE, read_choice, write_choice
from vismodels.files import FileError


def test_the_chosen_settings_are_read_back(tmp_path):
    write_choice(tmp_path, "second")
    assert read_choice({"first": 1, "second": 2}, tmp_path) == ("second", 2)


def test_settings_that_are_none_of_the_grid_are_named(tmp_path):
    write_choice(tmp_path, "secnd")
    with pytest.raises(FileError, match="'secnd' are none of the grid's; did you mean 'second'"):
        read_choice({"first": 1, "second": 2}, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_damaged_choice_is_refused(tmp_path, text):
    (tmp_path / CHOICE).write_text(text)
    with pytest.raises(FileError):
        read_choice({"first": 1}, tmp_path)

import numpy as np
import pytest

from vismodels.methods.covidnet3d.montage import SLICES, _depths


@pytest.mark.parametrize(
    ("held", "count", "expected"),
    [
        ([5], 20, [4, 5, 6, 7]),  # a lesion in one slice: some beside it
        ([0], 20, [0, 1, 2, 3]),
        ([19], 20, [16, 17, 18, 19]),
        ([3, 4, 5, 6, 7, 8, 9], 20, [3, 5, 7, 9]),
        ([], 16, [0, 5, 10, 15]),
    ],
)
def test_slices_go_through_the_lesion_and_none_is_shown_twice(held, count, expected):
    lesion = np.zeros((count, 2, 2), bool)
    lesion[held] = True
    assert _depths(lesion) == expected
    assert len(set(expected)) == SLICES

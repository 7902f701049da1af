import nibabel
import numpy as np
import pytest
from nibabel.orientations import io_orientation
from small_brains import brain

from vismodels.data.brain_preparation import cropped, with_spacing
from vismodels.data.regrid import levels_on_grid

ORIENTATIONS = ("RAS", "LPS", "PSR", "AIL")


def turned(levels, affine, codes):
    """Return levels and affine as a file with axes `codes` has them."""
    image = nibabel.Nifti1Image(levels, affine)
    wanted = nibabel.orientations.axcodes2ornt(codes)
    change = nibabel.orientations.ornt_transform(io_orientation(affine), wanted)
    image = image.as_reoriented(change)
    return np.asanyarray(image.dataobj), image.affine


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_what_was_turned_and_cropped_comes_back(codes):
    case = brain(0)
    file_levels, file_affine = turned(case.levels, case.affine, codes)
    box = cropped(case)
    assert box.levels.shape != case.levels.shape
    found = levels_on_grid(box.levels, box.affine, file_levels.shape, file_affine)
    assert found.dtype == np.uint8
    assert np.array_equal(found, file_levels)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_voxel_of_a_block_gets_the_level_of_the_block(factor, codes):
    """Blocks of numbered voxels, with a rest at the end that fills no block."""
    levels = np.random.default_rng(factor).integers(0, 4, (7, 9, 10)).astype(np.uint8)
    case = brain(0)
    fine = type(case)("a", np.ones((4, 7, 9, 10), np.float32), levels, np.eye(4))
    merged = with_spacing(fine, float(factor))
    expected = merged.levels
    for axis in range(3):
        expected = expected.repeat(factor, axis)
    expected, affine = turned(expected[:7, :9, :10], fine.affine, codes)
    found = levels_on_grid(merged.levels, merged.affine, expected.shape, affine)
    assert np.array_equal(found, expected)


def test_what_lies_outside_is_background():
    levels, affine = np.full((2, 2, 2), 3, np.uint8), np.eye(4)
    affine[:3, 3] = [1, 0, -1]
    found = levels_on_grid(levels, affine, (4, 3, 2), np.eye(4))
    expected = np.zeros((4, 3, 2), np.uint8)
    expected[1:3, :2, :1] = 3
    assert np.array_equal(found, expected)

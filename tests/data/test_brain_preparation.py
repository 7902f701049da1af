import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import NormalizeIntensity
from skimage.measure import block_reduce

from vismodels.data.brain_cases import BrainCase
from vismodels.data.brain_preparation import cropped, standardized, with_spacing


def brain_case(shape=(6, 5, 7), seed=0, levels=True, affine=None):
    """Return a case whose brain is a box with a border of one voxel, all voxels within nonzero."""
    rng = np.random.default_rng(seed)
    images = np.zeros((4, *shape), np.float32)
    images[:, 1:-1, 1:-1, 1:-1] = rng.uniform(50, 900, (4, *(n - 2 for n in shape)))
    tissue = None
    if levels:
        tissue = np.zeros(shape, np.uint8)
        tissue[1:-1, 1:-1, 1:-1] = rng.integers(0, 4, tuple(n - 2 for n in shape))
    return BrainCase("a", images, tissue, np.eye(4) if affine is None else affine)


def test_standardized_images_are_those_of_monai_clipped():
    case = brain_case((12, 12, 12))
    case.images[0, 5, 5, 5], case.images[0, 6, 6, 6] = 1e5, -1e5
    ours = standardized(case).images
    theirs = NormalizeIntensity(nonzero=True, channel_wise=True)(case.images).numpy()
    assert np.abs(theirs).max() > 20
    np.testing.assert_allclose(ours, theirs.clip(-5, 5), atol=1e-5)
    assert ours.dtype == np.float32
    assert not ours[:, ~case.brain].any()


@pytest.mark.parametrize("content", [0.0, 300.0])
def test_a_modality_without_contrast_is_named(content):
    case = brain_case()
    case.images[2, case.brain] = content
    with pytest.raises(ValueError, match=r"case 'a': t2 has no two different values"):
        standardized(case)


def test_a_modality_that_a_case_lacks_stays_0_where_that_is_allowed():
    case, whole = brain_case(), brain_case()
    case.images[2] = 0
    found = standardized(case, may_lack=True).images
    assert not found[2].any()
    kept = [0, 1, 3]
    np.testing.assert_array_equal(found[kept], standardized(whole).images[kept])
    case.images[1, case.brain] = 300  # there, and without contrast
    with pytest.raises(ValueError, match=r"case 'a': t1ce has no two different values"):
        standardized(case, may_lack=True)


def test_blocks_of_eight_voxels_are_merged_as_block_reduce_does():
    case = brain_case((6, 8, 10))
    case.images[:] = np.random.default_rng(1).uniform(1, 2, case.images.shape)
    merged = with_spacing(case, 2.0)
    for image, result in zip(case.images, merged.images, strict=True):
        expected = block_reduce(image, (2, 2, 2), np.mean)
        np.testing.assert_allclose(result, expected, rtol=1e-6)
    assert merged.spacing == (2.0, 2.0, 2.0)


def test_image_at_the_edge_of_the_brain_is_the_mean_of_its_brain_voxels():
    images = np.zeros((4, 2, 2, 4), np.float32)
    images[:, :, :, 1] = 8  # half of the first block
    images[:, 0, 0, 2] = 100  # an eighth of the second
    merged = with_spacing(BrainCase("a", images, None, np.eye(4)), 2.0)
    assert merged.images.tolist() == [[[[8, 0]]]] * 4
    assert merged.levels is None


def test_a_block_has_the_highest_level_that_half_of_it_reaches():
    levels = np.zeros((2, 2, 6), np.uint8)
    levels[:, :, 0], levels[0, 0, 1] = 3, 1  # half of the block is 3, five of eight are 1 or more
    levels[0, :, 2:4], levels[1, 0, 2:4] = 1, 3  # six of eight are 1 or more, two are 3
    levels[0, 0, 4:], levels[0, 1, 4] = 2, 2  # three of eight
    case = BrainCase("a", np.ones((4, 2, 2, 6), np.float32), levels, np.eye(4))
    assert with_spacing(case, 2.0).levels.tolist() == [[[3, 1, 0]]]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.tuples(*[st.integers(3, 7)] * 3))
def test_regions_stay_nested_and_each_is_the_majority_of_its_own_mask(seed, shape):
    case = brain_case(shape, seed)
    merged = with_spacing(case, 2.0)
    for n in (1, 2, 3):
        alone = block_reduce((case.levels >= n).astype(float), (2, 2, 2), np.mean) >= 0.5
        np.testing.assert_array_equal(merged.levels >= n, alone)


def test_sizes_that_do_not_divide_are_filled_up_with_background():
    merged = with_spacing(brain_case((5, 4, 3)), 2.0)
    assert merged.levels.shape == (3, 2, 2)
    assert not merged.images[:, -1].any()


def test_voxels_of_different_sizes_become_cubes_whose_centers_stay_in_place():
    affine = np.array([[-1, 0, 0, 90], [0, 0, 2, -5], [0, 1, 0, 7], [0, 0, 0, 1]], float)
    case = brain_case((4, 6, 5), affine=affine)
    merged = with_spacing(case, 2.0)
    assert merged.images.shape == (4, 2, 3, 5)
    assert merged.spacing == (2.0, 2.0, 2.0)
    center = nibabel.affines.apply_affine(affine, [2.5, 4.5, 3])  # of voxels 2, 3 and 4, 5
    np.testing.assert_allclose(nibabel.affines.apply_affine(merged.affine, [1, 2, 3]), center)


def test_a_case_of_that_spacing_stays_as_it_is():
    case = brain_case()
    same = with_spacing(case, 1.0)
    np.testing.assert_array_equal(same.images, case.images)
    np.testing.assert_array_equal(same.levels, case.levels)
    np.testing.assert_array_equal(same.affine, case.affine)


@pytest.mark.parametrize("spacing", [1.5, 0.5, 0.1])
def test_a_spacing_that_voxels_do_not_divide_is_refused(spacing):
    with pytest.raises(ValueError, match=f"1 x 1 x 1 mm cannot be merged into cubes of {spacing}"):
        with_spacing(brain_case(), spacing)


def test_cropping_keeps_brain_and_levels_at_their_places():
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    case = brain_case((6, 7, 8), affine=affine)
    case.levels[0, 3, 3] = 1  # where the image is 0
    small = cropped(case)
    assert small.images.shape == (4, 5, 5, 6)
    np.testing.assert_array_equal(small.images, case.images[:, :5, 1:6, 1:7])
    np.testing.assert_array_equal(small.levels, case.levels[:5, 1:6, 1:7])
    np.testing.assert_array_equal(small.affine[:3, 3], [0, 2, 2])


def test_cropping_keeps_how_many_voxels_it_cut_off():
    case = brain_case((6, 7, 8))
    small = cropped(case)
    assert small.outside == 6 * 7 * 8 - 4 * 5 * 6
    assert cropped(small).outside == small.outside
    merged = with_spacing(case, 2.0)
    assert cropped(merged).outside == merged.images[0].size - cropped(merged).images[0].size > 0
    assert with_spacing(small, 2.0).outside == round(small.outside / 8)


def test_cropping_does_without_levels_and_refuses_an_empty_case():
    assert cropped(brain_case((6, 7, 8), levels=False)).images.shape == (4, 4, 5, 6)
    empty = BrainCase("a", np.zeros((4, 2, 2, 2), np.float32), None, np.eye(4))
    with pytest.raises(ValueError, match="all images are 0"):
        cropped(empty)

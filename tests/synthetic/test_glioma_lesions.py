from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import label

from vismodels.synthetic.glioma_anatomy import Anatomy
from vismodels.synthetic.glioma_lesions import (
    MIN_WHITE,
    PUSH,
    SATELLITE_DISTANCE,
    Tumor,
    draw_tumors,
    grow,
    pushed,
)

SPACING = 2.0
SHAPE = (48, 48, 48)
TUMOR = Tumor((24, 24, 24), radius=20.0, core=0.6, necrosis=0.5, gaps=0.2)
EVERYWHERE = np.ones((3, 3, 3))


def ball(radius):
    """Voxels of a ball of a radius in mm."""
    return round(4 / 3 * np.pi * (radius / SPACING) ** 3)


def brain(gray=0.0, fluid=0.0):
    """A cube of white matter two voxels off the border, with other tissue where it is told."""
    inside = np.zeros(SHAPE, bool)
    inside[2:-2, 2:-2, 2:-2] = True
    gray, fluid = (np.broadcast_to(part, SHAPE) * inside for part in (gray, fluid))
    white = inside - gray - fluid
    zero = np.zeros(SHAPE, np.float32)
    return Anatomy(
        gray.astype(np.float32), white.astype(np.float32), fluid.astype(np.float32),
        zero, zero, inside, np.full(SHAPE, 99, np.float32), zero,
    )  # fmt: skip


def grown(anatomy, *tumors, enhancing=True, seed=0):
    return grow(tumors, anatomy, enhancing, SPACING, np.random.default_rng(seed))


def half():
    """1 in the upper half of the first axis."""
    share = np.zeros(SHAPE, np.float32)
    share[26:] = 1
    return share


@pytest.mark.parametrize("seed", range(3))
def test_levels_have_the_volumes_that_were_drawn(seed):
    levels = grown(brain(), TUMOR, seed=seed)
    rim = ball(12) - ball(6)
    assert (levels >= 1).sum() == ball(20)
    assert (levels >= 2).sum() == ball(12)
    assert (levels == 3).sum() == pytest.approx(0.8 * rim, abs=2)


def test_a_tumor_without_enhancement_has_the_same_core_and_no_rim():
    levels = grown(brain(), TUMOR, enhancing=False)
    assert levels.max() == 2
    assert (levels == 2).sum() == ball(12)


def test_a_focus_is_one_piece_around_its_middle():
    levels = grown(brain(), TUMOR)
    parts, count = label(levels > 0, EVERYWHERE)
    assert count == 1
    assert parts[TUMOR.center] == 1


def test_necrosis_is_inside_of_what_enhances():
    """Farther from edema than the rim is, on average."""
    from scipy.ndimage import distance_transform_edt

    levels = grown(brain(), replace(TUMOR, gaps=0.0))
    inward = distance_transform_edt(levels >= 2)
    assert inward[levels == 2].mean() > 1.5 * inward[levels == 3].mean()


@pytest.mark.parametrize(("tissue", "most"), [("gray", 0.75), ("fluid", 0.35)])
def test_edema_prefers_white_matter(tissue, most):
    levels = grown(brain(**{tissue: half()}), TUMOR)
    beyond, within = (levels[26:] > 0).sum(), (levels[:23] > 0).sum()
    assert beyond < most * within


def test_a_tumor_stays_in_the_brain_even_where_there_is_too_little_of_it():
    anatomy = brain()
    levels = grown(anatomy, replace(TUMOR, center=(3, 3, 3), radius=28.0))
    assert not levels[~anatomy.brain].any()
    assert (levels > 0).sum() > 0.2 * ball(28)


def test_foci_that_meet_keep_the_higher_level():
    other = replace(TUMOR, center=(30, 24, 24))
    both = grown(brain(), TUMOR, other)
    assert (both >= grown(brain(), TUMOR)).all()
    assert (both >= 1).sum() < 2 * ball(20)


def test_foci_start_in_white_matter_and_the_first_is_the_largest():
    white = brain(gray=half()).white
    counts = []
    for seed in range(20):
        tumors = draw_tumors(white, SPACING, 1.0, np.random.default_rng(seed))
        counts.append(len(tumors))
        assert all(white[tumor.center] > MIN_WHITE for tumor in tumors)
        for other in tumors[1:]:
            gap = np.linalg.norm(np.subtract(other.center, tumors[0].center)) * SPACING
            low, high = SATELLITE_DISTANCE
            assert low <= gap / tumors[0].radius <= high
            assert other.radius < tumors[0].radius
    assert set(counts) == {2, 3}


def test_a_single_focus_is_the_rule_when_it_is_told():
    white = brain().white
    assert all(
        len(draw_tumors(white, SPACING, 0.0, np.random.default_rng(seed))) == 1
        for seed in range(10)
    )


def test_tissue_is_spread_in_the_middle_of_a_tumor_and_stays_far_from_it():
    places = np.indices(SHAPE, dtype=np.float32)
    moved = pushed(places, TUMOR, np.full(SHAPE, 99), SPACING, np.random.default_rng(0))
    np.testing.assert_array_equal(moved[:, 24, 24, 24], 24)
    step = moved[0, 25, 24, 24] - moved[0, 24, 24, 24]  # of the template, from voxel to voxel
    assert 1 - PUSH[1] - 0.01 < step < 1 - PUSH[0] + 0.02
    np.testing.assert_allclose(moved[:, 0, 24, 24], places[:, 0, 24, 24], atol=0.1)
    assert (np.diff(moved[0], axis=0) > 0).all()  # nothing folds


def test_the_skull_stays_where_it_is():
    places = np.indices(SHAPE, dtype=np.float32)
    moved = pushed(places, TUMOR, np.zeros(SHAPE), SPACING, np.random.default_rng(0))
    np.testing.assert_array_equal(moved, places)

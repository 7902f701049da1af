from dataclasses import replace

import numpy as np
import pytest

from vismodels.data.brain_cases import MODALITIES
from vismodels.synthetic.glioma_anatomy import Anatomy
from vismodels.synthetic.glioma_contrast import CONTRASTS, VARIATION, render

SHAPE = (36, 24, 24)
GRAY, WHITE, FLUID, EDEMA, CORE, ENHANCING, SPOT, VESSEL = range(8)


@pytest.fixture(scope="module")
def slabs():
    """A brain of slabs of each of the eight tissues, in the order of the table."""
    slab = np.repeat(np.arange(9), 4)[: SHAPE[0]]
    where = np.broadcast_to(slab.reshape(-1, 1, 1), SHAPE)
    brain = where < 8
    parts = [(where == tissue).astype(np.float32) for tissue in range(8)]
    white = parts[WHITE] + sum(parts[EDEMA:])
    zero = np.zeros(SHAPE, np.float32)
    anatomy = Anatomy(parts[GRAY], white, parts[FLUID], zero, zero, brain, zero, zero)
    levels = np.select([where == EDEMA, where == CORE, where == ENHANCING], [1, 2, 3], 0)
    return where, anatomy, levels.astype(np.uint8), parts[SPOT], parts[VESSEL]


def rendered(slabs, seed=0):
    _, anatomy, levels, spots, vessels = slabs
    return render(anatomy, levels, spots, vessels, 4.0, np.random.default_rng(seed))


def means(slabs):
    """(4, 8) means of the two middle planes of each slab over cases."""
    middle = [np.s_[4 * tissue + 1 : 4 * tissue + 3] for tissue in range(8)]
    images = np.mean([rendered(slabs, seed) for seed in range(12)], axis=0)
    return np.array([[image[part].mean() for part in middle] for image in images])


def test_tissues_look_as_the_table_says(slabs):
    """With 7 % of variation by case, and edema that lets some healthy tissue through."""
    expected = np.array([CONTRASTS[modality] for modality in MODALITIES])
    np.testing.assert_allclose(means(slabs), expected, rtol=0.12, atol=0.04)


def test_each_image_shows_what_radiologists_read_it_for(slabs):
    t1, t1ce, t2, flair = means(slabs)
    assert t1[WHITE] > t1[GRAY] > t1[FLUID]
    assert t2.argmax() == FLUID
    assert flair.argmax() == EDEMA
    assert t1ce[ENHANCING] - t1[ENHANCING] > 0.4
    assert t1ce[VESSEL] - t1[VESSEL] > 0.4
    assert abs(t1ce[CORE] - t1[CORE]) < 0.1
    assert flair[SPOT] > flair[WHITE] + 0.2
    assert t1ce[SPOT] < t1ce[WHITE]


def test_images_are_positive_in_the_brain_and_0_outside(slabs):
    images = rendered(slabs)
    brain = slabs[1].brain
    assert images.shape == (4, *SHAPE)
    assert images.dtype == np.float32
    assert (images[:, brain] > 0).all()
    assert (images[:, ~brain] == 0).all()


def test_detail_of_the_template_is_seen_in_healthy_tissue_only(slabs):
    where, anatomy, *rest = slabs
    detailed = replace(anatomy, detail=np.full(SHAPE, 0.2, np.float32))
    plain = rendered(slabs)
    gain = rendered((where, detailed, *rest))[0] - plain[0]
    assert gain[5:7].mean() == pytest.approx(0.2, abs=0.03)
    assert abs(gain[17:19].mean()) < 0.02


def test_contrasts_vary_from_case_to_case(slabs):
    ratios = [rendered(slabs, seed)[0, 5:7].mean() for seed in range(12)]
    low, high = VARIATION
    assert 0.02 < np.std(ratios) / np.mean(ratios) < 2 * (high - low)

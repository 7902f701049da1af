import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from vismodels.synthetic.glioma_anatomy import draw_anatomy, draw_warp, read_template
from vismodels.synthetic.glioma_mimics import enhancing_structures, hyperintensities

SPACING = 3.0


@pytest.fixture(scope="module")
def person():
    template = read_template(SPACING)
    rng = np.random.default_rng(0)
    return draw_anatomy(template, draw_warp(template, rng), rng)


@pytest.fixture(scope="module")
def tumor(person):
    mask = np.zeros(person.brain.shape, bool)
    mask[10:18, 20:28, 28:36] = True
    return mask & person.brain


def test_spots_lie_in_white_matter_away_from_the_tumor(person, tumor):
    for seed in range(5):
        spots = hyperintensities(person, tumor, SPACING, np.random.default_rng(seed))
        assert spots.min() >= 0
        assert (spots <= person.white + 1e-6).all()
        assert not spots[binary_dilation(tumor)].any()
        assert 0.05 < spots.sum() * SPACING**3 / 1000 < 40  # ml


def test_vessels_are_small_and_lie_in_fluid_or_at_the_midline(person):
    for seed in range(5):
        vessels = enhancing_structures(person, SPACING, np.random.default_rng(seed))
        assert vessels.min() >= 0
        assert vessels.max() <= 1
        assert not vessels[~person.brain].any()
        assert 3 < vessels.sum() * SPACING**3 / 1000 < 60  # ml
        elsewhere = (person.fluid < 0.01) & (person.midline > 3)
        assert vessels[elsewhere].max() < 0.05


def test_the_choroid_plexus_enhances_at_the_back_of_the_ventricles_only(person):
    deep = (person.ventricles > 0.5) & (person.depth > 30)
    found = 0
    for seed in range(5):
        vessels = enhancing_structures(person, SPACING, np.random.default_rng(seed))
        front = np.zeros_like(deep)
        front[:, 40:] = True
        assert not vessels[deep & front].any()
        found += (vessels[deep & ~front] > 0.5).sum()
    assert found > 10

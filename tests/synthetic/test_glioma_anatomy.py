import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest

from vismodels.files import FileError
from vismodels.synthetic import glioma_anatomy
from vismodels.synthetic.glioma_anatomy import draw_anatomy, draw_warp, read_template, sampled


@pytest.fixture(scope="module")
def template():
    return read_template(4.0)


@pytest.fixture(scope="module")
def person(template):
    rng = np.random.default_rng(0)
    return draw_anatomy(template, draw_warp(template, rng), rng)


def millimeters(template, mask):
    return np.argwhere(mask) * template.spacing + template.affine[:3, 3]


def test_the_grid_of_2_mm_is_as_large_as_the_brain():
    template = read_template(2.0)
    assert template.gray.shape == (72, 90, 78)
    np.testing.assert_allclose(np.diag(template.affine), [2, 2, 2, 1])
    assert 1500 < (template.brain > 0.5).sum() * 8 / 1000 < 2100  # ml


def test_the_template_is_its_own_mirror_image(template):
    for volume in (template.gray, template.white, template.brain, template.cerebrum):
        np.testing.assert_allclose(volume, volume[::-1], atol=1e-6)
    assert template.affine[0, 3] == -template.spacing * (len(template.gray) - 1) / 2


def test_the_ventricles_are_where_atlases_have_them(template):
    places = millimeters(template, template.ventricles > 0.4)
    assert 10 < len(places) * template.spacing**3 / 1000 < 40  # ml
    assert places[:, 1].min() > -65
    assert places[:, 1].max() < 40
    assert places[:, 2].min() > -12
    assert places[:, 2].max() < 35


def test_gliomas_arise_above_the_cerebellum(template):
    places = millimeters(template, template.cerebrum > 0.6)
    assert len(places) > 1000
    assert not ((places[:, 1] < -40) & (places[:, 2] < -15)).any()


def test_what_tissue_shares_leave_of_t1_is_small_and_has_no_mean(template):
    inside = template.brain > 0.99
    assert abs(template.detail[inside].mean()) < 0.01
    assert 0.003 < template.detail[inside].std() < 0.1


def test_a_place_for_every_voxel_gives_the_template_back(template):
    same = np.indices(template.gray.shape, dtype=np.float32)
    np.testing.assert_allclose(sampled(template.gray, same), template.gray, atol=1e-6)


def test_outside_of_the_grid_there_is_nothing(template):
    assert sampled(template.brain, np.full((3, 1), -5, np.float32)) == 0


def test_tissues_fill_the_brain_and_nothing_else(person):
    total = person.gray + person.white + person.fluid
    np.testing.assert_allclose(total, person.brain, atol=1e-5)
    assert (person.ventricles <= person.fluid).all()
    assert (person.depth[person.brain] > 0).all()


def test_persons_differ_and_stay_brains(template, person):
    for seed in range(1, 4):
        rng = np.random.default_rng(seed)
        other = draw_anatomy(template, draw_warp(template, rng), rng)
        overlap = (other.brain & person.brain).sum() / (other.brain | person.brain).sum()
        assert 0.75 < overlap < 0.99
        assert 0.7 < other.brain.sum() / (template.brain > 0.5).sum() < 1.1


def test_warps_do_not_fold(template):
    """Along every axis the places increase nearly everywhere."""
    for seed in range(3):
        places = draw_warp(template, np.random.default_rng(seed))
        for axis in range(3):
            assert (np.diff(places[axis], axis=axis) > 0).mean() > 0.999


def test_without_nilearn_the_error_says_what_to_install(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(glioma_anatomy, "files", missing)
    with pytest.raises(FileError, match=r"vismodels\[workflows\]"):
        read_template(4.0)


def test_a_nilearn_without_the_files_is_an_error_too(monkeypatch):
    monkeypatch.setattr(glioma_anatomy, "files", lambda name: [])
    with pytest.raises(FileError, match=r"nilearn<0\.14"):
        read_template(4.0)


def test_neither_nilearn_nor_torch_is_loaded():
    code = (
        "import sys; from vismodels.synthetic.glioma import GliomaConfig, make_cases; "
        "config = GliomaConfig(cases=dict(train=1, validation=1, test=1), spacing=6.0); "
        "make_cases(config, 'test', 0); "
        "sys.exit({'nilearn', 'torch'} & set(sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

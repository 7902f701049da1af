import numpy as np
import pytest

from vismodels.config import ConfigError, parse_config
from vismodels.data.brain_cases import read_cases, write_cases
from vismodels.data.brain_preparation import standardized
from vismodels.data.zscore import normalized
from vismodels.methods.multilevel_activation.thresholds import threshold_dice
from vismodels.synthetic.glioma import SPLITS, GliomaConfig, make_cases

SPACING = 4.0
CONFIG = GliomaConfig(cases={"train": 10, "validation": 1, "test": 8}, spacing=SPACING)


def small(train=2, **changes):
    return GliomaConfig(cases={"train": train, "validation": 2, "test": 2}, spacing=6.0, **changes)


@pytest.fixture(scope="module")
def sets():
    return {split: make_cases(CONFIG, split, 0) for split in ("train", "test")}


def everything(sets):
    return [case for cases in sets.values() for case in cases]


def test_cases_are_brains_with_nested_tumors_in_them(sets):
    for case in everything(sets):
        assert case.images.shape == (4, 36, 45, 39)
        assert case.spacing == (4, 4, 4)
        assert not case.levels[~case.brain].any()
        assert case.scheme == "brats2021"
        assert case.brain.sum() > 15 * (case.levels > 0).sum() / 2
        assert (case.images[:, case.brain] > 0).all()


@pytest.mark.parametrize(("level", "low", "high"), [(1, 24, 96), (2, 7, 31), (3, 5.5, 19)])
def test_levels_are_as_large_as_those_of_patients(sets, level, low, high):
    """Milliliters; a case with further foci or at the edge of the brain may lie outside."""
    sizes = [(case.levels >= level).sum() * SPACING**3 / 1000 for case in everything(sets)]
    present = [size for size in sizes if size]
    assert low < np.median(present) < high
    assert np.mean([low <= size <= high for size in present]) > 0.7
    assert min(present) > 0.5 * low
    assert max(present) < 2 * high


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("count", [2, 6])
def test_exactly_the_share_of_a_split_has_no_enhancing_tumor(share, count):
    config = small(train=count, without_enhancement=share)
    without = [case for case in make_cases(config, "train", 0) if case.levels.max() < 3]
    assert len(without) == round(count * share)
    assert all(case.levels.max() == 2 for case in without)


def test_the_share_holds_in_every_split(sets):
    counts = {s: sum(case.levels.max() < 3 for case in cases) for s, cases in sets.items()}
    assert counts == {"train": round(10 / 4), "test": 2}


def test_two_runs_are_equal_bit_for_bit():
    for first, again in zip(*(make_cases(small(), "train", 3) for _ in range(2)), strict=True):
        np.testing.assert_array_equal(first.images, again.images)
        np.testing.assert_array_equal(first.levels, again.levels)


def test_a_case_is_the_same_whatever_the_number_of_cases():
    more = {case.name: case for case in make_cases(small(train=5), "train", 0)}
    for case in make_cases(small(train=3), "train", 0):
        np.testing.assert_array_equal(case.images, more[case.name].images)
        np.testing.assert_array_equal(case.levels, more[case.name].levels)


def test_seeds_splits_and_numbers_make_other_cases():
    cases = [case for split in SPLITS for case in make_cases(small(), split, 0)]
    assert len({case.name for case in cases}) == 6
    cases += make_cases(small(), "train", 1)
    assert len({case.images.tobytes() for case in cases}) == 8
    assert cases[0].name == "train_000"


def test_every_case_enhances_outside_of_its_tumor(sets):
    """Vessels, which are as bright as the tumor's rim, and not in FLAIR."""
    for case in everything(sets):
        _, t1ce, _, flair = normalized(case.images)
        healthy = case.brain & (case.levels == 0)
        bright = healthy & (t1ce > 2)
        assert bright.sum() * SPACING**3 / 1000 > 0.5  # ml
        assert flair[bright].mean() < flair[case.levels > 0].mean() - 1


def test_white_matter_is_bright_without_tumor_where_it_is_asked_for():
    (plain,), (spotted,) = (
        make_cases(small(1, hyperintensities=share), "train", 0) for share in (0.0, 1.0)
    )
    np.testing.assert_array_equal(plain.levels, spotted.levels)
    gain = spotted.images - plain.images
    _, t1ce, t2, flair = gain[:, gain[3] > 0.1]
    assert len(flair) > 5
    assert t2.mean() > 0.05
    assert t1ce.mean() < 0


def test_a_lost_modality_is_0_and_the_case_keeps_its_brain():
    complete, lossy = (
        make_cases(small(modality_dropout=share), "train", 0) for share in (0.0, 1.0)
    )
    for case, lost in zip(complete, lossy, strict=True):
        empty = [not image.any() for image in lost.images]
        assert sum(empty) == 1
        np.testing.assert_array_equal(case.brain, lost.brain)
        kept = [not missing for missing in empty]
        np.testing.assert_array_equal(case.images[kept], lost.images[kept])


def test_cases_that_lost_a_modality_are_standardized_and_kept(tmp_path):
    """As the stage does it; the lost image stays 0, the others are those of the whole case."""
    sets = [make_cases(small(modality_dropout=share), "train", 0) for share in (0.0, 1.0)]
    complete, lossy = ([standardized(c, may_lack=True) for c in cases] for cases in sets)
    write_cases(lossy, tmp_path)
    for case, lost, read in zip(complete, lossy, read_cases(tmp_path), strict=True):
        kept = [bool(image.any()) for image in read.images]
        assert kept.count(False) == 1
        np.testing.assert_array_equal(lost.images[kept], case.images[kept])


def test_a_threshold_after_contrast_agent_does_not_find_enhancing_tumor(sets):
    """Networks reach a Dice of .8 and more; vessels and coil sensitivity spoil the threshold."""
    scores = threshold_dice(sets["train"], sets["test"], "t1ce", "ET")
    assert len(scores) == 6
    assert 0.05 < np.mean(list(scores.values())) < 0.6


def test_a_split_without_cases_is_refused():
    with pytest.raises(ConfigError, match="says nothing about validation"):
        parse_config(GliomaConfig, {"cases": {"train": 1, "test": 1}}, "cases")


def test_the_configuration_is_read_from_yaml_values():
    config = parse_config(
        GliomaConfig, {"cases": {"train": 24, "validation": 6, "test": 20}, "spacing": 2}, "cases"
    )
    assert config.cases["test"] == 20
    assert config.spacing == 2.0

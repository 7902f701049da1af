import numpy as np
import pytest
from small_brains import brain, brains

from vismodels.config import parse_config
from vismodels.data.array_files import read_arrays
from vismodels.data.label_schemes import scheme_by_name
from vismodels.files import FileError
from vismodels.methods.multilevel_activation.config import ScoringSettings
from vismodels.methods.multilevel_activation.files import (
    LABELS,
    MASKS,
    write_regions,
    write_segmentation,
)
from vismodels.methods.multilevel_activation.shown import SHOWN, store_shown


def scoring(**changes):
    section = {"reference": "softmax", "shown": ["multilevel", "sigmoid_regions"],
               "cases": ["case_0"]} | changes  # fmt: skip
    return parse_config(ScoringSettings, section, "scoring")


def write(folder, cases, wrong=()):
    """Write the truth as a prediction, with voxels `wrong` that are ET and nothing around it."""
    folder.mkdir(parents=True)
    for case in cases:
        masks = np.stack([case.levels >= n for n in (1, 2, 3)])
        for voxel in wrong:
            masks[:, *voxel] = (False, False, True)
        scheme = scheme_by_name("brats2021")
        write_segmentation(folder / f"{case.name}{LABELS}", case.levels, case.affine, scheme)
        write_regions(folder / f"{case.name}{MASKS}", masks, case.affine)
    return folder


@pytest.fixture
def folders(tmp_path):
    """Return folders of two models, of which the sigmoids violate the nesting, most in slice 2."""
    wrong = [(5, 5, 2), (6, 5, 2), (5, 6, 7)]
    return {
        "multilevel": {seed: write(tmp_path / f"m{seed}", brains(2)) for seed in (2, 1)},
        "sigmoid_regions": {1: write(tmp_path / "s1", brains(2), wrong)},
    }


def shown(folders, tmp_path, cases=None, **changes):
    store_shown(scoring(**changes), folders, cases or brains(2), tmp_path / SHOWN)
    return read_arrays(tmp_path / SHOWN)


def test_the_slice_with_most_core_is_shown(folders, tmp_path):
    case = brains(2)[0]
    depth = int((case.levels >= 2).sum((0, 1)).argmax())
    arrays = shown(folders, tmp_path)
    assert (case.levels[:, :, depth] >= 2).any()
    assert np.array_equal(arrays["case_0/truth"], case.levels[:, :, depth])
    assert np.array_equal(arrays["case_0/multilevel"], case.levels[:, :, depth])
    for number, modality in ((1, "t1ce"), (3, "flair")):
        np.testing.assert_allclose(
            arrays[f"case_0/{modality}"], case.images[number, :, :, depth], atol=2e-3
        )


def test_a_case_without_core_shows_the_slice_with_most_tumor(tmp_path):
    case = brain(0)
    case.levels[:] = 0
    case.levels[4:8, 4:8, 6] = 1
    case.levels[4:6, 4:6, 3] = 1
    folders = {"softmax": {0: write(tmp_path / "m", [case])}}
    arrays = shown(folders, tmp_path, [case], shown=["softmax"])
    assert np.array_equal(arrays["case_0/truth"], case.levels[:, :, 6])


def test_the_slice_with_most_violations_is_shown_once(folders, tmp_path):
    arrays = shown(folders, tmp_path)
    keys = [key for key in arrays if key.startswith("violation/")]
    assert sorted(keys) == [
        "violation/sigmoid_regions/case_0/image", "violation/sigmoid_regions/case_0/wrong"
    ]  # fmt: skip
    core, enhancing = arrays["violation/sigmoid_regions/case_0/wrong"]
    assert not core.any()
    assert np.argwhere(enhancing).tolist() == [[5, 5], [6, 5]]
    image = arrays["violation/sigmoid_regions/case_0/image"]
    np.testing.assert_allclose(image, brains(2)[0].images[1, :, :, 2], atol=2e-3)


@pytest.mark.parametrize(("count", "worst"), [(1, "case_0"), (2, "case_0"), (3, "case_1")])
def test_of_several_cases_the_one_with_most_violations_in_a_slice_is_shown(
    count, worst, folders, tmp_path
):
    case = brains(2)[1]
    wrong = [(5, 5, depth) for depth in range(4)] + [(n, 4, 7) for n in range(count)]
    write(tmp_path / "other", [case], wrong)
    (tmp_path / "other" / f"case_1{MASKS}").replace(
        folders["sigmoid_regions"][1] / f"case_1{MASKS}"
    )
    arrays = shown(folders, tmp_path)
    assert f"violation/sigmoid_regions/{worst}/wrong" in arrays


def test_models_that_are_not_shown_beside_the_truth_are_searched_for_violations_too(
    folders, tmp_path
):
    arrays = shown(folders, tmp_path, shown=["multilevel"])
    assert "case_0/sigmoid_regions" not in arrays
    assert "violation/sigmoid_regions/case_0/wrong" in arrays


def test_where_nothing_violates_the_nesting_nothing_is_shown_of_it(folders, tmp_path):
    del folders["sigmoid_regions"]
    arrays = shown(folders, tmp_path, shown=["multilevel"])
    assert not any(key.startswith("violation/") for key in arrays)


def test_the_first_seed_is_shown(folders, tmp_path):
    write_segmentation(
        folders["multilevel"][1] / f"case_0{LABELS}", 0 * brains(2)[0].levels, np.eye(4),
        scheme_by_name("msd"),
    )  # fmt: skip
    assert not shown(folders, tmp_path)["case_0/multilevel"].any()


def test_a_case_that_is_none_is_named(folders, tmp_path):
    with pytest.raises(FileError, match=r"no test case 'case_7'; scoring\.cases names it"):
        store_shown(scoring(cases=["case_7"]), folders, brains(2), tmp_path / SHOWN)


def test_a_damaged_file_is_named(folders, tmp_path):
    shown(folders, tmp_path)
    whole = (tmp_path / SHOWN).read_bytes()
    for content in (b"", b"PK nothing", whole[: len(whole) // 2]):
        (tmp_path / SHOWN).write_bytes(content)
        with pytest.raises(FileError, match=r"shown\.npz: damaged"):
            read_arrays(tmp_path / SHOWN)

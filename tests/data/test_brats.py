import json
import sys

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vismodels.data.brain_cases import MODALITIES
from vismodels.data.brats import CaseFiles, find_cases, patient_of, read_case, split_by_case
from vismodels.data.label_schemes import scheme_by_name
from vismodels.files import FileError

SHAPE = (8, 6, 4)
AFFINE = np.array([[-1.0, 0, 0, 7], [0, -1, 0, 5], [0, 0, 1, 0], [0, 0, 0, 1]])  # LPS, as BraTS
OLD = dict(zip([*MODALITIES, "labels"], ["_t1", "_t1ce", "_t2", "_flair", "_seg"], strict=True))
NEW = dict(zip([*MODALITIES, "labels"], ["-t1n", "-t1c", "-t2w", "-t2f", "-seg"], strict=True))
TISSUES = ["background", "edema", "non-enhancing tumor", "enhancing tumour"]
MSD = {
    "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
    "labels": {str(label): name for label, name in enumerate(TISSUES)},
}


def volumes(labels=(0, 2, 1, 4)):
    """Return modality -> voxels as stored (each with a mean of its own), and labels 2, 1, 4."""
    rng = np.random.default_rng(0)
    stored = {}
    for number, modality in enumerate(MODALITIES, start=1):
        stored[modality] = np.zeros(SHAPE, np.int16)
        stored[modality][1:7, 1:5, 1:3] = rng.integers(
            1000 * number, 1000 * number + 200, (6, 4, 2)
        )
    stored["labels"] = np.zeros(SHAPE, np.uint8)
    for level in (1, 2, 3):
        stored["labels"][level, 2, 1] = labels[level]
    return stored


def nifti(path, voxels, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def write_case(folder, endings, stored=None, suffix=".nii.gz"):
    for what, voxels in (stored or volumes()).items():
        nifti(folder / f"{folder.name}{endings[what]}{suffix}", voxels)


def write_decathlon(root, names=("BRATS_001",), header=MSD, stored=None):
    stored = stored or volumes((0, 1, 2, 3))
    order = ["flair", "t1", "t1ce", "t2"]
    for name in names:
        image = np.stack([stored[what] for what in order], axis=-1)
        nifti(root / "imagesTr" / f"{name}.nii.gz", image.astype(np.float32))
        nifti(root / "labelsTr" / f"{name}.nii.gz", stored["labels"])
    (root / "dataset.json").write_text(json.dumps(header))


def check_levels(case):
    """Check that the levels 1, 2, 3 are at the voxels `volumes` put them, in RAS orientation."""
    expected = np.zeros(SHAPE, np.uint8)
    for level in (1, 2, 3):
        expected[level, 2, 1] = level
    np.testing.assert_array_equal(case.levels, expected[::-1, ::-1])


@pytest.mark.parametrize(
    ("place", "endings", "suffix", "scheme", "labels"),
    [
        ("HGG/Brats18_CBICA_AAB_1", OLD, ".nii.gz", "brats2021", (0, 2, 1, 4)),
        ("BraTS20_Training_001", OLD, ".nii", "brats2021", (0, 2, 1, 4)),
        ("BraTS2021_00000", OLD, ".nii.gz", "brats2021", (0, 2, 1, 4)),
        ("BraTS-GLI-00005-000", NEW, ".nii.gz", "brats2023", (0, 2, 1, 3)),
    ],
)
def test_cases_of_every_naming_have_the_same_modalities_and_levels(
    place, endings, suffix, scheme, labels, tmp_path
):
    stored = volumes(labels)
    write_case(tmp_path / place, endings, stored, suffix)
    (files,) = find_cases(tmp_path)
    case = read_case(files, scheme_by_name(scheme))
    assert case.scheme == scheme
    assert files.name == case.name == place.rsplit("/", 1)[-1]
    for modality, image in zip(MODALITIES, case.images, strict=True):
        raw = stored[modality][::-1, ::-1].astype(float)
        inside = raw != 0
        expected = np.where(inside, (raw - raw[inside].mean()) / raw[inside].std(), 0)
        np.testing.assert_allclose(image, expected, atol=1e-4)
    check_levels(case)
    np.testing.assert_allclose(case.affine, np.eye(4))


def test_decathlon_channels_become_modalities_by_their_names(tmp_path):
    write_case(tmp_path / "brats" / "BraTS2021_00000", OLD)
    write_decathlon(tmp_path / "msd")
    (brats,), (msd,) = find_cases(tmp_path / "brats"), find_cases(tmp_path / "msd")
    ours = read_case(msd, scheme_by_name("msd"))
    theirs = read_case(brats, scheme_by_name("brats2021"))
    np.testing.assert_allclose(ours.images, theirs.images, atol=1e-5)
    np.testing.assert_array_equal(ours.levels, theirs.levels)


def test_channel_order_follows_the_header(tmp_path):
    write_decathlon(tmp_path)
    (files,) = find_cases(tmp_path)
    assert files.channels == (1, 2, 3, 0)
    header = MSD | {"modality": {"3": "FLAIR", "2": "T1w", "1": "T1gd", "0": "T2w"}}
    (tmp_path / "dataset.json").write_text(json.dumps(header))
    assert find_cases(tmp_path)[0].channels == (2, 1, 0, 3)


def test_decathlon_read_with_a_brats_scheme_is_refused(tmp_path):
    write_decathlon(tmp_path)  # labels 1, 2, 3 fit brats2023 as well, with edema and core exchanged
    (files,) = find_cases(tmp_path)
    with pytest.raises(FileError, match=r"BRATS_001\.nii\.gz: the data set names .*pass 'msd'"):
        read_case(files, scheme_by_name("brats2023"))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"labels": MSD["labels"]}, "no `modality` and `labels` of a Decathlon task"),
        (MSD | {"labels": {"background": 0}}, "no `modality` and `labels`"),
        (MSD | {"modality": {"0": "FLAIR", "1": "T1w"}}, "no channel for t1ce, t2"),
    ],
)
def test_decathlon_header_that_does_not_say_what_is_what_is_refused(header, words, tmp_path):
    write_decathlon(tmp_path, header=header)
    with pytest.raises(FileError, match=words):
        find_cases(tmp_path)


def test_decathlon_without_header_or_images_is_refused(tmp_path):
    write_decathlon(tmp_path)
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(FileError, match=r"dataset\.json: no such file"):
        find_cases(tmp_path)
    write_decathlon(tmp_path)
    (tmp_path / "imagesTr" / "BRATS_001.nii.gz").unlink()
    with pytest.raises(FileError, match="imagesTr: holds no NIfTI files"):
        find_cases(tmp_path)


def test_cases_are_found_at_any_depth_in_the_order_of_their_names(tmp_path):
    for place in ("LGG/Brats18_2013_0_1", "HGG/Brats18_2013_2_1", "HGG/Brats18_2013_10_1"):
        write_case(tmp_path / place, OLD)
    (tmp_path / "survival_data.csv").write_text("")
    (tmp_path / "LGG" / "Brats18_2013_0_1" / "._Brats18_2013_0_1_t1.nii.gz").write_bytes(b"")
    cases = find_cases(tmp_path)
    assert [case.name for case in cases] == [
        "Brats18_2013_0_1", "Brats18_2013_10_1", "Brats18_2013_2_1",
    ]  # fmt: skip


def test_hidden_files_of_the_decathlon_archive_do_not_count(tmp_path):
    write_decathlon(tmp_path, ["BRATS_002", "BRATS_001"])
    (tmp_path / "imagesTr" / "._BRATS_001.nii.gz").write_bytes(b"")
    assert [case.name for case in find_cases(tmp_path)] == ["BRATS_001", "BRATS_002"]


def test_a_missing_modality_is_named(tmp_path):
    write_case(tmp_path / "BraTS2021_00000", OLD)
    write_case(tmp_path / "BraTS2021_00001", OLD)
    (tmp_path / "BraTS2021_00001" / "BraTS2021_00001_t1ce.nii.gz").unlink()
    with pytest.raises(FileError, match=r"no t1ce \(BraTS2021_00001_t1ce\.nii\.gz\)$"):
        find_cases(tmp_path)


def test_a_misnamed_file_is_named_beside_what_is_missing(tmp_path):
    folder = tmp_path / "BraTS20_Training_355"
    write_case(folder, OLD, suffix=".nii")
    (folder / "BraTS20_Training_355_seg.nii").rename(folder / "W39_1998.09.19_Segm.nii")
    with pytest.raises(FileError, match=r"no labels .*W39_1998\.09\.19_Segm\.nii, which may be"):
        find_cases(tmp_path)


def test_sets_without_labels_are_read_when_that_is_said(tmp_path):
    stored = volumes()
    del stored["labels"]
    write_case(tmp_path / "BraTS-GLI-00001-000", NEW, stored)
    with pytest.raises(FileError, match=r"no labels .*labeled=False"):
        find_cases(tmp_path)
    (files,) = find_cases(tmp_path, labeled=False)
    assert files.labels is None
    assert read_case(files, scheme_by_name("brats2023")).levels is None
    write_decathlon(tmp_path / "msd")
    (tmp_path / "msd" / "labelsTr" / "BRATS_001.nii.gz").unlink()
    with pytest.raises(FileError, match=r"no labels labelsTr/BRATS_001\.nii\.gz; pass labeled"):
        find_cases(tmp_path / "msd")
    assert find_cases(tmp_path / "msd", labeled=False)[0].labels is None


def test_two_namings_in_one_folder_are_refused(tmp_path):
    write_case(tmp_path / "case", OLD)
    nifti(tmp_path / "case" / "case-t1n.nii.gz", volumes()["t1"])
    with pytest.raises(FileError, match="mixes the names of BraTS 2017 to 2021 and BraTS 2023"):
        find_cases(tmp_path)


def test_a_modality_that_is_there_twice_is_refused(tmp_path):
    write_case(tmp_path / "case", OLD)
    nifti(tmp_path / "case" / "case_t2.nii", volumes()["t2"])
    with pytest.raises(FileError, match=r"holds case_t2\.nii and case_t2\.nii\.gz; remove one"):
        find_cases(tmp_path)


def test_two_cases_of_one_name_are_refused(tmp_path):
    for grade in ("HGG", "LGG"):
        write_case(tmp_path / grade / "case", OLD)
    with pytest.raises(FileError, match="two cases are called 'case'"):
        find_cases(tmp_path)


def test_folders_without_cases_are_explained(tmp_path):
    with pytest.raises(FileError, match="no NIfTI files below it; expected <case>/<case>_t1"):
        find_cases(tmp_path)
    write_decathlon(tmp_path / "Task01_BrainTumour")
    with pytest.raises(FileError, match=r"no file is called imagesTr_t1\.nii\.gz.*Decathlon"):
        find_cases(tmp_path)


def test_a_modality_on_another_grid_is_named(tmp_path):
    write_case(tmp_path / "case", OLD)
    moved = AFFINE.copy()
    moved[2, 3] = 2
    nifti(tmp_path / "case" / "case_t2.nii.gz", volumes()["t2"], moved)
    (files,) = find_cases(tmp_path)
    with pytest.raises(FileError, match=r"case_t2\.nii\.gz: lies up to 2 mm .*case_t1\.nii\.gz"):
        read_case(files, scheme_by_name("brats2021"))


def test_labels_of_another_shape_are_named(tmp_path):
    write_case(tmp_path / "case", OLD)
    nifti(tmp_path / "case" / "case_seg.nii.gz", np.zeros((8, 6, 5), np.uint8))
    (files,) = find_cases(tmp_path)
    with pytest.raises(FileError, match=r"case_seg\.nii\.gz: is \(8, 6, 5\), but case_t1"):
        read_case(files, scheme_by_name("brats2021"))


def test_files_stored_in_different_orientations_of_one_grid_are_read_as_one(tmp_path):
    stored = volumes()
    write_case(tmp_path / "case", OLD, stored)
    nifti(tmp_path / "case" / "case_seg.nii.gz", stored["labels"][::-1, ::-1].copy(), np.eye(4))
    (files,) = find_cases(tmp_path)
    check_levels(read_case(files, scheme_by_name("brats2021")))


def test_labels_that_the_scheme_does_not_have_are_named_with_their_file(tmp_path):
    write_case(tmp_path / "case", NEW, volumes((0, 2, 1, 4)))
    (files,) = find_cases(tmp_path)
    with pytest.raises(FileError, match=r"case-seg\.nii\.gz: .*cavity.*extra=\{4: 0\}"):
        read_case(files, scheme_by_name("brats2023"))
    case = read_case(files, scheme_by_name("brats2023", {4: 0}))
    assert case.levels.max() == 2


def test_labels_stored_as_floats_are_read(tmp_path):
    stored = volumes()
    write_case(tmp_path / "case", OLD, stored | {"labels": stored["labels"].astype(np.float64)})
    check_levels(read_case(find_cases(tmp_path)[0], scheme_by_name("brats2021")))


def test_smaller_grid_and_crop_are_applied_on_demand(tmp_path):
    write_case(tmp_path / "case", OLD)
    (files,) = find_cases(tmp_path)
    scheme = scheme_by_name("brats2021")
    assert read_case(files, scheme, spacing=2.0).images.shape == (4, 4, 3, 2)
    assert read_case(files, scheme, spacing=2.0).spacing == (2, 2, 2)
    small = read_case(files, scheme, crop=True)
    assert small.images.shape == (4, 6, 4, 2)
    np.testing.assert_allclose(small.affine[:3, 3], [1, 1, 1])


def test_images_are_standardized_after_voxels_are_merged(tmp_path):
    write_case(tmp_path / "case", OLD)
    case = read_case(find_cases(tmp_path)[0], scheme_by_name("brats2021"), spacing=2.0)
    values = case.images[0][case.images[0] != 0]
    assert (values.mean(), values.std()) == pytest.approx((0, 1), abs=1e-5)


def test_bias_correction_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    write_case(tmp_path / "case", OLD)
    with pytest.raises(ImportError, match="needs SimpleITK"):
        read_case(find_cases(tmp_path)[0], scheme_by_name("brats2021"), bias_correction=True)


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("BraTS-GLI-00008-001", "BraTS-GLI-00008"),
        ("BraTS-GLI-02075-100", "BraTS-GLI-02075"),
        ("Brats18_TCIA01_121_1", "Brats18_TCIA01_121"),
        ("BraTS19_2013_0_1", "BraTS19_2013_0"),
        ("BraTS20_Training_001", "BraTS20_Training_001"),
        ("BraTS2021_00000", "BraTS2021_00000"),
        ("BRATS_001", "BRATS_001"),
    ],
)
def test_patient_is_the_name_without_the_number_of_the_examination(name, patient, tmp_path):
    assert patient_of(name) == CaseFiles(name, (tmp_path,) * 4, None).patient == patient


@given(st.integers(2, 40), st.integers(1, 3), st.integers(0, 99))
def test_every_case_is_in_one_split_and_every_patient_whole(patients, examinations, seed):
    names = [
        f"BraTS-GLI-{patient:05}-{number:03}"
        for patient in range(patients)
        for number in range(1 + patient % examinations)
    ]
    splits = split_by_case(names, {"train": 0.5, "test": 0.5}, seed)
    assert sorted(splits["train"] + splits["test"]) == names
    assert not {*map(patient_of, splits["train"])} & {*map(patient_of, splits["test"])}
    counts = [len({*map(patient_of, members)}) for members in splits.values()]
    assert abs(counts[0] - counts[1]) <= 1


def test_splits_have_their_shares_and_depend_on_the_seed_alone():
    names = [f"BraTS2021_{number:05}" for number in range(100)]
    shares = {"train": 0.7, "validation": 0.1, "test": 0.2}
    splits = split_by_case(names, shares, 3)
    assert [len(members) for members in splits.values()] == [70, 10, 20]
    assert split_by_case(names[::-1], shares, 3) == splits
    assert split_by_case(names, shares, 4) != splits
    assert splits["test"] == sorted(splits["test"]) != names[-20:]


@pytest.mark.parametrize(
    ("names", "shares", "words"),
    [
        (["a", "a"], {"train": 1.0}, "named twice"),
        (["a", "b"], {"train": 0.5, "test": 0.4}, "expected positive shares that make 1"),
        (["a", "b"], {"train": 1.0, "test": 0.0}, "expected positive shares"),
        (["a", "b"], {}, "expected positive shares"),
        (["a", "b"], {"train": 0.9, "test": 0.1}, "2 patients leave test empty"),
    ],
)  # fmt: skip
def test_splits_that_cannot_be_made_are_refused(names, shares, words):
    with pytest.raises(ValueError, match=words):
        split_by_case(names, shares, 0)

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import chain

import nibabel
import numpy as np
import pytest
from found_sets import acquired_set, found_set
from small_brains import brain, brains, same_case

from vismodels.cards.find import DataMissingError
from vismodels.config import ConfigError, parse_config
from vismodels.data import brain_sets as module
from vismodels.data.brain_cases import LEVELS, read_cases
from vismodels.data.brain_sets import SPLITS, BrainSetConfig, case_scores, prepare_brain_set
from vismodels.data.brats import find_cases, patient_of, read_case
from vismodels.data.label_schemes import scheme_by_name
from vismodels.data.manifest import acquire, write_acquired
from vismodels.files import FileError

ENDINGS = ("t1n", "t1c", "t2w", "t2f")
PATIENTS = [f"BraTS-GLI-{number:05d}" for number in range(10)]


def config(**changes):
    return parse_config(BrainSetConfig, {"scheme": "brats2023"} | changes, "brain_sets")


def write_brats(root, name, case):
    """Write a case as the glioma set of 2023 has it: intensities of a scanner, labels 1, 2, 3."""
    (root / name).mkdir(parents=True)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    for ending, image in zip(ENDINGS, case.images, strict=True):
        voxels = np.where(case.brain, 1000 + 100 * image, 0).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(voxels, affine), root / name / f"{name}-{ending}.nii.gz")
    labels = np.array([0, 2, 1, 3], np.uint8)[case.levels]
    nibabel.save(nibabel.Nifti1Image(labels, affine), root / name / f"{name}-seg.nii.gz")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Return the folder of a set of ten patients, three of them examined twice."""
    root = tmp_path / "study"
    for number, patient in enumerate(PATIENTS):
        for examination in range(2 if number < 3 else 1):
            write_brats(root, f"{patient}-{examination:03d}", brain(number, enhancing=number != 4))
    found = found_set("study", root)
    acquired_set(found, tmp_path / "acquired")
    monkeypatch.setattr(module, "locate", lambda *_: found)
    return root


def prepared(study, settings=None):
    folder = study.parent / "out"
    scores = prepare_brain_set(
        settings or config(), "study", study.parent, study.parent / "acquired", folder
    )
    return {split: read_cases(folder / split) for split in SPLITS}, scores


def test_a_folder_of_brats_becomes_splits_by_patient(study):
    cases, _ = prepared(study)
    names = {split: [case.name for case in found] for split, found in cases.items()}
    assert sorted(chain.from_iterable(names.values())) == sorted(
        path.name for path in study.iterdir()
    )
    patients = {split: {patient_of(name) for name in found} for split, found in names.items()}
    assert [len(patients[split]) for split in SPLITS] == [7, 1, 2]
    assert set.union(*patients.values()) == set(PATIENTS)  # 10 in all: none is in two splits


def test_cases_are_what_reading_them_gives(study):
    cases, _ = prepared(study)
    files = {each.name: each for each in find_cases(study)}
    for found in cases.values():
        for case in found:
            expected = read_case(files[case.name], scheme_by_name("brats2023"), crop=True)
            rounded = expected.images.astype(np.float16).astype(np.float32)
            assert same_case(case, replace(expected, images=rounded))
            assert case.images.shape == (4, 10, 12, 8)  # without the margin


def test_settings_reach_the_reader(study, monkeypatch):
    seen = []

    def note(files, scheme, **options):
        seen.append((scheme.name, options))
        return read_case(files, scheme, spacing=2.0)

    monkeypatch.setattr(module, "read_case", note)
    changes = {"spacing": 2.0, "crop": False, "bias_correction": True}
    cases, _ = prepared(study, config(**changes))
    assert seen == [("brats2023", changes)] * 13
    assert cases["test"][0].spacing == (2.0, 2.0, 2.0)


def test_shares_are_of_the_patients(study):
    cases, _ = prepared(study, config(shares=[0.5, 0.2, 0.3]))
    patients = [len({patient_of(case.name) for case in cases[split]}) for split in SPLITS]
    assert patients == [5, 2, 3]


def test_records_tell_cases_and_sizes_of_each_split(study):
    cases, scores = prepared(study)
    assert [score.variant for score in scores] == list(SPLITS)
    for score in scores:
        found = cases[score.variant]
        assert score.stage == "data_brains"
        assert score.dataset == {"card": "study", "split": score.variant, "items": len(found)}
        without = sum(not (case.levels == 3).any() for case in found)
        assert score.value("cases_without_et").value == without
    assert sum(score.value("cases").value for score in scores) == 13
    assert sum(score.value("cases_without_et").value for score in scores) == 1


def test_preparing_twice_gives_the_same_splits(study):
    first, _ = prepared(study)
    (study.parent / "out").rename(study.parent / "before")
    second, _ = prepared(study)
    for split in SPLITS:
        assert all(map(same_case, first[split], second[split]))


def test_a_set_that_changed_since_it_was_acquired_is_refused(study):
    path = study / f"{PATIENTS[0]}-000" / f"{PATIENTS[0]}-000-t1c.nii.gz"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(FileError, match="1 files are not what was acquired"):
        prepared(study)


def write_decathlon(root, count):
    """Write cases as the Decathlon has them: four channels in a file, and what they are beside."""
    order = ["FLAIR", "T1w", "t1gd", "T2w"]
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        case, name = brain(number), f"BRATS_{number:03d}.nii.gz"
        voxels = np.where(case.brain, 1000 + 100 * case.images, 0).astype(np.float32)
        channels = np.stack([voxels[place] for place in (3, 0, 1, 2)], axis=-1)
        nibabel.save(nibabel.Nifti1Image(channels, np.eye(4)), root / "imagesTr" / name)
        nibabel.save(nibabel.Nifti1Image(case.levels, np.eye(4)), root / "labelsTr" / name)
    tissues = ["background", "edema", "non-enhancing tumor", "enhancing tumour"]
    write_header(root, order, tissues)


def write_header(root, modalities, labels):
    named = {"modality": modalities, "labels": labels}
    header = {what: {str(n): name for n, name in enumerate(names)} for what, names in named.items()}
    (root / "dataset.json").write_text(json.dumps(header))


def test_the_file_that_says_what_channels_are_is_no_case_and_must_not_change(tmp_path):
    """By the project's own card: with two channels exchanged every image would be another one."""
    card, root = "msd_brain_tumour", tmp_path / "msd_brain_tumour"
    write_decathlon(root, 10)
    acquired = acquire(card, tmp_path)
    assert acquired.items["dataset.json"]["split"] is None
    assert [item["split"] for item in acquired.items.values()].count("whole") == 20
    (tmp_path / "acquired").mkdir()
    write_acquired(acquired, tmp_path / "acquired")

    def prepare():
        settings = config(scheme="msd")
        return prepare_brain_set(settings, card, tmp_path, tmp_path / "acquired", tmp_path / "out")

    assert sum(score.value("cases").value for score in prepare()) == 10
    shutil.rmtree(tmp_path / "out")
    write_header(root, ["T1w", "FLAIR", "t1gd", "T2w"], ["background", "edema", "core", "ET"])
    with pytest.raises(FileError, match=r"1 files are not what was acquired .*dataset\.json"):
        prepare()
    (root / "dataset.json").unlink()
    with pytest.raises(DataMissingError, match=r"1 of 1 files, e\.g\. dataset\.json"):
        acquire(card, tmp_path)


def test_labels_of_another_scheme_are_refused(study):
    with pytest.raises(FileError, match="pass the scheme 'brats2023'"):
        prepared(study, config(scheme="brats2021"))


def test_a_rule_for_labels_outside_of_the_scheme_reaches_the_reader(study):
    """Cavities, as sets after treatment have them: refused, until the rule says what they are."""
    path = study / f"{PATIENTS[0]}-000" / f"{PATIENTS[0]}-000-seg.nii.gz"
    image = nibabel.load(path)
    labels = np.asanyarray(image.dataobj).copy()
    cavity = labels == 3
    labels[cavity] = 4
    nibabel.save(nibabel.Nifti1Image(labels, image.affine), path)
    (study.parent / "acquired" / "acquired.json").unlink()
    (study.parent / "acquired").rmdir()
    acquired_set(found_set("study", study), study.parent / "acquired")
    with pytest.raises(FileError, match=r"cavity.*extra=\{4: 0\}"):
        prepared(study)
    shutil.rmtree(study.parent / "out")
    cases, _ = prepared(study, config(extra={"4": 0}))
    (case,) = [c for found in cases.values() for c in found if c.name == f"{PATIENTS[0]}-000"]
    assert case.levels.max() == 2
    assert cavity.sum() > 0


@pytest.mark.parametrize("extra", [{4: 0}, {"4": 0}])
def test_labels_of_a_rule_are_numbers_whether_yaml_or_json_holds_them(extra):
    assert config(extra=extra).extra == {4: 0}
    assert config().extra == {}


@pytest.mark.parametrize(
    ("extra", "words"),
    [({3: 0}, "others in `extra`"), ({4: 7}, "level 0 to 3"), ({"cavity": 0}, "extra")],
)
def test_a_rule_that_contradicts_the_scheme_is_refused(extra, words):
    with pytest.raises(ConfigError, match=words):
        config(extra=extra)


def test_too_few_patients_for_the_shares_are_refused(study):
    with pytest.raises(ValueError, match="10 patients leave validation empty"):
        prepared(study, config(shares=[0.7, 0.01, 0.29]))


def test_an_unknown_scheme_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="'brats2022', which is none; did you mean 'brats2"):
        config(scheme="brats2022")


def test_there_is_no_default_scheme():
    with pytest.raises(ConfigError, match="scheme"):
        parse_config(BrainSetConfig, {}, "brain_sets")


def test_records_of_generated_cases_have_their_seed_and_note():
    cases = brains(3)
    first, second = case_scores(
        "synthetic_glioma", "glioma", {"train": cases[:1], "test": cases[1:]}, seed=7, note="made"
    )
    assert (first.seed, first.note, first.variant) == (7, "made", "train")
    assert (first.value("cases").value, second.value("cases").value) == (1, 2)
    assert (first.value("cases_without_et").value, second.value("cases_without_et").value) == (0, 1)
    assert second.value("voxels_level_3").items == {"case_1": 27, "case_2": 0}
    assert second.value("voxels_level_3").value == 13.5
    assert second.value("voxels_level_2").value == (5**3 - 27 + 5**3) / 2
    assert second.value("voxels_level_1").value == 7**3 - 5**3


def test_a_case_without_levels_counts_as_a_case_alone():
    (score,) = case_scores("s", "c", {"test": [replace(brain(0), levels=None)]})
    assert score.value("cases").value == 1
    assert score.value("cases_without_et").value == 0
    assert [score.value(f"voxels_level_{n}").value for n in range(1, LEVELS)] == [None] * 3


def test_planning_a_run_loads_no_torch():
    code = "import sys, vismodels.data.brain_sets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

import nibabel
import numpy as np
import pytest
from found_sets import acquired_set, found_set

from vismodels.config import ConfigError, parse_config
from vismodels.data import ct_sets as module
from vismodels.data.ct_sets import CTSetConfig, prepare_ct_set, scan_places
from vismodels.data.images import write_png
from vismodels.data.scans import read_scans
from vismodels.files import FileError

CLASSES = {"CT-0": "Normal", "CT-1": "NCP"}


def config(**changes):
    section = {"shape": [4, 6, 6], "classes": CLASSES, "validation": 0.5} | changes
    return parse_config(CTSetConfig, section, "ct_sets")


def nifti(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.full((8, 9, 10), level, np.int16)
    voxels[0] = -1000
    image = nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 5.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def prepared(tmp_path, settings, monkeypatch):
    found = found_set("study", tmp_path / "study")
    acquired_set(found, tmp_path / "acquired")
    monkeypatch.setattr(module, "locate", lambda *_: found)
    return prepare_ct_set(settings, "study", tmp_path, tmp_path / "acquired", tmp_path / "out")


def test_files_become_scans_of_one_shape_with_a_validation_part(tmp_path, monkeypatch):
    root = tmp_path / "study"
    for number in range(8):
        nifti(root / "train" / "CT-1" / f"study_{number}.nii.gz", 100 + number)
    nifti(root / "test" / "CT-0" / "study_9.nii.gz", 40)
    scores = prepared(tmp_path, config(), monkeypatch)
    counts = {score.variant: score.value("items").value for score in scores}
    assert counts["test"] == 1
    assert counts["train"] + counts["validation"] == 8
    assert min(counts.values()) >= 1
    (scan,) = read_scans(tmp_path / "out" / "test")
    assert (scan.label, scan.slices, scan.voxels.shape) == ("Normal", 10, (4, 6, 6))
    assert scan.spacing[0] == pytest.approx(5.0 * 10 / 4)
    assert scan.lung is None
    assert scan.voxels.max() == 40


def test_slices_of_images_become_scans_of_their_patient(tmp_path, monkeypatch):
    root = tmp_path / "study"
    rng = np.random.default_rng(0)
    for split, patient in (("train", "p1"), ("train", "p2"), ("test", "p3")):
        for scan in ("a", "b"):
            folder = root / split / "CT-1" / patient / scan
            folder.mkdir(parents=True)
            for number in range(5):
                pixels = rng.integers(0, 255, (7, 7), dtype=np.uint8)
                write_png(folder / f"{number}.png", np.repeat(pixels[..., None], 3, 2))
    settings = config(axes="SPL", spacing=[5.0, 1.0, 1.0])
    prepared(tmp_path, settings, monkeypatch)
    scans = read_scans(tmp_path / "out" / "test")
    assert [scan.name for scan in scans] == ["test_CT-1_p3_a", "test_CT-1_p3_b"]
    assert {scan.patient for scan in scans} == {"p3"}
    assert -1000 <= scans[0].voxels.min() < scans[0].voxels.max() <= 400


def test_all_scans_of_a_patient_stay_together():
    items = [f"train/CT-1/p{n}/{scan}/1.png" for n in range(30) for scan in "ab"]
    splits = {}
    for place in scan_places(items, config()):
        splits.setdefault(place.patient, set()).add(place.split)
    assert len(splits) == 30
    assert all(len(found) == 1 for found in splits.values())
    assert {"train"} in splits.values()
    assert {"validation"} in splits.values()


def test_a_patient_in_two_splits_is_named():
    items = ["train/CT-1/p1/a/1.png", "test/CT-1/p1/b/1.png"]
    with pytest.raises(ConfigError, match="p1 in test and "):
        scan_places(items, config())


def test_a_patient_of_two_classes_in_two_splits_is_named():
    items = ["train/CT-0/p1/a/1.png", "test/CT-1/p1/b/1.png"]
    with pytest.raises(ConfigError, match=r"p1 in test and .* set patients_by_class"):
        scan_places(items, config())


def test_classes_may_number_their_patients_from_the_start():
    items = ["train/CT-0/p1/a/1.png", "test/CT-1/p1/b/1.png"]
    places = scan_places(items, config(patients_by_class=True))
    assert {place.patient for place in places} == {"CT-0_p1", "CT-1_p1"}
    with pytest.raises(ConfigError, match="CT-1_p1 in test and "):
        scan_places([*items, "train/CT-1/p1/c/1.png"], config(patients_by_class=True))


def test_names_with_dots_stay_whole():
    items = [f"train/CT-1/1.2.840.{n}.nii.gz" for n in (1, 2)]
    items += [f"train/CT-0/1.2.{n}/a/1.png" for n in (3, 4)]
    places = scan_places(items, config())
    assert {place.patient for place in places} == {"1.2.840.1", "1.2.840.2", "1.2.3", "1.2.4"}
    assert len({place.name for place in places}) == 4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("train/CT-1/a.nii", "train/CT-1/a.nii.gz"),
        ("train/CT-1/p/a.nii.gz", "train/CT-1/p_a.nii.gz"),
    ],
)
def test_two_scans_of_one_name_are_refused(one, other):
    with pytest.raises(FileError, match="would both be the scan 'train_CT-1_") as caught:
        scan_places([one, other], config())
    assert one in str(caught.value)
    assert other in str(caught.value)


def test_npz_files_are_volumes(tmp_path, monkeypatch):
    path = tmp_path / "study" / "test" / "CT-1" / "p1" / "a.npz"
    path.parent.mkdir(parents=True)
    voxels = np.full((10, 9, 8), 40, np.int16)
    voxels[:, 0] = -1000
    affine = np.array([[0.0, 0, 1, 0], [0, -1, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]])
    np.savez(path, voxels=voxels, affine=affine)
    prepared(tmp_path, config(), monkeypatch)
    (scan,) = read_scans(tmp_path / "out" / "test")
    assert (scan.name, scan.patient, scan.slices) == ("test_CT-1_p1_a", "p1", 10)
    assert scan.voxels.max() == 40


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("CT-1/a.nii.gz", "expected <train or test>/<CT-0, CT-1>/"),
        ("train/CT-9/a.nii.gz", "sort the files as the data card says"),
        ("train/CT-1/1.png", "slices lie in a folder of their scan"),
    ],
)
def test_files_in_other_places_are_named(item, words):
    with pytest.raises(FileError, match=words):
        scan_places([item], config())


def test_what_lies_far_from_the_lungs_is_cut_off(tmp_path, monkeypatch):
    voxels = np.full((30, 30, 6), -1000, np.int16)
    voxels[3:27, 3:27] = 40
    voxels[10:14, 8:20, 1:5] = -850
    path = tmp_path / "study" / "test" / "CT-1" / "a.nii.gz"
    path.parent.mkdir(parents=True)
    image = nibabel.Nifti1Image(voxels, np.diag([2.0, 2.0, 5.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    prepared(tmp_path, config(shape=[4, 4, 4], lung_margin=2.0), monkeypatch)
    (scan,) = read_scans(tmp_path / "out" / "test")
    assert scan.slices == 6
    assert scan.spacing == pytest.approx((6 * 5 / 4, 14 * 2 / 4, 6 * 2 / 4))
    assert (scan.voxels < -500).mean() > 0.2  # of the whole scan, .04


def test_lungs_are_not_looked_for_where_there_are_no_hounsfield_units(tmp_path, monkeypatch):
    folder = tmp_path / "study" / "test" / "CT-1" / "p" / "a"
    folder.mkdir(parents=True)
    for number in range(2):
        write_png(folder / f"{number}.png", np.full((7, 7, 3), 9, np.uint8))
    settings = config(axes="SPL", spacing=[5.0, 1.0, 1.0], lung_margin=10.0)
    with pytest.raises(ConfigError, match="lung_margin needs Hounsfield units"):
        prepared(tmp_path, settings, monkeypatch)

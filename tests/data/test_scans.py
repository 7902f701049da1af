import numpy as np
import pytest

from vismodels.config import ConfigError
from vismodels.data.scans import RECORDS, Scan, read_scans, refuse_shared_patients, write_scans
from vismodels.files import FileError


def scan(name="a", patient="p", **options):
    rng = np.random.default_rng(len(name))
    voxels = rng.integers(-1000, 400, (3, 4, 5), dtype=np.int16)
    known = {"label": "Normal", "spacing": (8.0, 3.5, 3.5), "slices": 40}
    return Scan(name, patient, voxels=voxels, **known | options)


def test_scans_are_read_as_they_were_written(tmp_path):
    lesion = np.zeros((3, 4, 5), bool)
    lesion[1, 2, 3] = True
    written = [scan("b", lesion=lesion, lung=~lesion), scan("a", "q", label="NCP")]
    write_scans(written, tmp_path)
    read = read_scans(tmp_path)
    assert [s.name for s in read] == ["b", "a"]
    for before, after in zip(written, read, strict=True):
        assert before.voxels.dtype == after.voxels.dtype
        np.testing.assert_array_equal(before.voxels, after.voxels)
        assert (before.patient, before.label, before.spacing, before.slices) == (
            (after.patient, after.label, after.spacing, after.slices)
        )
    np.testing.assert_array_equal(read[0].lesion, lesion)
    np.testing.assert_array_equal(read[0].lung, ~lesion)
    assert read[1].lesion is None


def test_equal_scans_make_equal_files(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_scans([scan()], tmp_path / folder)
    for name in ("a.npz", RECORDS):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_damaged_file_is_named(tmp_path):
    write_scans([scan()], tmp_path)
    whole = (tmp_path / "a.npz").read_bytes()
    for content in (b"PK no archive", b"", whole[: len(whole) // 2]):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(FileError, match=r"damaged scans .*run the stage"):
            read_scans(tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"voxels": np.zeros((4, 5), np.int16)}, r"expected \(D, H, W\) int16"),
        ({"voxels": np.zeros((3, 4, 5), np.float32)}, "got .* float32"),
        ({"lung": np.zeros((3, 4, 6), bool)}, "lung mask is .*voxels' shape"),
        ({"lesion": np.zeros((3, 4, 5), np.uint8)}, "lesion mask is .* uint8"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Scan(**vars(scan()) | options)


def test_patients_in_two_splits_are_named():
    splits = {"train": [scan("a", "p1"), scan("b", "p2")], "test": [scan("c", "p2")]}
    with pytest.raises(ConfigError, match=r"1 patients .*\(p2 in test and train\).*by patient"):
        refuse_shared_patients(splits)


def test_several_scans_of_a_patient_in_one_split_are_fine():
    refuse_shared_patients({"train": [scan("a"), scan("b")], "test": [scan("c", "q")]})


def test_a_name_used_twice_is_refused():
    with pytest.raises(ConfigError, match="two scans are called 'a'"):
        refuse_shared_patients({"train": [scan("a"), scan("a")]})

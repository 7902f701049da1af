import math

import numpy as np
import pytest
from nibabel.orientations import aff2axcodes

from vismodels.data.ct import read_ct
from vismodels.data.dicom import read_series
from vismodels.files import FileError

pydicom = pytest.importorskip("pydicom")

AXIAL = (1, 0, 0, 0, 1, 0)  # rows go to the left, columns to the back
LEVELS = np.random.default_rng(0).integers(0, 3000, (5, 4, 6)).astype(np.uint16)
HOUNSFIELD = LEVELS.astype(np.int16) - 1024


def write(folder, number, height, levels, **changes):
    """Write one slice; names and instance numbers say nothing of the place."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    fields = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "CT",
        "SeriesInstanceUID": "1.2.3",
        "InstanceNumber": 1,
        "ImagePositionPatient": [-10.0, -20.0, height],
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [0.7, 0.9],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "RescaleType": "HU",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": levels.shape[0],
        "Columns": levels.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelData": levels.tobytes(),
    }
    for name, value in (fields | changes).items():
        if value is not None:
            setattr(data, name, value)
    data.save_as(folder / f"{number:03}", enforce_file_format=True)


def write_series(folder, order=(3, 0, 4, 1, 2), **changes):
    for number, place in enumerate(order):
        write(folder, number, 100.0 + 5 * place, LEVELS[place], **changes)


def test_slices_are_ordered_by_position_and_scaled_to_hounsfield_units(tmp_path):
    write_series(tmp_path)
    volume = read_ct(tmp_path)
    np.testing.assert_array_equal(volume.voxels, HOUNSFIELD)
    assert volume.spacing == pytest.approx((5.0, 0.7, 0.9))
    # The first voxel is at 10 mm to the right, 20 mm to the front, 100 mm up.
    assert (volume.affine @ [0, 0, 0, 1]).tolist() == pytest.approx([10, 20, 100, 1])
    assert (volume.affine @ [4, 3, 5, 1]).tolist() == pytest.approx([5.5, 17.9, 120, 1])


def test_a_patient_who_lies_prone_is_turned(tmp_path):
    write_series(tmp_path, ImageOrientationPatient=[-1, 0, 0, 0, -1, 0])
    volume = read_ct(tmp_path)
    np.testing.assert_array_equal(volume.voxels, HOUNSFIELD[:, ::-1, ::-1])


def test_sagittal_slices_are_turned(tmp_path):
    # Rows go to the back, columns down; slices follow one another to the left.
    for number in range(5):
        position = [5.0 * number, 0.0, 0.0]
        plane = [0, 1, 0, 0, 0, -1]
        write(
            *(tmp_path, number, 0.0, LEVELS[number]),
            ImagePositionPatient=position,
            ImageOrientationPatient=plane,
        )
    volume = read_ct(tmp_path)
    assert volume.voxels.shape == (4, 6, 5)
    assert volume.spacing == pytest.approx((0.7, 0.9, 5.0))
    assert volume.voxels[0, 1, 2] == HOUNSFIELD[2, 3, 1]


def test_a_tilted_gantry_makes_a_sheared_affine(tmp_path):
    c, s = math.cos(math.radians(20)), math.sin(math.radians(20))
    write_series(tmp_path, ImageOrientationPatient=[1, 0, 0, 0, c, s])
    stored, affine = read_series(tmp_path)
    np.testing.assert_array_equal(stored, HOUNSFIELD)
    assert "".join(aff2axcodes(affine)) == "SPL"
    np.testing.assert_allclose(affine[:3, 0], [0, 0, 5], atol=1e-9)  # the table moves level
    np.testing.assert_allclose(affine[:3, 1], [0, -0.7 * c, 0.7 * s])


def test_each_slice_has_its_own_slope(tmp_path):
    for place, levels in enumerate(LEVELS):
        write(tmp_path, place, 5.0 * place, levels, RescaleSlope=place + 1)
    slopes = np.arange(1, 6)[:, None, None]
    np.testing.assert_array_equal(read_series(tmp_path)[0], LEVELS * slopes - 1024.0)


def test_a_missing_slice_is_reported_with_its_neighbours(tmp_path):
    write_series(tmp_path, order=(0, 1, 2, 4))
    with pytest.raises(
        FileError, match=r"missing .*5\.00 mm is usual, 10\.00 mm lie between 002 and 003"
    ):
        read_series(tmp_path)


def test_two_slices_of_one_place_are_refused(tmp_path):
    write_series(tmp_path, order=(0, 1, 2, 2))
    with pytest.raises(FileError, match=r"002 and 003 show the same place \(110\.00 mm\)"):
        read_series(tmp_path)


def test_two_series_are_refused_and_counted(tmp_path):
    write_series(tmp_path)
    write(tmp_path, 9, 200.0, LEVELS[0], SeriesInstanceUID="1.2.9")
    with pytest.raises(FileError, match=r"2 series \(1\.2\.3 with 5 files; 1\.2\.9 with 1 files\)"):
        read_series(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
        {"PixelSpacing": [0.7, 0.7]},
        {"Rows": 6, "Columns": 4},
    ],
)
def test_a_slice_of_another_plane_or_size_is_named(tmp_path, changes):
    write_series(tmp_path)
    write(tmp_path, 9, 125.0, LEVELS[0], **changes)
    with pytest.raises(FileError, match=r"009 and 000 differ in size, plane or pixel spacing"):
        read_series(tmp_path)


def test_slices_that_jump_sideways_are_refused(tmp_path):
    write_series(tmp_path, order=range(5))
    write(tmp_path, 2, 110.0, LEVELS[2], ImagePositionPatient=[30.0, -20.0, 110.0])
    with pytest.raises(FileError, match="do not lie on one line"):
        read_series(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Modality": "MR"}, "expected a CT slice .* this one is MR"),
        ({"ImagePositionPatient": None}, "lacks ImagePositionPatient"),
        ({"RescaleIntercept": None}, "lacks RescaleIntercept"),
        ({"RescaleType": "US"}, "expected HU and MONOCHROME2, got US"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "got HU and MONOCHROME1"),
        ({"NumberOfFrames": 2}, "CT of 2 frames"),
        ({"PixelData": b"\0\0"}, "pixels cannot be decoded"),
    ],
)
def test_files_that_are_no_slice_in_hounsfield_units_are_named(tmp_path, changes, words):
    write_series(tmp_path, order=(0, 1))
    write(tmp_path, 5, 110.0, LEVELS[0], **changes)
    with pytest.raises(FileError, match=rf"005: .*{words}"):
        read_series(tmp_path)


def test_a_file_that_is_not_dicom_is_named_and_an_index_does_not_count(tmp_path):
    write_series(tmp_path)
    (tmp_path / "DICOMDIR").write_bytes(b"index")
    assert len(read_series(tmp_path)[0]) == 5
    (tmp_path / "readme.txt").write_bytes(b"text")
    with pytest.raises(FileError, match=r"readme\.txt: cannot be read as DICOM"):
        read_series(tmp_path)


@pytest.mark.parametrize("order", [(), (0,)])
def test_a_single_slice_is_no_series(tmp_path, order):
    write_series(tmp_path, order)
    with pytest.raises(FileError, match=f"a series of slices, got {len(order)} files"):
        read_series(tmp_path)

import nibabel
import numpy as np
import pytest
import torch

from vismodels.data.brain_cases import MODALITIES
from vismodels.files import FileError
from vismodels.methods.multilevel_activation.config import InferenceSettings
from vismodels.methods.multilevel_activation.files import read_segmentation
from vismodels.methods.multilevel_activation.heads import MultiLevelHead, NestedSegmenter
from vismodels.methods.multilevel_activation.segment_files import segment_files

SHAPE = (14, 18, 16)
AFFINE = np.array([[-1.0, 0, 0, 90], [0, -1, 0, 120], [0, 0, 1, -70], [0, 0, 0, 1]])  # LPS
INFERENCE = InferenceSettings(window=(8, 8, 8), overlap=0.25)
BOXES = {1: (slice(4, 10), slice(4, 14), slice(4, 12)), 2: (slice(4, 8), slice(6, 12), slice(4, 8)),
         3: (slice(6, 8), slice(8, 10), slice(4, 6))}  # fmt: skip


class Brightness(torch.nn.Module):
    """Logits that rise with T1ce, so that brighter voxels have higher levels."""

    def forward(self, image):
        return image[:, 1:2]


def truth():
    """Return nested boxes; their edges lie on whole voxels of 2 mm, from the far end too."""
    levels = np.zeros(SHAPE, np.uint8)
    for level, box in BOXES.items():
        levels[box] = level
    return levels


def write_examination(folder, affine=AFFINE):
    """Write four files whose T1ce shows the levels within a brain that ends before the grid."""
    brain = np.zeros(SHAPE, bool)
    brain[2:12, 2:16, 2:14] = True
    paths = {}
    for modality in MODALITIES:
        values = 100 + 10 * truth() if modality == "t1ce" else 100 + np.indices(SHAPE)[0]
        paths[modality] = folder / f"{modality}.nii.gz"
        stored = np.where(brain, values, 0).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(stored, affine), paths[modality])
    return paths


def model(decoded):
    """Return a model that tells the four standardized values of T1ce apart."""
    low, high = decoded
    head = MultiLevelHead(steepness=10.0, spacing=(high - low) / 3)

    class Shifted(Brightness):
        def forward(self, image):
            return super().forward(image) - (low + high) / 2

    return NestedSegmenter(Shifted(), head, trained=True)


def standardized_ends(spacing):
    """Return the lowest and the highest value of T1ce in the brain after standardization."""
    step = 2 if spacing == 2.0 else 1
    values = truth()[2:12, 2:16, 2:14][::step, ::step, ::step].astype(float)
    return (0 - values.mean()) / values.std(), (3 - values.mean()) / values.std()


@pytest.mark.parametrize("spacing", [None, 2.0])
@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize(("scheme", "labels"), [("brats2023", (0, 2, 1, 3)), ("msd", range(4))])
def test_labels_lie_on_the_grid_of_the_files(spacing, crop, scheme, labels, tmp_path):
    paths = write_examination(tmp_path)
    levels = segment_files(
        model(standardized_ends(spacing)), paths, tmp_path / "labels.nii.gz", INFERENCE,
        scheme=scheme, spacing=spacing, crop=crop,
    )  # fmt: skip
    assert np.array_equal(levels, truth())
    stored = nibabel.load(tmp_path / "labels.nii.gz")
    assert np.array_equal(np.asanyarray(stored.dataobj), np.array(labels)[truth()])
    assert np.array_equal(stored.affine, AFFINE)
    assert nibabel.aff2axcodes(stored.affine) == ("L", "P", "S")
    assert read_segmentation(tmp_path / "labels.nii.gz").scheme.name == scheme


def test_missing_and_unknown_modalities_are_refused(tmp_path):
    paths = write_examination(tmp_path)
    del paths["t2"]
    with pytest.raises(
        ValueError, match="a file for each of t1, t1ce, t2, flair, got files for t1"
    ):
        segment_files(
            model((0, 1)), paths, tmp_path / "labels.nii.gz", INFERENCE, scheme="brats2023"
        )


def test_files_on_different_grids_are_refused(tmp_path):
    paths = write_examination(tmp_path)
    (tmp_path / "moved").mkdir()
    moved = np.array(AFFINE)
    moved[0, 3] += 5
    paths["t2"] = write_examination(tmp_path / "moved", moved)["t2"]
    with pytest.raises(FileError, match="resample them to one grid"):
        segment_files(
            model((0, 1)), paths, tmp_path / "labels.nii.gz", INFERENCE, scheme="brats2023"
        )
    assert not (tmp_path / "labels.nii.gz").exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_that_are_no_numbers_write_no_healthy_brain(dtype, tmp_path):
    class Broken(torch.nn.Module):
        def forward(self, image):
            return image[:, 1:2] * torch.nan

    broken = NestedSegmenter(Broken(), MultiLevelHead(), trained=True)
    with pytest.raises(FloatingPointError, match=f"not finite, computed in torch.{dtype}"):
        segment_files(
            broken, write_examination(tmp_path), tmp_path / "labels.nii.gz",
            InferenceSettings(window=(8, 8, 8), dtype=dtype), scheme="brats2023",
        )  # fmt: skip
    assert not (tmp_path / "labels.nii.gz").exists()


@pytest.mark.parametrize("name", ["labels.npz", "labels", "labels.nii.gz.part"])
def test_a_name_that_is_no_nifti_file_is_refused_before_anything_is_computed(name, tmp_path):
    class Counting(Brightness):
        calls = 0

        def forward(self, image):
            Counting.calls += 1
            return super().forward(image)

    counting = NestedSegmenter(Counting(), MultiLevelHead(), trained=True)
    with pytest.raises(ValueError, match=r"expected a name that ends in \.nii or \.nii\.gz"):
        segment_files(
            counting, write_examination(tmp_path), tmp_path / name, INFERENCE, scheme="brats2023"
        )
    assert Counting.calls == 0

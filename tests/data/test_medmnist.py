import numpy as np
import pytest

from vismodels.data.medmnist import read_medmnist3d
from vismodels.files import FileError

COUNTS = {"train": 4, "val": 2, "test": 3}


def arrays(edge=28, **changes):
    rng = np.random.default_rng(0)
    stored = {}
    for key, count in COUNTS.items():
        stored[f"{key}_images"] = rng.integers(0, 256, (count, edge, edge, edge), dtype=np.uint8)
        stored[f"{key}_labels"] = rng.integers(0, 3, (count, 1), dtype=np.uint8)
    return {key: value for key, value in (stored | changes).items() if value is not None}


def written(folder, **changes):
    path = folder / "set.npz"
    np.savez(path, **arrays(**changes))
    return path


@pytest.mark.parametrize("edge", [28, 64])
def test_splits_are_read_with_one_label_for_each_volume(tmp_path, edge):
    stored = arrays(edge)
    splits = read_medmnist3d(written(tmp_path, edge=edge))
    assert list(splits) == ["train", "validation", "test"]
    for split, key in zip(splits.values(), COUNTS, strict=True):
        np.testing.assert_array_equal(split.images, stored[f"{key}_images"])
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64
        assert split.labels.tolist() == stored[f"{key}_labels"][:, 0].tolist()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"val_labels": None}, "lacks val_labels"),
        ({"test_images": np.zeros((3, 28, 28, 3), np.uint8)}, r"test: .*\(3, 28, 28, 3\)"),
        ({"test_images": np.zeros((3, 28, 28), np.uint8)}, "two dimensions have no place"),
        ({"test_images": np.zeros((3, 32, 32, 32), np.uint8)}, r"E one of \(28, 64\)"),
        ({"val_images": np.zeros((2, 28, 28, 28), np.float32)}, "validation: .* float32"),
        ({"train_labels": np.zeros((3, 1), np.uint8)}, r"each of 4 images, \(4, 1\), got \(3, 1\)"),
        ({"train_labels": np.zeros((4, 2), np.uint8)}, r"got \(4, 2\)"),
        ({"train_labels": np.zeros((4, 1), np.float64)}, "whole number .* float64"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path, changes, words):
    with pytest.raises(FileError, match=words):
        read_medmnist3d(written(tmp_path, **changes))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match=r"set\.npz: no such file"):
        read_medmnist3d(tmp_path / "set.npz")


def test_a_cut_file_is_named(tmp_path):
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FileError, match=r"set\.npz: cannot be read as NPZ"):
        read_medmnist3d(path)


def test_the_real_set_has_its_official_splits(data_root):
    for name in ("adrenalmnist3d", "adrenalmnist3d_64"):
        splits = read_medmnist3d(data_root / "adrenalmnist3d" / f"{name}.npz")
        counts = {split: len(volumes.images) for split, volumes in splits.items()}
        assert counts == {"train": 1188, "validation": 98, "test": 298}
        assert [int(volumes.labels.sum()) for volumes in splits.values()] == [259, 22, 69]

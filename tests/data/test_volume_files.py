import pytest
import torch

from vismodels.data.volume_files import RECORD, TENSORS, read_volumes, write_volumes
from vismodels.data.volumes import VolumeSet
from vismodels.files import FileError

SET = VolumeSet(
    torch.linspace(-2, 2, 48).reshape(2, 1, 2, 3, 4), torch.tensor([1, 0]), ("a", "b"),
    ("p", "p"), ("x", "y"),
)  # fmt: skip


def test_volumes_come_back_in_half_precision(tmp_path):
    write_volumes(SET, tmp_path / "train")
    read = read_volumes(tmp_path / "train")
    torch.testing.assert_close(read.images, SET.images, atol=1e-3, rtol=0)
    assert torch.equal(read.images, SET.images.half().float())
    assert (read.names, read.patients, read.classes) == (SET.names, SET.patients, SET.classes)
    assert read.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("file", "content"), [(TENSORS, b"no tensors"), (RECORD, b'{"names": ["a", "b"]}')]
)
def test_damage_is_named(file, content, tmp_path):
    write_volumes(SET, tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(FileError, match=r"damaged volumes .*run the stage"):
        read_volumes(tmp_path)

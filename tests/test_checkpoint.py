import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from huggingface_hub import PyTorchModelHubMixin
from safetensors.torch import load_file, save_file
from torch import nn

from vismodels.checkpoint import (
    load_resume,
    load_weights,
    save_resume,
    save_weights,
    tensor_digest,
)
from vismodels.files import FileError, atomic_folder, folder_digests


class Net(nn.Module, PyTorchModelHubMixin):
    def __init__(self, channels: int = 2, depth: int = 1):
        super().__init__()
        self.body = nn.Sequential(*(nn.Conv2d(channels, channels, 3) for _ in range(depth)))
        self.norm = nn.BatchNorm2d(channels)


class Twin(Net):
    """The same arguments and tensors under another name."""


class Tied(nn.Module, PyTorchModelHubMixin):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(4))
        for layer in self.layers[1:]:
            layer.weight = self.layers[0].weight


class Component(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, channels: int = 2):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3)


WEIGHTS = {Net: "model.safetensors", Component: "diffusion_pytorch_model.safetensors"}
both_libraries = pytest.mark.parametrize("cls", [Net, Component])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "weights of été"


# --- weight folders ----------------------------------------------------------------------------


@both_libraries
def test_weights_come_back_bit_for_bit(cls, folder):
    module = cls(channels=3).train()
    save_weights(module, folder)
    loaded = load_weights(cls, folder)
    assert tensor_digest(loaded) == tensor_digest(module)
    assert not loaded.training
    assert sorted(p.name for p in folder.iterdir()) == sorted(["config.json", WEIGHTS[cls]])


@both_libraries
def test_the_library_of_the_class_reads_the_folder_too(cls, folder):
    module = cls(channels=3)
    save_weights(module, folder)
    assert tensor_digest(cls.from_pretrained(folder)) == tensor_digest(module)


@pytest.mark.parametrize("cls", [Net, Component, Tied])
def test_equal_modules_give_equal_bytes_wherever_they_come_from(cls, folder, tmp_path):
    module = cls()
    save_weights(module, folder)
    expected = folder_digests(folder)
    for i in range(6):  # safetensors orders two metadata keys at random
        again = tmp_path / f"again {i}"
        save_weights(load_weights(cls, folder), again)
        assert folder_digests(again) == expected


@both_libraries
def test_nothing_in_the_folder_names_a_host_or_a_path(cls, folder, tmp_path):
    save_weights(cls(), folder)
    save_weights(load_weights(cls, folder), tmp_path / "again")
    for file in (tmp_path / "again").iterdir():
        content = file.read_bytes()
        assert b"http" not in content
        assert os.fsencode(tmp_path) not in content


def test_a_model_card_that_was_there_is_kept(folder):
    folder.mkdir()
    (folder / "README.md").write_text("ours")
    save_weights(Net(), folder)
    assert (folder / "README.md").read_text() == "ours"


def test_tied_weights_stay_tied(folder):
    save_weights(Tied(), folder)
    loaded = load_weights(Tied, folder)
    assert loaded.layers[3].weight is loaded.layers[0].weight


def test_channels_last_weights_are_saved(folder):
    module = Net(channels=4).to(memory_format=torch.channels_last)
    save_weights(module, folder)
    assert tensor_digest(load_weights(Net, folder)) == tensor_digest(module)


def test_a_folder_with_manifest_is_checked_before_it_is_read(folder):
    with atomic_folder(folder) as temporary:
        save_weights(Net(), temporary)
    load_weights(Net, folder)
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    with pytest.raises(FileError, match=r"changed: config\.json"):
        load_weights(Net, folder)


def test_loading_prints_nothing(folder, capsys):
    save_weights(Net(), folder)
    load_weights(Net, folder)
    assert capsys.readouterr().out == ""


def test_a_missing_folder_is_not_looked_for_on_a_hub(folder):
    with pytest.raises(FileError, match=r"no such folder.*hub needs a network"):
        load_weights(Net, folder)


@pytest.mark.parametrize(("saved", "wanted"), [(Net, Twin), (Net, Component), (Component, Net)])
def test_weights_of_another_class_are_refused(saved, wanted, folder):
    save_weights(saved(), folder)
    with pytest.raises(FileError, match=f"class '{saved.__name__}', expected '{wanted.__name__}'"):
        load_weights(wanted, folder)


@both_libraries
def test_missing_unknown_and_retyped_tensors_are_named(cls, folder):
    save_weights(cls(), folder)
    tensors = load_file(folder / WEIGHTS[cls])
    bias, weight = [name for name in sorted(tensors) if name.startswith(("body", "conv"))]
    tensors["spare"] = tensors.pop(bias).clone()
    tensors[weight] = tensors[weight].to(torch.float64)
    save_file(tensors, folder / WEIGHTS[cls], metadata={"format": "pt"})
    with pytest.raises(FileError) as caught:
        load_weights(cls, folder)
    for part in (f"missing: {bias}", "unknown: spare", f"{weight} is torch.float64 in the file"):
        assert part in str(caught.value)


@both_libraries
def test_tensors_of_another_shape_are_refused(cls, folder):
    save_weights(cls(channels=2), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "channels": 3}))
    with pytest.raises(FileError, match=rf"does not fit {cls.__name__}(.|\n)*\[3, 3, 3, 3\]"):
        load_weights(cls, folder)


@both_libraries
@pytest.mark.parametrize("keep", [0, 5, 200])
def test_a_cut_weight_file_is_called_damaged(cls, folder, keep):
    save_weights(cls(), folder)
    file = folder / WEIGHTS[cls]
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(FileError, match="damaged"):
        load_weights(cls, folder)


@both_libraries
def test_a_pickle_in_place_of_the_weights_is_not_read(cls, folder):
    save_weights(cls(), folder)
    (folder / WEIGHTS[cls]).unlink()
    for name in ("pytorch_model.bin", "diffusion_pytorch_model.bin"):
        torch.save({"conv.weight": Malicious()}, folder / name)
    with pytest.raises(FileError, match=r"holds no \.safetensors file"):
        load_weights(cls, folder)


def test_a_folder_without_configuration_is_refused(folder):
    folder.mkdir()
    with pytest.raises(FileError, match=r"config\.json: no such file"):
        load_weights(Net, folder)


def test_a_module_that_cannot_be_saved_says_what_to_derive_from(folder):
    with pytest.raises(TypeError, match="derive it from"):
        save_weights(nn.Linear(1, 1), folder)
    with pytest.raises(TypeError, match="derive it from"):
        load_weights(nn.Linear, folder)


# --- digests -----------------------------------------------------------------------------------


def test_the_digest_is_the_sha256_of_names_types_shapes_and_bytes():
    tensors = {"b": torch.tensor(1, dtype=torch.int16), "a": torch.tensor([[1.0, -2.0]])}
    content = b'["a", "torch.float32", [1, 2]]\n\x00\x00\x80\x3f\x00\x00\x00\xc0'
    content += b'["b", "torch.int16", []]\n\x01\x00'
    assert tensor_digest(tensors) == hashlib.sha256(content).hexdigest()


def test_the_digest_does_not_see_order_or_memory_layout():
    x = torch.arange(48.0).reshape(2, 3, 2, 4)
    plain = tensor_digest({"x": x, "y": x[0]})
    assert tensor_digest({"y": x[0], "x": x}) == plain
    assert tensor_digest({"x": x.to(memory_format=torch.channels_last), "y": x[0]}) == plain
    assert tensor_digest({"x": x.clone().requires_grad_(), "y": x[0].clone()}) == plain
    assert tensor_digest({"x": x.mT.contiguous().mT, "y": x[0]}) == plain
    assert tensor_digest({"x": x.flatten()[::2]}) == tensor_digest({"x": x.flatten()[::2].clone()})


@pytest.mark.parametrize(
    "other",
    [
        {"x": torch.tensor([0.0, 1.0, 2.0])},
        {"y": torch.tensor([-0.0, 1.0])},
        {"x": torch.tensor([0.0, 1.0])},
        {"x": torch.tensor([[-0.0, 1.0]])},
        {"x": torch.tensor([-0.0, 1.0], dtype=torch.float64)},
        {"x": torch.tensor([-(2**31), 0x3F800000], dtype=torch.int32)},
        {"x": torch.tensor([-0.0]), "x1": torch.tensor([1.0])},
        {},
    ],
)
def test_the_digest_sees_every_name_type_shape_and_bit(other):
    assert tensor_digest(other) != tensor_digest({"x": torch.tensor([-0.0, 1.0])})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.complex64, torch.uint8])
def test_every_dense_type_has_a_digest(dtype):
    x = torch.ones(2, 0, 3).to(dtype), torch.ones(3).to(dtype), torch.tensor(1).to(dtype)
    assert len({tensor_digest({"x": value}) for value in x}) == 3


@pytest.mark.parametrize("value", [3, None, torch.eye(2).to_sparse()])
def test_what_is_no_dense_tensor_has_no_digest(value):
    with pytest.raises(TypeError, match="'x' is not a dense tensor"):
        tensor_digest({"x": value})


# --- resume files ------------------------------------------------------------------------------


class Malicious:
    def __reduce__(self):
        return (os._exit, (3,))


def test_a_state_comes_back_as_it_was(tmp_path):
    state = {"a": torch.arange(3), "b": [1, 2.5, None, "x", (True, {"c": torch.zeros(0)})]}
    save_resume(tmp_path / "new" / "resume.pt", state)
    loaded = load_resume(tmp_path / "new" / "resume.pt")
    assert torch.equal(loaded["a"], state["a"])
    assert loaded["b"][:4] == state["b"][:4]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match=r"resume\.pt: no such file"):
        load_resume(tmp_path / "resume.pt")


@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_file_is_called_damaged_or_refused(tmp_path, place, damage):
    path = tmp_path / "resume.pt"
    save_resume(path, {"w": torch.arange(5000.0)})
    content = bytearray(path.read_bytes())
    position = int(place * len(content))
    if damage == "cut":
        del content[position:]
    else:
        content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"resume\.pt: (damaged|refused)"):
        load_resume(path)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    torch.save({"w": Malicious()}, tmp_path / "resume.pt")
    with pytest.raises(FileError, match="refused"):
        load_resume(tmp_path / "resume.pt")


@pytest.mark.parametrize(
    "value", [Malicious(), np.float64(0.1), lambda step: step, (i for i in range(2)), {1, 2}.pop]
)
def test_what_could_not_be_read_back_is_never_written(tmp_path, value):
    path = tmp_path / "resume.pt"
    save_resume(path, {"iteration": 1})
    with pytest.raises(FileError, match=r"/resume\.pt: refused"):
        save_resume(path, {"iteration": 2, "lr": value})
    assert load_resume(path) == {"iteration": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["resume.pt"]


FULL_DISK = """
import resource, sys, torch
from vismodels.checkpoint import load_resume, save_resume
from vismodels.files import FileError
path = sys.argv[1]
save_resume(path, {"w": torch.zeros(1000), "iteration": 1})
for limit in (0, 1, 5000, 3_999_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save_resume(path, {"w": torch.ones(1_000_000), "iteration": 2})
    except FileError as error:
        print(load_resume(path)["iteration"], error)
"""


def test_a_full_disk_is_an_error_and_the_older_file_stays(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path / "resume.pt"],
        capture_output=True,
        text=True,
        check=True,
    )
    messages = run.stdout.splitlines()
    assert len(messages) == 4
    for message in messages:
        assert message.startswith(f"1 {tmp_path / 'resume.pt'}: cannot be written, is the disk")
    assert [p.name for p in tmp_path.iterdir()] == ["resume.pt"]

import pytest
import torch
from safetensors.torch import save_file
from small_denoisers import build_unet, calls_of
from torch import nn

from vismodels.methods.quest.calibration import calibrate_
from vismodels.methods.quest.config import (
    ActivationQuantConfig,
    QuantizationSettings,
    WeightQuantConfig,
)
from vismodels.methods.quest.execute import execute_int8_
from vismodels.methods.quest.packed import pack_
from vismodels.methods.quest.quantize import quantize_
from vismodels.methods.quest.shortcuts import find_splits
from vismodels.methods.quest.storage import file_bytes, resident_bytes
from vismodels.quantization.int8 import probe


def test_file_bytes_are_those_of_all_weights_of_a_pipeline(tmp_path):
    (tmp_path / "unet").mkdir()
    save_file({"a": torch.zeros(10)}, tmp_path / "unet" / "a.safetensors")
    save_file({"b": torch.zeros(5)}, tmp_path / "b.safetensors")
    (tmp_path / "config.json").write_text("{}")
    sizes = [(tmp_path / name).stat().st_size for name in ("unet/a.safetensors", "b.safetensors")]
    assert file_bytes(tmp_path / "b.safetensors") == sizes[1]
    assert file_bytes(tmp_path) == sum(sizes)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no"):
        file_bytes(tmp_path)


def test_shared_tensors_are_counted_once_and_buffers_too():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    model.append(model[0])
    assert resident_bytes(model) == 4 * (12 + 4 + 4 * 4) + 8  # the count of batches has 8 bytes


def test_a_view_counts_as_all_that_it_keeps_in_memory():
    model = nn.Module()
    model.register_buffer("part", torch.zeros(100)[:3])
    assert resident_bytes(model) == 400


def test_packed_networks_take_less_and_executed_ones_a_byte_for_each_weight():
    model = build_unet()
    calls = calls_of(model)
    count = sum(p.numel() for p in model.parameters())
    weights = sum(
        p.numel() for n, p in model.named_parameters() if n.endswith("weight") and p.ndim > 1
    )
    assert resident_bytes(model) == 4 * count
    settings = QuantizationSettings(
        weights=WeightQuantConfig(ranges="minmax"),
        activations=ActivationQuantConfig(ranges="minmax"),
    )
    quantize_(model, settings, find_splits(model, **calls.arguments()))
    calibrate_(model, calls)
    pack_(model)
    packed = resident_bytes(model)
    quantizers = {
        name: tensor.numel() * tensor.element_size()
        for name, tensor in model.state_dict().items()
        if name.endswith((".packed", ".scale", ".zero_point", ".timesteps"))
    }
    codes = sum(size for name, size in quantizers.items() if name.endswith(".packed"))
    assert weights / 2 <= codes <= weights / 2 + 60  # half a byte is lost in odd ones
    assert packed == sum(quantizers.values()) + 4 * (count - weights)
    if probe().available:
        execute_int8_(model)
        assert weights < resident_bytes(model) - (packed - codes) < 2.5 * weights

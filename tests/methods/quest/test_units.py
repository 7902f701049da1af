import pytest
import torch
from small_denoisers import build_dit, build_unet, calls_of
from torch import nn

from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.config import QuantizationSettings
from vismodels.methods.quest.quantize import quantize_, quantized_layers
from vismodels.methods.quest.units import find_units, layers_of

SETTINGS = QuantizationSettings(split_shortcuts=False)


def units_of(build, **options):
    model = build()
    quantize_(model, SETTINGS.model_copy(update=options))
    return model, find_units(model, calls_of(model))


@pytest.mark.parametrize("build", [build_unet, build_dit])
def test_every_quantized_layer_is_in_exactly_one_unit(build):
    model, units = units_of(build)
    layers = [name for unit in units for name in layers_of(model, unit)]
    assert len(layers) == len(set(layers))
    assert set(layers) == set(quantized_layers(model))


def test_blocks_are_units_and_layers_outside_them_too():
    _, units = units_of(build_unet)
    assert {
        "conv_in",
        "time_embedding.linear_1",
        "mid_block.resnets.0",
        "mid_block.attentions.0.proj_in",
        "mid_block.attentions.0.transformer_blocks.0",
    } <= set(units)
    assert not any("attn1" in unit or "conv1" in unit for unit in units)


def test_units_come_in_the_order_in_which_they_run():
    _, units = units_of(build_unet)
    # Of the modules the middle comes last.
    assert units[:3] == ("time_embedding.linear_1", "time_embedding.linear_2", "conv_in")
    assert units[-1] == "conv_out"
    up = min(place for place, name in enumerate(units) if name.startswith("up_blocks"))
    middle = [place for place, name in enumerate(units) if name.startswith("mid_block")]
    assert max(middle) < up


def test_blocks_of_a_dit_are_units():
    _, units = units_of(build_dit)
    assert units == (
        "pos_embed.proj",
        "transformer_blocks.0",
        "transformer_blocks.1",
        "proj_out_1",
        "proj_out_2",
    )


def test_other_blocks_can_be_named():
    model, _ = units_of(build_dit)
    assert set(find_units(model, calls_of(model), blocks=())) == set(quantized_layers(model))


def test_blocks_without_a_quantized_layer_are_left_out():
    _, units = units_of(build_dit, skip=(r"transformer_blocks\.0\..*",))
    assert "transformer_blocks.0" not in units


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.forgotten = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, sample, timestep):
        return self.used(sample)


def test_a_unit_that_does_not_run_is_named_and_hooks_are_gone():
    model = Unused()
    quantize_(model, QuantizationSettings(edge_layers=("used",)))
    calls = CalibrationSet({"sample": torch.ones(3, 2), "timestep": torch.ones(3)})
    with pytest.raises(ValueError, match=r"forgotten \(1 in all\) did not run; name such layers"):
        find_units(model, calls)
    assert not model.used._forward_pre_hooks

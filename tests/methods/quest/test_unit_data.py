import copy

import pytest
import torch
from small_denoisers import build_dit, build_unet, calls_of, output_of
from torch import nn

from vismodels.methods.quest.calibration import calibrate_
from vismodels.methods.quest.config import QuantizationSettings
from vismodels.methods.quest.quantize import quantize_
from vismodels.methods.quest.unit_data import calls_of as unit_calls
from vismodels.methods.quest.unit_data import (
    layer_inputs,
    output_tensor,
    outputs_of,
    watch_outputs,
)
from vismodels.methods.quest.units import find_units
from vismodels.nn.hooks import capture

STEPS = (900, 700, 500, 300, 100)
BLOCK = "mid_block.attentions.0.transformer_blocks.0"


def quantized(build=build_unet, **options):
    model = build()
    quantize_(model, QuantizationSettings(split_shortcuts=False, **options))
    calls = calls_of(model, STEPS)
    calibrate_(model, calls)
    return model, calls


@pytest.mark.parametrize("build", [build_unet, build_dit])
def test_units_run_alone_put_out_what_they_did_in_the_network(build):
    model, calls = quantized(build)
    for unit in find_units(model, calls)[::4]:
        alone = unit_calls(model, unit, calls, batch_size=2)
        expected = outputs_of(model, unit, calls, batch_size=5)
        assert len(alone) == len(expected) == 5
        with torch.no_grad():
            found = alone.run(model.get_submodule(unit), torch.tensor([3, 1]))
        assert torch.allclose(found, expected[[3, 1]], atol=1e-5), unit


def test_outputs_are_those_of_hooks():
    model, calls = quantized()
    with capture(model, BLOCK) as seen:
        output_of(model, calls)
    assert torch.equal(outputs_of(model, BLOCK, calls, batch_size=5), seen[BLOCK])


def test_the_network_runs_no_further_than_the_unit():
    model, calls = quantized()
    ran = []
    model.conv_out.register_forward_pre_hook(lambda *_: ran.append("conv_out"))
    unit_calls(model, BLOCK, calls)
    outputs_of(model, BLOCK, calls)
    assert ran == []


def test_modules_inside_a_unit_are_watched_as_they_run():
    model, calls = quantized()
    seen = []
    names = (f"{BLOCK}.ff.net.2", f"{BLOCK}.attn1.to_q", f"{BLOCK}.attn1.to_out.0")
    watch_outputs(model, BLOCK, names, calls, 3, lambda name, y: seen.append((name, len(y))))
    order = [names[1], names[2], names[0]]
    assert seen == [(name, size) for size in (3, 2) for name in order]


@pytest.mark.parametrize("groups", [1, 3])
def test_inputs_of_layers_are_those_in_the_network(groups):
    model, calls = quantized(time_groups=groups)
    layer = f"{BLOCK}.ff.net.2"
    entered = []
    handle = model.get_submodule(layer).register_forward_pre_hook(
        lambda _, args: entered.append(args[0])
    )
    output_of(model, calls)
    handle.remove()
    alone = unit_calls(model, BLOCK, calls)
    # Another call in between: the groups have to be chosen for each batch.
    output_of(model, calls.select(torch.tensor([4, 4])))
    found = torch.cat(list(layer_inputs(model, BLOCK, layer, alone, calls.timesteps, batch_size=2)))
    assert torch.allclose(found, entered[0], atol=1e-5)


def test_a_unit_that_is_a_layer_hands_over_its_input():
    model, calls = quantized()
    alone = unit_calls(model, "conv_in", calls)
    found = list(layer_inputs(model, "conv_in", "conv_in", alone, calls.timesteps))
    assert torch.equal(found[0], calls.inputs["sample"])


def test_modes_and_hooks_come_back():
    model, calls = quantized()
    model.train()
    before = copy.deepcopy([len(m._forward_hooks) for m in model.modules()])
    outputs_of(model, BLOCK, calls)
    unit_calls(model, BLOCK, calls)
    assert all(module.training for module in model.modules())
    assert [len(m._forward_hooks) for m in model.modules()] == before


def test_outputs_are_unwrapped():
    x = torch.ones(1)

    class Wrapped(nn.Module):
        sample = x

    assert all(output_tensor(each) is x for each in (x, (x, None), Wrapped()))

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_denoisers import build_unet, calls_of, output_of
from small_quantized import quantize_config, recipe_of
from torch import nn

from vismodels.methods.quest.calibration import calibrate_
from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.config import ActivationQuantConfig, QuantizationSettings
from vismodels.methods.quest.inspection import (
    BINS,
    SHOWN_INPUTS,
    activation_histograms,
    inspect,
    layer_sensitivity,
)
from vismodels.methods.quest.quantize import (
    activation_quantizers,
    enable_,
    quantize_,
    quantized_layers,
)

SETTINGS = recipe_of(4).quantization.model_copy(update={"split_shortcuts": False})
CHANNELS = ActivationQuantConfig(ranges="minmax", granularity="channel")


@pytest.fixture(params=["tensor", "channel"])
def networks(request):
    """Return a quantized network, the float one, and inputs."""
    teacher = build_unet()
    model, inputs = copy.deepcopy(teacher), calls_of(teacher)
    changes = {"activations": CHANNELS} if request.param == "channel" else {}
    quantize_(model, SETTINGS.model_copy(update=changes))
    calibrate_(model, inputs)
    return model, teacher, inputs


# --- sensitivity ---------------------------------------------------------------------------------


def test_sensitivity_is_that_of_a_network_with_one_quantized_layer(networks):
    model, teacher, inputs = networks
    found = layer_sensitivity(model, teacher, inputs)
    assert list(found) == list(quantized_layers(model))
    target = output_of(teacher, inputs)
    for layer in ("conv_in", "mid_block.resnets.0.time_emb_proj", "up_blocks.1.resnets.1.conv2"):
        alone = copy.deepcopy(teacher)
        activations = model.quantization.settings.activations
        settings = QuantizationSettings(
            weights=SETTINGS.weights,
            activations=activations,
            softmax_bits=None,
            edge_bits=8 if layer == "conv_in" else 4,
            skip=(rf"(?!{layer}$).*",),
            split_shortcuts=False,
        )
        quantize_(alone, settings)
        calibrate_(alone, inputs)
        error = (output_of(alone, inputs) - target).square().mean() / target.square().mean()
        assert found[layer] == pytest.approx(100 * error.item(), rel=1e-4)
        assert found[layer] > 0


def test_looking_leaves_a_network_as_it_was(networks):
    model, teacher, inputs = networks
    state = copy.deepcopy(model.state_dict())
    expected = output_of(model, inputs)
    layer_sensitivity(model, teacher, inputs)
    activation_histograms(model, inputs, ["conv_in"])
    assert torch.equal(output_of(model, inputs), expected)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_switches_come_back_after_an_error(networks):
    model, teacher, inputs = networks
    odd = next(iter(activation_quantizers(model).values()))
    enable_(model, weights=True, activations=True)
    odd.enabled = False

    def fails(*anything):
        raise KeyError

    handle = model.conv_out.register_forward_hook(fails)
    with pytest.raises(KeyError):
        layer_sensitivity(model, teacher, inputs)
    handle.remove()
    assert not odd.enabled
    assert all(q.enabled for q in activation_quantizers(model).values() if q is not odd)
    assert all(layer.quantizes_weight for layer in quantized_layers(model).values())


# --- histograms ----------------------------------------------------------------------------------


class Doubled(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 1)

    def forward(self, sample, timestep, return_dict=True):
        return (self.last(2 * sample),)


def test_histograms_by_hand():
    """The layer sees six zeros, a 2 and a -2, whose range has 80 bins of 0.05."""
    sample = torch.tensor([[0.0, 0.0, 0.0, 1.0], [-1.0, 0.0, 0.0, 0.0]])
    inputs = CalibrationSet({"sample": sample, "timestep": torch.zeros(2)})
    model = Doubled()
    found = activation_histograms(model, inputs, ["last"])
    edges, shares = found["last"]
    assert found.keys() == {"last"}
    np.testing.assert_allclose(edges, np.arange(BINS) * 0.05 - 2, atol=1e-12)
    assert {n: share for n, share in enumerate(shares) if share} == {0: 1 / 8, 40: 6 / 8, 79: 1 / 8}
    assert not model.last._forward_pre_hooks


def test_hooks_are_gone_after_an_error():
    model = Doubled()
    inputs = CalibrationSet({"sample": torch.zeros(1, 3), "timestep": torch.zeros(1)})
    with pytest.raises(RuntimeError):
        activation_histograms(model, inputs, ["last"])
    assert not model.last._forward_pre_hooks


# --- what the report asks for --------------------------------------------------------------------


def test_only_what_is_asked_for_is_looked_at(networks):
    model, teacher, inputs = networks
    made = SimpleNamespace(denoiser=model, teacher=teacher, inputs=inputs)
    config = quantize_config(recipe_of(4), sensitivity="net", histograms=("net", "other"))
    layers = [f"sensitivity/{layer}" for layer in quantized_layers(model)]
    last = [n for n in quantized_layers(model) if n.endswith("ff.net.2")]
    histograms = [f"histogram/{layer}" for layer in last]
    assert len(last) == 4
    assert list(inspect(config, "net", made)) == layers + histograms
    assert list(inspect(config, "other", made)) == histograms
    assert inspect(config, "third", made) == {}


def test_inputs_are_taken_from_all_timesteps():
    model = Doubled()
    count = 3 * SHOWN_INPUTS
    sample = torch.arange(count)[:, None].expand(-1, 4) / 2
    steps = torch.arange(3).repeat_interleave(SHOWN_INPUTS)
    inputs = CalibrationSet({"sample": sample, "timestep": steps})
    seen = []

    class Watched(Doubled):
        def forward(self, sample, timestep, return_dict=True):
            seen.append(timestep)
            return super().forward(sample, timestep, return_dict)

    made = SimpleNamespace(denoiser=Watched(), teacher=model, inputs=inputs)
    config = quantize_config(recipe_of(4), histograms=("net",))
    assert inspect(config, "net", made) == {}
    assert [len(steps) for steps in seen] == [SHOWN_INPUTS]
    assert set(seen[0].tolist()) == {0, 1, 2}

import copy

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from small_denoisers import build_dit, build_unet, calls_of, output_of
from torch import nn

from vismodels.methods.quest.calibration import calibrate_
from vismodels.methods.quest.config import (
    ActivationQuantConfig,
    QuantizationSettings,
    WeightQuantConfig,
)
from vismodels.methods.quest.quantize import activation_quantizers, dequantize_, quantize_
from vismodels.methods.quest.time_groups import TimeGroups, check_timestep, time_groups_of

TWO = QuantizationSettings(
    weights=WeightQuantConfig(ranges="minmax"),
    activations=ActivationQuantConfig(ranges="minmax"),
    time_groups=2,
    split_shortcuts=False,
)


@pytest.fixture(params=[build_unet, build_dit])
def model(request):
    """Return a denoiser with two time groups, at 900 and 100."""
    model = request.param()
    quantize_(model, TWO)
    calibrate_(model, calls_of(model))
    return model


def groups_in_use(model):
    return [quantizer.group for quantizer in activation_quantizers(model).values()]


def test_the_nearest_group_is_chosen_and_the_first_of_two():
    state = TimeGroups(QuantizationSettings(time_groups=3), {}, ())
    state.timesteps = torch.tensor([900.0, 500.0, 100.0])
    assert state.groups_of(torch.tensor([999, 701, 700, 699, 301, 0])).tolist() == [
        0, 0, 0, 1, 1, 2
    ]  # fmt: skip


@pytest.mark.parametrize(("timestep", "group"), [(999, 0), (501, 0), (499, 1), (1, 1)])
def test_a_call_uses_the_group_of_its_timestep(model, timestep, group):
    output_of(model, calls_of(model, [timestep] * 2))
    assert set(groups_in_use(model)) == {group}


def test_a_batch_of_mixed_timesteps_gives_what_its_samples_give_alone(model):
    calls = calls_of(model, (900, 80, 700, 120))
    together = output_of(model, calls)
    for place in range(4):
        alone = output_of(model, calls.select(torch.tensor([place])))
        assert torch.allclose(together[place], alone[0], atol=1e-5)


@pytest.mark.parametrize("timestep", [100, 100.0, torch.tensor(100), torch.tensor([100])])
def test_a_timestep_may_be_a_number_or_a_tensor_of_one(timestep):
    model = build_unet()
    quantize_(model, TWO)
    calibrate_(model, calls_of(model))
    arguments = calls_of(model, [100, 100]).arguments()
    with torch.no_grad():
        expected = model(**arguments).sample
        model(**arguments | {"timestep": 900})
        sample, context = arguments["sample"], arguments["encoder_hidden_states"]
        assert torch.equal(model(sample, timestep, context).sample, expected)


def test_groups_differ(model):
    scales = torch.stack([each.scale for each in activation_quantizers(model).values()
                          if each.scale.shape[1] == 1])  # fmt: skip
    assert (scales[:, 0] != scales[:, 1]).float().mean() > 0.5


def test_a_copy_routes_itself(model):
    twin = copy.deepcopy(model)
    output_of(model, calls_of(model, [900]))
    output_of(twin, calls_of(model, [100]))
    assert set(groups_in_use(model)) == {0}
    assert set(groups_in_use(twin)) == {1}


def test_timesteps_of_the_groups_are_in_the_state_dict(model):
    assert model.state_dict()["quantization.timesteps"].tolist() == [900, 100]


def test_an_attention_that_lost_its_quantizers_is_noticed():
    model = build_unet()
    quantize_(model, QuantizationSettings(split_shortcuts=False))
    model.set_attn_processor(AttnProcessor2_0())
    with pytest.raises(RuntimeError, match=r"attn1 got the processor AttnProcessor2_0, which by"):
        output_of(model, calls_of(model))


def test_no_hook_is_left_after_dequantization(model):
    dequantize_(model)
    assert not model._forward_pre_hooks
    assert not model._forward_pre_hooks_with_kwargs
    assert "quantization" not in dict(model.named_children())
    with pytest.raises(ValueError, match="is not quantized; call quantize_ first"):
        time_groups_of(model)


def test_a_network_without_a_timestep_is_refused():
    with pytest.raises(ValueError, match="Linear takes no argument called timestep"):
        check_timestep(nn.Linear(1, 1))

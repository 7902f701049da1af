from types import SimpleNamespace

import pytest
import torch
from small_denoisers import build_unet, calls_of
from small_quantized import MeanJudge, arm_of, load, prompts_of, quantize_config, recipe_of
from torch import nn

from vismodels.choices import CHOICE, read_choice, write_choice
from vismodels.files import FileError, write_json
from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.config import QuantizationSettings
from vismodels.methods.quest.quantize import quantize_
from vismodels.methods.quest.quantize_stage import (
    QuantizedArm,
    arm_scores,
    bitops,
    bits_of,
    choose,
    courses,
    output_errors,
    quantize_arm,
)
from vismodels.methods.quest.recipes import RecipeReport
from vismodels.training.log import ScalarLog

FOUR, TUNED = recipe_of(4), recipe_of(4, iterations=2)


class Asked:
    """Prompts that remember for which part, how many and with which seed they were wanted."""

    def __init__(self, *refused):
        self.refused, self.wanted = refused, []

    def __call__(self, part, count, seed):
        assert part not in self.refused, f"{part} prompts have no part in this"
        self.wanted.append((part, count, seed))
        return prompts_of(part, count, seed)


# --- one arm -------------------------------------------------------------------------------------


def test_an_arm_is_quantized_and_finetuned_with_prompts_of_its_seed():
    asked = Asked("test")
    made = quantize_arm(quantize_config(FOUR, TUNED), load, asked, "second", seed=1)
    assert asked.wanted == [("calibration", 2, 1), ("pool", 3, 1), ("validation", 4, 1)]
    assert made.denoiser is made.pipeline.unet
    assert made.denoiser.quantization.splits
    float_weights = load().unet.state_dict()
    for name, tensor in made.teacher.state_dict().items():
        assert torch.equal(tensor, float_weights[name])
    assert len(made.inputs) == 4 * 2  # prompts, steps
    assert list(made.errors) == sorted(set(made.inputs.timesteps.tolist()))
    assert min(made.errors.values()) > 0
    assert made.report.iterations == 2
    assert {name: len(log) for name, log in courses(made).items()} == {"tla": 1, "cma": 1}
    assert made.seconds > 0


def test_without_finetuning_no_pool_is_made():
    asked = Asked("test", "pool")
    made = quantize_arm(quantize_config(FOUR), load, asked, "first", seed=0)
    assert [part for part, _, _ in asked.wanted] == ["calibration", "validation"]
    assert courses(made) == {}


def test_equal_seeds_make_equal_networks_and_others_do_not():
    made = [
        quantize_arm(quantize_config(FOUR), load, prompts_of, "first", seed=seed)
        for seed in (0, 0, 1)
    ]
    states = [each.denoiser.state_dict() for each in made]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


# --- the choice ----------------------------------------------------------------------------------


def test_the_closest_settings_are_chosen_on_validation_prompts_alone():
    asked = Asked("test", "pool")
    config = quantize_config(recipe_of(2), recipe_of(8))
    chosen, scores = choose(config, load, MeanJudge(), asked, name="net", card="balls")
    assert chosen == "second"
    assert {seed for _, _, seed in asked.wanted} == {0}
    errors = [score.value("image_mse").value for score in scores]
    assert errors[1] < errors[0]
    for score, settings in zip(scores, ("first", "second"), strict=True):
        assert (score.variant, score.condition) == ("net", {"settings": settings})
        assert score.dataset == {"card": "balls", "split": "validation", "items": 4}


def test_settings_without_a_rival_need_no_images():
    def refuse(*anything):
        raise AssertionError("nothing has to be tried")

    config = quantize_config(FOUR)
    assert choose(config, refuse, refuse, refuse, name="net", card="balls") == ("first", [])


def test_a_choice_is_read_back(tmp_path):
    write_choice(tmp_path, "second")
    assert read_choice(arm_of(FOUR, TUNED).grid, tmp_path) == ("second", TUNED)


@pytest.mark.parametrize("content", [{"settings": "secnd"}, {}, ["second"]])
def test_a_choice_that_is_none_is_refused(tmp_path, content):
    write_json(tmp_path / CHOICE, content)
    with pytest.raises(FileError, match=r"choice\.json: the settings .* are none of the grid's"):
        read_choice(arm_of(FOUR, TUNED).grid, tmp_path)


# --- records -------------------------------------------------------------------------------------


def test_records_tell_size_and_error_at_every_timestep(tmp_path):
    (tmp_path / "net.safetensors").write_bytes(bytes(2500))
    stages = [
        SimpleNamespace(name=name, share=share, iterations=3, log=ScalarLog())
        for name, share in (("tla", 0.1), ("cma", 0.25))
    ]
    made = QuantizedArm(
        pipeline=None,
        denoiser=None,
        teacher=None,
        inputs=None,
        report=RecipeReport((), stages=tuple(stages), tuned_share=0.3),
        errors={100: 0.5, 900: 2.0},
        bitops=3_000_000_000,
        seconds=1.0,
    )
    size, *errors = arm_scores(
        made, name="net", card="balls", seed=1, settings="first", folder=tmp_path
    )
    found = {value.metric.name: value.value for value in size.values}
    assert found == {"file_mb": 0.0025, "tuned_share": 30.0, "denoiser_gbitops": 3.0}
    assert size.condition == {"what": "size", "settings": "first"}
    assert size.budget == {"iterations": 6}
    assert [each.value("output_error").value for each in errors] == [0.5, 2.0]
    assert [each.condition for each in errors] == [{"timestep": 100}, {"timestep": 900}]
    assert {each.dataset["split"] for each in errors} == {"validation"}
    assert {(each.variant, each.seed) for each in (size, *errors)} == {("net", 1)}


# --- errors by timestep --------------------------------------------------------------------------


class Stretched(nn.Module):
    """Returns its sample, stretched more at late timesteps."""

    def __init__(self, more=0.0):
        super().__init__()
        self.more = nn.Parameter(torch.tensor(more))

    def forward(self, sample, timestep, return_dict=True):
        assert not return_dict
        return (sample * (1 + self.more * timestep.view(-1, 1) / 1000),)


def test_a_network_is_no_different_from_itself():
    model = build_unet()
    assert output_errors(model, model, calls_of(model)) == {100: 0.0, 900: 0.0}


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_errors_by_hand(generator, batch_size):
    """Outputs are 1.05 and 1.1 times as large: squares of 5 % and 10 %, whatever the batches."""
    inputs = CalibrationSet(
        {
            "sample": torch.randn(5, 3, generator=generator),
            "timestep": torch.tensor([1000, 500, 1000, 500, 500]),
        }
    )
    errors = output_errors(Stretched(0.1), Stretched(), inputs, batch_size)
    assert list(errors) == [500, 1000]
    assert errors == pytest.approx({500: 0.25, 1000: 1.0}, rel=1e-4)


# --- operations ----------------------------------------------------------------------------------


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.linear = nn.Linear(3, 5)

    def forward(self, sample, timestep):
        return self.linear(self.conv(sample).mean((2, 3)))


def test_operations_by_hand():
    """4 x 4 places, 3 x 3 kernels from 2 to 3 channels; then 3 x 5 products; for one sample."""
    inputs = CalibrationSet({"sample": torch.zeros(2, 2, 4, 4), "timestep": torch.zeros(2)})
    conv, linear = 4 * 4 * 3 * 3 * 2 * 3, 3 * 5
    assert bitops(Small(), inputs, {}) == 32 * 32 * (conv + linear)
    assert bitops(Small(), inputs, {"linear": ((4, 8),)}) == 1024 * conv + 32 * linear
    assert (
        bitops(Small(), inputs, {"linear": ((4, 8),), "conv": ((8, 8),)}) == 64 * conv + 32 * linear
    )


class Attending(nn.Module):
    """Two products over 6 places of width 4: of queries and keys, and of the softmax and values."""

    def forward(self, x):
        return torch.softmax(x @ x.mT, -1) @ x


class AroundAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = Attending()
        self.somewhere = nn.Parameter(torch.zeros(1))  # tells the device

    def forward(self, sample, timestep):
        return self.attention(sample)


def test_operations_of_both_products_of_attention_by_hand():
    inputs = CalibrationSet({"sample": torch.zeros(1, 6, 4), "timestep": torch.zeros(1)})
    product = 6 * 6 * 4
    bits = {"attention": ((4, 4), (8, 4))}
    assert bitops(AroundAttention(), inputs, bits) == product * 16 + product * 32


def test_bits_are_those_of_the_layers_and_of_the_products_of_attention():
    model = build_unet()
    settings = QuantizationSettings(split_shortcuts=False, skip=("time_embedding.*",))
    bits = bits_of(quantize_(model, settings))
    assert bits["conv_in"] == bits["conv_out"] == ((4, 8),)
    assert bits["mid_block.resnets.0.conv1"] == ((4, 4),)
    attention = "mid_block.attentions.0.transformer_blocks.0.attn2"
    assert bits[attention] == ((4, 4), (8, 4))  # queries by keys, the softmax by values
    assert "time_embedding.linear_1" not in bits
    plain, calls = build_unet(), calls_of(model)
    fewer = bitops(plain, calls, bits)
    assert bitops(plain, calls, {}) / 64 < fewer < bitops(plain, calls, {}) / 16

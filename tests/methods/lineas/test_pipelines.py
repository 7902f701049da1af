import pytest
import torch
from small_pipelines import PIPELINES, TARGET, build, call_of
from torch import nn

from vismodels.methods.lineas.layers import pipeline_modules, select_layers
from vismodels.methods.lineas.maps import AffineMap, Maps
from vismodels.methods.lineas.pipelines import (
    call_of_batch,
    call_to_record,
    latents_of,
    seeded,
)
from vismodels.methods.lineas.steer import steer
from vismodels.nn.hooks import edit

PROMPTS = TARGET[:2]
DENOISER = {"sd": "unet", "sdxl": "unet", "flux": "transformer"}
GUIDED = {
    "sd": {"guidance_scale": 4.0},
    "sdxl": {"guidance_scale": 4.0},
    "flux": {"true_cfg_scale": 4.0, "negative_prompt": ["a star"] * 2},
}


def plain_call(pipeline, call):
    return pipeline(
        PROMPTS, generator=seeded([0, 1]), output_type="latent", return_dict=False, **call
    )[0]


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", PIPELINES)
def test_the_latents_are_those_of_the_plain_call_to_the_bit(name, dtype, guided):
    pipeline = build(name, dtype)
    pipeline_modules(pipeline).requires_grad_(False)
    call = call_of(name, 2, **(GUIDED[name] if guided else {}))
    expected = plain_call(pipeline, call)
    for gradient in ("full", "last", None):
        latents = latents_of(
            pipeline, PROMPTS, gradient=gradient, generators=seeded([0, 1]), call=call
        )
        assert torch.equal(latents, expected)
    assert latents.isfinite().all()


@pytest.mark.parametrize("name", PIPELINES)
def test_weights_that_want_gradients_change_rounding_only_and_get_none(name):
    pipeline = build(name)
    call = call_of(name, 2)
    plain = plain_call(pipeline, call)
    latents = latents_of(pipeline, PROMPTS, generators=seeded([0, 1]), call=call)
    torch.testing.assert_close(latents, plain, atol=1e-4, rtol=0)
    assert not latents.requires_grad
    without = latents_of(pipeline, PROMPTS, gradient=None, generators=seeded([0, 1]), call=call)
    assert torch.equal(without, plain)  # where no gradient is wanted nothing is frozen
    assert all(weight.requires_grad for weight in pipeline_modules(pipeline).parameters())


def first_step_gradient(pipeline, name, gradient):
    """Return the gradient of the last latents for a factor at the first denoising step alone."""
    factor = torch.ones((), requires_grad=True)
    calls = []

    def scale_once(module, output):
        calls.append(output)
        return (output[0] * factor, *output[1:]) if len(calls) == 1 else output

    with edit(pipeline_modules(pipeline), {DENOISER[name]: scale_once}):
        latents = latents_of(
            pipeline, PROMPTS, gradient=gradient, generators=seeded([0, 1]), call=call_of(name, 2)
        )
    assert len(calls) == 2
    if not latents.requires_grad:
        return None
    return torch.autograd.grad(latents.square().sum(), factor)[0]


@pytest.mark.parametrize("name", PIPELINES)
def test_gradients_cross_denoising_steps_unless_the_last_is_asked_for(name):
    pipeline = build(name)
    full = first_step_gradient(pipeline, name, "full")
    assert full.isfinite()
    assert full.abs() > 1e-3
    assert first_step_gradient(pipeline, name, "last") is None


def test_the_gradient_across_two_steps_is_that_of_finite_differences():
    pipeline = build("sd", torch.float64)

    def energy(shift):
        maps = Maps({"text_encoder.final_layer_norm": AffineMap(torch.ones(8).double(), shift)})
        with steer(pipeline, maps):
            latents = latents_of(
                pipeline, PROMPTS, generators=seeded([0, 1]), call=call_of("sd", 2)
            )
        return latents.square().sum()

    shift = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(energy(shift), shift)
    step = torch.zeros(8, dtype=torch.float64)
    step[3] = 1e-5
    with torch.no_grad():
        slope = (energy(step) - energy(-step)) / 2e-5
    torch.testing.assert_close(gradient[3], slope, rtol=1e-5, atol=0)
    assert gradient.abs().min() > 0


@pytest.mark.parametrize("gradient", ["full", "last"])
@pytest.mark.parametrize("name", PIPELINES)
def test_gradients_reach_every_text_encoder(name, gradient):
    pipeline = build(name)
    first_norm = r"text_encoder(_2)?\..*\.(layers\.0\.layer_norm1|block\.0\.layer\.0\.layer_norm)"
    layers = select_layers(pipeline, first_norm)
    assert len(layers) == (1 if name == "sd" else 2)
    shifts = {layer: torch.zeros(8, requires_grad=True) for layer in layers}
    maps = Maps({layer: AffineMap(torch.ones(8), shift) for layer, shift in shifts.items()})
    with steer(pipeline, maps):
        latents = latents_of(pipeline, PROMPTS, gradient=gradient, call=call_of(name, 2))
    latents.square().sum().backward()
    assert all(shift.grad.abs().max() > 0 for shift in shifts.values())


def test_an_image_does_not_depend_on_its_batch(sd):
    call = call_of("sd")
    together = latents_of(sd, PROMPTS, gradient=None, generators=seeded([5, 6]), call=call)
    alone = latents_of(sd, PROMPTS[1:], gradient=None, generators=seeded([6]), call=call)
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=0)
    assert not torch.allclose(together[0], together[1])


def test_denoising_steps_are_told_and_the_bar_is_as_before(sd, capsys):
    sd.set_progress_bar_config(desc="mine")
    ends = []
    latents_of(sd, PROMPTS, on_step_end=lambda: ends.append(len(ends)), call=call_of("sd", 3))
    assert ends == [0, 1, 2]
    assert capsys.readouterr() == ("", "")
    assert sd._progress_bar_config == {"desc": "mine"}
    del sd._progress_bar_config
    latents_of(sd, PROMPTS, call=call_of("sd"))
    assert not hasattr(sd, "_progress_bar_config")


def test_texts_beside_the_prompts_are_one_for_all_or_one_for_each():
    call = {"negative_prompt": "star", "prompt_2": ["a", "b", "c"], "num_inference_steps": 2}
    expected = {"negative_prompt": ["star"] * 2, "prompt_2": ["c", "a"], "num_inference_steps": 2}
    assert call_of_batch(call, [2, 0], 3) == expected
    assert call_of_batch({"negative_prompt": None}, [0], 1) == {"negative_prompt": None}
    with pytest.raises(ValueError, match=r"negative_prompt is one text .* got 2 for 3 prompts"):
        call_of_batch({"negative_prompt": ["a", "b"]}, [0], 3)


@pytest.mark.parametrize("name", ["prompt", "generator", "output_type", "callback_on_step_end"])
def test_arguments_that_are_set_here_are_refused_in_a_call(sd, name):
    with pytest.raises(ValueError, match=f"call has {name}, .* leave it out"):
        latents_of(sd, PROMPTS, call={**call_of("sd"), name: "latent"})


def test_a_call_is_recorded_as_json_holds_it():
    call = {"timesteps": (399,), "guidance_scale": 0.0, "latents": torch.zeros(1), "eta": torch.nan}
    assert call_to_record(call) == {
        "timesteps": [399],
        "guidance_scale": 0.0,
        "latents": "Tensor",
        "eta": "float",
    }


def test_a_pipeline_without_a_callback_is_refused():
    class Old:
        @property
        def components(self):
            return {"unet": nn.Identity()}

        def __call__(self, prompt):
            return prompt

    with pytest.raises(TypeError, match="Old takes no callback_on_step_end"):
        latents_of(Old(), PROMPTS)

import pytest
import torch
from small_pipelines import NORMS, PIPELINES, SOURCE, TARGET, build, call_of, hooks_of
from torch.testing import assert_close

from vismodels.methods.lineas.activations import pooled_activations
from vismodels.methods.lineas.baselines import fit_closed_form
from vismodels.methods.lineas.config import ActConfig
from vismodels.methods.lineas.fit import noise_seeds
from vismodels.methods.lineas.steer import steer

FEW = ("text_encoder.final_layer_norm", "unet.conv_in", "unet.conv_norm_out")


def act(estimator="mean", order="at_once", layers=FEW, **changes):
    return ActConfig(estimator=estimator, order=order, layers=layers, **changes)


def rows(pipeline, layer, side, prompts, steps=1, pooling="mean"):
    values, _ = pooled_activations(
        pipeline,
        [layer],
        prompts,
        [pooling],
        seeds=noise_seeds(0, "fresh", side, len(prompts)),
        batch_size=4,
        call=call_of("sd", steps),
    )
    return torch.cat(list(values[pooling].values()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", PIPELINES)
def test_maps_are_estimated_on_any_pipeline(name, dtype):
    pipeline = build(name, dtype)
    settings = act("linear", layers=NORMS[name])
    maps = fit_closed_form(pipeline, SOURCE, TARGET, settings, call=call_of(name, 2))
    assert maps.support() > 0.9
    assert {each.scale.dtype for each in maps.values()} == {torch.float32}
    assert (maps.about["method"], maps.about["prompts"]) == ("linear", [6, 5])
    assert not [hook for hook in hooks_of(pipeline) if hook.__module__.startswith("vismodels.")]


def test_at_once_every_layer_is_fitted_to_plain_activations(sd):
    maps = fit_closed_form(sd, SOURCE, TARGET, act())
    assert list(maps) == list(FEW)  # in the order they run
    for layer, each in maps.items():
        gap = rows(sd, layer, "target", TARGET).mean(0) - rows(sd, layer, "source", SOURCE).mean(0)
        assert_close(each.shift, gap, atol=1e-6, rtol=1e-5)


def test_sequentially_every_layer_ends_at_the_targets_mean(sd):
    """At once the maps of later layers repeat what those before have done already."""
    wanted = {layer: rows(sd, layer, "target", TARGET).mean(0) for layer in FEW}
    for order, reached in (("sequential", True), ("at_once", False)):
        maps = fit_closed_form(sd, SOURCE, TARGET, act(order=order))
        with steer(sd, maps):
            means = {layer: rows(sd, layer, "source", SOURCE).mean(0) for layer in FEW}
        gaps = [(means[layer] - wanted[layer]).abs().max() for layer in FEW]
        assert all(gap < 1e-5 for gap in gaps) == reached


def test_the_rows_of_all_denoising_steps_are_taken_together(sd):
    layer = "unet.conv_norm_out"
    maps = fit_closed_form(sd, SOURCE, TARGET, act(layers=(layer,)), call=call_of("sd", 3))
    target, source = rows(sd, layer, "target", TARGET, 3), rows(sd, layer, "source", SOURCE, 3)
    assert (len(target), len(source)) == (15, 18)
    assert_close(maps[layer].shift, target.mean(0) - source.mean(0), atol=1e-6, rtol=1e-5)


def test_masks_bound_what_is_moved(sd):
    layer = "unet.conv_norm_out"
    bounds = {}
    for mask in ("pooled", "positions"):
        maps = fit_closed_form(sd, SOURCE, TARGET, act("linear", layers=(layer,), mask=mask))
        bounds[mask] = maps[layer]
    everywhere, pooled = (rows(sd, layer, "source", SOURCE, pooling=p) for p in ("all", "mean"))
    assert_close(bounds["pooled"].low, pooled.amin(0))
    assert_close(bounds["pooled"].high, pooled.amax(0))
    assert_close(bounds["positions"].low, everywhere.amin(0))
    assert_close(bounds["positions"].high, everywhere.amax(0))


@pytest.mark.parametrize("name", PIPELINES)
def test_a_negative_prompt_is_for_all_batches(name):
    """Flux has a scale of its own for guidance."""
    guided = {"true_cfg_scale": 4.0} if name == "flux" else {"guidance_scale": 4.0}
    pipeline, settings = build(name), act(layers=NORMS[name][:1], batch_size=4)
    call = call_of(name, negative_prompt="a star", **guided)
    maps = fit_closed_form(pipeline, SOURCE, TARGET, settings, call=call)
    assert maps.support() > 0.9


def test_maps_remember_the_call_they_were_estimated_with(sd):
    maps = fit_closed_form(sd, SOURCE, TARGET, act(), call=call_of("sd", 2))
    assert maps.about["config"]["call"] == {"num_inference_steps": 2, "guidance_scale": 0.0}
    with pytest.raises(ValueError, match="call has generator"):
        fit_closed_form(sd, SOURCE, TARGET, act(), call=call_of("sd", generator=None))


def test_a_layer_whose_activations_are_not_finite_is_named(sd):
    with torch.no_grad():
        sd.unet.conv_norm_out.bias[1] = torch.inf
    for estimator in ("mean", "iti"):
        with pytest.raises(ValueError, match=r"no map of unet\.conv_norm_out: .* not finite"):
            fit_closed_form(sd, SOURCE, TARGET, act(estimator))


def test_results_do_not_depend_on_the_batches(sd):
    maps = [fit_closed_form(sd, SOURCE, TARGET, act(batch_size=size)) for size in (1, 6)]
    for layer in FEW:
        assert_close(maps[0][layer].shift, maps[1][layer].shift, atol=1e-5, rtol=1e-4)

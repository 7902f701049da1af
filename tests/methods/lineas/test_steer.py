import pytest
import torch
from small_pipelines import NORMS, PIPELINES, TARGET, build, call_of, hooks_of

from vismodels.methods.lineas.activations import pooled_activations
from vismodels.methods.lineas.layers import select_layers
from vismodels.methods.lineas.maps import AffineMap, Maps
from vismodels.methods.lineas.pipelines import latents_of, seeded
from vismodels.methods.lineas.steer import attach, steer

PROMPTS = TARGET[:2]


def run(pipeline, name, **options):
    call = call_of(name, 2, **options)
    return latents_of(pipeline, PROMPTS, gradient=None, generators=seeded([0, 1]), call=call)


def units_of(pipeline, name, layers):
    return pooled_activations(
        pipeline, layers, PROMPTS, ["mean"], seeds=[0, 1], batch_size=2, call=call_of(name)
    )[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", PIPELINES)
def test_maps_act_inside_the_block_and_leave_nothing(name, dtype, random_maps):
    pipeline = build(name, dtype)
    plain = run(pipeline, name)
    hooks = hooks_of(pipeline)
    maps = random_maps(units_of(pipeline, name, select_layers(pipeline, NORMS[name])))
    with steer(pipeline, maps):
        steered = run(pipeline, name)
    with steer(pipeline, maps, strength=0):
        assert hooks_of(pipeline) == hooks
        unsteered = run(pipeline, name)
    assert steered.dtype == dtype
    assert not torch.equal(steered, plain)
    assert torch.equal(unsteered, plain)
    assert torch.equal(run(pipeline, name), plain)
    assert hooks_of(pipeline) == hooks


def test_identity_maps_change_no_bit(sd):
    layers = units_of(sd, "sd", select_layers(sd, NORMS["sd"]))
    with steer(sd, Maps({layer: AffineMap.identity(units) for layer, units in layers.items()})):
        steered = run(sd, "sd")
    assert torch.equal(steered, run(sd, "sd"))


def test_the_inverse_takes_the_maps_back(sd, random_maps):
    maps = random_maps(units_of(sd, "sd", select_layers(sd, "unet.*norm.*")))
    with steer(sd, maps.then(maps.inverse())):
        there_and_back = run(sd, "sd")
    torch.testing.assert_close(there_and_back, run(sd, "sd"), atol=1e-5, rtol=0)


def test_nested_maps_act_as_composed_ones_the_inner_first(sd, random_maps):
    layers = units_of(sd, "sd", select_layers(sd, "unet.*norm.*"))
    first, second = random_maps(layers), random_maps(layers)
    with steer(sd, second), steer(sd, first):
        nested = run(sd, "sd")
    with steer(sd, first.then(second)):
        composed = run(sd, "sd")
    torch.testing.assert_close(nested, composed, atol=1e-5, rtol=0)


def test_attached_maps_stay_until_they_are_closed(sd, random_maps):
    maps = random_maps(units_of(sd, "sd", ["unet.conv_norm_out"]))
    plain = run(sd, "sd")
    attached = attach(sd, maps, 0.5)
    with steer(sd, maps, 1.0):
        pass
    changed = run(sd, "sd")
    attached.close()
    with steer(sd, maps, 0.5):
        assert torch.equal(run(sd, "sd"), changed)
    assert torch.equal(run(sd, "sd"), plain)
    assert not torch.equal(changed, plain)


def test_a_layer_whose_output_a_library_collects_itself_is_steered(random_maps):
    """SDXL's text comes from hidden states that hooks of transformers collect."""
    sdxl = build("sdxl")
    plain = run(sdxl, "sdxl")  # these hooks are there from the first call on
    maps = random_maps({"text_encoder.encoder.layers.0": 8})  # the last but one, which is used
    with steer(sdxl, maps):
        assert not torch.equal(run(sdxl, "sdxl"), plain)


def test_the_shift_at_the_end_of_the_denoiser_is_where_it_should_be(sd):
    """With one step of zero terminal SNR the latents are minus the velocity."""
    plain = latents_of(sd, PROMPTS, gradient=None, generators=seeded([0, 1]), call=call_of("sd"))
    shift = torch.tensor([1.0, 0, 0, -2])
    with steer(sd, Maps({"unet.conv_out": AffineMap(torch.ones(4), shift)}), 0.5):
        moved = latents_of(
            sd, PROMPTS, gradient=None, generators=seeded([0, 1]), call=call_of("sd")
        )
    expected = (-0.5 * shift).view(1, 4, 1, 1).expand_as(plain)
    torch.testing.assert_close(moved - plain, expected, atol=1e-5, rtol=0)


def test_what_does_not_fit_is_refused(sd, random_maps):
    with pytest.raises(ValueError, match="0 to 1"), steer(sd, random_maps({"unet": 4}), -1):
        pass
    with pytest.raises(KeyError, match=r"did you mean 'unet\.conv_in'"):
        attach(sd, random_maps({"unet.conv_inn": 4}))
    with (
        steer(sd, random_maps({"unet.conv_in": 3})),
        pytest.raises(ValueError, match=r"unet\.conv_in cannot be steered: .* 4 units .* 3"),
    ):
        run(sd, "sd")
    assert not hooks_of(sd)

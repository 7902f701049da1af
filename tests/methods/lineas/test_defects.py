"""Defects of the published codes of AcT and LinEAS, each of which could return."""

import pytest
import torch
from small_pipelines import PIPELINES, SOURCE, TARGET, build, call_of
from torch.testing import assert_close

from vismodels.methods.lineas.activations import pooled_activations
from vismodels.methods.lineas.baselines import fit_closed_form
from vismodels.methods.lineas.config import ActConfig, FitConfig
from vismodels.methods.lineas.fit import fit
from vismodels.methods.lineas.generation import generate
from vismodels.methods.lineas.hooks import at_element, transported
from vismodels.methods.lineas.layers import pipeline_modules
from vismodels.methods.lineas.maps import AffineMap, Maps
from vismodels.methods.lineas.pipelines import latents_of, seeded
from vismodels.methods.lineas.steer import steer
from vismodels.nn.hooks import capture, edit


def test_a_layer_that_returns_a_tuple_keeps_returning_it():
    """The base hook returned its first tensor alone, which breaks Flux."""
    flux, layer = build("flux"), "transformer.transformer_blocks.0.norm1"
    each = AffineMap(torch.full((16,), 2.0), torch.ones(16))
    call = call_of("flux")

    def outputs(*maps):
        with capture(pipeline_modules(flux), layer, copies=True) as captured:
            latents_of(flux, TARGET[:2], gradient=None, generators=seeded([0, 1]), call=call)
        return captured[layer]

    plain = outputs()
    for element in (0, 2):
        with steer(flux, Maps({f"{layer}:{element}": each})):
            steered = outputs()
        assert len(steered) == 5
        for index, (moved, before) in enumerate(zip(steered, plain, strict=True)):
            expected = 2 * before + 1 if index == element else before
            assert_close(moved, expected)


def test_an_image_inside_a_tuple_is_moved_by_its_channels():
    """The branch for images read the shape of the tuple."""
    each = AffineMap(torch.tensor([1.0, 3.0]), torch.zeros(2))
    edit = at_element(1, lambda module, image: transported(image, each, 1, "all"))
    kept, moved = edit(torch.nn.Identity(), (torch.zeros(1), torch.ones(1, 2, 2, 2)))
    assert moved[0, :, 0, 0].tolist() == [1, 3]
    assert kept.tolist() == [0]


@pytest.mark.parametrize("name", PIPELINES)
def test_the_first_text_encoder_can_be_steered(name):
    """The shape probe knew every component but `text_encoder`."""
    settings = FitConfig(layers=("text_encoder.final_layer_norm",), iterations=1)
    maps = fit(build(name), SOURCE, TARGET, settings, call=call_of(name))
    assert maps.support() == 1


def test_no_weight_has_a_gradient_or_a_graph_after_a_fit():
    """Base weights were left requiring gradients, which costs their memory."""
    sd, wanting = build("sd"), []

    def watch(module, output):
        if torch.is_grad_enabled():
            wanting.append(any(weight.requires_grad for weight in weights))
        return output

    weights = list(pipeline_modules(sd).parameters())
    weights[0].requires_grad_(False)
    with edit(pipeline_modules(sd), {"unet": watch}):
        fit(sd, SOURCE, TARGET, FitConfig(layers=("unet.conv_in",), iterations=2))
    assert wanting == [False, False]  # in the passes that are learnt from
    assert [weight.requires_grad for weight in weights] == [False, *[True] * (len(weights) - 1)]
    assert all(weight.grad is None for weight in weights)


def test_a_negative_strength_never_steers_forward():
    """It was meant to invert; the hook did not read the flag and steered on."""
    sd, maps = build("sd"), Maps({"unet.conv_in": AffineMap.identity(4)})
    for act in (lambda: maps.at(-1.0), lambda: steer(sd, maps, -1.0).__enter__()):
        with pytest.raises(ValueError, match=r"inverse\(\)"):
            act()


def test_every_field_of_a_map_survives_a_file(tmp_path):
    """Loaded hooks lacked most attributes, since their keys had no prefix."""
    fields = {
        name: torch.tensor([float(i)]) for i, name in enumerate(("scale", "shift", "low", "high"))
    }
    Maps({"unet.a": AffineMap(**fields)}, "last").save_pretrained(tmp_path)
    loaded = Maps.from_pretrained(tmp_path)
    assert loaded["unet.a"].tensors() == fields
    assert loaded.mode == "last"
    assert not list(tmp_path.glob("*.p*t*"))  # no pickle, of whatever suffix


def test_maps_can_be_printed():
    """Printing the Gaussian hook raised, for a wrong name."""
    maps = Maps({"unet.a": AffineMap.identity(3)})
    assert repr(maps) == "Maps(1 layers, 3 units, mode='all')"


def test_a_map_does_not_write_into_a_layers_output():
    """A layer's output may be its input, or be used elsewhere (a residual)."""

    class Pipeline:
        def __init__(self):
            self.components = {"part": torch.nn.Identity()}

    pipeline, x = Pipeline(), torch.ones(1, 2, 3, 3)
    for mode in ("all", "avg"):
        maps = Maps({"part": AffineMap(torch.full((2,), 2.0), torch.ones(2))}, mode)
        with steer(pipeline, maps):
            assert torch.equal(pipeline.components["part"](x), torch.full_like(x, 3))
    assert torch.equal(x, torch.ones_like(x))


def test_a_mask_bounds_the_values_that_are_moved_not_their_means():
    """Values of pixels were compared with the range of means, so that most stayed unsteered."""
    sd, layer = build("sd"), "unet.conv_norm_out"
    values, _ = pooled_activations(
        sd, [layer], SOURCE, ["all"], seeds=range(6), batch_size=6, call=call_of("sd")
    )
    shares = {}
    for mask in ("positions", "pooled"):
        settings = ActConfig(layers=(layer,), estimator="mean", mask=mask)
        each = fit_closed_form(sd, SOURCE, TARGET, settings)[layer]
        pixels = values["all"][layer, 0]
        shares[mask] = (each.moved(pixels) != pixels).float().mean().item()
    assert shares["positions"] > 0.9
    assert shares["pooled"] < 0.4


def test_images_of_two_batches_have_different_noise():
    """Every batch was seeded alike, and results depended on the batch size."""
    sd = build("sd")
    made = generate(sd, TARGET[:1] * 4, seeds=[0, 1, 2, 3], batch_size=2, call=call_of("sd"))
    assert not torch.allclose(made[:2], made[2:], atol=1e-3)
    single = generate(sd, TARGET[:1] * 4, seeds=[0, 1, 2, 3], batch_size=1, call=call_of("sd"))
    assert_close(made, single, atol=1e-5, rtol=0)


@pytest.mark.parametrize("estimator", ["linear", "mean", "gaussian", "iti"])
def test_sides_of_unequal_size_need_no_pruning(estimator):
    """Equal counts were asserted; prompts beyond them were left out without a word."""
    sd = build("sd")
    settings = ActConfig(layers=("unet.conv_in",), estimator=estimator)
    maps = fit_closed_form(sd, SOURCE, TARGET, settings)
    fewer = fit_closed_form(sd, SOURCE[:5], TARGET, settings)
    assert maps.about["prompts"] == [6, 5]
    assert not torch.equal(maps["unet.conv_in"].shift, fewer["unet.conv_in"].shift)

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.normalization import RMSNorm as DiffusersRMSNorm
from small_pipelines import NORMS, TARGET, build, call_of, hooks_of
from torch import nn
from torch.testing import assert_close

from vismodels.checkpoint import tensor_digest
from vismodels.methods.lineas.activations import pooled_activations
from vismodels.methods.lineas.folding import fold_, refusals
from vismodels.methods.lineas.generation import generate
from vismodels.methods.lineas.layers import pipeline_modules, select_layers
from vismodels.methods.lineas.maps import AffineMap, Maps
from vismodels.methods.lineas.steer import steer

FLUX_REASONS = {
    "text_encoder_2.encoder.final_layer_norm": "no place for a shift",
    "transformer.transformer_blocks.0.norm1": "does not end in an affine operation",
    "transformer.transformer_blocks.0.norm2": "no weight and no bias; create=True",
}


class Part(nn.Sequential):
    dtype = torch.float32


class Pipeline:
    """A pipeline of one component, `part`, whose layers are numbered."""

    def __init__(self, *layers):
        self.components = {"part": Part(*layers)}


def images(pipeline, name, maps=None, strength=1.0):
    call = call_of(name, 2)
    return generate(pipeline, TARGET[:2], maps, strength, seeds=[0, 1], batch_size=2, call=call)


def norm_maps(pipeline, name, random_maps):
    layers = select_layers(pipeline, NORMS[name])
    units = pooled_activations(
        pipeline, layers, TARGET[:1], ["mean"], seeds=[0], batch_size=1, call=call_of(name)
    )[1]
    return random_maps(units)


@pytest.mark.parametrize(("name", "strength"), [("sd", 1.0), ("sdxl", 0.4), ("flux", 0.7)])
def test_folded_images_are_the_hooked_ones(name, strength, random_maps):
    pipeline = build(name)
    maps = norm_maps(pipeline, name, random_maps)
    refused = refusals(pipeline, maps)
    maps = maps.subset(lambda layer: layer not in refused)
    plain, hooked = images(pipeline, name), images(pipeline, name, maps, strength)
    hooks = hooks_of(pipeline)
    modules = pipeline_modules(pipeline)
    kinds = [type(module) for module in modules.modules()]
    shapes = [weight.shape for weight in modules.parameters()]
    assert fold_(pipeline, maps, strength) == ()
    assert_close(images(pipeline, name), hooked, atol=1e-5, rtol=0)
    assert (hooked - plain).abs().max() > 1e-3
    assert hooks_of(pipeline) == hooks
    assert [type(module) for module in modules.modules()] == kinds
    assert [weight.shape for weight in modules.parameters()] == shapes
    assert len(refused) == (0 if name != "flux" else 12)


def test_flux_layers_that_do_not_fold_are_refused_by_name_and_nothing_changes(random_maps):
    flux = build("flux")
    maps = norm_maps(flux, "flux", random_maps)
    reasons = refusals(flux, maps)
    for layer, reason in FLUX_REASONS.items():
        assert reason in reasons[layer]
    before = tensor_digest(pipeline_modules(flux))
    with pytest.raises(ValueError, match=r"12 of 17 maps.*transformer_blocks.0.norm1: .*subset"):
        fold_(flux, maps)
    assert tensor_digest(pipeline_modules(flux)) == before


def test_what_folds_and_what_is_left_to_hooks_give_the_same_together(random_maps):
    flux = build("flux")
    maps = norm_maps(flux, "flux", random_maps)
    hooked = images(flux, "flux", maps)
    left = refusals(flux, maps, create=True)
    created = fold_(flux, maps.subset(lambda layer: layer not in left), create=True)
    assert "transformer.transformer_blocks.0.norm2.bias" in created
    rest = maps.subset(lambda layer: layer in left)
    assert_close(images(flux, "flux", rest), hooked, atol=1e-5, rtol=0)


def test_a_folded_pipeline_is_a_plain_checkpoint(sd, random_maps, tmp_path):
    maps = norm_maps(sd, "sd", random_maps)
    hooked = images(sd, "sd", maps, 0.7)
    fold_(sd, maps, 0.7)
    sd.save_pretrained(tmp_path)
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path, low_cpu_mem_usage=False)
    loaded.set_progress_bar_config(disable=True)
    assert_close(images(loaded, "sd"), hooked, atol=1e-5, rtol=0)
    assert not hooks_of(loaded)


def test_half_precision_weights_are_folded_to_their_own_rounding(random_maps):
    sd = build("sd", torch.bfloat16)
    maps = norm_maps(sd, "sd", random_maps)
    weight = sd.unet.conv_norm_out.weight.detach().float()
    fold_(sd, maps)
    expected = (weight * maps["unet.conv_norm_out"].scale).bfloat16()
    assert sd.unet.conv_norm_out.weight.dtype == torch.bfloat16
    assert torch.equal(sd.unet.conv_norm_out.weight, expected)


def test_strength_0_changes_nothing_and_others_are_refused(sd, random_maps):
    maps = norm_maps(sd, "sd", random_maps)
    before = tensor_digest(pipeline_modules(sd))
    assert fold_(sd, maps, 0.0) == ()
    with pytest.raises(ValueError, match="0 to 1"):
        fold_(sd, maps, -1.0)
    assert tensor_digest(pipeline_modules(sd)) == before


@pytest.mark.parametrize(
    ("layer", "shape", "created"),
    [
        (nn.Linear(3, 4), (2, 5, 3), ()),
        (nn.Linear(3, 4, bias=False), (2, 5, 3), ("part.0.bias",)),
        (nn.Conv1d(2, 4, 3), (2, 2, 7), ()),
        (nn.Conv2d(2, 4, 3, groups=2), (2, 2, 5, 5), ()),
        (nn.Conv3d(2, 4, 1, bias=False), (2, 2, 2, 2, 2), ("part.0.bias",)),
        (nn.GroupNorm(2, 4), (2, 4, 3, 3), ()),
        (nn.GroupNorm(2, 4, affine=False), (2, 4, 3, 3), ("part.0.weight", "part.0.bias")),
        (nn.LayerNorm(4), (2, 5, 4), ()),
        (nn.LayerNorm(4, elementwise_affine=False), (2, 5, 4), ("part.0.weight", "part.0.bias")),
        (FP32LayerNorm(4, elementwise_affine=False), (2, 5, 4), ("part.0.weight", "part.0.bias")),
        (DiffusersRMSNorm(4, eps=1e-6, bias=True), (2, 5, 4), ()),
    ],
    ids=lambda value: repr(value) if isinstance(value, nn.Module) else "",
)
def test_every_kind_of_layer_that_folds(layer, shape, created, generator, random_maps):
    pipeline = Pipeline(layer)
    maps = random_maps({"part.0": 4})
    x = torch.randn(shape, generator=generator)
    with torch.no_grad():
        with steer(pipeline, maps):
            hooked = layer(x)
        if created:
            with pytest.raises(ValueError, match="create=True"):
                fold_(pipeline, maps)
        assert fold_(pipeline, maps, create=True) == created
        assert_close(layer(x), hooked)
        assert not torch.allclose(hooked, x.new_zeros(()))
    names = {f"part.{name}" for name, _ in pipeline.components["part"].named_parameters()}
    assert set(created) <= names


@pytest.mark.parametrize("norm", [nn.RMSNorm(4), DiffusersRMSNorm(4, eps=1e-6)])
def test_an_rms_norm_takes_a_scale_but_no_shift(norm, generator, random_maps):
    pipeline = Pipeline(norm)
    maps = random_maps({"part.0": 4})
    with pytest.raises(ValueError, match="no place for a shift"):
        fold_(pipeline, maps, create=True)
    scale = Maps({"part.0": AffineMap(maps["part.0"].scale, torch.zeros(4))})
    x = torch.randn(2, 4, generator=generator)
    expected = norm(x) * scale["part.0"].scale
    fold_(pipeline, scale)
    assert_close(norm(x), expected)


def test_a_bias_is_not_created_where_there_is_no_shift():
    layer = nn.Linear(3, 4, bias=False)
    scale = Maps({"part.0": AffineMap(torch.full((4,), 2.0), torch.zeros(4))})
    assert fold_(Pipeline(layer), scale) == ()
    assert layer.bias is None


class Odd(nn.Linear):
    def forward(self, x):
        return super().forward(x).relu()


TIED = nn.Linear(4, 4)
TWIN = nn.Linear(4, 4)
TWIN.weight = TIED.weight
ONE = AffineMap(torch.full((4,), 2.0), torch.ones(4))


@pytest.mark.parametrize(
    ("layers", "maps", "reason"),
    [
        ([Odd(4, 4)], Maps({"part.0": ONE}), "a Odd does not end in an affine operation"),
        ([nn.SiLU()], Maps({"part.0": ONE}), "a SiLU does not end"),
        ([nn.Linear(4, 5)], Maps({"part.0": ONE}), "5 units and its map 4"),
        ([nn.LayerNorm((3, 4))], Maps({"part.0": ONE}), "None units"),
        ([nn.Linear(4, 4)], Maps({"part.0:1": ONE}), "element 1"),
        ([nn.Linear(4, 4)], Maps({"part.0": ONE}, "avg"), "mode 'avg'"),
        (
            [nn.Linear(4, 4)],
            Maps({"part.0": AffineMap(ONE.scale, ONE.shift, -ONE.scale, ONE.scale)}),
            "range of values",
        ),
        ([TIED, TWIN], Maps({"part.0": ONE}), "shares its weights"),
        ([TIED, TIED], Maps({"part.1": ONE}), "shares its weights"),
    ],
)
def test_what_cannot_be_folded_has_a_reason(layers, maps, reason):
    pipeline = Pipeline(*layers)
    assert [reason in text for text in refusals(pipeline, maps, create=True).values()] == [True]
    with pytest.raises(ValueError, match=r"1 of 1 maps cannot be folded"):
        fold_(pipeline, maps, create=True)


def test_an_unknown_layer_suggests_the_nearest():
    with pytest.raises(KeyError, match=r"did you mean 'part\.0'"):
        fold_(Pipeline(nn.Linear(4, 4)), Maps({"part.1": ONE}))

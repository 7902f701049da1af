import pytest
import torch
from diffusers import UNet2DConditionModel
from small_pipelines import build
from torch import nn

from vismodels.methods.lineas.layers import (
    component_of,
    denoisers,
    pipeline_modules,
    select_layers,
    split_layer,
    to_positions,
    unit_axis,
)


@pytest.mark.parametrize(
    ("name", "expected"), [("sd", ["unet"]), ("sdxl", ["unet"]), ("flux", ["transformer"])]
)
def test_the_denoiser_is_what_runs_in_every_step(name, expected):
    assert denoisers(build(name)) == expected


class Pipeline:
    def __init__(self, **components):
        self.components = components


def sdxl_unet():
    """Return a UNet of SDXL's blocks, a few channels wide."""
    return UNet2DConditionModel(
        block_out_channels=(2, 2, 2),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=[1, 2, 10],
        attention_head_dim=1,
        cross_attention_dim=2,
        norm_num_groups=1,
        use_linear_projection=True,
    )


def test_the_papers_layer_choices_have_the_papers_numbers_of_modules():
    """Table 3 of LinEAS, for the UNet of SDXL."""
    pipeline = Pipeline(unet=sdxl_unet(), scheduler=None)
    counts = {
        "unet.*norm.*": 256,
        r"unet.*\.ff": 70,
        r"unet.*\.to_[qk]": 280,
        r"unet.*\.to_v": 140,
        r"unet.*\.proj_in": 11,
        "unet.*resnets.*norm.*": 34,
    }
    assert {pattern: len(select_layers(pipeline, pattern)) for pattern in counts} == counts


def test_components_that_are_no_networks_are_left_out(sd):
    assert set(pipeline_modules(sd)) == {"vae", "text_encoder", "unet"}


def test_layers_come_once_and_in_the_pipelines_order(sd):
    found = select_layers(sd, ["unet.conv_out", "unet.conv_(in|out)", "text_encoder.final_.*"])
    assert found == (
        "text_encoder.final_layer_norm",
        "unet.conv_in",
        "unet.conv_out",
    )


def test_layers_by_type_within_a_pattern(sd):
    found = select_layers(sd, "unet.*", types=nn.GroupNorm)
    assert len(found) == len([m for m in sd.unet.modules() if isinstance(m, nn.GroupNorm)])
    everywhere = select_layers(sd, types=(nn.GroupNorm, nn.LayerNorm))
    assert {component_of(name) for name in everywhere} == {"text_encoder", "unet", "vae"}


def test_an_element_of_a_tuple_is_chosen_by_its_index():
    pattern = r"transformer.transformer_blocks.\d+.norm1"
    found = select_layers(build("flux"), [pattern, f"{pattern}:2"])
    assert found == (
        "transformer.transformer_blocks.0.norm1",
        "transformer.transformer_blocks.0.norm1:2",
    )
    assert split_layer(found[1]) == ("transformer.transformer_blocks.0.norm1", 2)


def test_a_colon_inside_an_expression_is_no_index(sd):
    assert select_layers(sd, "unet.(?:conv_in)") == ("unet.conv_in",)


def test_a_pattern_without_a_match_names_the_nearest_layers(sd):
    with pytest.raises(ValueError, match=r"'unet.conv_inn'.*'unet.conv_in'.*components"):
        select_layers(sd, "unet.conv_inn")
    with pytest.raises(ValueError, match=r"'transformer.*norm.*'.*components are \['text_encoder'"):
        select_layers(sd, "transformer.*norm.*")


def test_a_type_that_does_not_occur_is_refused(sd):
    with pytest.raises(ValueError, match=r"LSTM.*it has .*'GroupNorm'"):
        select_layers(sd, types=nn.LSTM)


def test_a_layer_name_with_something_else_after_the_colon_is_refused():
    with pytest.raises(ValueError, match="name:index"):
        split_layer("unet.a:first")


@pytest.mark.parametrize(
    ("module", "shape", "axis"),
    [
        (nn.Conv2d(1, 6, 1), (2, 6, 4, 5), 1),
        (nn.GroupNorm(2, 6), (2, 6, 20), 1),
        (nn.Linear(1, 6), (2, 20, 6), 2),
        (nn.LayerNorm(6), (2, 3, 4, 6), 3),
        (nn.RMSNorm(6), (2, 3, 4, 6), 3),  # queries (B, tokens, heads, features)
        (nn.Identity(), (2, 6), 1),
        (nn.Identity(), (2, 20, 6), 2),
        (nn.Identity(), (2, 6, 4, 5), 1),
        (nn.Identity(), (2, 6, 3, 4, 5), 1),
    ],
)
def test_the_axis_of_the_units(module, shape, axis):
    x = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    assert unit_axis(module, x) == axis
    positions = to_positions(x, axis)
    assert positions.shape == (2, x[0].numel() // 6, 6)
    assert torch.equal(positions[1, :, 3], x.select(axis, 3)[1].flatten())


def test_an_output_without_units_is_refused():
    with pytest.raises(ValueError, match=r"Identity puts out \(3,\)"):
        unit_axis(nn.Identity(), torch.zeros(3))


def test_a_norm_of_another_library_is_known_by_its_name():
    norm = build("flux").transformer.transformer_blocks[0].attn.norm_q
    assert unit_axis(norm, torch.zeros(2, 4, 3, 16)) == 3

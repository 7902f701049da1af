import pytest
import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from small_denoisers import build_dit, build_pixart, build_unet, calls_of
from torch import nn

from vismodels.methods.quest.config import LAYER_SETS, PRESETS
from vismodels.methods.quest.layer_sets import (
    fitting,
    layer_names,
    log_shares,
    parameter_share,
    select_layers,
    shares,
)
from vismodels.methods.quest.quantize import quantize_
from vismodels.methods.quest.shortcuts import find_splits


def test_a_pattern_fits_whole_names():
    names = ("a.conv", "a.conv2", "b.conv")
    assert fitting(names, (r".*\.conv",)) == ("a.conv", "b.conv")
    assert fitting(names, ("conv",)) == ()


def test_layers_are_selected_in_the_order_of_the_network():
    model = build_unet()
    found = select_layers(model, LAYER_SETS["paper"].temporal)
    assert found == tuple(name for name in layer_names(model) if name in found)
    assert {"time_embedding.linear_1", "mid_block.resnets.0.time_emb_proj"} <= set(found)


def test_a_selection_of_nothing_is_refused_with_names_that_exist():
    with pytest.raises(ValueError, match=r"no layer of UNet2DConditionModel fits nothing.*conv_in"):
        select_layers(build_unet(), ("nothing",))


def test_shares_by_hand():
    model = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(2, 1), "c": nn.LayerNorm(4)})
    assert parameter_share(model, ["a"]) == 8 / 19
    assert parameter_share(model, ["a", "b"]) == 11 / 19


def test_the_published_set_is_a_fifth_of_stable_diffusion():
    """17.3 % in feed-forward layers and 3.0 % in time projections, of 859.5 million parameters."""
    with torch.device("meta"):
        model = UNet2DConditionModel(
            sample_size=64, cross_attention_dim=768, attention_head_dim=8, layers_per_block=2
        )
    found = shares(model, LAYER_SETS["code"])
    assert sum(each.numel() for each in model.parameters()) == 859_520_964
    assert found["sensitive"] == pytest.approx(0.173, abs=5e-4)
    assert found["temporal"] == pytest.approx(0.030, abs=5e-4)
    assert found["both"] == pytest.approx(found["sensitive"] + found["temporal"])


@pytest.mark.parametrize("build", [build_unet, build_dit])
def test_sets_grow_from_the_published_one_to_the_wide_one(build):
    model = build()
    code, paper, wide = (
        {*select_layers(model, s.temporal), *select_layers(model, s.sensitive)}
        for s in (LAYER_SETS["code"], LAYER_SETS["paper"], LAYER_SETS["wide"])
    )
    assert code < paper < wide


def test_layers_are_logged_with_their_shares(caplog):
    model = build_unet()
    with caplog.at_level("INFO"):
        log_shares(model, LAYER_SETS["code"], "net")
    temporal, _, both = (record.getMessage() for record in caplog.records)
    expected = shares(model, LAYER_SETS["code"])
    assert temporal.startswith(f"net, temporal layers, {100 * expected['temporal']:.1f} % of")
    assert "mid_block.resnets.0.time_emb_proj" in temporal
    assert both == f"net, both, {100 * expected['both']:.1f} % of parameters"


def test_temporal_layers_of_a_dit_are_those_that_see_only_the_time_and_the_class():
    found = select_layers(build_dit(), LAYER_SETS["paper"].temporal)
    block = "transformer_blocks.0.norm1"
    assert found[:3] == (
        f"{block}.emb.timestep_embedder.linear_1",
        f"{block}.emb.timestep_embedder.linear_2",
        f"{block}.linear",
    )
    assert found[-1] == "proj_out_1"
    assert len(found) == 7


def test_the_one_projection_of_the_time_of_a_pixart_transformer_is_temporal():
    model = build_pixart()
    assert select_layers(model, LAYER_SETS["code"].temporal) == ("adaln_single.linear",)
    assert select_layers(model, LAYER_SETS["paper"].temporal) == (
        "adaln_single.emb.timestep_embedder.linear_1",
        "adaln_single.emb.timestep_embedder.linear_2",
        "adaln_single.linear",
    )


def test_shares_are_the_same_before_and_after_quantization():
    model = build_unet()
    before = {name: shares(model, sets) for name, sets in LAYER_SETS.items()}
    quantize_(model, PRESETS["w4a4"], find_splits(model, **calls_of(model).arguments()))
    assert {name: shares(model, sets) for name, sets in LAYER_SETS.items()} == before


@pytest.mark.parametrize("name", LAYER_SETS)
def test_attention_of_unconditional_networks_is_sensitive(name):
    """Their queries, keys and values are what the published code tunes; they have no block."""
    model = UNet2DModel(
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=2,
    )
    found = select_layers(model, LAYER_SETS[name].sensitive)
    inside = {"to_q", "to_k", "to_v", *(["to_out.0"] if name == "wide" else [])}
    if name == "small":
        inside = {"to_out.0"}
    places = ("down_blocks.1", "mid_block", "up_blocks.0")
    assert {f"{place}.attentions.0.{each}" for place in places for each in inside} <= set(found)
    assert {layer.partition(".to_")[2] for layer in found} == {each[3:] for each in inside}

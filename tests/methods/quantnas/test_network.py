import copy
import json

import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin

from vismodels.checkpoint import load_weights, save_weights, tensor_digest
from vismodels.config import ConfigError
from vismodels.cost.counters import count
from vismodels.methods.quantnas.derived_layer import DerivedLayer
from vismodels.methods.quantnas.network import (
    PUBLISHED_EXAMPLE,
    SearchedSR,
    skeleton_config,
)
from vismodels.methods.quantnas.operations import OPERATIONS, SKIP_CONNECT, ZERO, convolutions
from vismodels.methods.quantnas.space import (
    BasicSkeleton,
    RFDNSkeleton,
    SpaceConfig,
    genotype_cost,
)
from vismodels.nn.super_resolution import bicubic_upsample
from vismodels.quantization.layers import QuantConv2d, bits_of
from vismodels.zoo import create_model

SMALL = {"kind": "basic", "channels": 12, "cells": 1}
CHOICES = {name: f"{c.partition('@')[0]}@8" for name, c in PUBLISHED_EXAMPLE.items()}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def image(size=8):
    return torch.rand(2, 3, size, size, generator=seeded(1))


def network(skeleton=SMALL, choices=CHOICES):
    net = SearchedSR(skeleton, choices)
    net.initialize_(seeded())
    return net


def rfdn(**options):
    space = SpaceConfig(skeleton=RFDNSkeleton(channels=12, cells=1, **options))
    return SearchedSR(space.skeleton.model_dump(), dict(space.random_genotype(1).choices))


# --- the published example ---------------------------------------------------------------------


def test_the_published_example_has_the_published_size_and_cost():
    net = create_model("quantnas")
    shapes = copy.deepcopy(net).to("meta")  # counts without computing
    small, large = (
        count(shapes, torch.zeros(1, 3, n, n, device="meta"), bits_of=bits_of) for n in (32, 256)
    )
    assert small.bitops == 4_628_938_752
    assert genotype_cost(BasicSkeleton(), net.genotype, (32, 32)) == 4_628_938_752
    assert large.bitops == 296_252_080_128
    assert small.parameters == 86_143
    weights = [p for n, p in net.named_parameters() if n.endswith("weight") and p.ndim == 4]
    assert sum(weight.numel() for weight in weights) == 85_212


def test_every_layer_has_the_bits_of_its_decision():
    choices = {**CHOICES, "body_1": "conv_3x1_1x3@4", "tail_1": "simple_3x3@32"}
    net = network(choices=choices)
    found = {
        name.partition("network.")[2].rpartition(".convolutions.")[0].rpartition(".")[2]: bits_of(
            name, module
        )
        for name, module in net.named_modules()
        if isinstance(module, QuantConv2d)
    }
    expected = dict.fromkeys(CHOICES, (8, 8)) | {"body_1": (4, 4), "tail_1": (32, 32)}
    assert found == expected


# --- layers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["hwgq", "lsq"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_builds_runs_and_learns(name, activation):
    chain = convolutions(name, 24, 24, 24)
    layer = DerivedLayer(name, chain, 24, 4, True, activation, "prelu")
    x = torch.randn(2, 24, 7, 6, generator=seeded()).requires_grad_()
    y = layer(x)
    assert y.shape == x.shape
    assert bool(list(layer.parameters())) == (name not in (SKIP_CONNECT, ZERO))
    if name == ZERO:
        assert not y.any()
    elif name == SKIP_CONNECT:
        assert torch.equal(y, x)
    else:
        (y * torch.randn(y.shape, generator=seeded(1))).sum().backward()
        for key, parameter in layer.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            # HWGQ rectifies once more, so that the slope of the rectifier before it has no effect.
            if activation == "lsq" or "rectify" not in key:
                assert parameter.grad.any(), key


@pytest.mark.parametrize("kind", ["basic", "rfdn"])
def test_with_the_options_for_small_budgets_the_untrained_network_is_nearly_bicubic(kind):
    options = {"activation": "lsq", "rectifier": "prelu", "bias": True, "bicubic_skip": True}
    skeleton = {"kind": kind, "channels": 12, "careful_start": True, **options}
    choices = {slot.name: "simple_3x3@8" for slot in skeleton_config(skeleton).slots()}
    bicubic = bicubic_upsample(image(16), 4)
    error = network(skeleton, choices).eval()(image(16)) - bicubic
    assert error.abs().mean().item() < 0.3 * bicubic.std().item()


# --- drawing and storing -----------------------------------------------------------------------


def test_weights_depend_on_the_generator_alone():
    torch.manual_seed(0)
    first = network()
    torch.manual_seed(1)
    assert tensor_digest(network()) == tensor_digest(first)
    first.initialize_(seeded(1))
    assert tensor_digest(network()) != tensor_digest(first)


def test_drawing_anew_forgets_what_was_learned():
    learned = network({**SMALL, "activation": "lsq", "rectifier": "prelu", "bias": True})
    fresh = tensor_digest(learned)
    learned(image()).mean().backward()
    for parameter in learned.parameters():
        parameter.data.sub_(parameter.grad if parameter.grad is not None else 0.5)
    assert tensor_digest(learned) != fresh
    learned.initialize_(seeded())
    assert tensor_digest(learned) == fresh


@pytest.mark.parametrize(
    "build",
    [
        network,
        rfdn,
        lambda: network({**SMALL, "activation": "lsq", "rectifier": "prelu", "scale": 3}),
    ],
    ids=["basic", "rfdn", "lsq"],
)
def test_a_saved_network_comes_back_with_equal_outputs(build, tmp_path):
    net = build()
    net(image(16))  # statistics of the normalizations
    net.eval()
    save_weights(net, tmp_path)
    again = load_weights(SearchedSR, tmp_path)
    assert tensor_digest(again) == tensor_digest(net)
    assert torch.equal(again(image(16)), net(image(16)))
    assert again.genotype == net.genotype


def test_it_is_stored_and_read_by_the_hub_mixin_too(tmp_path):
    net = network().eval()
    assert isinstance(net, PyTorchModelHubMixin)
    net.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["choices"] == CHOICES
    again = SearchedSR.from_pretrained(tmp_path, strict=True).eval()
    assert torch.equal(again(image()), net(image()))


def test_it_enlarges_an_image_of_any_size():
    net = network({**SMALL, "scale": 3, "adq": False})
    pixels = torch.randint(0, 256, (5, 7, 3), dtype=torch.uint8, generator=seeded()).numpy()
    assert net.super_resolve(pixels).shape == (15, 21, 3)


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bodi_0": "simple_3x3@8"}, "no decision 'bodi_0'; did you mean 'body_0'"),
        (
            {"body_0": "simple_3y3@8"},
            r"body_0: no operation .*'simple_3y3'; did you mean 'simple_3",
        ),
        ({"body_0": "simple_3x3@3"}, "operation@bits .*got 'simple_3x3@3'"),
        ({"body_0": "simple_3x3"}, "operation@bits .*got 'simple_3x3'"),
        ({"head_0": "skip_connect@8"}, "head_0: skip_connect from 3 to 12 .*identity"),
    ],
)
def test_unknown_names_and_bits_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        network(choices={**CHOICES, **change})


def test_missing_decisions_are_refused():
    some = {name: choice for name, choice in CHOICES.items() if "tail" not in name}
    with pytest.raises(ConfigError, match="says nothing about tail_0, tail_1"):
        network(choices=some)


def test_channels_that_a_group_cannot_divide_are_refused():
    with pytest.raises(ConfigError, match=r"head_0: simple_3x3_grouped_3 from 3 to 16 .* 3 groups"):
        network({**SMALL, "channels": 16})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 5}, r"skeleton\.scale"),
        ({"kind": "rfdm"}, "kind must be one of basic, rfdn, got 'rfdm'"),
        ({"chanels": 16}, "chanels: unknown key; did you mean 'channels'"),
    ],
)
def test_a_skeleton_that_does_not_exist_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        network({**SMALL, **change})


def test_images_that_are_not_rgb_floats_are_refused():
    with pytest.raises(ValueError, match=r"RGB images \(B, 3, h, w\), got shape \(1, 1, 8, 8\)"):
        network()(torch.zeros(1, 1, 8, 8))
    with pytest.raises(TypeError, match="divide by 255"):
        network()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize("rectifier", ["relu", "leaky_relu", "prelu"])
def test_the_layer_that_reads_the_image_spends_no_level_on_a_sign(rectifier):
    skeleton = {"kind": "basic", "rectifier": rectifier, "activation": "lsq"}
    signed = {}
    for name, layer in SearchedSR(skeleton, PUBLISHED_EXAMPLE).named_modules():
        if hasattr(layer, "quantize_activation"):
            signed[name] = layer.quantize_activation.spec.signed
    reading = [name for name in signed if "head_0" in name]
    assert len(reading) == 1
    assert not signed.pop(reading[0])
    assert set(signed.values()) == {rectifier != "relu"}

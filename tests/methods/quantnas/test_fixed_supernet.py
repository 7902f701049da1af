"""Bit search in published networks."""

import pytest
import torch

from vismodels.config import ConfigError
from vismodels.cost.counters import count
from vismodels.methods.quantnas.fixed import FixedSR, build_model
from vismodels.methods.quantnas.fixed_supernet import FixedSupernet
from vismodels.methods.quantnas.mixing import Mixing
from vismodels.methods.quantnas.space import FixedSpace
from vismodels.nas.genotype import Genotype
from vismodels.quantization.layers import bits_of

MODELS = ("espcn", "rfdn", "srresnet")


def supernet(model="espcn", mode="noise", amplitude=1.0, bits=(8, 4), cost="bitops"):
    noise = torch.Generator().manual_seed(0)
    mixing = Mixing(mode, noise, amplitude=amplitude, activation="lsq", rectifier=None)
    network = FixedSupernet(FixedSpace(model=model, bits=bits), 4, mixing, cost)
    network.initialize_(torch.Generator().manual_seed(1))
    return network.eval()


@pytest.fixture
def image():
    return torch.rand(2, 3, 12, 9, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("model", MODELS)
def test_without_noise_it_is_the_network_with_the_same_draw(model, image):
    network = build_model(model, 4)
    network.initialize_(torch.Generator().manual_seed(1))
    expected = network.eval()(image)
    torch.testing.assert_close(supernet(model, amplitude=0.0)(image), expected)


def test_noise_changes_the_output_and_reaches_the_logits(image):
    network = supernet()
    first, second = network(image), network(image)
    assert not torch.equal(first, second)
    first.square().mean().backward()
    for name in network.choices:
        assert network.choice(name).logits.grad.any(), name


def test_a_one_hot_supernet_is_the_quantized_network(image):
    network = supernet(mode="direct")
    chosen = {name: "bits@4" if "2" in name else "bits@8" for name in network.choices}
    weights = network.one_hot(Genotype("espcn", chosen))
    bits = {network.layer_names[name]: int(c.partition("@")[2]) for name, c in chosen.items()}
    derived = FixedSR("espcn", bits).eval()
    state = network.network.state_dict()
    for name, layer in derived.network.named_modules():
        if hasattr(layer, "quantize_weight"):
            position = 0 if bits[name] == 8 else 1
            layer.weight.data.copy_(state[f"{name}.mixed_weight.weight"])
            layer.bias.data.copy_(state[f"{name}.bias"])
            layer.quantize_weight.scale.data.copy_(
                state[f"{name}.mixed_weight.quantizers.{position}.scale"]
            )
            own = f"{name}.activation.quantizers.{position}.scale"
            layer.quantize_activation.scale.data.copy_(state[own])
            layer.quantize_activation.spec = network.network.get_submodule(
                f"{name}.activation.quantizers.{position}"
            ).spec  # the image has no sign in the derived network
    torch.testing.assert_close(network(image, weights), derived(image))


@pytest.mark.parametrize("model", MODELS)
def test_the_price_of_a_genotype_is_what_the_counter_counts(model):
    network = supernet(model)
    for bits in (8, 4):
        genotype = Genotype(model, dict.fromkeys(network.choices, f"bits@{bits}"))
        derived = FixedSR(model, bits).to("meta")
        counted = count(derived, torch.zeros(1, 3, 32, 32, device="meta"), bits_of=bits_of)
        assert network.genotype_bitops(genotype) == counted.bitops
        assert network.expected_cost(network.one_hot(genotype)).item() == counted.bitops


def test_linear_prices_leave_the_genotype_in_bitops():
    linear, squared = supernet(cost="linear"), supernet()
    genotype = squared.genotype()
    assert linear.genotype_bitops(genotype) == squared.genotype_bitops(genotype)
    ratio = squared.expected_cost(squared.one_hot(genotype)) / linear.expected_cost(
        linear.one_hot(genotype)
    )
    assert ratio.item() == 4  # 8 * 8 against 2 * 8


def test_an_unknown_decision_is_named_with_the_nearest_one():
    network = supernet()
    chosen = {**network.genotype().choices, "layer_0": "bits@8"}
    with pytest.raises(ConfigError, match="did you mean 'layers_0'"):
        network.one_hot(Genotype("espcn", chosen))

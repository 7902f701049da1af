import copy

import pytest
import torch

from vismodels.checkpoint import load_weights, save_weights, tensor_digest
from vismodels.cost.counters import count
from vismodels.methods.quantnas.fixed import MODELS, FixedSR
from vismodels.quantization.layers import QuantConv2d, bits_of


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def image(size=16):
    return torch.rand(1, 3, size, size, generator=seeded(1))


def cost(network, size=32):
    """Count without computing."""
    shapes = copy.deepcopy(network).to("meta")
    return count(shapes, torch.zeros(1, 3, size, size, device="meta"), bits_of=bits_of)


@pytest.mark.parametrize(
    ("model", "macs", "gigas"),
    [("espcn", 37_056, (0.607, 2.429, 38.86)), ("srresnet", 2_218_176, (36.34, 145.37, 2325.9))],
)
def test_published_networks_cost_what_the_formula_says(model, macs, gigas):
    for bits, giga in zip((4, 8, 32), gigas, strict=True):
        counted = cost(FixedSR(model, bits))
        assert counted.macs == macs * 32 * 32  # for each LR pixel
        assert counted.bitops == counted.macs * bits * bits
        assert counted.bitops / 1e9 == pytest.approx(giga, rel=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_at_32_bits_it_is_the_network_itself(model):
    net = FixedSR(model, 32).eval()
    net.initialize_(seeded())
    plain = MODELS[model](scale=4).eval()
    plain.initialize_(seeded())
    torch.testing.assert_close(net(image()), plain(image()))
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in plain.parameters())


@pytest.mark.parametrize("model", MODELS)
def test_every_convolution_is_quantized_and_fewer_bits_are_a_larger_error(model):
    plain = MODELS[model](scale=4).eval()
    plain.initialize_(seeded())
    errors = []
    for bits in (4, 8):
        net = FixedSR(model, bits).eval()
        net.initialize_(seeded())
        assert {type(m) for m in net.modules() if "Conv" in type(m).__name__} == {QuantConv2d}
        errors.append((net(image()) - plain(image())).abs().mean().item())
    assert errors[0] > 1.5 * errors[1] > 0


def test_each_convolution_can_have_its_own_bits():
    net = FixedSR("espcn", {"layers.0": 8, "layers.2": 4, "layers.4": 32})
    found = [layer.bitops / layer.macs for layer in cost(net).layers if layer.macs]
    assert found == [64, 16, 1024]


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("model", ["espcn", "rfdn"])
def test_every_scale_is_built(model, scale):
    assert FixedSR(model, 8, scale)(image(5)).shape == (1, 3, 5 * scale, 5 * scale)


def test_weights_depend_on_the_generator_alone():
    torch.manual_seed(0)
    first, again, other = (FixedSR("espcn", 4) for _ in range(3))
    for net, seed in ((first, 0), (again, 0), (other, 1)):
        net.initialize_(seeded(seed))
    assert tensor_digest(first) == tensor_digest(again) != tensor_digest(other)


@pytest.mark.parametrize(
    ("model", "bits"), [("espcn", {"layers.0": 8, "layers.2": 4, "layers.4": 8}), ("rfdn", 4)]
)
def test_a_saved_network_comes_back_with_equal_outputs(model, bits, tmp_path):
    net = FixedSR(model, bits, scale=2).eval()
    net.initialize_(seeded())
    save_weights(net, tmp_path)
    again = load_weights(FixedSR, tmp_path)
    assert torch.equal(again(image()), net(image()))
    pretrained = FixedSR.from_pretrained(tmp_path, strict=True).eval()
    assert torch.equal(pretrained(image()), net(image()))


def test_steps_fit_the_drawn_weights():
    net = FixedSR("espcn", 4)
    net.initialize_(seeded())
    layer = net.network.layers[0]
    expected = 2 * layer.weight.abs().mean(dim=(1, 2, 3)) / 7**0.5
    torch.testing.assert_close(layer.quantize_weight.scale.flatten(), expected)


# --- what is refused ---------------------------------------------------------------------------


def test_unknown_names_are_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match="no network is called 'espnc'; did you mean 'espcn'"):
        FixedSR("espnc", 4)
    with pytest.raises(ValueError, match=r"called 'layers.1'; did you mean 'layers\.\d'"):
        FixedSR("espcn", {"layers.1": 8})


def test_other_scales_and_bits_are_refused():
    with pytest.raises(ValueError, match=r"scale must be one of \(2, 3, 4\), got 5"):
        FixedSR("espcn", 8, 5)
    with pytest.raises(ValueError, match="bits must be 1 to 32, got 33"):
        FixedSR("espcn", 33)


def test_a_bicubic_skip_belongs_to_espcn_alone():
    assert FixedSR("espcn", 8, 4, True).network.bicubic_skip
    with pytest.raises(ValueError, match="bicubic_skip is an option of espcn; rfdn has none"):
        FixedSR("rfdn", 8, 4, True)


@pytest.mark.parametrize("model", MODELS)
def test_images_that_are_not_rgb_are_refused(model):
    with pytest.raises(ValueError, match="RGB images"):
        FixedSR(model, 8)(torch.zeros(1, 4, 8, 8))

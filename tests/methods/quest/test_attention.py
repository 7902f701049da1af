import copy

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from vismodels.methods.quest.attention import QuantizedAttnProcessor
from vismodels.methods.quest.config import ActivationQuantConfig

FOUR = ActivationQuantConfig(ranges="minmax")
EIGHT = ActivationQuantConfig(bits=8, ranges="minmax")
SIXTEEN = ActivationQuantConfig(bits=16, ranges="minmax")
MAPS = {"norm_num_groups": 2, "residual_connection": True, "rescale_output_factor": 2.0}
OPTIONS = {
    "plain": {},
    "biased": {"bias": True, "out_bias": False},
    "maps": {**MAPS, "bias": True},
    "normed": {"qk_norm": "layer_norm"},
    "cross": {"cross_attention_dim": 6},
    "cross normed": {"cross_attention_dim": 6, "cross_attention_norm": "layer_norm"},
}


@pytest.fixture
def attentions(generator):
    """Return an attention of diffusers, and the same one with our processor."""

    def make(kind, operands=FOUR, probabilities=EIGHT):
        plain = Attention(query_dim=8, heads=2, dim_head=4, **OPTIONS[kind]).eval()
        assert type(plain.processor) is AttnProcessor2_0
        for parameter in plain.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        ours = copy.deepcopy(plain)
        ours.set_processor(QuantizedAttnProcessor(operands, probabilities))
        return plain, ours

    return make


@pytest.fixture
def inputs(generator):
    """Return arguments that fit: tokens, or a feature map, and a context for cross-attention."""

    def make(kind):
        shape = (3, 8, 2, 3) if kind == "maps" else (3, 6, 8)
        arguments = {"hidden_states": torch.randn(shape, generator=generator)}
        if kind.startswith("cross"):
            arguments["encoder_hidden_states"] = torch.randn(3, 5, 6, generator=generator)
        return arguments

    return make


def mask_of(tokens, generator):
    hidden = torch.rand(3, 1, tokens, generator=generator) < 0.4
    hidden[..., 0] = False
    return torch.zeros(hidden.shape).masked_fill(hidden, -10000.0)


def calibrate(processor, attention, arguments):
    """Set all ranges to the extremes of one call, and return what passed."""
    seen = {}

    def observer(quantizer):
        def take(x):
            seen[quantizer] = x
            quantizer.set_range_(*quantizer.rows(x).aminmax(dim=1))

        return take

    for quantizer in processor.quantizers:
        quantizer.observe, quantizer.enabled = observer(quantizer), False
    with torch.no_grad():
        attention(**arguments)
    for quantizer in processor.quantizers:
        quantizer.observe, quantizer.enabled = None, True
    return [seen[each] for each in processor.quantizers]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", OPTIONS)
def test_switched_off_it_computes_the_bits_of_the_stock_processor(
    attentions, inputs, kind, masked, generator
):
    plain, ours = attentions(kind)
    arguments = inputs(kind)
    if masked:
        tokens = 5 if kind.startswith("cross") else 6
        arguments["attention_mask"] = mask_of(tokens, generator)
    expected = plain(**arguments)
    assert not torch.allclose(ours(**arguments), expected, atol=1e-3)
    for quantizer in ours.processor.quantizers:
        quantizer.enabled = False
    assert torch.equal(ours(**arguments), expected)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", OPTIONS)
def test_its_own_products_are_those_of_fused_attention(attentions, inputs, kind, masked, generator):
    plain, ours = attentions(kind)
    arguments = inputs(kind)
    if masked:
        tokens = 5 if kind.startswith("cross") else 6
        arguments["attention_mask"] = mask_of(tokens, generator)
    for quantizer in ours.processor.quantizers:
        quantizer.observe, quantizer.enabled = lambda x: None, False
    assert torch.allclose(ours(**arguments), plain(**arguments), atol=2e-5)


@pytest.mark.parametrize("kind", OPTIONS)
def test_many_bits_come_near_the_float_output(attentions, inputs, kind):
    plain, ours = attentions(kind, SIXTEEN, SIXTEEN)
    arguments = inputs(kind)
    calibrate(ours.processor, ours, arguments)
    assert torch.allclose(ours(**arguments), plain(**arguments), atol=2e-2)


def test_a_mask_of_booleans_hides_what_is_false(attentions, inputs, generator):
    plain, ours = attentions("plain")
    for quantizer in ours.processor.quantizers:
        quantizer.observe, quantizer.enabled = lambda x: None, False
    seen = torch.rand(3 * 2, 1, 6, generator=generator) < 0.6  # of heads, as it is handed on
    seen[..., 0] = True
    arguments = inputs("plain")
    assert torch.allclose(
        ours(**arguments, attention_mask=seen), plain(**arguments, attention_mask=seen), atol=2e-5
    )


def test_all_four_operands_that_are_multiplied_are_quantized(attentions, inputs, monkeypatch):
    _, ours = attentions("cross")
    arguments = inputs("cross")
    calibrate(ours.processor, ours, arguments)
    operands, plain = [], torch.Tensor.__matmul__

    def spy(left, right):
        operands.append((left.detach(), right.detach()))
        return plain(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", spy)
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *_, **__: pytest.fail("fused")
    )
    ours(**arguments)
    (query, key), (probabilities, value) = operands
    for operand in (query, key, value):
        assert 2 < len(operand.unique()) <= 16
    assert 16 < len(probabilities.unique()) <= 256


def test_probabilities_have_zero_as_their_code_of_zero(attentions, inputs):
    _, ours = attentions("plain")
    probabilities = calibrate(ours.processor, ours, inputs("plain"))[3]
    quantizer = ours.processor.probabilities
    assert quantizer.zero_point.item() == 0
    assert quantizer.scale.item() == pytest.approx(probabilities.max().item() / 255)


def test_scales_are_children_of_the_attention_and_get_gradients(attentions, inputs):
    _, ours = attentions("plain")
    arguments = inputs("plain")
    calibrate(ours.processor, ours, arguments)
    ours(**arguments).square().sum().backward()
    gradients = {
        name: parameter.grad
        for name, parameter in ours.named_parameters()
        if name.startswith("processor")
    }
    assert set(gradients) == {
        f"processor.{operand}.scale" for operand in ("query", "key", "value", "probabilities")
    }
    assert all(gradient.abs().sum() > 0 for gradient in gradients.values())


@pytest.mark.parametrize("place", [0, 1])
def test_scales_of_channels_are_refused(place):
    configs = [FOUR, FOUR]
    configs[place] = ActivationQuantConfig(granularity="channel")
    with pytest.raises(ValueError, match="granularity is tensor, got channel"):
        QuantizedAttnProcessor(*configs)

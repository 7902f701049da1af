import pytest
import torch
from diffusers.models.attention_processor import Attention

from vismodels.methods.quest.attention import QuantizedAttnProcessor
from vismodels.methods.quest.config import ActivationQuantConfig
from vismodels.methods.quest.execute_attention import ExecutedAttnProcessor

FOUR, EIGHT = ActivationQuantConfig(bits=4), ActivationQuantConfig(bits=8)


@pytest.fixture
def attention(generator):
    """Return an attention whose quantizers have two time groups, and states for three samples."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Attention(8, cross_attention_dim=6, heads=2, dim_head=4).eval()
    processor = QuantizedAttnProcessor(FOUR, EIGHT, time_groups=2)
    for group in (0, 1):
        for quantizer in processor.quantizers[:3]:
            quantizer.set_range_(torch.tensor([-1.0 - group]), torch.tensor([0.7]), group)
        processor.probabilities.set_range_(torch.tensor([0.0]), torch.tensor([0.6 + group]), group)
    module.set_processor(processor)
    states = torch.randn(3, 5, 8, generator=generator), torch.randn(3, 7, 6, generator=generator)
    return module, states


def executed(module, *arguments):
    """Return what the executed attention puts out, and the quantized one restored."""
    processor = module.processor
    module.set_processor(ExecutedAttnProcessor.of(processor))
    output = module(*arguments)
    module.set_processor(processor)
    return output


@pytest.mark.parametrize("group", [0, 1, torch.tensor([1, 0, 1])])
def test_it_computes_what_the_quantized_attention_does(attention, group):
    module, states = attention
    for quantizer in module.processor.quantizers:
        quantizer.group = group
    expected = module(*states).detach()
    # Scores differ by roundings of float32; a probability at a tie may move by one code of 255.
    torch.testing.assert_close(executed(module, *states), expected, rtol=0, atol=2e-5)


def test_probabilities_with_a_zero_point_are_centered(attention):
    module, states = attention
    module.processor.probabilities.set_range_(torch.tensor([-0.5]), torch.tensor([0.9]))
    assert module.processor.probabilities.zero_point[0] > 0
    expected = module(*states).detach()
    torch.testing.assert_close(executed(module, *states), expected, rtol=0, atol=2e-5)


def test_masked_tokens_are_left_out(attention):
    module, (queries, context) = attention
    mask = torch.zeros(3, 1, 7)
    mask[:, :, 4:] = -torch.inf
    changed = context.clone()
    changed[:, 4:] += 1
    first, second = (executed(module, queries, each, mask) for each in (context, changed))
    assert torch.equal(first, second)
    assert not torch.equal(first, executed(module, queries, context))


def test_with_quantizers_off_it_is_the_float_attention(attention):
    module, states = attention
    for quantizer in module.processor.quantizers:
        quantizer.enabled = False
    assert torch.equal(executed(module, *states), module(*states))


def test_it_shares_the_quantizers_so_that_time_groups_reach_them(attention):
    module, _ = attention
    new = ExecutedAttnProcessor.of(module.processor)
    assert new.quantizers == module.processor.quantizers


def test_states_are_left_as_they_are(attention):
    module, states = attention
    before = [each.clone() for each in states]
    executed(module, *states)
    assert all(torch.equal(a, b) for a, b in zip(states, before, strict=True))

import pytest
import torch

from vismodels.methods.quantnas.adq import ADQ


def test_the_branch_sees_normalized_features_and_is_scaled_by_the_deviation_of_each_item():
    adq = ADQ(2).double()
    adq.norm.running_mean.copy_(torch.tensor([1.0, -1.0]))
    adq.norm.running_var.copy_(torch.tensor([4.0, 0.25]))
    with torch.no_grad():
        adq.weight.fill_(0.5)
        adq.bias.fill_(0.1)
    adq.eval()
    x = torch.tensor([[[[1.0, 3.0]], [[-1.0, 0.0]]], [[[5.0, 5.0]], [[0.0, 2.0]]]]).double()

    def branch(y):
        return 3 * y

    # Of the first item: mean 3/4, squared distances 1/16 + 81/16 + 49/16 + 9/16 = 140/16.
    deviations = [(140 / 16 / 3) ** 0.5, (18 / 3) ** 0.5]
    result = adq(x, branch)
    for item, deviation, y in zip(x, deviations, result, strict=True):
        first = 3 * (item[0] - 1.0) / (4.0 + 1e-5) ** 0.5
        second = 3 * (item[1] + 1.0) / (0.25 + 1e-5) ** 0.5
        expected = item + torch.stack([first, second]) * (0.5 * deviation + 0.1)
        torch.testing.assert_close(y, expected)


def test_the_factor_starts_at_one_and_a_half_and_the_offset_at_zero():
    adq = ADQ(3)
    assert (adq.weight.item(), adq.bias.item()) == (1.5, 0.0)


def test_switched_off_it_is_a_plain_residual_branch_without_parameters(generator):
    x = torch.randn(2, 3, 4, 4, generator=generator)
    adq = ADQ(3, enabled=False)
    assert torch.equal(adq(x, torch.sin), x + x.sin())
    assert not list(adq.parameters())
    assert not list(adq.buffers())


def test_a_constant_input_has_no_deviation_and_finite_gradients():
    adq = ADQ(3)
    x = torch.full((2, 3, 4, 4), 0.7, requires_grad=True)
    result = adq(x, lambda y: y + 1)
    assert torch.equal(result, x)
    result.square().sum().backward()
    assert x.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in adq.parameters())


def test_gradients_reach_the_factor_the_offset_and_the_normalization(generator):
    adq = ADQ(3)
    adq(torch.randn(2, 3, 5, 5, generator=generator), torch.tanh).square().mean().backward()
    assert all(parameter.grad.any() for parameter in adq.parameters())


@pytest.mark.parametrize("channels", [3, 16, 24, 36])
def test_any_number_of_channels_is_normalized(channels):
    x = torch.rand(2, channels, 3, 3, generator=torch.Generator().manual_seed(1))
    assert ADQ(channels)(x, torch.relu).shape == x.shape


def test_the_statistics_are_those_of_training_and_can_be_forgotten(generator):
    adq = ADQ(2)
    adq(5 + torch.randn(4, 2, 8, 8, generator=generator), torch.relu)
    assert adq.norm.running_mean.gt(0.4).all()  # a tenth of the way from 0 to 5
    adq.weight.data.fill_(0.3)
    adq.reset_()
    assert torch.equal(adq.norm.running_mean, torch.zeros(2))
    assert adq.weight.item() == 1.5

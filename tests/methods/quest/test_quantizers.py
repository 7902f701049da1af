import copy

import pytest
import torch

from vismodels.methods.quest.config import ActivationQuantConfig, WeightQuantConfig
from vismodels.methods.quest.quantizers import ActivationQuantizer, WeightQuantizer

CHANNELS = ActivationQuantConfig(granularity="channel")


def weight_quantizer(weight, bits=4, ranges="minmax"):
    quantizer = WeightQuantizer(WeightQuantConfig(bits=bits, ranges=ranges), len(weight))
    quantizer.initialize_(weight)
    return quantizer


def activation_quantizer(low=0.0, high=15.0, groups=1, **options):
    quantizer = ActivationQuantizer(ActivationQuantConfig(**options), time_groups=groups)
    for group in range(groups):
        ends = torch.tensor([low]) * (group + 1), torch.tensor([high]) * (group + 1)
        quantizer.set_range_(*ends, group)
    return quantizer


# --- weights -------------------------------------------------------------------------------------


def test_weights_by_hand():
    weight = torch.tensor([[-3.0, 12.0, 0.4, 0.6], [0.0, 30.0, 0.9, 1.1]])
    quantizer = weight_quantizer(weight)
    assert quantizer.scale.tolist() == [1, 2]
    assert quantizer.codes(weight).tolist() == [[0, 15, 3, 4], [0, 15, 0, 1]]
    assert quantizer.codes(weight).dtype == torch.uint8
    assert quantizer(weight).tolist() == [[-3, 12, 0, 1], [0, 30, 0, 2]]


@pytest.mark.parametrize("shape", [(6, 10), (6, 3, 3, 3)])
def test_searched_weight_ranges_err_less_than_extremes(generator, shape):
    weight = torch.randn(shape, generator=generator) ** 3

    def error(ranges):
        return (weight_quantizer(weight, ranges=ranges)(weight) - weight).abs().pow(2.4).mean()

    assert error("mse") < error("minmax")


def test_quantized_weights_are_quantized_to_themselves(generator):
    weight = torch.randn(6, 50, generator=generator)
    quantizer = weight_quantizer(weight, ranges="mse")
    once = quantizer(weight)
    assert torch.equal(quantizer(once), once)


def test_the_gradient_of_a_weight_is_that_of_the_identity_within_its_range():
    weight = torch.tensor([[-3.0, 12.0, 0.4]])
    quantizer = weight_quantizer(weight)
    moved = torch.tensor([[-3.0, 20.0, 0.4]], requires_grad=True)
    quantizer(moved).sum().backward()
    assert moved.grad.tolist() == [[1, 0, 1]]


# --- activations ---------------------------------------------------------------------------------


def test_activations_by_hand():
    x = torch.tensor([[-1.0, 0.4, 0.6, 99.0]])
    assert activation_quantizer()(x).tolist() == [[0, 0, 1, 15]]


def test_a_symmetric_quantizer_has_signed_codes():
    quantizer = activation_quantizer(-3.0, 7.0, symmetric=True)
    assert quantizer(torch.tensor([-99.0, -0.6, 99.0])).tolist() == [-8, -1, 7]
    assert quantizer.zero_point.item() == 0


def test_scales_exist_from_the_start_and_lie_in_the_state_dict():
    quantizer = ActivationQuantizer(CHANNELS, channels=3, time_groups=1)
    assert {name: tuple(each.shape) for name, each in quantizer.state_dict().items()} == {
        "scale": (1, 3),
        "zero_point": (1, 3),
    }
    x = torch.linspace(-4, 4, 30).view(10, 3)
    assert (quantizer(x) - x).abs().max() <= 0.5 * quantizer.scale.max() + 1e-6


def test_each_channel_has_its_own_scale(generator):
    x = torch.randn(2, 3, 4, 4, generator=generator)
    quantizer = ActivationQuantizer(CHANNELS, channels=3, axis=1)
    quantizer.set_range_(*quantizer.rows(x).aminmax(dim=1))
    for channel in range(3):
        single = activation_quantizer(*(each.item() for each in x[:, channel].aminmax()))
        assert torch.allclose(quantizer(x)[:, channel], single(x[:, channel]))


def test_units_of_the_scale_are_integers_with_zero_at_zero(generator):
    x = torch.randn(5, 3, generator=generator)
    quantizer = ActivationQuantizer(CHANNELS, channels=3)
    quantizer.set_range_(*quantizer.rows(x).aminmax(dim=1))
    units = quantizer(x, unit=True)
    assert torch.equal(units, units.round())
    assert torch.allclose(units * quantizer.scale, quantizer(x))
    quantizer.enabled = False
    assert torch.allclose(quantizer(x, unit=True) * quantizer.scale, x)


def test_switched_off_it_hands_on_what_it_gets(generator):
    x = torch.randn(5, 3, generator=generator)
    quantizer = activation_quantizer()
    quantizer.enabled = False
    assert quantizer(x) is x
    assert not quantizer.is_active


def test_what_passes_is_observed():
    quantizer, seen = activation_quantizer(), []
    quantizer.observe, quantizer.enabled = seen.append, False
    x = torch.ones(2, 2, requires_grad=True)
    quantizer(x)
    assert quantizer.is_active
    assert torch.equal(seen[0], x)
    assert not seen[0].requires_grad


# --- gradients of scales -------------------------------------------------------------------------


def test_the_gradient_of_a_scale_is_the_unscaled_one_of_lsq():
    quantizer = activation_quantizer()
    quantizer(torch.tensor([0.4, 0.6, 99.0, -9.0])).sum().backward()
    # Rounding errors inside the range, the end of the range outside of it; Eq. (3) of LSQ.
    assert quantizer.scale.grad.item() == pytest.approx(-0.4 + 0.4 + 15 + 0)


def test_a_scale_that_training_drives_to_zero_stays_positive_and_finite():
    quantizer = activation_quantizer()
    with torch.no_grad():
        quantizer.scale.zero_()
    assert quantizer(torch.ones(3)).isfinite().all()
    assert quantizer.effective_scale().item() > 0


def test_a_relative_factor_is_trained_in_place_of_the_scale():
    quantizer, x = activation_quantizer(high=30.0), torch.tensor([0.4, 0.6, 99.0])
    before = quantizer(x)
    factor = quantizer.relative_()
    assert torch.equal(quantizer(x), before)
    assert quantizer.relative_() is factor
    quantizer(x).sum().backward()
    assert quantizer.scale.grad is None
    plain = activation_quantizer(high=30.0)
    plain(x).sum().backward()
    assert factor.grad.item() == pytest.approx(2 * plain.scale.grad.item())  # of log: times scale


def test_a_trained_factor_is_multiplied_into_the_scale():
    quantizer, x = activation_quantizer(high=30.0), torch.tensor([3.0, 99.0])
    with torch.no_grad():
        quantizer.relative_().fill_(0.5)
    before = quantizer(x)
    quantizer.absolute_()
    assert torch.allclose(quantizer(x), before)
    assert quantizer.scale.requires_grad
    assert set(quantizer.state_dict()) == {"scale", "zero_point"}


# --- time groups ---------------------------------------------------------------------------------


def test_all_samples_use_the_group_that_is_set():
    quantizer = activation_quantizer(groups=2)
    quantizer.group = 1
    assert quantizer(torch.tensor([[0.9], [1.1]])).tolist() == [[0], [2]]


def test_every_sample_uses_its_own_group():
    quantizer = activation_quantizer(groups=2)
    quantizer.group = torch.tensor([1, 0, 1])
    x = torch.full((3, 2, 2), 1.1)
    assert quantizer(x)[:, 0, 0].tolist() == [2, 1, 2]


def test_samples_without_a_group_are_refused():
    quantizer = activation_quantizer(groups=2)
    quantizer.group = torch.tensor([1, 0])
    with pytest.raises(ValueError, match=r"2 samples have a time group each, but .* has 3"):
        quantizer(torch.ones(3, 2))


# --- state ---------------------------------------------------------------------------------------


def test_scales_keep_their_type_when_the_network_becomes_half(generator):
    quantizer = activation_quantizer(high=0.123456789)
    scale = quantizer.scale.detach().clone()
    quantizer.half()
    assert torch.equal(quantizer.scale, scale)
    x = torch.rand(4, generator=generator)
    assert quantizer(x.half()).dtype == torch.float16


def test_scales_move_to_other_devices():
    quantizer = activation_quantizer()
    assert quantizer.to("meta").scale.is_meta
    assert not quantizer.to_empty(device="cpu").scale.is_meta


def test_a_copy_shares_nothing():
    quantizer = activation_quantizer()
    other = copy.deepcopy(quantizer)
    with torch.no_grad():
        other.scale.mul_(2)
    assert quantizer.scale.item() == 1

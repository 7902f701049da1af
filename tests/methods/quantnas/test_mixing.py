import pytest
import torch

from vismodels.methods.quantnas.mixing import MixedActivation, MixedWeight, Mixing
from vismodels.quantization.functional import hwgq, lsq

SHAPE = (6, 4, 3, 3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def mixing(mode="noise", **options):
    return Mixing(mode, seeded(7), **options)


def mixed_weight(mode="noise", bits=(8, 4), **options):
    weight = MixedWeight(SHAPE, bits, mixing(mode, **options)).double()
    weight.weight.data.normal_(generator=seeded(1))
    weight.initialize_steps_()
    return weight


def some(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


# --- noise -------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(0.2, 0.3), (0.02, 0.03), (1.0, 0.0)])
def test_the_gradient_of_a_weight_is_exactly_one_through_noise(weights):
    mixed = mixed_weight()
    mixed(some(*weights)).sum().backward()
    assert torch.equal(mixed.weight.grad, torch.ones(SHAPE, dtype=torch.float64))


def test_noise_leaves_the_weight_in_the_middle():
    """The coefficients of its copies sum to one, whatever the operation's share."""
    mixed, shares = mixed_weight(), some(0.1, 0.1)
    mean = torch.stack([mixed(shares).detach() for _ in range(400)]).mean(dim=0)
    step = mixed.weight.detach().aminmax()
    span = (step.max - step.min).item()
    error = (mean - mixed.weight).abs().max().item()
    assert error < 5 * span / 15 / 2 / 12**0.5 / 400**0.5  # five standard errors at 4 bits


def test_noise_blends_the_rounding_errors_of_the_precisions():
    mixed = mixed_weight()
    low, high = mixed.weight.detach().aminmax()
    span = (high - low).item()
    drawn = [mixed(some(0.3, 0.1)).detach() - mixed.weight.detach() for _ in range(60)]
    expected = ((0.75 * span / 255) ** 2 + (0.25 * span / 15) ** 2) / 12
    assert torch.stack(drawn).var().item() == pytest.approx(expected, rel=0.05)


def test_gaussian_noise_has_three_times_the_variance():
    def variance(distribution):
        mixed = mixed_weight(distribution=distribution)
        drawn = [mixed(some(0.0, 1.0)) - mixed.weight for _ in range(60)]
        return torch.stack(drawn).var().item()

    assert variance("gaussian") / variance("uniform") == pytest.approx(3, rel=0.08)


def test_only_the_ratios_of_the_weights_matter():
    first, again = (mixed_weight()(some(0.3 * s, 0.1 * s)) for s in (1.0, 0.25))
    torch.testing.assert_close(first, again, rtol=0, atol=1e-10)


def test_the_gradient_reaches_the_weights_of_the_precisions_through_the_noise():
    shares = some(0.3, 0.1)
    mixed = mixed_weight()
    mixed(shares).square().sum().backward()
    assert shares.grad.ne(0).all()
    # Only ratios matter, so that the gradient is at right angles to the weights.
    assert (shares.grad @ shares).abs().item() < 1e-9 * shares.grad.abs().max().item()


def test_noise_differs_from_forward_to_forward_and_repeats_from_the_state_of_the_generator():
    mixed, shares = mixed_weight(), some(0.3, 0.1)
    state = mixed.mixing.generator.get_state()
    first, second = mixed(shares), mixed(shares)
    assert not torch.equal(first, second)
    mixed.mixing.generator.set_state(state)
    assert torch.equal(mixed(shares), first)


def test_without_amplitude_or_at_full_precision_there_is_no_noise():
    silent, exact = mixed_weight(amplitude=0.0), mixed_weight(bits=(32,))
    assert torch.equal(silent(some(0.3, 0.1)), silent.weight)
    assert torch.equal(exact(some(0.3)), exact.weight)


# --- noise as published ------------------------------------------------------------------------


def test_published_noise_multiplies_and_detaches_as_the_published_code_does():
    """f = 1/3, a'_b = p_b / (S + f): at S = 1/2 the coefficients sum to 14/15."""
    mixed, shares = mixed_weight("published_noise", amplitude=0.0), some(0.3, 0.2)
    result = mixed(shares)
    torch.testing.assert_close(result, mixed.weight * 14 / 15)
    result.sum().backward()
    torch.testing.assert_close(mixed.weight.grad, torch.full_like(mixed.weight, 1 / 3))
    # d(sum)/dp = f / (S + f)**2 * sum(w), the same for both precisions.
    expected = (1 / 3) / (5 / 6) ** 2 * mixed.weight.sum()
    torch.testing.assert_close(shares.grad, expected.detach().repeat(2))


def test_published_noise_shrinks_the_gradient_of_a_convolution_to_a_third():
    mixed, shares = mixed_weight("published_noise", amplitude=0.0), some(0.25, 0.25)
    activation = MixedActivation((8, 4), mixing("published_noise", amplitude=0.0))
    x = torch.rand(1, 4, 5, 5, dtype=torch.float64, generator=seeded())
    plain = torch.conv2d(x, mixed.weight)
    (true,) = torch.autograd.grad(plain.sum(), mixed.weight)
    published = torch.conv2d(activation(x, shares), mixed(shares))
    torch.testing.assert_close(published, plain * (14 / 15) ** 2)  # 0.87
    published.sum().backward()
    torch.testing.assert_close(mixed.weight.grad, true * 14 / 45)  # 0.31


def test_published_noise_varies_with_the_share_of_the_operation():
    mixed = mixed_weight("published_noise")
    mixed.mixing.generator.manual_seed(3)
    first = mixed(some(0.3, 0.1))
    mixed.mixing.generator.manual_seed(3)
    assert (first - mixed(some(0.03, 0.01))).abs().max().item() > 0.1


# --- direct quantization -----------------------------------------------------------------------


def test_direct_quantization_blends_quantized_weights():
    mixed = mixed_weight("direct")
    expected = torch.zeros(SHAPE, dtype=torch.float64)
    for share, quantizer in zip((0.75, 0.25), mixed.quantizers, strict=True):
        expected += share * lsq(mixed.weight, quantizer.scale, quantizer.spec, 1.0)
    torch.testing.assert_close(mixed(some(0.3, 0.1)), expected)


def test_direct_quantization_blends_quantized_features():
    x = torch.linspace(-1, 3, 50, dtype=torch.float64).view(1, 2, 5, 5)
    blended = MixedActivation((8, 4), mixing("direct"))(x, some(0.3, 0.1))
    torch.testing.assert_close(blended, 0.75 * hwgq(x, 8) + 0.25 * hwgq(x, 4))


def test_the_steps_of_direct_quantization_learn():
    mixed = mixed_weight("direct")
    mixed(some(0.3, 0.1)).square().sum().backward()
    steps = {name: p for name, p in mixed.named_parameters() if name.endswith("scale")}
    assert set(steps) == {"quantizers.0.scale", "quantizers.1.scale"}
    assert all(step.grad.any() for step in steps.values())


@pytest.mark.parametrize("mode", ["noise", "published_noise", "direct"])
def test_an_operation_that_was_not_sampled_has_no_gradient_and_no_nan(mode):
    mixed, weights = mixed_weight(mode), some(0.0, 0.0)
    result = weights.sum() * mixed(weights)
    assert not result.any()
    result.sum().backward()
    assert not mixed.weight.grad.any()
    assert weights.grad.isfinite().all()
    assert weights.grad.any()


# --- features ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["noise", "published_noise", "direct"])
def test_features_are_rectified_first(mode):
    x = -torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=seeded())
    assert not MixedActivation((8, 4), mixing(mode))(x, some(0.3, 0.1)).any()


def test_the_noise_of_features_is_as_large_as_their_range_asks():
    x = torch.rand(2, 3, 40, 40, dtype=torch.float64, generator=seeded()) * 4 - 2
    noise = MixedActivation((2,), mixing())(x, some(1.0)) - x.relu()
    step = x.max().item() / 3
    assert noise.abs().max().item() == pytest.approx(step / 2, rel=0.01)
    assert noise.var().item() == pytest.approx(step**2 / 12, rel=0.05)


@pytest.mark.parametrize(("rectifier", "slope"), [("relu", 0.0), ("leaky_relu", 0.1)])
def test_the_rectifier_is_the_configured_one(rectifier, slope):
    x = torch.tensor([[[[-2.0, 3.0]]]], dtype=torch.float64)
    mixed = MixedActivation((8, 4), mixing(rectifier=rectifier, amplitude=0.0))
    assert mixed(x, some(0.3, 0.1)).flatten().tolist() == pytest.approx([-2.0 * slope, 3.0])

import pytest
import torch

from vismodels.diffusion.sampling import add_noise, noise_like, sample, signal_from_noise
from vismodels.diffusion.schedules import alphas_cumprod, linear_betas, solver

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
BETAS = linear_betas()
KEPT = alphas_cumprod(BETAS)
SINGLE = solver(BETAS).alphas_cumprod.double()  # diffusers computes it in single precision


def network(noisy, timestep):
    """A stand-in that depends on its input and on the time."""
    return torch.tanh(0.8 * noisy + 0.01 * timestep)


def ddim(noise, num_steps):
    """DDIM as written by Song et al., on times 99, 99 - 99 / n, ..., 0."""
    x = noise
    for step in range(num_steps):
        now = 99 - 99 // num_steps * step
        after = now - 99 // num_steps
        signal = network(x, torch.tensor([now]))
        noise_part = (x - SINGLE[now].sqrt() * signal) / (1 - SINGLE[now]).sqrt()
        x = SINGLE[after].sqrt() * signal + (1 - SINGLE[after]).sqrt() * noise_part
    return x


@pytest.mark.parametrize("num_steps", [9, 11, 33])
def test_the_solver_of_first_order_is_ddim(num_steps, generator):
    noise = torch.randn(2, 1, 4, 4, generator=generator, dtype=torch.float64)
    ours = sample(network, solver(BETAS, final_sigma="sigma_min"), noise, num_steps)
    expected = ddim(noise, num_steps)
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-6)  # diffusers' float32 sigmas
    assert expected.std() > 0.1


def test_the_solver_ends_at_the_last_estimate_or_keeps_the_noise_of_the_first_timestep(generator):
    noise = torch.randn(1, 1, 64, 64, generator=generator)
    signal = torch.full_like(noise, 0.25)
    zero, least = (
        sample(lambda x, t: signal, solver(BETAS, final_sigma=kind), noise, 9)
        for kind in ("zero", "sigma_min")
    )
    torch.testing.assert_close(zero, signal)
    rest = (least - signal).std().item()
    assert rest == pytest.approx((1 - KEPT[0]).sqrt().item(), rel=0.05)


@pytest.mark.parametrize("num_steps", [1, 2, 5, 10, 20, 99])
def test_the_network_is_called_at_times_it_was_trained_on(num_steps):
    """The published code samples at times ten times too large, 990 and below."""
    seen = []

    def denoise(noisy, timestep):
        seen.append(timestep)
        return noisy

    sample(denoise, solver(BETAS), torch.zeros(1, 1, 2, 2), num_steps)
    assert len(seen) == num_steps
    assert all(timestep.shape == (1,) and timestep.dtype == torch.int64 for timestep in seen)
    assert seen[0] == 99
    assert all(0 <= timestep <= 99 for timestep in seen)


def test_estimates_of_the_signal_are_clamped(generator):
    noise = torch.randn(1, 1, 8, 8, generator=generator)
    result = sample(lambda x, t: 100 * x, solver(BETAS), noise, 3, clip=1.0)
    assert torch.equal(result.abs(), torch.ones_like(noise))


def test_a_network_that_knows_the_noise_finds_the_signal(generator):
    signal = torch.rand(1, 1, 4, 4, generator=generator)
    scheduler = solver(BETAS, prediction_type="epsilon")
    noise = torch.randn(1, 1, 4, 4, generator=generator)

    def denoise(noisy, timestep):
        kept = KEPT[timestep].float()
        return (noisy - kept.sqrt() * signal) / (1 - kept).sqrt()

    torch.testing.assert_close(sample(denoise, scheduler, noise, 10), signal, rtol=0, atol=1e-3)


def test_a_sample_can_be_drawn_twice_with_one_scheduler(generator):
    noise = torch.randn(1, 1, 4, 4, generator=generator)
    scheduler = solver(BETAS, order=2)
    first = sample(network, scheduler, noise, 5)
    assert torch.equal(sample(network, scheduler, noise, 5), first)


def test_impossible_arguments_are_an_error():
    noise = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match="at least one step, got 0"):
        sample(network, solver(BETAS), noise, 0)
    with pytest.raises(ValueError, match="expects 'epsilon'; leave clip at None"):
        sample(network, solver(BETAS, prediction_type="epsilon"), noise, 2, clip=1.0)


def test_a_hand_computed_mixture_of_signal_and_noise():
    signal, noise = torch.full((2, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1), 3.0)
    mixed = add_noise(signal, noise, torch.tensor([1.0, 0.36]))
    torch.testing.assert_close(mixed.flatten(), torch.tensor([2.0, 0.6 * 2 + 0.8 * 3]))


def test_the_signal_comes_back_from_the_noise(generator):
    signal = torch.rand(3, 2, 4, 4, generator=generator)
    noise = torch.randn(3, 2, 4, 4, generator=generator)
    kept = torch.tensor([0.9, 0.5, 0.1])
    torch.testing.assert_close(
        signal_from_noise(add_noise(signal, noise, kept), noise, kept), signal
    )


def test_noise_is_drawn_alike_for_every_dtype():
    like = torch.zeros(1, dtype=torch.float64)
    first = noise_like((2, 3), torch.Generator().manual_seed(1), like)
    second = noise_like((2, 3), torch.Generator().manual_seed(1), like.float())
    assert first.dtype == torch.float64
    assert torch.equal(first, second.double())

"""The one sampling loop, around any scheduler of diffusers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def sample(
    denoise: Callable[[Tensor, Tensor], Tensor],
    scheduler: Any,
    noise: Tensor,
    num_steps: int,
    clip: float | None = None,
) -> Tensor:
    """Return a sample: `noise` taken back to the signal in `num_steps` calls of `denoise`.

    Args:
        denoise: (noisy like `noise`, timestep (1,) int64) -> the scheduler's kind of prediction.
        scheduler: of diffusers; its state is reset.
        noise: standard normal, any shape.
        num_steps: calls of the network, at least 1.
        clip: predictions of the clean signal are clamped to [-clip, clip]; None for none. Only for
            schedulers whose network predicts the clean signal.

    Raises:
        ValueError: for fewer than one step, or if `clip` meets a network that predicts noise.
    """
    if num_steps < 1:
        raise ValueError(f"expected at least one step, got {num_steps}")
    if clip is not None and scheduler.config.prediction_type != "sample":
        raise ValueError(
            f"only predictions of the clean signal can be clipped, but the scheduler expects "
            f"{scheduler.config.prediction_type!r}; leave clip at None"
        )
    scheduler.set_timesteps(num_steps, device=noise.device)
    noisy: Tensor = noise * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(noisy, timestep)
        prediction = denoise(scaled, timestep[None])
        if clip is not None:
            prediction = prediction.clamp(-clip, clip)
        noisy = scheduler.step(prediction, timestep, noisy).prev_sample
    return noisy


def add_noise(signal: Tensor, noise: Tensor, alpha_cumprod: Tensor) -> Tensor:
    """Return sqrt(a) signal + sqrt(1 - a) noise, the forward process of Ho et al. (2020), Eq. (4).

    Args:
        signal: (B, ...).
        noise: like `signal`, standard normal.
        alpha_cumprod: (B,), the share a of the signal's variance of each item.
    """
    kept = alpha_cumprod.to(signal.dtype).view(-1, *[1] * (signal.ndim - 1))
    return kept.sqrt() * signal + (1 - kept).sqrt() * noise


def signal_from_noise(noisy: Tensor, noise: Tensor, alpha_cumprod: Tensor) -> Tensor:
    """Return the clean signal that `noisy` and an estimate of its noise mean; see `add_noise`."""
    kept = alpha_cumprod.to(noisy.dtype).view(-1, *[1] * (noisy.ndim - 1))
    return (noisy - (1 - kept).sqrt() * noise) / kept.sqrt()


def noise_like(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Return standard normal noise drawn on the CPU, so that a seed means the same everywhere.

    Args:
        shape: of the noise.
        generator: on the CPU.
        like: whose device and type the noise gets.
    """
    return torch.randn(shape, generator=generator, dtype=torch.float32).to(like)

"""Predict and refine: a first guess, and the diffusion of what it still lacks.

NAF-DPM (Cicchetti and Comminiello 2024, arXiv 2404.05669): the predictor f turns the degraded image
y into c = f(y); the denoiser learns the residual r = x - c of the clean image x, seen through noise
and with c beside it; the result is c + r. All images are in [0, 1].
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vismodels.diffusion.sampling import add_noise, noise_like, signal_from_noise
from vismodels.diffusion.schedules import alphas_cumprod, linear_betas
from vismodels.methods.nafdpm.config import DiffusionConfig, NetworkConfig, ObjectiveConfig
from vismodels.methods.nafdpm.objective import draw_timesteps, prediction_loss, residual_loss
from vismodels.nn.nafnet import ConditionalNAFNet, NAFNet
from vismodels.seeding import generator


@dataclass(frozen=True)
class Estimate:
    """What the networks make of a batch at random timesteps.

    Args:
        prediction: (B, C, H, W), c.
        signal: (B, C, H, W), the residual that the denoiser finds; None without a denoiser.
        noise_level: (B,), the share of noise in the variance at each item's timestep.
        losses: `loss`, which training minimizes, and its parts.
    """

    prediction: Tensor
    signal: Tensor | None
    noise_level: Tensor | None
    losses: Mapping[str, Tensor]

    @property
    def restored(self) -> Tensor:
        """The one-step estimate c + r, not clamped; c without a denoiser."""
        return self.prediction if self.signal is None else self.prediction + self.signal


class PredictAndRefine(nn.Module):
    """Predictor and denoiser as they are trained; `pipeline.NAFDPMPipeline` applies them.

    Args:
        image_channels: 3 or 1.
        network: sizes.
        diffusion: schedule and kind of prediction.
        train_size: edge of the training patches, for local pooling; None for global pooling.
    """

    def __init__(
        self,
        image_channels: int,
        network: NetworkConfig,
        diffusion: DiffusionConfig,
        train_size: int | None = None,
    ) -> None:
        super().__init__()
        sizes = {
            "image_channels": image_channels,
            "width": network.width,
            "encoder_blocks": network.blocks,
            "middle_blocks": network.middle_blocks,
            "decoder_blocks": network.blocks[::-1],
            "train_size": train_size,
        }
        with_input = network.condition == "prediction_and_input"
        channels = image_channels * (2 if with_input else 1)
        self.with_input = with_input
        self.page_levels = network.levels == "page"  # of the pages that patches are cut from
        self.diffusion = diffusion
        self.predictor = NAFNet(**sizes)
        self.denoiser = (
            ConditionalNAFNet(**sizes, condition_channels=channels) if network.denoiser else None
        )
        kept = alphas_cumprod(linear_betas(diffusion.timesteps))
        self.register_buffer("alphas_cumprod", kept, persistent=False)

    def initialize_(self, seed: int) -> None:
        """Draw all weights anew; those of the predictor are the same with or without denoiser."""
        self.predictor.initialize_(generator(seed, "nafdpm", "predictor"))
        if self.denoiser is not None:
            self.denoiser.initialize_(generator(seed, "nafdpm", "denoiser"))

    def load_networks_(self, predictor: NAFNet, denoiser: ConditionalNAFNet | None) -> None:
        """Take over the weights of trained networks of the same sizes.

        Raises:
            ValueError: if only one of the two models has a denoiser.
        """
        if (self.denoiser is None) != (denoiser is None):
            raise ValueError("one of the models has a denoiser and the other has none")
        self.predictor.load_state_dict(predictor.state_dict())
        if self.denoiser is not None and denoiser is not None:
            self.denoiser.load_state_dict(denoiser.state_dict())

    def forward(
        self,
        degraded: Tensor,
        clean: Tensor,
        objective: ObjectiveConfig,
        draws: torch.Generator,
        *,
        predictor_only: bool = False,
    ) -> Estimate:
        """Return estimates at random timesteps, and what training minimizes.

        The condition is detached from the predictor; the residual to learn is not, unless the
        objective says so: the diffusion loss pulls on the predictor through it.

        Args:
            degraded: (B, C, H, W) in [0, 1].
            clean: like `degraded`.
            objective: weights of the losses.
            draws: timesteps and noise; on the CPU.
            predictor_only: leave the denoiser out.
        """
        prediction = self.predictor(degraded)
        first = prediction_loss(prediction, clean, objective.low_frequency_weight, objective.loss)
        if self.denoiser is None or predictor_only:
            return Estimate(prediction, None, None, {"loss": first, "predictor": first})
        residual = clean - (prediction.detach() if objective.detach_target else prediction)
        timesteps = draw_timesteps(len(clean), self.diffusion.timesteps, objective.times, draws).to(
            clean.device
        )
        kept = self.alphas_cumprod[timesteps]  # type: ignore[index]
        noise = noise_like(tuple(clean.shape), draws, clean)
        noisy = add_noise(residual, noise, kept)
        condition = self.condition(prediction.detach(), degraded)
        estimate = self.denoiser(noisy, timesteps, condition)
        if self.diffusion.prediction_type == "sample":
            signal = estimate
            second = residual_loss(
                signal, residual, objective.high_frequency_weight, objective.loss
            )
        else:
            signal = signal_from_noise(noisy, estimate, kept)
            second = residual_loss(estimate, noise, objective.high_frequency_weight, objective.loss)
        losses = {
            "loss": second + objective.predictor_weight * first,
            "predictor": first,
            "denoiser": second,
        }
        return Estimate(prediction, signal, 1 - kept, losses)

    def condition(self, prediction: Tensor, degraded: Tensor) -> Tensor:
        """Return what the denoiser sees beside the noise: (B, C, H, W), or (B, 2C, H, W)."""
        return torch.cat([prediction, degraded], dim=1) if self.with_input else prediction

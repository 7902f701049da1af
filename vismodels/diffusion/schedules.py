"""Noise schedules, and the solver that goes back along them."""

from typing import Literal

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

PredictionType = Literal["sample", "epsilon"]
FinalSigma = Literal["zero", "sigma_min"]


def linear_betas(timesteps: int = 100) -> Tensor:
    """Return (T,) betas in float64, linear from 1e-3 / T to 20 / T.

    The range of Ho et al. (2020), made for 1000 timesteps, scaled so that the signal vanishes in T.

    Raises:
        ValueError: for 20 timesteps or fewer, with which a beta would reach 1.
    """
    if timesteps <= 20:
        raise ValueError(f"a linear schedule needs more than 20 timesteps, got {timesteps}")
    scale = 1000 / timesteps
    return torch.linspace(1e-6 * scale, 0.02 * scale, timesteps, dtype=torch.float64)


def alphas_cumprod(betas: Tensor) -> Tensor:
    """Return the share of the signal's variance that is left at each timestep, like `betas`."""
    return (1 - betas).cumprod(0)


def solver(
    betas: Tensor,
    *,
    prediction_type: PredictionType = "sample",
    order: Literal[1, 2] = 1,
    final_sigma: FinalSigma = "zero",
) -> DPMSolverMultistepScheduler:
    """Return diffusers' DPM-Solver++ on equidistant times; of order 1 it is DDIM.

    Lu et al. (2022), arXiv 2211.01095. Clamping is the sampler's: see `sampling.sample`.

    Args:
        betas: (T,).
        prediction_type: what the network returns: the clean signal or the noise.
        order: of the solver.
        final_sigma: `zero` ends at the network's last estimate; `sigma_min` keeps the noise of the
            first timestep, as the solver of the published code does.
    """
    scheduler: DPMSolverMultistepScheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=len(betas),
        trained_betas=betas.tolist(),
        algorithm_type="dpmsolver++",
        prediction_type=prediction_type,
        solver_order=order,
        timestep_spacing="linspace",
        final_sigmas_type=final_sigma,
        thresholding=False,
    )
    return scheduler

"""Learning rates over the iterations."""

import torch
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.scheduler.poly_lr import PolyLRScheduler
from timm.scheduler.step_lr import StepLRScheduler

POLY_POWER = 0.9


def warmup_cosine(
    optimizer: torch.optim.Optimizer, iterations: int, warmup: int = 0
) -> CosineLRScheduler:
    """Return linear warm-up, then a half cosine down to zero; call `step_update(iteration)`.

    Args:
        optimizer: whose learning rates are the highest ones.
        iterations: of the whole training.
        warmup: iterations of the warm-up.
    """
    return CosineLRScheduler(
        optimizer,
        t_initial=iterations - warmup,
        warmup_t=warmup,
        warmup_lr_init=_first_rate(optimizer, warmup),
        warmup_prefix=True,
        t_in_epochs=False,
    )


def warmup_poly(
    optimizer: torch.optim.Optimizer, iterations: int, warmup: int = 0
) -> PolyLRScheduler:
    """Return linear warm-up, then (1 - t)^0.9 down to zero; call `step_update(iteration)`.

    Args:
        optimizer: whose learning rates are the highest ones.
        iterations: of the whole training.
        warmup: iterations of the warm-up.
    """
    return PolyLRScheduler(
        optimizer,
        t_initial=iterations - warmup,
        power=POLY_POWER,
        warmup_t=warmup,
        warmup_lr_init=_first_rate(optimizer, warmup),
        warmup_prefix=True,
        t_in_epochs=False,
    )


def exponential_epochs(
    optimizer: torch.optim.Optimizer, epoch: int, decay: float, warmup: int = 0
) -> StepLRScheduler:
    """Return rates that fall by a factor after every epoch; call `step_update(iteration)`.

    Args:
        optimizer: whose learning rates are the highest ones.
        epoch: iterations of an epoch.
        decay: factor of each epoch.
        warmup: iterations of a linear warm-up.
    """
    return StepLRScheduler(
        optimizer,
        decay_t=epoch,
        decay_rate=decay,
        warmup_t=warmup,
        warmup_lr_init=_first_rate(optimizer, warmup),
        warmup_prefix=True,
        t_in_epochs=False,
    )


def _first_rate(optimizer: torch.optim.Optimizer, warmup: int) -> float:
    rate: float = min(group["lr"] for group in optimizer.param_groups)
    return rate / max(warmup, 1)

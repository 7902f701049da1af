"""Learning rates over the iterations."""

import torch
from timm.scheduler.cosine_lr import CosineLRScheduler


def warmup_cosine(
    optimizer: torch.optim.Optimizer, iterations: int, warmup: int = 0
) -> CosineLRScheduler:
    """Return linear warm-up, then a half cosine down to zero; call `step_update(iteration)`.

    Args:
        optimizer: whose learning rates are the highest ones.
        iterations: of the whole training.
        warmup: iterations of the warm-up.
    """
    rate = min(group["lr"] for group in optimizer.param_groups)
    return CosineLRScheduler(
        optimizer,
        t_initial=iterations - warmup,
        warmup_t=warmup,
        warmup_lr_init=rate / max(warmup, 1),
        warmup_prefix=True,
        t_in_epochs=False,
    )

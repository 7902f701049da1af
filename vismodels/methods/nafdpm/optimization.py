"""What both trainings of NAF-DPM share: optimizer, schedule, averaged weights, one update."""

from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from vismodels.methods.nafdpm.config import OptimizerConfig
from vismodels.training.schedule import warmup_cosine
from vismodels.training.state import Part

Model = TypeVar("Model", bound=nn.Module)


class Optimization(Generic[Model]):
    """AdamW with a schedule, and an average of the weights that is kept, stored and used.

    The published code has such an average and neither stores nor uses it.

    Args:
        model: what is trained, already on its device.
        config: rates and decays.
        iterations: of the whole training.
    """

    def __init__(self, model: Model, config: OptimizerConfig, iterations: int) -> None:
        self._model = model
        self._config = config
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self._scheduler: CosineLRScheduler | None = None
        if config.schedule == "cosine":
            self._scheduler = warmup_cosine(self._optimizer, iterations, config.warmup)
        # The decay grows with the iterations, so that the start is soon forgotten.
        self._average = ModelEmaV3(model, decay=config.ema_decay, use_warmup=True)

    @property
    def averaged(self) -> Model:
        """The model with the averaged weights."""
        averaged: Model = self._average.module
        return averaged

    def parts(self) -> Mapping[str, Part]:
        """Return the parts of the train state, model included."""
        parts: dict[str, Part] = {
            "model": self._model,
            "optimizer": self._optimizer,
            "average": self._average,
        }
        if self._scheduler is not None:
            parts["scheduler"] = self._scheduler
        return parts

    def update(self, loss: Tensor, iteration: int) -> None:
        """Make one step down the gradient of `loss`.

        Args:
            loss: a scalar.
            iteration: number of this iteration, from 1.
        """
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._config.max_gradient_norm is not None:
            nn.utils.clip_grad_norm_(self._model.parameters(), self._config.max_gradient_norm)
        self._optimizer.step()
        if self._scheduler is not None:
            self._scheduler.step_update(iteration)
        self._average.update(self._model, step=iteration)

"""What finetuning makes small: errors of the output, and of the outputs of tuned layers.

Wang et al. (2025), arXiv 2402.03666, Sec. 4.2 to 4.4: L = L_TLA + L_CMA + 2 L_G, each the squared
distance to the float network's. The last one is of the network's output, whatever it predicts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vismodels.methods.quest.config import LocalLoss

SMALLEST_POWER = 1e-12  # of a float output that errors are divided by


@dataclass(frozen=True)
class Objective:
    """The loss of a stage; see `config.TuningStage` for its terms.

    Args:
        local: how errors of layers are put together.
        global_weight: of the error of the output.
        global_per_layer: count that error once for each local one.
    """

    local: LocalLoss
    global_weight: float
    global_per_layer: bool = False

    def __call__(
        self,
        output: Tensor,
        target: Tensor,
        layers: Mapping[str, Tensor] | None = None,
        layer_targets: Mapping[str, Tensor] | None = None,
        weights: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the terms `loss`, the sum to make small, `local` and `global`, its parts.

        Args:
            output: of the quantized network, (B, ...).
            target: like it, of the float network.
            layers: layer -> output; unused without a local loss.
            layer_targets: the same of the float network.
            weights: (B,), of the samples' errors of the output; None: all 1.
        """
        relative = self.local == "relative"
        whole = _squared(output, target, weights, relative)
        local = whole.new_zeros(())
        if self.local != "none":
            assert layers is not None and layer_targets is not None
            errors = torch.stack(
                [_squared(layers[name], layer_targets[name], None, relative) for name in layers]
            )
            local = errors.sum() if self.local == "sum" else errors.mean()
        count = len(layers or {}) if self.global_per_layer else 1
        whole = self.global_weight * count * whole
        return {"loss": local + whole, "local": local.detach(), "global": whole.detach()}


def epsilon_weights(scheduler: Any, timesteps: Tensor) -> Tensor:
    """Return by what errors of a network's output are multiplied to be errors of epsilon, (N,).

    With v = sqrt(a) epsilon - sqrt(1 - a) x0 at a fixed noisy sample, errors of epsilon are sqrt(a)
    times those of v: none where a is 0, at a last step of pure noise, which then stays untrained.

    Args:
        scheduler: of diffusers; knows `alphas_cumprod` and `prediction_type`.
        timesteps: (N,), integers.

    Raises:
        ValueError: for a prediction type other than epsilon and v_prediction.
    """
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return torch.ones(len(timesteps))
    if kind != "v_prediction":
        raise ValueError(
            f"errors of {kind} are not known as errors of epsilon, only those of epsilon and "
            "v_prediction; set prediction: output"
        )
    alphas: Tensor = scheduler.alphas_cumprod[timesteps.long().cpu()]
    return alphas


def _squared(output: Tensor, target: Tensor, weights: Tensor | None, relative: bool) -> Tensor:
    """Return the mean squared error, in units of the target's mean square if it is relative."""
    difference = output.float() - target.float()
    errors = difference.square().flatten(1).mean(1)
    if weights is not None:
        errors = errors * weights
    error = errors.mean()
    if not relative:
        return error
    return error / target.float().square().mean().clamp_min(SMALLEST_POWER)

"""The closed-form baselines, fitted layer by layer, with the interface of `fit`.

Rodriguez et al. (2024), "Controlling language and diffusion models by transporting activations"
(AcT), arXiv 2410.23054.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vismodels.methods.lineas.activations import pooled_activations
from vismodels.methods.lineas.config import ActConfig, Pooling
from vismodels.methods.lineas.estimators import estimate
from vismodels.methods.lineas.fit import noise_seeds
from vismodels.methods.lineas.layers import pipeline_modules, select_layers
from vismodels.methods.lineas.maps import AffineMap, Maps
from vismodels.methods.lineas.pipelines import call_to_record
from vismodels.methods.lineas.steer import steer
from vismodels.nn.modes import evaluation_mode

Rows = dict[Pooling, dict[str, Tensor]]  # pooling -> layer -> (rows of all steps, units)


def fit_closed_form(
    pipeline: Any,
    source_prompts: Sequence[str],
    target_prompts: Sequence[str],
    config: ActConfig = ActConfig(),  # noqa: B008 (frozen)
    *,
    seed: int = 0,
    call: Mapping[str, Any] | None = None,
) -> Maps:
    """Return maps estimated from pooled activations, one layer after the other.

    At once, source activations come from the plain pipeline. Sequentially, a layer's come from the
    pipeline steered by the maps of all layers that run before it, one pass for each layer. Target
    activations are always plain. Of several denoising steps the rows are taken together, since one
    map serves all.

    Args:
        pipeline: of diffusers, on its device.
        source_prompts: what is steered.
        target_prompts: where to; unpaired, of any number.
        config: layers, estimator, order, mask.
        seed: of the noise.
        call: further arguments of the pipeline; over `config.call`.

    Raises:
        ValueError: for too few prompts, layers that fit nothing or cannot be recorded, a map that
            is not finite, or an argument in `call` that is set here.
    """
    call = {**config.call.arguments(), **(call or {})}
    chosen = select_layers(pipeline, config.layers)
    poolings: list[Pooling] = [config.pooling]
    if config.mask == "positions":
        poolings += [each for each in ("min", "max") if each != config.pooling]

    def activations(side: str, layers: Sequence[str], prompts: Sequence[str]) -> Rows:
        values, _ = pooled_activations(
            pipeline,
            layers,
            prompts,
            poolings,
            seeds=noise_seeds(seed, config.noise, side, len(prompts)),
            batch_size=config.batch_size,
            call=call,
        )
        return {pooling: _over_steps(each) for pooling, each in values.items()}

    maps: dict[str, AffineMap] = {}
    with evaluation_mode(pipeline_modules(pipeline)):
        targets = activations("target", chosen, target_prompts)[config.pooling]
        if config.order == "at_once":
            source = activations("source", chosen, source_prompts)
            maps = {layer: _map(layer, source, targets, config) for layer in targets}
        else:
            for layer in targets:  # in the order they run
                if maps:
                    with steer(pipeline, Maps(maps, config.mode)):
                        source = activations("source", [layer], source_prompts)
                else:
                    source = activations("source", [layer], source_prompts)
                maps[layer] = _map(layer, source, targets, config)
    about = {
        "method": config.estimator,
        "config": config.model_dump(mode="json") | {"call": call_to_record(call)},
        "pipeline": type(pipeline).__name__,
        "prompts": [len(source_prompts), len(target_prompts)],
        "seed": seed,
    }
    return Maps(maps, config.mode, about)


def _map(layer: str, source: Rows, targets: Mapping[str, Tensor], config: ActConfig) -> AffineMap:
    values = source[config.pooling][layer]
    try:
        estimated = estimate(values, targets[layer], config)
    except ValueError as error:
        raise ValueError(f"no map of {layer}: {error}") from error
    match config.mask:
        case "none":
            return estimated
        case "pooled":
            low, high = values.amin(0), values.amax(0)
        case "positions":
            low, high = source["min"][layer].amin(0), source["max"][layer].amax(0)
    return replace(estimated, low=low.cpu(), high=high.cpu())


def _over_steps(values: Mapping[tuple[str, int], Tensor]) -> dict[str, Tensor]:
    steps: dict[str, list[Tensor]] = {}
    for (layer, _), rows in values.items():
        steps.setdefault(layer, []).append(rows)
    return {layer: torch.cat(each) for layer, each in steps.items()}

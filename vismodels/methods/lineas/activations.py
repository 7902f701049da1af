"""Pooled activations of a pipeline's layers, for each denoising step, one row for each prompt."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from vismodels.methods.lineas.config import Gradient, Pooling
from vismodels.methods.lineas.hooks import module_edits
from vismodels.methods.lineas.layers import (
    component_of,
    denoisers,
    pipeline_modules,
    to_positions,
    unit_axis,
)
from vismodels.methods.lineas.pipelines import call_of_batch, latents_of, seeded
from vismodels.methods.lineas.pooling import pool
from vismodels.nn.hooks import Edit, edit

# Pipelines that put the conditional half of a guided batch first; all others put it second.
CONDITIONAL_FIRST = (
    "LuminaPipeline", "StableCascadePriorPipeline", "StableCascadeDecoderPipeline",
    "WuerstchenPriorPipeline", "WuerstchenDecoderPipeline",
)  # fmt: skip
LayerStep = tuple[str, int]  # layer and denoising step; text encoders run before the first, in 0


class Recording:
    """What a pass of the pipeline fills: pooled activations in the order the layers run.

    Of a guided pass only the conditional half is kept. Where both halves are one batch of the
    component it is the second half, or the first by `conditional_first`; where they are two calls
    (text encoders, Flux) it is the first of each denoising step.

    Args:
        rows: number of prompts.
        poolings: how, one or several; their columns and rows are kept apart.
        conditional_first: see `CONDITIONAL_FIRST`.
    """

    def __init__(
        self, rows: int, poolings: Sequence[Pooling], conditional_first: bool = False
    ) -> None:
        self.rows = rows
        self.half = slice(rows) if conditional_first else slice(-rows, None)
        self.values: dict[Pooling, dict[LayerStep, Tensor]] = {each: {} for each in poolings}
        self.units: dict[str, int] = {}
        self._step = 0
        self._calls: dict[str, int] = {}
        self._masks: dict[str, Tensor | None] = {}

    def end_step(self) -> None:
        """Count a denoising step."""
        self._step += 1
        self._calls.clear()

    def take(self) -> dict[Pooling, dict[LayerStep, Tensor]]:
        """Return what was kept since this was called last, and let go of it."""
        taken = self.values
        self.values = {each: {} for each in taken}
        return taken

    def begin_call(self, component: str, mask: Tensor | None) -> None:
        """Count a call of a component, whose tokens `mask` (B, tokens) tells from padding."""
        self._calls[component] = self._calls.get(component, 0) + 1
        self._masks[component] = mask

    def add(self, layer: str, module: nn.Module, output: Tensor) -> None:
        """Keep the pooled output of a layer, unless it belongs to the unconditional half.

        Raises:
            ValueError: if the layer runs twice in one call, or its rows are not the prompts'.
        """
        component = component_of(layer)
        if self._calls.get(component, 0) > 1:
            return
        key = (layer, self._step)
        if any(key in values for values in self.values.values()):
            raise ValueError(
                f"{layer} runs more than once in one call of {component}, so its activations are "
                "of several places; choose other layers"
            )
        if len(output) not in (self.rows, 2 * self.rows):
            raise ValueError(
                f"{layer} puts out {len(output)} rows for {self.rows} prompts (twice as many with "
                "guidance), so they are not the prompts'; choose other layers"
            )
        axis = unit_axis(module, output)
        positions = to_positions(output, axis)[self.half]
        mask = self._masks.get(component)
        if mask is not None:
            mask = mask[self.half].bool() if mask.shape[1] == positions.shape[1] else None
        self.units[layer] = output.shape[axis]
        for pooling, values in self.values.items():
            values[key] = pool(positions, pooling, mask)


@contextmanager
def record(
    pipeline: Any, layers: Sequence[str], rows: int, poolings: Sequence[Pooling]
) -> Iterator[Recording]:
    """Yield a recording that one call of the pipeline for `rows` prompts fills; see `Recording`.

    Opened inside `steer` it holds the steered activations. Whoever calls the pipeline calls
    `end_step` of the recording after each denoising step.

    Raises:
        KeyError: for a layer that the pipeline does not have, with the nearest one.
    """
    modules = pipeline_modules(pipeline)
    classes = {each.__name__ for each in type(pipeline).__mro__}
    recording = Recording(rows, poolings, not classes.isdisjoint(CONDITIONAL_FIRST))

    def begin(component: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
            mask = kwargs.get("attention_mask")
            is_of_tokens = isinstance(mask, Tensor) and mask.ndim == 2
            recording.begin_call(component, mask if is_of_tokens else None)

        return hook

    def keep(layer: str) -> Edit:
        def observe(module: nn.Module, output: Tensor) -> Tensor:
            recording.add(layer, module, output)
            return output

        return observe

    with ExitStack() as stack:
        stack.enter_context(edit(modules, module_edits({layer: keep(layer) for layer in layers})))
        for component in dict.fromkeys(map(component_of, layers)):
            hook = modules[component].register_forward_pre_hook(begin(component), with_kwargs=True)
            stack.enter_context(hook)
        yield recording


def run_and_record(
    pipeline: Any,
    layers: Sequence[str],
    prompts: Sequence[str],
    poolings: Sequence[Pooling],
    *,
    seeds: Sequence[int],
    gradient: Gradient | None,
    call: Mapping[str, Any],
    on_step_end: Callable[[Recording], None] | None = None,
) -> Recording:
    """Return the recording of one call of the pipeline, with gradients if wanted.

    Args:
        pipeline: of diffusers, steered or not.
        layers: their names.
        prompts: one batch.
        poolings: see `pooling`.
        seeds: of the noise, one for each prompt.
        gradient: see `pipelines.latents_of`.
        call: further arguments of the pipeline, of this batch.
        on_step_end: called with the recording after each denoising step. Whoever takes the values
            of a step away (`Recording.take`) keeps one step's graph in memory only, since no
            gradient leaves the denoiser then: for `last`.

    Raises:
        ValueError: if a layer did not run, or cannot be recorded.
    """
    with ExitStack() as stack:
        recording = stack.enter_context(record(pipeline, layers, len(prompts), poolings))
        cut = dict.fromkeys(denoisers(pipeline), _without_gradient)
        if on_step_end is not None and cut:
            stack.enter_context(edit(pipeline_modules(pipeline), cut))

        def end_step() -> None:
            if on_step_end is not None:
                on_step_end(recording)
            recording.end_step()

        latents_of(
            pipeline,
            prompts,
            gradient=gradient,
            generators=seeded(seeds),
            on_step_end=end_step,
            call=call,
        )
    idle = [layer for layer in layers if layer not in recording.units]
    if idle:
        raise ValueError(
            f"these layers do not run when latents are generated: {', '.join(idle)}; leave them out"
        )
    return recording


def _without_gradient(module: nn.Module, output: Any) -> Any:
    """Return an output without its graph, which the pipeline would hold through the next step."""
    return tree_map(lambda each: each.detach() if isinstance(each, Tensor) else each, output)


def pooled_activations(
    pipeline: Any,
    layers: Sequence[str],
    prompts: Sequence[str],
    poolings: Sequence[Pooling],
    *,
    seeds: Sequence[int],
    batch_size: int,
    call: Mapping[str, Any],
) -> tuple[dict[Pooling, dict[LayerStep, Tensor]], dict[str, int]]:
    """Return the activations of all prompts, generated in batches without gradients.

    Args:
        pipeline: of diffusers, steered or not.
        layers: their names.
        prompts: any number, at least one.
        poolings: see `pooling`.
        seeds: of the noise, one for each prompt; neither they nor the rows depend on the batches.
        batch_size: prompts in one call.
        call: further arguments of the pipeline; see `pipelines.call_of_batch`.

    Returns:
        Pooling -> layer and step -> (rows, columns), keys in the order the layers run; and
        layer -> number of its units.

    Raises:
        ValueError: for no prompts, or as `run_and_record`.
    """
    if not prompts:
        raise ValueError("expected prompts, got none")
    places = range(len(prompts))
    recordings = [
        run_and_record(
            pipeline,
            layers,
            [prompts[index] for index in batch],
            poolings,
            seeds=[seeds[index] for index in batch],
            gradient=None,
            call=call_of_batch(call, batch, len(prompts)),
        )
        for batch in (places[s : s + batch_size] for s in places[::batch_size])
    ]
    first = recordings[0]
    joined = {
        pooling: {
            key: torch.cat([each.values[pooling][key] for each in recordings]) for key in values
        }
        for pooling, values in first.values.items()
    }
    return joined, first.units

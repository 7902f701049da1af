"""A pipeline's own call with gradients: through the denoiser, its steps and the text encoders.

Diffusers decorates `__call__` with `torch.no_grad`; the function underneath is the same code and
gives the same bits. What a gradient crosses is then a choice. The authors of LinEAS (arXiv
2503.10679) enable gradients inside the denoiser alone, where none crosses a denoising step and none
reaches a text encoder.
"""

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from vismodels.methods.lineas.config import Gradient
from vismodels.methods.lineas.layers import pipeline_modules

CALLBACK = "callback_on_step_end"
# Texts that belong to a prompt: a call takes one for each.
BESIDE_PROMPTS = (
    "negative_prompt", "negative_prompt_2", "negative_prompt_3", "prompt_2", "prompt_3",
)  # fmt: skip

# Arguments that are set here; another one in a call would be lost, or be given twice.
RESERVED = ("prompt", "generator", "output_type", "return_dict")


def latents_of(
    pipeline: Any,
    prompts: Sequence[str],
    *,
    gradient: Gradient | None = "full",
    generators: Sequence[torch.Generator] | None = None,
    on_step_end: Callable[[], None] | None = None,
    call: Mapping[str, Any] | None = None,
) -> Tensor:
    """Return the latents of `prompts`, as the plain call does, with gradients.

    Gradients are those of what is inserted into the pipeline; its weights are frozen meanwhile, so
    that none is computed for them. Without gradients the bits are those of the plain call. With
    them they are those of the plain call of frozen weights: PyTorch orders some matrix products
    otherwise where a weight wants a gradient, as it does after `from_pretrained`, which differs in
    rounding.

    Args:
        pipeline: of diffusers, with `callback_on_step_end`.
        prompts: B texts.
        gradient: full: through all denoising steps. last: the latents are detached between the
            steps, so that each step's activations have the gradient of that step alone (and of the
            text encoders). None: no gradient at all.
        generators: one for each prompt, on the CPU: an image then does not depend on the batch it
            is made in. None: PyTorch's global one.
        on_step_end: called after each denoising step.
        call: further keyword arguments of the pipeline (`num_inference_steps`, `guidance_scale`).

    Returns:
        (B, ...), of the pipeline's type and shape.

    Raises:
        TypeError: for a pipeline without that callback, or an argument it does not take.
        ValueError: for an argument in `call` that is set here.
    """
    refuse_reserved(call or {}, (*RESERVED, CALLBACK))
    plain = type(pipeline).__call__
    if CALLBACK not in inspect.signature(plain).parameters:
        raise TypeError(
            f"{type(pipeline).__name__} takes no {CALLBACK}, by which denoising steps are told "
            "apart; use a pipeline that does, most of diffusers' do"
        )

    def end_of_step(
        pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        if on_step_end is not None:
            on_step_end()
        if gradient == "last" and step + 1 < pipeline.num_timesteps:
            tensors["latents"] = tensors["latents"].detach()
        return tensors

    run = getattr(plain, "__wrapped__", plain)
    with (
        torch.set_grad_enabled(gradient is not None),
        nullcontext() if gradient is None else _frozen(pipeline),
        without_progress_bar(pipeline),
    ):
        output = run(
            pipeline,
            prompt=list(prompts),
            generator=None if generators is None else list(generators),
            output_type="latent",
            return_dict=False,
            **{CALLBACK: end_of_step},
            **(call or {}),
        )
    latents: Tensor = output[0]
    return latents


def refuse_reserved(call: Mapping[str, Any], names: Sequence[str] = RESERVED) -> None:
    """Raise ValueError if `call` has one of the arguments that are set for it."""
    found = [name for name in names if name in call]
    if found:
        raise ValueError(
            f"call has {', '.join(found)}, which every batch is given anyway: prompts and seeds "
            "are arguments of their own; leave it out of the call"
        )


def call_to_record(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call as JSON holds them, others by the name of their type."""

    def recorded(value: Any) -> Any:
        try:
            return json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError):
            return type(value).__name__

    return {name: recorded(value) for name, value in call.items()}


def call_of_batch(call: Mapping[str, Any], batch: Sequence[int], prompts: int) -> dict[str, Any]:
    """Return the arguments of one batch, from those of all prompts.

    Of texts that stand beside the prompts (`negative_prompt`, `prompt_2`) a string is for all of
    them, a list has one for each.

    Args:
        call: keyword arguments of the pipeline.
        batch: places of its prompts among all of them.
        prompts: number of all of them.

    Raises:
        ValueError: for a list of another length than there are prompts.
    """
    arguments = dict(call)
    for name in BESIDE_PROMPTS:
        texts = arguments.get(name)
        if texts is None:
            continue
        if isinstance(texts, str):
            texts = [texts] * prompts
        if len(texts) != prompts:
            raise ValueError(
                f"{name} is one text for all prompts or a list of one for each, got {len(texts)} "
                f"for {prompts} prompts"
            )
        arguments[name] = [texts[index] for index in batch]
    return arguments


def seeded(seeds: Iterable[int]) -> list[torch.Generator]:
    """Return a new CPU generator for each seed, one for the noise of each image."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@contextmanager
def _frozen(pipeline: Any) -> Iterator[None]:
    """Keep all weights without gradients inside the block."""
    weights = [each for each in pipeline_modules(pipeline).parameters() if each.requires_grad]
    try:
        for weight in weights:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


@contextmanager
def without_progress_bar(pipeline: Any) -> Iterator[None]:
    """Let the pipeline run without a progress bar inside the block."""
    before = getattr(pipeline, "_progress_bar_config", None)
    pipeline.set_progress_bar_config(**{**(before or {}), "disable": True})
    try:
        yield
    finally:
        if before is None:
            del pipeline._progress_bar_config
        else:
            pipeline._progress_bar_config = before

"""Images of prompts under any steering method, each with noise of its own."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from vismodels.methods.lineas.maps import Maps
from vismodels.methods.lineas.pipelines import (
    call_of_batch,
    refuse_reserved,
    seeded,
    without_progress_bar,
)
from vismodels.methods.lineas.prompting import PromptMethod
from vismodels.methods.lineas.steer import steer


def generate(
    pipeline: Any,
    prompts: Sequence[str],
    method: Maps | PromptMethod | None = None,
    strength: float = 1.0,
    *,
    seeds: Sequence[int],
    batch_size: int,
    call: Mapping[str, Any] | None = None,
) -> Tensor:
    """Return images of `prompts`, steered by `method`.

    An image depends on its prompt and its seed, not on the batch it is made in (but for rounding):
    images of one seed under two methods start from the same noise.

    Args:
        pipeline: of diffusers, on its device.
        prompts: one for each image.
        method: maps to insert, or a way to change the prompts; None for the plain pipeline.
        strength: of the method, from 0 to 1.
        seeds: one for each image.
        batch_size: images in one call.
        call: further arguments of the pipeline; of texts beside the prompts (`negative_prompt`) one
            for all, or a list of one for each.

    Returns:
        (B, 3, H, W), RGB in [0, 1], float32, on the CPU.

    Raises:
        ValueError: if prompts and seeds differ in number or there are none, for texts beside the
            prompts of another number, for a strength outside [0, 1], or for an argument in `call`
            that is set here.
    """
    refuse_reserved(call or {})
    if len(prompts) != len(seeds) or not prompts:
        raise ValueError(
            f"expected as many seeds as prompts, at least one, got {len(seeds)} and {len(prompts)}"
        )
    images = []
    steered = steer(pipeline, method, strength) if isinstance(method, Maps) else nullcontext()
    with steered, without_progress_bar(pipeline):
        for start in range(0, len(prompts), batch_size):
            batch = range(len(prompts))[start : start + batch_size]
            texts = [prompts[index] for index in batch]
            arguments: Mapping[str, Any] = {"prompt": texts}
            if method is not None and not isinstance(method, Maps):
                arguments = method(texts, strength)
            output = pipeline(
                **{**call_of_batch(call or {}, batch, len(prompts)), **arguments},
                generator=seeded([seeds[index] for index in batch]),
                output_type="pt",
                return_dict=False,
            )
            images.append(output[0].float().cpu())
    return torch.cat(images)

"""Steering by words: a negative prompt, or another prompt. Baselines without maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vismodels.methods.lineas.maps import check_strength


class PromptMethod(Protocol):
    """Turns prompts and a strength into arguments of a pipeline's call."""

    def __call__(self, prompts: Sequence[str], strength: float) -> dict[str, Any]:
        """Return the arguments, `prompt` among them; at strength 0 there is no other."""


@dataclass(frozen=True)
class NegativePrompt:
    """Guidance away from what a negative prompt names; strength dials the guidance from 1 up.

    Args:
        text: the negative prompt of every image.
        guidance_scale: at strength 1; above 1.
        argument: what the pipeline calls it (`true_cfg_scale` in Flux).
    """

    text: str
    guidance_scale: float
    argument: str = "guidance_scale"

    def __call__(self, prompts: Sequence[str], strength: float) -> dict[str, Any]:
        """Return prompts, negative prompts and guidance."""
        check_strength(strength)
        if strength == 0:
            return {"prompt": list(prompts)}
        return {
            "prompt": list(prompts),
            "negative_prompt": [self.text] * len(prompts),
            self.argument: 1 + strength * (self.guidance_scale - 1),
        }


@dataclass(frozen=True)
class PromptEdit:
    """Another text in place of each prompt: words added or taken away. It has no dial.

    Args:
        change: prompt -> prompt, at any strength above 0.
    """

    change: Callable[[str], str]

    def __call__(self, prompts: Sequence[str], strength: float) -> dict[str, Any]:
        """Return the changed prompts."""
        check_strength(strength)
        return {"prompt": [self.change(prompt) if strength else prompt for prompt in prompts]}

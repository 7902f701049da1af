"""One call for all methods: from a configuration and prompts to maps, or to a way with prompts."""

from pathlib import Path
from typing import Any

from vismodels.data.prompts import ConceptPrompts
from vismodels.methods.lineas.baselines import fit_closed_form
from vismodels.methods.lineas.config import (
    ActMethod,
    CallConfig,
    LineasMethod,
    MethodConfig,
    NegativePromptMethod,
    PromptEditMethod,
)
from vismodels.methods.lineas.fit import fit
from vismodels.methods.lineas.maps import Maps
from vismodels.methods.lineas.prompting import NegativePrompt, PromptEdit, PromptMethod
from vismodels.training.log import ScalarLog


def learn(
    pipeline: Any,
    about: ConceptPrompts,
    config: MethodConfig,
    *,
    samples: int | None = None,
    call: CallConfig,
    seed: int,
    log: ScalarLog | None = None,
    checkpoint_dir: Path | None = None,
) -> Maps | PromptMethod:
    """Return what takes a concept out of images of a pipeline.

    Args:
        pipeline: of diffusers.
        about: the concept and prompts to learn from; only source and target are read.
        config: method and settings.
        samples: prompts of each side to learn from, the first ones; None for all.
        call: how the pipeline is called.
        seed: of batches and noise.
        log: takes the course of LinEAS; see `fit`.
        checkpoint_dir: scratch folder of LinEAS; see `fit`.

    Raises:
        ValueError: for fewer prompts than samples, and as `fit` and `fit_closed_form` do.
    """
    source, target = about.source[:samples], about.target[:samples]
    if samples is not None and min(len(source), len(target)) < samples:
        raise ValueError(
            f"{samples} samples of each side are wanted, there are {len(about.source)} source and "
            f"{len(about.target)} target prompts about {about.concept!r}; raise prompts.source and "
            "prompts.target"
        )
    match config:
        case LineasMethod():
            return fit(
                pipeline,
                source,
                target,
                config,
                seed=seed,
                call=call.arguments(),
                log=log,
                checkpoint_dir=checkpoint_dir,
            )
        case ActMethod():
            return fit_closed_form(
                pipeline, source, target, config, seed=seed, call=call.arguments()
            )
        case NegativePromptMethod():
            return NegativePrompt(about.words, config.guidance_scale, config.argument)
        case PromptEditMethod():
            return _edit(config.template, about.words)


def _edit(template: str, words: str) -> PromptEdit:
    return PromptEdit(lambda prompt: template.format(prompt=prompt, words=words))

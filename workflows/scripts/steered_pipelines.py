"""The pipelines that LinEAS steers, what reads their images, and prompts about concepts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vismodels.checkpoint import load_weights
from vismodels.data.prompts import ConceptPrompt, ConceptPrompts
from vismodels.methods.lineas.config import PipelineConfig, PromptCounts, ScenesPipeline
from vismodels.methods.lineas.outside import load_outside_pipeline
from vismodels.methods.lineas.outside_prompts import write_concept_prompts
from vismodels.methods.lineas.readers import JudgeReader, Reader, load_clip_reader
from vismodels.synthetic.scene_captions import concept_by_name
from vismodels.synthetic.scene_judge import SceneJudge
from vismodels.synthetic.scene_pipeline import load_scene_model
from vismodels.synthetic.scene_prompts import make_concept_prompts, make_pair_prompts


@dataclass(frozen=True)
class Steered:
    """What a stage of LinEAS works with.

    `prompts_of`: concept, seed -> prompts. `pairs_of`: two concepts, count, seed -> prompts that
    ask for both; of scenes only.
    """

    pipeline: Any
    reader: Reader
    card: str
    prompts_of: Callable[[str, int], ConceptPrompts]
    pairs_of: Callable[[str, str, int, int], list[ConceptPrompt]]


def load_steered(
    config: PipelineConfig,
    counts: PromptCounts,
    folders: dict[str, Any],
    *,
    data_root: str,
    device: Any,
) -> Steered:
    """Return the pipeline of a problem with all that belongs to it.

    Args:
        config: which one.
        counts: of the prompts.
        folders: inputs of the stage; `model` and `judge` are lists, filled for scenes.
        data_root: where relative folders of outside pipelines lie.
        device: where to compute.
    """
    many = counts.model_dump()
    if isinstance(config, ScenesPipeline):
        judge = load_weights(SceneJudge, folders["judge"][0], device)
        return Steered(
            load_scene_model(folders["model"][0], device),
            JudgeReader(judge),
            "scenes",
            lambda concept, seed: make_concept_prompts(concept_by_name(concept), **many, seed=seed),
            lambda first, second, count, seed: make_pair_prompts(
                concept_by_name(first), concept_by_name(second), count, seed
            ),
        )
    return Steered(
        load_outside_pipeline(config, Path(data_root), device),
        load_clip_reader(config.clip, config.features, device),
        "steering_prompts",
        lambda concept, seed: write_concept_prompts(concept, **many, seed=seed),
        lambda first, second, count, seed: [],
    )

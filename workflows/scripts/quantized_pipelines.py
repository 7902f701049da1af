"""The pipelines that QuEST quantizes, what reads their images, and their prompts."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import AutoModel

from vismodels.checkpoint import load_weights
from vismodels.data.prompts import LabelledPrompt
from vismodels.integrations.diffusers import pack_for_diffusers_
from vismodels.methods.quest.images import Judge
from vismodels.methods.quest.published import (
    load_published,
    load_published_judge,
    read_published_prompts,
)
from vismodels.methods.quest.workflow_config import (
    DenoiserConfig,
    QuantizeConfig,
    SceneClassesDenoiser,
    ScenesDenoiser,
    ScoreConfig,
)
from vismodels.synthetic.scene_class_pipeline import load_class_model
from vismodels.synthetic.scene_classes import class_labels, class_of
from vismodels.synthetic.scene_config import SceneConfig
from vismodels.synthetic.scene_judge import SceneJudge
from vismodels.synthetic.scene_pipeline import load_scene_model
from vismodels.synthetic.scenes import SceneSplit, make_scenes

SPLITS: dict[str, SceneSplit] = {  # part -> scenes whose captions it has
    "calibration": "train",
    "pool": "judge",
    "validation": "validation",
    "test": "test",
}


class QuantizeStageConfig(QuantizeConfig):
    """The stage `quantize`, with the scenes whose captions or classes are prompts."""

    scenes: SceneConfig


class ScoreStageConfig(ScoreConfig):
    """The stage `score`, likewise."""

    scenes: SceneConfig


@dataclass(frozen=True)
class Quantized:
    """What a stage of QuEST works with: `load` returns a new pipeline each time."""

    load: Callable[[], Any]
    judge: Judge
    card: str
    prompts_of: Callable[[str, int, int], list[LabelledPrompt]]


def load_quantized(
    config: DenoiserConfig, scenes: SceneConfig, folders: Any, *, data_root: str, device: Any
) -> Quantized:
    """Return the pipeline of a problem with all that belongs to it.

    Args:
        config: which one.
        scenes: of whose captions or classes prompts are made, for models of scenes.
        folders: inputs of the stage; `model` and `judge` are lists, filled for models of scenes.
        data_root: where relative folders lie.
        device: where to compute.
    """
    if isinstance(config, ScenesDenoiser | SceneClassesDenoiser):
        captioned = isinstance(config, ScenesDenoiser)
        read = load_scene_model if captioned else load_class_model
        loaded: Any = read(folders["model"][0], device)

        def prompts_of(part: str, count: int, seed: int) -> list[LabelledPrompt]:
            made = [each.attributes for each in make_scenes(scenes, SPLITS[part], count, seed)]
            if captioned:
                return [LabelledPrompt(each.caption, each.labels) for each in made]
            return [
                LabelledPrompt("", class_labels(number), class_label=number)
                for number in map(class_of, made)
            ]

        return Quantized(
            lambda: copy.deepcopy(loaded),
            load_weights(SceneJudge, folders["judge"][0], device),
            "scenes",
            prompts_of,
        )
    root = Path(data_root)
    return Quantized(
        lambda: load_published(config, root, device),
        load_published_judge(config, device),
        "published_prompts",
        lambda part, count, seed: read_published_prompts(config, root, part, count, seed),
    )


def save_denoiser(denoiser: Any, folder: Path) -> None:
    """Pack a quantized denoiser and write it as diffusers reads it."""
    pack_for_diffusers_(denoiser)
    denoiser.save_pretrained(folder)


def load_denoiser(folder: Path, device: Any) -> Any:
    """Return a quantized denoiser from its folder."""
    return AutoModel.from_pretrained(str(folder), local_files_only=True).to(device)

"""Prompts about a star, a pipeline and a reader whose answers can be computed by hand."""

import torch

from vismodels.data.prompts import ConceptPrompt, ConceptPrompts
from vismodels.methods.lineas.config import (
    ActMethod,
    CallConfig,
    EvaluationConfig,
    LineasMethod,
    NegativePromptMethod,
    PromptCounts,
    PromptEditMethod,
    ScenesPipeline,
)
from vismodels.methods.lineas.readers import Reading
from vismodels.metrics.steering import CONCEPT_PRESENCE

CALL = CallConfig(num_inference_steps=1)
LAYERS = ("unet.mid_block.*norm.*",)
LINEAS = LineasMethod(kind="lineas", layers=LAYERS, iterations=3)
MEAN = ActMethod(kind="act", layers=LAYERS, estimator="mean", order="at_once")
EDIT = PromptEditMethod(kind="prompt_edit", template="{words} {prompt}")
COLORS = ("red", "blue", "green")


def guidance(scale):
    """Return settings under which a `Painter` takes away scale - 1 of the star at strength 1."""
    return NegativePromptMethod(kind="negative_prompt", guidance_scale=scale)


def asking(*texts, concept="star"):
    """Return prompts with the concept, whose counterfactuals lack it."""
    labels = {"star": 1, "shape": 0}
    return [ConceptPrompt(f"{text} with {concept}", text, labels) for text in texts]


def about_star(seed=0, **changes):
    """Return prompts about a star, of cubes for even seeds and of balls for odd ones."""
    kind = ("cube", "ball")[seed % 2]
    parts = {
        "concept": "star",
        "words": "star",
        "source": [f"{color} {kind} with star at night" for color in (*COLORS, "a")],
        "target": [f"{color} {kind} at night" for color in (*COLORS, "a")],
        "validation": asking("cube", "ball"),
        "test": asking(f"a red {kind}", f"a blue {kind}", f"a green {kind}"),
        "attribute": "star",
        "present": 1,
    }
    return ConceptPrompts(**(parts | changes))


def stage_config(cls, **options):
    """Return the configuration of a stage."""
    common = {
        "seeds": (0, 1),
        "pipeline": ScenesPipeline(kind="scenes"),
        "prompts": PromptCounts(source=4, target=4, validation=2, test=3),
        "call": CALL,
        "strengths": (1.0, 0.5),
        "batch_size": 2,
        "evaluation": EvaluationConfig(strengths=(1.0, 0.5), batch_size=2, shown_prompts=2),
    }
    of_stage = {name: value for name, value in common.items() if name in cls.model_fields}
    return cls(**(of_stage | options))


class Painter:
    """A pipeline whose images have one color: red for the star, green for a cube, blue for a ball.

    Guidance takes the star away: none of it at 1, all of it at 2. The seeds of all noise are kept.
    """

    def __init__(self):
        self.prompts, self.noise = [], []

    def set_progress_bar_config(self, **options):
        self._progress_bar_config = options

    def __call__(self, prompt, *, generator, guidance_scale=1.0, **options):
        self.prompts += prompt
        self.noise.append([each.initial_seed() for each in generator])
        left = 2 - max(guidance_scale, 1.0)
        words = [text.split() for text in prompt]
        colors = [[left * ("star" in w), float("cube" in w), float("ball" in w)] for w in words]
        return (torch.tensor(colors)[:, :, None, None].expand(-1, 3, 2, 2),)


class RedReader:
    """Reads the mean red in percent as the presence; features are the mean colors.

    The prompts and images of every reading are kept.
    """

    presence_metric = CONCEPT_PRESENCE

    def __init__(self):
        self.prompts, self.images = [], []

    def read(self, images, prompts, about):
        self.prompts += [prompt.text for prompt in prompts]
        self.images.append(images)
        means = images.mean((2, 3))
        return Reading(100 * means[:, 0], torch.full((len(images),), 80.0), means)

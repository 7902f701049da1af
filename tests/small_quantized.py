"""A small pipeline to be quantized, a judge that looks at means of colors, and prompts."""

from dataclasses import dataclass
from types import MappingProxyType

import torch
from small_pipelines import build

from vismodels.data.prompts import LabelledPrompt
from vismodels.methods.quest.config import (
    ActivationQuantConfig,
    FinetuningConfig,
    QuantizationSettings,
    Recipe,
    WeightQuantConfig,
)
from vismodels.methods.quest.workflow_config import (
    ImageCounts,
    QuantizeConfig,
    QuestArm,
    SamplingConfig,
    ScenesDenoiser,
    ScoreConfig,
    ShownConfig,
)

COLORS = ("red", "green", "blue")
SAMPLING = SamplingConfig(num_inference_steps=2, batch_size=3)
COMMON = {
    "seeds": (0, 1),
    "denoiser": ScenesDenoiser(kind="scenes"),
    "component": "unet",
    "sampling": SAMPLING,
    "counts": ImageCounts(calibration=2, pool=3, validation=4, test=5),
}


@dataclass(frozen=True)
class Look:
    """What the judge says."""

    labels: dict[str, torch.Tensor]
    features: torch.Tensor


class MeanJudge:
    """Means of the color channels are its features, the largest of them is the color."""

    def read(self, images):
        means = images.mean((2, 3))
        return Look({"color": means.argmax(1)}, means)


def prompts_of(part, count, seed):
    """Return prompts for a color, from `seed` on in turn; the part plays no role."""
    colors = [(seed + number) % 3 for number in range(count)]
    return [LabelledPrompt(f"a {COLORS[each]} ball", {"color": each}) for each in colors]


def recipe_of(bits, iterations=0):
    """Return a recipe with quickly found ranges, finetuned for some iterations."""
    return Recipe(
        quantization=QuantizationSettings(
            weights=WeightQuantConfig(bits=bits, ranges="minmax"),
            activations=ActivationQuantConfig(bits=bits, ranges="minmax"),
        ),
        finetuning=FinetuningConfig(iterations=iterations, batch_size=4) if iterations else None,
    )


def arm_of(*recipes, runs=1):
    """Return an arm with these settings: `first`, `second`."""
    return QuestArm(runs=runs, grid=dict(zip(("first", "second"), recipes, strict=False)))


def quantize_config(*recipes, **options):
    return QuantizeConfig(**COMMON, arm=arm_of(*recipes), **options)


def score_config(arms, shown=MappingProxyType({})):
    return ScoreConfig(**COMMON, arms=arms, shown=ShownConfig(**shown))


def load():
    """Return the pipeline, a new one each time."""
    return build("sd")

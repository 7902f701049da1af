"""The stage `quantize` of one arm: which settings, then a quantized network for every seed."""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vismodels.cost.counters import count
from vismodels.data.prompts import LabelledPrompt
from vismodels.methods.quest.calibration_set import CalibrationSet, collect
from vismodels.methods.quest.images import Images, Judge, calls, closeness, generate
from vismodels.methods.quest.quantize import LayerReport
from vismodels.methods.quest.recipes import RecipeReport, quantize_pipeline_
from vismodels.methods.quest.storage import file_bytes
from vismodels.methods.quest.workflow_config import QuantizeConfig
from vismodels.metrics.generation import IMAGE_MSE
from vismodels.metrics.quantized import DENOISER_GBITOPS, FILE_MB, OUTPUT_ERROR, TUNED_SHARE
from vismodels.results import Score, Value
from vismodels.training.log import ScalarLog

STAGE = "quest_quantize"
COURSES = "courses"  # folder of the curves of finetuning
PromptsOf = Callable[[str, int, int], list[LabelledPrompt]]  # part, count, seed


@dataclass(frozen=True)
class QuantizedArm:
    """One quantized pipeline and what it took."""

    pipeline: Any
    denoiser: nn.Module  # of the pipeline, not packed
    teacher: nn.Module  # the float one
    inputs: CalibrationSet  # of the float one, for validation prompts
    report: RecipeReport
    errors: dict[int, float]  # timestep -> percent
    bitops: int
    seconds: float  # CPU


def quantize_arm(
    config: QuantizeConfig,
    load: Callable[[], Any],
    prompts_of: PromptsOf,
    settings: str,
    *,
    seed: int,
    checkpoint_dir: Path | None = None,
) -> QuantizedArm:
    """Return a freshly loaded pipeline quantized with some settings of an arm.

    Args:
        config: the arm, counts, sampling.
        load: returns the float pipeline, a new one each time.
        prompts_of: (part, count, seed) -> prompts of `calibration`, `pool`, `validation`.
        settings: a name in the arm's grid.
        seed: of prompts, noise and batches.
        checkpoint_dir: scratch folder; an interrupted finetuning goes on from it.
    """
    pipeline, recipe = load(), config.arm.grid[settings]
    inputs = {
        part: _inputs(config, pipeline, prompts_of, part, seed)
        for part in ("calibration", "pool", "validation")
        if part != "pool" or recipe.finetuning is not None
    }
    model = getattr(pipeline, config.component)
    teacher = copy.deepcopy(model)
    clock = time.process_time()
    report = quantize_pipeline_(
        pipeline,
        recipe,
        inputs["calibration"],
        pool=inputs.get("pool"),
        component=config.component,
        seed=seed,
        checkpoint_dir=checkpoint_dir,
    )
    seconds = time.process_time() - clock
    bits = bits_of(report.layers)
    return QuantizedArm(
        pipeline,
        model,
        teacher,
        inputs["validation"],
        report,
        output_errors(model, teacher, inputs["validation"]),
        bitops(teacher, inputs["calibration"], bits),
        seconds,
    )


def choose(
    config: QuantizeConfig,
    load: Callable[[], Any],
    judge: Judge,
    prompts_of: PromptsOf,
    *,
    name: str,
    card: str,
    quantize: Callable[[str, int], QuantizedArm] | None = None,
) -> tuple[str, list[Score]]:
    """Return the settings with the smallest squared error of images, and their records.

    Of validation prompts: the first seed decides; prompts and noise of the test play no part.
    Frechet distances do not choose, since they say nothing below the floor of other noise. One
    setting alone is taken as it is.

    Args:
        config: the arm and what it is tried on.
        load: returns the float pipeline.
        judge: of its images.
        prompts_of: (part, count, seed) -> prompts.
        name: of the arm.
        card: of the prompts.
        quantize: (settings, seed) -> the network, for a caller that keeps what was made; None for
            `quantize_arm`.
    """
    if len(config.arm.grid) == 1:
        return next(iter(config.arm.grid)), []
    seed = config.seeds[0]
    prompts = prompts_of("validation", config.counts.validation, seed)

    def images(pipeline: Any) -> Images:
        return generate(
            pipeline, judge, calls(prompts, config.sampling, "validation images", seed=seed)
        )

    reference = images(load())
    scores = []
    for settings in config.arm.grid:
        if quantize is None:
            made = quantize_arm(config, load, prompts_of, settings, seed=seed)
        else:
            made = quantize(settings, seed)
        scores.append(
            Score(
                stage=STAGE,
                variant=name,
                seed=seed,
                dataset={"card": card, "split": "validation", "items": len(prompts)},
                values=closeness(images(made.pipeline), reference, prompts),
                condition={"settings": settings},
            )
        )
    best = min(scores, key=lambda score: score.value(IMAGE_MSE.name).value or 0.0)
    return str(best.condition["settings"]), scores


def arm_scores(
    made: QuantizedArm, *, name: str, card: str, seed: int, settings: str, folder: Path
) -> list[Score]:
    """Return the records of a quantized network: its size, then its error at every timestep.

    Args:
        made: the network and what it took.
        name: of the arm.
        card: of the prompts.
        seed: of the run.
        settings: that were chosen.
        folder: where it was saved.
    """
    common: dict[str, Any] = {"stage": STAGE, "variant": name, "seed": seed}
    return [
        Score(
            **common,
            dataset={"card": card, "split": "train"},
            values=[
                Value(FILE_MB, file_bytes(folder) / 1e6),
                Value(TUNED_SHARE, 100 * made.report.tuned_share),
                Value(DENOISER_GBITOPS, made.bitops / 1e9),
            ],
            budget={"iterations": made.report.iterations},
            condition={"what": "size", "settings": settings},
        ),
        *(
            Score(
                **common,
                dataset={"card": card, "split": "validation"},
                values=[Value(OUTPUT_ERROR, error)],
                condition={"timestep": timestep},
            )
            for timestep, error in made.errors.items()
        ),
    ]


def courses(made: QuantizedArm) -> dict[str, ScalarLog]:
    """Return stage of the finetuning -> its curves."""
    return {stage.name: stage.log for stage in made.report.stages}


@torch.no_grad()
def output_errors(
    model: nn.Module, teacher: nn.Module, inputs: CalibrationSet, batch_size: int = 100
) -> dict[int, float]:
    """Return timestep -> squared error of the output, in percent of the teacher's mean square."""
    errors: dict[int, list[float]] = {}
    for batch in inputs.batches(batch_size):
        ours, theirs = (
            network(**batch.arguments(like=teacher), return_dict=False)[0].float()
            for network in (model, teacher)
        )
        for timestep in torch.unique(batch.timesteps).tolist():
            own = batch.timesteps == timestep
            found = errors.setdefault(int(timestep), [0.0, 0.0])
            found[0] += (ours[own] - theirs[own]).square().sum().item()
            found[1] += theirs[own].square().sum().item()
    return {timestep: 100 * wrong / whole for timestep, (wrong, whole) in sorted(errors.items())}


Bits = tuple[tuple[int, int], ...]  # of both factors of each product of a module


def bits_of(layers: tuple[LayerReport, ...]) -> dict[str, Bits]:
    """Return name of a module -> bits of both factors of its products, in the float network.

    An attention has two: queries by keys, then the softmax by values.
    """
    found: dict[str, Bits] = {}
    for layer in layers:
        own = layer.activation_bits
        if layer.weight_bits is not None:
            found[layer.name] = ((layer.weight_bits, own),)
        elif layer.softmax_bits is not None:
            found[layer.name] = ((own, own), (layer.softmax_bits, own))
    return found


def bitops(model: nn.Module, inputs: CalibrationSet, bits: Mapping[str, Bits]) -> int:
    """Return the BitOPs of one call of a float network for one sample.

    Args:
        model: the float network.
        inputs: of which the first sample is taken.
        bits: module -> bits of both factors of its products, which have equally many operations;
            32 and 32 for others.
    """
    call = inputs.select(torch.arange(1)).arguments(like=model)
    total = 0
    for layer in count(_WithArguments(model, call)).layers:
        products = bits.get(layer.name.removeprefix("model."), ((32, 32),))
        total += layer.macs // len(products) * sum(prod(factors) for factors in products)
    return total


class _WithArguments(nn.Module):
    """A network with the arguments of its call, which the counter passes by position only."""

    def __init__(self, model: nn.Module, call: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.call = model, call

    def forward(self) -> Any:
        return self.model(**self.call)


def _inputs(
    config: QuantizeConfig, pipeline: Any, prompts_of: PromptsOf, part: str, seed: int
) -> CalibrationSet:
    """Return what the denoiser is called with for the prompts of a part."""
    prompts = prompts_of(part, getattr(config.counts, part), seed)
    arguments = calls(prompts, config.sampling, part, seed=seed)
    latent = [{**call, "output_type": "latent"} for call in arguments]
    kept = config.sampling.kept_steps
    return collect(pipeline, latent, component=config.component, kept_steps=kept)

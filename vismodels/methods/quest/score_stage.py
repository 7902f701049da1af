"""Score the images of all quantized networks against those of the float one, on test prompts."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vismodels.data.prompts import LabelledPrompt
from vismodels.methods.quest.calibration_set import collect
from vismodels.methods.quest.execute import ExecutionReport, execute_int8_
from vismodels.methods.quest.images import Images, Judge, calls, closeness, generate
from vismodels.methods.quest.quantize_stage import PromptsOf
from vismodels.methods.quest.storage import resident_bytes
from vismodels.methods.quest.workflow_config import RESERVED, ScoreConfig
from vismodels.metrics.generation import FRECHET_DISTANCE, FRECHET_FLOOR, frechet_distance
from vismodels.metrics.quantized import FRECHET_EXCESS, RESIDENT_MB, above_floor
from vismodels.results import Score, Value

STAGE = "quest_score"
SHOWN = "shown.npz"
EXECUTION = "execution.json"
FLOAT, OTHER_NOISE, PROMPTS = RESERVED
TIMED = 20  # images, at most
ALONE = 3  # of them are also made one at a time
ROUNDS = 3  # calls of a denoiser that its speed is the median of
Folders = Mapping[str, Mapping[int, Path]]  # arm -> seed -> folder of its denoiser


@dataclass(frozen=True)
class Scored:
    """Records, pictures to show, CPU seconds of an image, what was executed on 8-bit kernels."""

    scores: list[Score]
    shown: dict[str, NDArray[Any]]
    timings: dict[str, float] = field(default_factory=dict)
    execution: dict[str, ExecutionReport] = field(default_factory=dict)  # by arms


def score(
    config: ScoreConfig,
    load: Callable[[], Any],
    load_denoiser: Callable[[Path], nn.Module],
    judge: Judge,
    prompts_of: PromptsOf,
    *,
    folders: Folders,
    card: str,
) -> Scored:
    """Return the records of all arms on the test prompts.

    Every seed has prompts and noise of its own, the same for all arms. Denoisers are read back from
    the files that a user would get.

    Args:
        config: arms, sampling, counts.
        load: returns the float pipeline.
        load_denoiser: reads a quantized denoiser.
        judge: of the images.
        prompts_of: (part, count, seed) -> prompts.
        folders: of the quantized denoisers.
        card: of the prompts.
    """
    pipeline = load()
    scores: list[Score] = []
    shown: dict[str, NDArray[Any]] = {}
    steps = (config.sampling.num_inference_steps, *config.sampling.other_steps)
    for number, seed in enumerate(config.seeds[: max(arm.runs for arm in config.arms.values())]):
        prompts = prompts_of("test", config.counts.test, seed)
        denoisers = {arm: load_denoiser(of[seed]) for arm, of in folders.items() if seed in of}
        for each in steps:
            painter = _Painter(config, pipeline, judge, prompts, seed, each)
            painted = {FLOAT: painter.images(), OTHER_NOISE: painter.images(noise="other")}
            painted |= {arm: painter.images(denoiser) for arm, denoiser in denoisers.items()}
            scores += _records(painter, painted, denoisers, card)
            if number == 0 and each == steps[0]:
                first = prompts[: config.shown.images]
                shown[PROMPTS] = np.array([heading(prompt) for prompt in first])
                for name in (FLOAT, OTHER_NOISE, *config.shown.arms):
                    pixels = painted[name].pixels[: config.shown.images].permute(0, 2, 3, 1)
                    shown[name] = (pixels.numpy() * 255).round().clip(0, 255).astype(np.uint8)
    timings, execution = _executed(config, pipeline, load_denoiser, prompts_of, folders)
    return Scored(scores, shown, timings, execution)


def execution_record(report: ExecutionReport) -> dict[str, Any]:
    """Return what became of the layers, without times, for a file."""
    return {
        "executed": list(report.executed),
        "kept_float": dict(report.kept),
        "weight_bits_limited_to": dict(report.limited),
    }


@dataclass(frozen=True)
class _Painter:
    """Paints the same prompts from the same noise with one denoiser after another."""

    config: ScoreConfig
    pipeline: Any
    judge: Judge
    prompts: Sequence[LabelledPrompt]
    seed: int
    steps: int

    def images(self, denoiser: nn.Module | None = None, noise: str = "same") -> Images:
        """Return the images of a denoiser, or of the pipeline's own."""
        made = calls(
            self.prompts,
            self.config.sampling,
            "test images",
            noise,
            seed=self.seed,
            steps=self.steps,
        )
        with exchanged(self.pipeline, self.config.component, denoiser):
            return generate(self.pipeline, self.judge, made)


@contextmanager
def exchanged(pipeline: Any, component: str, denoiser: nn.Module | None) -> Iterator[None]:
    """Let a pipeline use another denoiser inside the block; None for its own."""
    own = getattr(pipeline, component)
    try:
        if denoiser is not None:
            setattr(pipeline, component, denoiser)
        yield
    finally:
        setattr(pipeline, component, own)


def _records(
    painter: _Painter,
    painted: Mapping[str, Images],
    denoisers: Mapping[str, nn.Module],
    card: str,
) -> list[Score]:
    """Return a record of every set of images, against the float ones of the same noise."""
    reference = painted[FLOAT]
    floor = frechet_distance(
        painted[OTHER_NOISE].reading.features.numpy(), reference.reading.features.numpy()
    )
    scores = []
    for name, images in painted.items():
        values = closeness(images, reference, painter.prompts)
        if name not in (FLOAT, OTHER_NOISE):
            distance = next(v.value for v in values if v.metric == FRECHET_DISTANCE)
            values.append(Value(FRECHET_EXCESS, above_floor(distance or 0.0, floor)))
        if name == OTHER_NOISE:
            values.append(Value(FRECHET_FLOOR, floor))
        else:
            own = getattr(painter.pipeline, painter.config.component)
            values.append(Value(RESIDENT_MB, resident_bytes(denoisers.get(name, own)) / 1e6))
        scores.append(
            Score(
                stage=STAGE,
                variant=name,
                seed=painter.seed,
                dataset={"card": card, "split": "test", "items": len(painter.prompts)},
                values=values,
                condition={"steps": painter.steps},
            )
        )
    return scores


def heading(prompt: LabelledPrompt) -> str:
    """Return what stands above the images of a prompt: its text, or its class."""
    return prompt.text if prompt.class_label is None else f"class {prompt.class_label}"


def _executed(
    config: ScoreConfig,
    pipeline: Any,
    load_denoiser: Callable[[Path], nn.Module],
    prompts_of: PromptsOf,
    folders: Folders,
) -> tuple[dict[str, float], dict[str, ExecutionReport]]:
    """Return CPU seconds of an image, and what was executed on 8-bit kernels by which arm.

    Float, simulated, and executed; images are made in batches, then one at a time. Seconds saved
    are negative where the kernels are not faster.
    """
    seed = config.seeds[0]
    sampling = config.sampling
    prompts = prompts_of("test", min(TIMED, config.counts.test), seed)

    alone = sampling.model_copy(update={"batch_size": 1})

    def measure(name: str) -> dict[str, float]:
        found = {}
        for kind, how, count in (("", sampling, TIMED), ("_alone", alone, ALONE)):
            asked = prompts[:count]
            made = calls(asked, how, "timed", seed=seed)
            started = time.process_time()
            for call in made:
                pipeline(**call, output_type="latent")
            seconds = (time.process_time() - started) / len(asked)
            found[f"cpu_seconds_per_image{kind}_{name}"] = seconds
        return found

    timings, execution = measure("float"), dict[str, ExecutionReport]()
    if not config.shown.executed:
        return timings, execution
    (call, *_) = calls(prompts, sampling, "timed", seed=seed)
    example = collect(
        pipeline, [{**call, "output_type": "latent"}], component=config.component, kept_steps=1
    )
    for arm in config.shown.executed:
        denoiser = load_denoiser(folders[arm][seed])
        with exchanged(pipeline, config.component, denoiser):
            timings |= measure(f"{arm}_simulated")
            report = execute_int8_(denoiser, example.arguments(like=denoiser), ROUNDS)
            timings |= measure(f"{arm}_int8")
        start = "cpu_seconds_per_image_"
        saved = timings[f"{start}float"] - timings[f"{start}{arm}_int8"]
        timings[f"cpu_seconds_saved_per_image_{arm}_int8"] = saved
        execution[arm] = report
        logging.getLogger(__name__).info("%s on 8-bit kernels: %s", arm, report)
    return timings, execution

"""Score all methods on the test prompts about one concept, at every strength.

Rodriguez et al. (2025), "LinEAS", arXiv 2503.10679, Sec. 4.4 and Appendices N and O: mitigation,
and induction by inverse maps.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vismodels.data.prompts import ConceptPrompts
from vismodels.methods.lineas.config import MethodConfig, ScoreConfig
from vismodels.methods.lineas.evaluation import Evaluation, Point, inducing
from vismodels.methods.lineas.folding import fold_
from vismodels.methods.lineas.layers import pipeline_modules
from vismodels.methods.lineas.learning import learn
from vismodels.methods.lineas.maps import Maps
from vismodels.methods.lineas.prompting import PromptMethod
from vismodels.methods.lineas.readers import Reader
from vismodels.metrics.steering import FOLDED_DIFFERENCE, MAP_SUPPORT, MAPPED_UNITS
from vismodels.results import Score, Value

STAGE = "lineas_score"
SHOWN = "shown.npz"
PROMPTS = "prompts"  # texts of the images in it
UNSTEERED, WITHOUT_WORDS, UNINDUCED = "unsteered", "words_removed", "without_concept"
INVERSE = "inverse"  # ends the names of arms whose maps are inverted
Learnt = Mapping[str, Mapping[int, Maps]]  # arm -> seed -> maps


@dataclass(frozen=True)
class Scored:
    """Records, pictures to show, CPU seconds of an image."""

    scores: list[Score]
    shown: dict[str, NDArray[Any]]
    timings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Run:
    """What the records of one seed share."""

    config: ScoreConfig
    evaluation: Evaluation
    seed: int
    card: str

    def score(self, variant: str, values: Sequence[Value], **condition: str | float) -> Score:
        return Score(
            stage=STAGE,
            variant=variant,
            seed=self.seed,
            dataset={"card": self.card, "split": "test", "items": len(self.evaluation.prompts)},
            values=values,
            condition={"concept": self.evaluation.about.concept, **condition},
        )

    def at(
        self, variant: str, point: Point, settings: str = "", more: Sequence[Value] = ()
    ) -> Score:
        values = [*point.values(self.evaluation.reader.presence_metric), *more]
        named = {"settings": settings} if settings else {}
        return self.score(variant, values, strength=point.strength, **named)


def score(
    config: ScoreConfig,
    pipeline: Any,
    reader: Reader,
    prompts_of: Callable[[int], ConceptPrompts],
    *,
    learnt: Learnt,
    chosen: Mapping[str, tuple[str, MethodConfig]],
    card: str,
) -> Scored:
    """Return the records of all arms on the test prompts about a concept.

    Every seed has prompts and noise of its own, the same for all arms.

    Args:
        config: arms and how they are compared.
        pipeline: of diffusers; left as it was.
        reader: of its images.
        prompts_of: seed -> prompts about the concept.
        learnt: maps of the arms that have some.
        chosen: arm -> name and settings of what is scored.
        card: of the prompts.
    """
    scores: list[Score] = []
    shown: dict[str, NDArray[Any]] = {}
    folded: list[Score] = []
    timings: dict[str, float] = {}
    for number, seed in enumerate(config.seeds[: max(arm.runs for arm in config.arms.values())]):
        about = prompts_of(seed)
        evaluation = Evaluation(
            pipeline,
            reader,
            about,
            about.test,
            seed=seed,
            batch_size=config.evaluation.batch_size,
            call=config.call.arguments(),
        )
        run = _Run(config, evaluation, seed, card)
        scores.append(run.at(UNSTEERED, evaluation.start()))
        scores.append(run.at(WITHOUT_WORDS, evaluation.ideal_point()))
        if number == 0:
            texts = [prompt.text for prompt in about.test[: config.evaluation.shown_prompts]]
            shown[PROMPTS] = np.array(texts)
            shown |= _pictures(config, UNSTEERED, 0.0, evaluation.unsteered)
            shown |= _pictures(config, WITHOUT_WORDS, 1.0, evaluation.counterfactual)
        for arm, (settings, method) in chosen.items():
            if number < config.arms[arm].runs:
                steering = learnt[arm][seed] if arm in learnt else _of_prompts(run, about, method)
                scores += _mitigated(run, arm, settings, steering, shown if number == 0 else None)
        scores += _induced(run, pipeline, reader, about, learnt)
        if number == 0:
            folded, timings = _folded(run, pipeline, learnt)
    return Scored([*scores, *folded], shown, timings)


def _of_prompts(run: _Run, about: ConceptPrompts, method: MethodConfig) -> Maps | PromptMethod:
    """Return a method that learns nothing."""
    return learn(run.evaluation.pipeline, about, method, call=run.config.call, seed=run.seed)


def _mitigated(
    run: _Run,
    arm: str,
    settings: str,
    steering: Maps | PromptMethod,
    shown: dict[str, NDArray[Any]] | None,
) -> Iterator[Score]:
    """Yield the records of an arm: one for each strength, one for all of them."""
    points, size = [], []
    if isinstance(steering, Maps):
        units = sum(each.units for each in steering.values())
        size = [Value(MAP_SUPPORT, 100 * steering.support()), Value(MAPPED_UNITS, units)]
    for strength in sorted(run.config.evaluation.strengths):
        images = run.evaluation.images(steering, strength)
        point = run.evaluation.point_of(images, strength)
        points.append(point)
        yield run.at(arm, point, settings, size)
        if shown is not None and arm in run.config.evaluation.shown:
            shown |= _pictures(run.config, arm, strength, images)
    yield run.score(arm, [*run.evaluation.areas(points), *size], settings=settings)


def _induced(
    run: _Run, pipeline: Any, reader: Reader, about: ConceptPrompts, learnt: Learnt
) -> Iterator[Score]:
    """Yield the records of inverse maps on prompts without the concept."""
    arms = [arm for arm in run.config.evaluation.inverted if run.seed in learnt.get(arm, {})]
    if not arms:
        return
    evaluation = Evaluation(
        pipeline,
        reader,
        about,
        inducing(about.test),
        seed=run.seed,
        batch_size=run.config.evaluation.batch_size,
        call=run.config.call.arguments(),
    )
    induced = _Run(run.config, evaluation, run.seed, run.card)
    yield induced.at(UNINDUCED, evaluation.start())
    for arm in arms:
        inverse = learnt[arm][run.seed].inverse(near_zero="identity")
        for point in evaluation.curve(inverse, run.config.evaluation.strengths):
            yield induced.at(f"{arm}_{INVERSE}", point)


def _folded(run: _Run, pipeline: Any, learnt: Learnt) -> tuple[list[Score], dict[str, float]]:
    """Return records of maps in the weights against inserted ones, and CPU seconds of an image.

    After a warm-up plain, hooked and folded pipelines take turns, there and back again.
    """
    timings: dict[str, float] = {}
    scores = []
    for arm in run.config.evaluation.folded:
        maps = learnt[arm][run.seed]
        acting: dict[str, Maps | None] = {"plain": None, f"{arm}_hooked": maps}
        seconds: dict[str, list[float]] = {}
        images = {"plain": run.evaluation.images()}  # the warm-up
        for turn in ([*acting, f"{arm}_folded"], [f"{arm}_folded", *reversed(acting)]):
            for name in turn:
                weights = nullcontext() if name in acting else _in_the_weights(pipeline, maps)
                with weights:
                    started = time.process_time()
                    images[name] = run.evaluation.images(acting.get(name))
                    seconds.setdefault(name, []).append(time.process_time() - started)
        for name, each in seconds.items():
            timings[f"cpu_seconds_per_image_{name}"] = fmean(each) / len(images[name])
        gap = (images[f"{arm}_folded"] - images[f"{arm}_hooked"]).abs().max().item()
        scores.append(run.score(arm, [Value(FOLDED_DIFFERENCE, gap)], folded="yes"))
    return scores, timings


@contextmanager
def _in_the_weights(pipeline: Any, maps: Maps) -> Iterator[None]:
    """Fold maps into the weights for the length of the block."""
    modules = pipeline_modules(pipeline)
    kept = {name: value.clone() for name, value in modules.state_dict().items()}
    try:
        fold_(pipeline, maps)
        yield
    finally:
        modules.load_state_dict(kept)


def _pictures(
    config: ScoreConfig, variant: str, strength: float, images: Tensor
) -> dict[str, NDArray[Any]]:
    """Return the first images as bytes, (N, H, W, 3), under the name of variant and strength."""
    first = images[: config.evaluation.shown_prompts].permute(0, 2, 3, 1)
    return {f"{variant}/{strength:g}": (first.numpy() * 255).round().astype(np.uint8)}

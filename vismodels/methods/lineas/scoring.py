"""Score all methods on the test prompts about one concept, at every strength.

Rodriguez et al. (2025), "LinEAS", arXiv 2503.10679, Sec. 4.4 and Appendices N and O: mitigation,
and induction by inverse maps.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vismodels.data.prompts import ConceptPrompts
from vismodels.methods.lineas.config import MethodConfig, ScoreConfig
from vismodels.methods.lineas.evaluation import Evaluation, Point, inducing
from vismodels.methods.lineas.folding import fold_
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

    def at(self, variant: str, point: Point, settings: str = "") -> Score:
        values = point.values(self.evaluation.reader.presence_metric)
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
    evaluations = []
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
        evaluations.append(evaluation)
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
    folded, timings = _folded(config, pipeline, evaluations[0], learnt, card)
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
    points = []
    for strength in sorted(run.config.evaluation.strengths):
        images = run.evaluation.images(steering, strength)
        point = run.evaluation.point_of(images, strength)
        points.append(point)
        yield run.at(arm, point, settings)
        if shown is not None and arm in run.config.evaluation.shown:
            shown |= _pictures(run.config, arm, strength, images)
    values = run.evaluation.areas(points)
    if isinstance(steering, Maps):
        units = sum(each.units for each in steering.values())
        values += [Value(MAP_SUPPORT, 100 * steering.support()), Value(MAPPED_UNITS, units)]
    yield run.score(arm, values, settings=settings)


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


def _folded(
    config: ScoreConfig, pipeline: Any, evaluation: Evaluation, learnt: Learnt, card: str
) -> tuple[list[Score], dict[str, float]]:
    """Return records of maps in the weights against inserted ones, and CPU seconds of an image."""
    timings: dict[str, float] = {}
    scores = []
    for arm in config.evaluation.folded:
        seed = config.seeds[0]
        maps = learnt[arm][seed]
        kept = {
            name: {key: value.clone() for key, value in part.state_dict().items()}
            for name, part in pipeline.components.items()
            if hasattr(part, "state_dict") and callable(getattr(part, "load_state_dict", None))
        }
        _timed(evaluation, None, timings, "cpu_seconds_per_image_plain")
        hooked = _timed(evaluation, maps, timings, f"cpu_seconds_per_image_{arm}_hooked")
        fold_(pipeline, maps)
        folded = _timed(evaluation, None, timings, f"cpu_seconds_per_image_{arm}_folded")
        for name, state in kept.items():
            pipeline.components[name].load_state_dict(state)
        scores.append(
            Score(
                stage=STAGE,
                variant=arm,
                seed=seed,
                dataset={"card": card, "split": "test", "items": len(evaluation.prompts)},
                values=[Value(FOLDED_DIFFERENCE, (folded - hooked).abs().max().item())],
                condition={"concept": evaluation.about.concept, "folded": "yes"},
            )
        )
    return scores, timings


def _timed(
    evaluation: Evaluation, maps: Maps | None, timings: dict[str, float], name: str
) -> Tensor:
    started = time.process_time()
    images = evaluation.images(maps)
    timings[name] = (time.process_time() - started) / len(images)
    return images


def _pictures(
    config: ScoreConfig, variant: str, strength: float, images: Tensor
) -> dict[str, NDArray[Any]]:
    """Return the first images as bytes, (N, H, W, 3), under the name of variant and strength."""
    first = images[: config.evaluation.shown_prompts].permute(0, 2, 3, 1)
    return {f"{variant}/{strength:g}": (first.numpy() * 255).round().astype(np.uint8)}

"""Which settings of a method to score: those with the largest area on validation prompts."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vismodels.data.prompts import ConceptPrompts
from vismodels.methods.lineas.config import LearnConfig
from vismodels.methods.lineas.evaluation import Evaluation
from vismodels.methods.lineas.maps import Maps
from vismodels.methods.lineas.prompting import PromptMethod
from vismodels.methods.lineas.readers import Reader
from vismodels.metrics.steering import COUNTERFACTUAL_AREA, IMAGE_AREA
from vismodels.results import Metric, Score, mean_value

STAGE = "lineas_learn"


def choose(
    config: LearnConfig,
    pipeline: Any,
    reader: Reader,
    prompts_of: Callable[[str, int], ConceptPrompts],
    method_of: Callable[[str, str, int], Maps | PromptMethod],
    *,
    name: str,
    card: str,
) -> tuple[str, list[Score]]:
    """Return the best settings of an arm, and one record for each of its settings.

    All concepts count alike: a method has one setting for all of them, as in the paper. The first
    seed decides; the test prompts play no part.

    Args:
        config: the arm and what it is tried on.
        pipeline: of diffusers.
        reader: of its images.
        prompts_of: (concept, seed) -> prompts.
        method_of: (settings, concept, seed) -> what these settings give.
        name: of the arm.
        card: of the prompts.
    """
    seed = config.seeds[0]
    abouts = {concept: prompts_of(concept, seed) for concept in config.concepts}
    areas: dict[str, dict[Metric, dict[str, float]]] = {
        settings: {COUNTERFACTUAL_AREA: {}, IMAGE_AREA: {}} for settings in config.arm.grid
    }
    for concept, about in abouts.items():
        evaluation = Evaluation(
            pipeline,
            reader,
            about,
            about.validation,
            seed=seed,
            batch_size=config.batch_size,
            call=config.call.arguments(),
        )
        for settings in config.arm.grid:
            method = method_of(settings, concept, seed)
            points = evaluation.curve(method, config.strengths)
            for value in evaluation.areas(points):
                if value.value is not None:
                    areas[settings][value.metric][concept] = value.value
    scores = [
        Score(
            stage=STAGE,
            variant=name,
            seed=seed,
            dataset={"card": card, "split": "validation", "items": config.prompts.validation},
            values=[mean_value(metric, of_concepts) for metric, of_concepts in found.items()],
            condition={"settings": settings},
        )
        for settings, found in areas.items()
    ]
    best = max(scores, key=lambda score: score.value(COUNTERFACTUAL_AREA.name).value or 0.0)
    told = [replace(each, budget={"chosen": "yes" if each is best else "no"}) for each in scores]
    return str(best.condition["settings"]), told

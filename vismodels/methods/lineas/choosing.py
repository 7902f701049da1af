"""Which settings of a method to score: those with the largest area on validation prompts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vismodels.config import suggestion
from vismodels.data.prompts import ConceptPrompts
from vismodels.files import FileError, read_json, write_json
from vismodels.methods.lineas.config import ArmConfig, ChooseConfig, MethodConfig
from vismodels.methods.lineas.evaluation import Evaluation
from vismodels.methods.lineas.learning import learn
from vismodels.methods.lineas.readers import Reader
from vismodels.metrics.steering import COUNTERFACTUAL_AREA, IMAGE_AREA
from vismodels.results import Metric, Score, mean_value

STAGE = "lineas_choose"
CHOICE = "choice.json"


def choose(
    config: ChooseConfig,
    pipeline: Any,
    reader: Reader,
    prompts_of: Callable[[str, int], ConceptPrompts],
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
            batch_size=config.evaluation.batch_size,
            call=config.call.arguments(),
        )
        for settings, method in config.arm.grid.items():
            learnt = learn(
                pipeline, about, method, samples=config.arm.samples, call=config.call, seed=seed
            )
            points = evaluation.curve(learnt, config.evaluation.strengths)
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
    return str(best.condition["settings"]), scores


def write_choice(folder: Path, settings: str) -> None:
    """Write the name of the chosen settings into `folder`."""
    write_json(folder / CHOICE, {"settings": settings})


def chosen(arm: ArmConfig, folder: Path | None) -> tuple[str, MethodConfig]:
    """Return name and settings of what to score.

    Args:
        arm: with its grid.
        folder: of the stage `choose`; None where there is but one setting.

    Raises:
        FileError: if there is a choice and no folder, or it names settings that are none.
    """
    if folder is None:
        if len(arm.grid) != 1:
            raise FileError(
                f"{len(arm.grid)} settings and no choice between them: run the stage choose"
            )
        return next(iter(arm.grid.items()))
    content: Any = read_json(folder / CHOICE)
    name = content.get("settings") if isinstance(content, dict) else None
    if name not in arm.grid:
        raise FileError(
            f"{folder / CHOICE}: the settings {name!r} are none of the grid's"
            f"{suggestion(str(name), arm.grid)}; run the stage again"
        )
    return str(name), arm.grid[str(name)]

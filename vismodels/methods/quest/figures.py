"""Pictures of quantized denoisers: their images, their errors, their layers, their finetuning."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vismodels.choices import read_choice
from vismodels.data.array_files import read_arrays
from vismodels.figures import Picture
from vismodels.files import read_json
from vismodels.methods.quest.image_rows import draw_rows
from vismodels.methods.quest.inside_figures import draw_courses, draw_histograms, draw_sensitivity
from vismodels.methods.quest.inspection import HISTOGRAM, INSPECTED, SENSITIVITY
from vismodels.methods.quest.quantize_stage import COURSES
from vismodels.methods.quest.score_figures import draw_distances, draw_errors, draw_sizes
from vismodels.methods.quest.score_stage import EXECUTION
from vismodels.methods.quest.workflow_config import QuestProblem, QuestWorkflowConfig
from vismodels.results import SCORES, read_scores
from vismodels.training.log import ScalarLog


def draw_figures(
    config: QuestWorkflowConfig,
    *,
    quantized: Sequence[Path],
    scored: Sequence[Path],
    folder: Path,
) -> list[Picture]:
    """Draw all pictures into `folder` and return their list.

    Args:
        config: problems and their arms.
        quantized: folders `<problem>/<arm>` of the stage `quantize`.
        scored: folders `<problem>` of the stage `score`.
        folder: where to draw.

    Raises:
        FileError: if a file of a stage is missing or damaged.
    """
    pictures = []
    for name, problem in config.problems.items():
        stages = {path.name: path for path in quantized if path.parent.name == name}
        arms = {arm: stages[arm] for arm in problem.arms}
        (stage,) = [path for path in scored if path.name == name]
        records, shown = read_scores(stage / SCORES), problem.shown.arms
        sizes = {arm: read_scores(path / SCORES) for arm, path in arms.items()}
        steps = (problem.sampling.num_inference_steps, *problem.sampling.other_steps)
        pictures += [
            draw_rows(name, shown, stage, folder),
            draw_distances(name, list(arms), records, steps, folder),
            draw_sizes(name, sizes, records, steps[0], folder, read_json(stage / EXECUTION)),
        ]
        if shown:
            pictures.append(draw_errors(name, {arm: sizes[arm] for arm in shown}, folder))
        pictures += _of_the_inside(name, problem, arms, folder)
        if logs := _logs(config, problem, arms):
            pictures.append(draw_courses(name, logs, folder))
    return pictures


def _of_the_inside(
    name: str, problem: QuestProblem, arms: Mapping[str, Path], folder: Path
) -> list[Picture]:
    shown, pictures = problem.shown, []
    if arm := shown.sensitivity:
        found = _inspected(arms[arm], SENSITIVITY)
        errors = {layer: float(error) for layer, error in found.items()}
        pictures.append(draw_sensitivity(name, arm, errors, folder))
    histograms = {arm: _inspected(arms[arm], HISTOGRAM) for arm in shown.histograms}
    if any(histograms.values()):
        pictures.append(draw_histograms(name, histograms, folder))
    return pictures


def _inspected(stage: Path, what: str) -> dict[str, NDArray[Any]]:
    """Return layer -> what is stored about it."""
    arrays, start = read_arrays(stage / INSPECTED), f"{what}/"
    return {
        name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)
    }


def _logs(
    config: QuestWorkflowConfig, problem: QuestProblem, arms: Mapping[str, Path]
) -> dict[str, list[ScalarLog]]:
    """Return name of arm and stage -> log of each seed, of the arms that are finetuned."""
    logs = {}
    for arm, path in arms.items():
        tuning = read_choice(problem.arms[arm].grid, path)[1].finetuning
        stages, words = () if tuning is None else tuning.stages, arm.replace("_", " ")
        for stage in stages:
            logs[words if len(stages) == 1 else f"{words}, {stage.name}"] = [
                ScalarLog.read_csv(path / COURSES / f"{stage.name}_seed{seed}.csv")
                for seed in config.seeds[: problem.arms[arm].runs]
            ]
    return logs

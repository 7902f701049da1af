"""The paper's run in miniature: its own arms and evaluation, on pipelines of a few units.

Nobody sees the paper's run fail before hours on a GPU, so what can be tried without one is.
"""

import pytest
import torch
import yaml
from small_concepts import RedReader
from small_pipelines import FLUX_SIZE, build

from vismodels.choices import read_choice
from vismodels.config import merged, parse_config
from vismodels.methods.lineas.config import LearnConfig, LineasConfig, ScoreConfig
from vismodels.methods.lineas.learning_stage import learn_arm, read_maps
from vismodels.methods.lineas.outside import _build_scheduler
from vismodels.methods.lineas.outside_prompts import write_concept_prompts
from vismodels.methods.lineas.scoring import score

COUNTS = {"source": 4, "target": 4, "validation": 2, "test": 2}
SMALL = {"sdxl_dmd2": "sdxl", "sdxl_lightning": "sdxl", "flux_schnell": "flux"}


@pytest.fixture
def problems(project):
    """Return problem -> its settings as in the paper's run, but for the counts of everything."""
    files = (project / f"workflows/config/{name}.yaml" for name in ("default", "paper"))
    section = merged(*(yaml.safe_load(file.read_text())["lineas"] for file in files))
    for problem in filter(None, section["problems"].values()):
        problem["prompts"] = COUNTS
        problem["concepts"] = ["car"]
        problem["call"]["num_inference_steps"] = min(problem["call"]["num_inference_steps"], 2)
        problem["evaluation"]["strengths"] = [0.5, 1.0]
        for arm in problem["arms"].values():
            for method in arm["grid"].values():
                method.update({"iterations": 1} if method["kind"] == "lineas" else {})
    section["problems"]["flux_schnell"]["call"].update(FLUX_SIZE)
    return parse_config(LineasConfig, section, "lineas").problems


@pytest.mark.parametrize("name", SMALL)
def test_every_arm_of_the_papers_run_is_learnt_and_scored(problems, tmp_path, name):
    problem, pipeline = problems[name], build(SMALL[name], torch.bfloat16)
    pipeline.scheduler = _build_scheduler(problem.pipeline, pipeline.scheduler)
    given = {key: getattr(problem, key) for key in ("pipeline", "prompts", "call")}
    about = write_concept_prompts("car", **COUNTS, seed=0)
    learnt, chosen = {}, {}
    for arm, settings in problem.arms.items():
        learn_arm(
            LearnConfig(
                seeds=(0,),
                concepts=problem.concepts,
                arm=settings,
                strengths=problem.evaluation.strengths,
                batch_size=problem.evaluation.batch_size,
                **given,
            ),
            pipeline,
            RedReader(),
            lambda concept, seed: about,
            name=arm,
            card="steering_prompts",
            folder=tmp_path / arm,
            checkpoint_dir=tmp_path / "scratch" / arm,
        )
        learnt[arm] = read_maps(settings, tmp_path / arm, "car", (0,))
        chosen[arm] = read_choice(settings.grid, tmp_path / arm)
    scores = score(
        ScoreConfig(seeds=(0,), arms=problem.arms, evaluation=problem.evaluation, **given),
        pipeline,
        RedReader(),
        lambda seed: about,
        learnt=learnt,
        chosen=chosen,
        card="steering_prompts",
    ).scores
    inverted = {f"{arm}_inverse" for arm in problem.evaluation.inverted}
    assert {score.variant for score in scores} >= {*problem.arms, *inverted}
    assert inverted >= {"lineas_inverse", "linear_sequential_inverse"}
    folded = {score.variant for score in scores if score.condition.get("folded")}
    assert folded == set(problem.evaluation.folded)

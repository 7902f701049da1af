"""Average over concepts, and let the maps of two concepts act together."""

from itertools import product

from script_tools import stage
from steered_pipelines import load_steered

from vismodels.methods.lineas.comparing import over_concepts, score_pair
from vismodels.methods.lineas.config import CompareConfig
from vismodels.methods.lineas.learning_stage import read_maps
from vismodels.problems import of_problem
from vismodels.results import SCORES, read_scores

with stage(snakemake, CompareConfig) as s:
    evaluation = s.config.evaluation
    scores = over_concepts(
        [record for folder in s.input["scored"] for record in read_scores(folder / SCORES)]
    )
    folders = dict(zip(s.config.arms, s.input["learnt"], strict=True))
    pairs = list(product(evaluation.composed, evaluation.compositions))
    if pairs:
        steered = load_steered(
            s.config.pipeline,
            s.config.prompts,
            s.input,
            data_root=s.params.data_root,
            device=s.device,
        )
        for arm, (first, second) in pairs:
            learnt = [
                read_maps(s.config.arms[arm], folders[arm], concept, s.config.seeds)
                for concept in (first, second)
            ]
            for seed in learnt[0]:
                scores += score_pair(
                    steered.pipeline,
                    steered.reader,
                    steered.pairs_of(first, second, s.config.prompts.test, seed),
                    tuple(steered.prompts_of(concept, seed) for concept in (first, second)),
                    (learnt[0][seed], learnt[1][seed]),
                    arm=arm,
                    seed=seed,
                    batch_size=evaluation.batch_size,
                    call=s.config.call.arguments(),
                    card=steered.card,
                )
    s.write(of_problem(s.wildcards["problem"], scores))

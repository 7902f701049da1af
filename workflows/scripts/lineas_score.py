"""Score all methods on the test prompts about one concept, and keep images for the report."""

from functools import partial

from script_tools import stage
from steered_pipelines import load_steered

from vismodels.choices import read_choice
from vismodels.data.array_files import write_arrays
from vismodels.methods.lineas.config import ScoreConfig
from vismodels.methods.lineas.learning_stage import read_maps
from vismodels.methods.lineas.scoring import SHOWN, score
from vismodels.problems import of_problem

with stage(snakemake, ScoreConfig) as s:
    steered = load_steered(
        s.config.pipeline, s.config.prompts, s.input, data_root=s.params.data_root, device=s.device
    )
    concept = s.wildcards["concept"]
    folders = dict(zip(s.config.arms, s.input["learnt"], strict=True))
    scored = score(
        s.config,
        steered.pipeline,
        steered.reader,
        partial(steered.prompts_of, concept),
        learnt={
            name: read_maps(arm, folders[name], concept, s.config.seeds)
            for name, arm in s.config.arms.items()
            if arm.has_maps
        },
        chosen={name: read_choice(arm.grid, folders[name]) for name, arm in s.config.arms.items()},
        card=steered.card,
    )
    write_arrays(s.folder / SHOWN, scored.shown)
    s.timings.update(scored.timings)
    s.write(of_problem(s.wildcards["problem"], scored.scores))

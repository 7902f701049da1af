"""Choose the settings of one method and learn its maps of every concept."""

from script_tools import stage
from steered_pipelines import load_steered

from vismodels.methods.lineas.config import LearnConfig
from vismodels.methods.lineas.learning_stage import learn_arm
from vismodels.problems import of_problem

with stage(snakemake, LearnConfig) as s:
    steered = load_steered(
        s.config.pipeline, s.config.prompts, s.input, data_root=s.params.data_root, device=s.device
    )
    learnt = learn_arm(
        s.config,
        steered.pipeline,
        steered.reader,
        steered.prompts_of,
        name=s.wildcards["arm"],
        card=steered.card,
        folder=s.folder,
        checkpoint_dir=s.checkpoint_dir,
    )
    s.timings.update(learnt.timings)
    s.write(of_problem(s.wildcards["problem"], learnt.scores))

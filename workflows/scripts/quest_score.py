"""Score the images of all quantized networks, read back from their files, on test prompts."""

from quantized_pipelines import ScoreStageConfig, load_denoiser, load_quantized
from script_tools import stage

from vismodels.data.array_files import write_arrays
from vismodels.files import write_json
from vismodels.methods.quest.score_stage import EXECUTION, SHOWN, execution_record, score
from vismodels.problems import of_problem

with stage(snakemake, ScoreStageConfig) as s:
    config = s.config
    made = load_quantized(
        config.denoiser, config.scenes, s.input, data_root=s.params.data_root, device=s.device
    )
    folders = dict(zip(config.arms, s.input["quantized"], strict=True))
    scored = score(
        config,
        made.load,
        lambda folder: load_denoiser(folder, s.device),
        made.judge,
        made.prompts_of,
        folders={
            name: {seed: folders[name] / f"seed{seed}" for seed in config.seeds[: arm.runs]}
            for name, arm in config.arms.items()
        },
        card=made.card,
    )
    write_arrays(s.folder / SHOWN, scored.shown)
    write_json(
        s.folder / EXECUTION,
        {name: execution_record(report) for name, report in scored.execution.items()},
    )
    s.timings.update(scored.timings)
    s.write(of_problem(s.wildcards["problem"], scored.scores))

"""Choose the settings of one way to quantize, and make its networks for all seeds."""

from functools import cache

from quantized_pipelines import QuantizeStageConfig, load_quantized, save_denoiser
from script_tools import stage

from vismodels.choices import write_choice
from vismodels.data.array_files import write_arrays
from vismodels.methods.quest.inspection import INSPECTED, inspect
from vismodels.methods.quest.layer_sets import log_shares
from vismodels.methods.quest.quantize_stage import (
    COURSES,
    arm_scores,
    choose,
    courses,
    quantize_arm,
)
from vismodels.methods.quest.recipes import remove_checkpoints
from vismodels.problems import of_problem

with stage(snakemake, QuantizeStageConfig) as s:
    config, name = s.config, s.wildcards["arm"]
    made = load_quantized(
        config.denoiser, config.scenes, s.input, data_root=s.params.data_root, device=s.device
    )

    @cache  # what the choice makes with the first seed is not made again
    def quantize(settings, seed):
        scratch = s.checkpoint_dir / settings / f"seed{seed}"
        return quantize_arm(
            config, made.load, made.prompts_of, settings, seed=seed, checkpoint_dir=scratch
        )

    settings, scores = choose(
        config,
        made.load,
        made.judge,
        made.prompts_of,
        name=name,
        card=made.card,
        quantize=quantize,
    )
    write_choice(s.folder, settings)
    for number, seed in enumerate(config.seeds[: config.arm.runs]):
        quantized = quantize(settings, seed)
        quantize.cache_clear()
        folder = s.folder / f"seed{seed}"
        denoiser = getattr(quantized.pipeline, config.component)
        if number == 0:
            write_arrays(s.folder / INSPECTED, inspect(config, name, quantized))
        save_denoiser(denoiser, folder)
        remove_checkpoints(s.checkpoint_dir / settings / f"seed{seed}")
        for stage_name, log in courses(quantized).items():
            log.to_csv(s.folder / COURSES / f"{stage_name}_seed{seed}.csv")
        s.timings[f"cpu_seconds_seed{seed}"] = quantized.seconds
        if tuning := config.arm.grid[settings].finetuning:
            s.timings[f"cpu_seconds_tuning_seed{seed}"] = quantized.report.tuning_seconds
            if number == 0:
                log_shares(quantized.teacher, tuning.layers, name)
        scores += arm_scores(
            quantized, name=name, card=made.card, seed=seed, settings=settings, folder=folder
        )
    s.write(of_problem(s.wildcards["problem"], scores))

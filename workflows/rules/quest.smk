"""QuEST: denoisers quantized in several ways, their images scored, drawn."""

from vismodels.methods.quest.workflow_config import QuestWorkflowConfig

QUEST = settings("quest", QuestWorkflowConfig)
QUEST_FOLDER = f"{RESULTS}/quest"
QUEST_MEMORY = 64000 if RUN_CONFIG.run == "paper" else 3000  # MB


def quantized_inputs(problem):
    """Return the manifests of the trained model and of its judge, for problems that use them."""
    return scene_inputs(QUEST.problems[problem].denoiser.kind)


def quantized_root(wildcards):
    """Return where published pipelines lie; nothing for the model that the workflow trains."""
    published = QUEST.problems[wildcards.problem].denoiser.kind != "scenes"
    return RUN_CONFIG.data_root if published else ""


def quest_keys(**more):
    """Return part -> dotted key of a problem's parts."""
    parts = ("denoiser", "component", "sampling", "counts")
    return {
        "seeds": "quest.seeds",
        "scenes": "scenes.scenes",
        **{name: f"quest.problems.{{problem}}.{name}" for name in parts},
        **more,
    }


rule quest_quantize:
    input:
        model=lambda wildcards: quantized_inputs(wildcards.problem)["model"],
        judge=lambda wildcards: quantized_inputs(wildcards.problem)["judge"],
    output:
        manifest=f"{QUEST_FOLDER}/quantize/{{problem}}/{{arm}}/manifest.json",
        scores=f"{QUEST_FOLDER}/quantize/{{problem}}/{{arm}}/scores.json",
    log:
        f"{LOGS}/quest_quantize/{{problem}}_{{arm}}.log",
    benchmark:
        f"{BENCHMARKS}/quest_quantize/{{problem}}_{{arm}}.tsv"
    priority: 8
    threads: 1
    resources:
        mem_mb=QUEST_MEMORY,
        runtime=2880,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "quest_quantize.py",
            quest_keys(
                arm="quest.problems.{problem}.arms.{arm}",
                sensitivity="quest.problems.{problem}.shown.sensitivity",
                histograms="quest.problems.{problem}.shown.histograms",
            ),
        ),
        data_root=quantized_root,
    script:
        "../scripts/quest_quantize.py"


QUEST_QUANTIZED = {  # problem -> manifests of its arms, in order
    name: expand(rules.quest_quantize.output.manifest, problem=name, arm=list(problem.arms))
    for name, problem in QUEST.problems.items()
}


rule quest_score:
    input:
        model=lambda wildcards: quantized_inputs(wildcards.problem)["model"],
        judge=lambda wildcards: quantized_inputs(wildcards.problem)["judge"],
        quantized=lambda wildcards: QUEST_QUANTIZED[wildcards.problem],
    output:
        manifest=f"{QUEST_FOLDER}/score/{{problem}}/manifest.json",
        scores=f"{QUEST_FOLDER}/score/{{problem}}/scores.json",
    log:
        f"{LOGS}/quest_score/{{problem}}.log",
    benchmark:
        f"{BENCHMARKS}/quest_score/{{problem}}.tsv"
    threads: 1
    resources:
        mem_mb=QUEST_MEMORY,
        runtime=2880,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "quest_score.py",
            quest_keys(
                arms="quest.problems.{problem}.arms",
                shown="quest.problems.{problem}.shown",
            ),
        ),
        data_root=quantized_root,
    script:
        "../scripts/quest_score.py"


rule quest_figures:
    input:
        quantized=[m for manifests in QUEST_QUANTIZED.values() for m in manifests],
        scored=expand(rules.quest_score.output.manifest, problem=list(QUEST.problems)),
    output:
        manifest=f"{QUEST_FOLDER}/figures/manifest.json",
    log:
        f"{LOGS}/quest_figures.log",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        **tracked("quest_figures.py", "quest"),
    script:
        "../scripts/quest_figures.py"


report_on(
    "quest",
    acquired=[],
    scores=[
        *dict.fromkeys(
            manifest
            for name in QUEST.problems
            for made in quantized_inputs(name).values()
            for manifest in made
        ),
        *rules.quest_figures.input.quantized,
        *rules.quest_figures.input.scored,
    ],
    figures=[rules.quest_figures.output.manifest],
)

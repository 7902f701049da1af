"""QuEST: denoisers quantized in several ways, their images scored, drawn."""

from vismodels.methods.quest.workflow_config import QuestWorkflowConfig

QUEST = settings("quest", QuestWorkflowConfig)
QUEST_FOLDER = f"{RESULTS}/quest"
QUEST_MEMORY = 96000 if RUN_CONFIG.run == "paper" else 3000  # MB


QUEST_KINDS = {name: problem.denoiser.kind for name, problem in QUEST.problems.items()}
QUEST_PARTS = ("denoiser", "component", "sampling", "counts")


rule quest_quantize:
    input:
        model=scenes_of(QUEST_KINDS, "model"),
        judge=scenes_of(QUEST_KINDS, "judge"),
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
            problem_keys(
                "quest",
                QUEST_PARTS,
                scenes="scenes.scenes",
                arm="quest.problems.{problem}.arms.{arm}",
                sensitivity="quest.problems.{problem}.shown.sensitivity",
                histograms="quest.problems.{problem}.shown.histograms",
            ),
        ),
        data_root=root_of(QUEST_KINDS),
    script:
        "../scripts/quest_quantize.py"


QUEST_QUANTIZED = {  # problem -> manifests of its arms, in order
    name: expand(rules.quest_quantize.output.manifest, problem=name, arm=list(problem.arms))
    for name, problem in QUEST.problems.items()
}


rule quest_score:
    input:
        model=scenes_of(QUEST_KINDS, "model"),
        judge=scenes_of(QUEST_KINDS, "judge"),
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
            problem_keys(
                "quest",
                QUEST_PARTS,
                scenes="scenes.scenes",
                arms="quest.problems.{problem}.arms",
                shown="quest.problems.{problem}.shown",
            ),
        ),
        data_root=root_of(QUEST_KINDS),
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
            for kind in QUEST_KINDS.values()
            for made in scene_inputs(kind).values()
            for manifest in made
        ),
        *rules.quest_figures.input.quantized,
        *rules.quest_figures.input.scored,
    ],
    figures=[rules.quest_figures.output.manifest],
)

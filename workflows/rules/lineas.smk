"""LinEAS: methods learnt on prompts, scored on others, compared over concepts, drawn."""

from vismodels.methods.lineas.config import LineasConfig

LINEAS = settings("lineas", LineasConfig)
LINEAS_FOLDER = f"{RESULTS}/lineas"
LINEAS_MEMORY = 64000 if RUN_CONFIG.run == "paper" else 3000  # MB


LINEAS_KINDS = {name: problem.pipeline.kind for name, problem in LINEAS.problems.items()}
LINEAS_PARTS = ("pipeline", "prompts", "call")


rule lineas_learn:
    input:
        model=scenes_of(LINEAS_KINDS, "model"),
        judge=scenes_of(LINEAS_KINDS, "judge"),
    output:
        manifest=f"{LINEAS_FOLDER}/learn/{{problem}}/{{arm}}/manifest.json",
        scores=f"{LINEAS_FOLDER}/learn/{{problem}}/{{arm}}/scores.json",
    log:
        f"{LOGS}/lineas_learn/{{problem}}_{{arm}}.log",
    benchmark:
        f"{BENCHMARKS}/lineas_learn/{{problem}}_{{arm}}.tsv"
    priority: 8
    threads: 1
    resources:
        mem_mb=LINEAS_MEMORY,
        runtime=1440,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "lineas_learn.py",
            problem_keys(
                "lineas",
                (*LINEAS_PARTS, "concepts"),
                arm="lineas.problems.{problem}.arms.{arm}",
                **{
                    part: f"lineas.problems.{{problem}}.evaluation.{part}"
                    for part in ("strengths", "batch_size")
                },
            ),
        ),
        data_root=root_of(LINEAS_KINDS),
    script:
        "../scripts/lineas_learn.py"


LINEAS_LEARNT = {  # problem -> manifests of its arms, in order
    name: expand(rules.lineas_learn.output.manifest, problem=name, arm=list(problem.arms))
    for name, problem in LINEAS.problems.items()
}


rule lineas_score:
    input:
        model=scenes_of(LINEAS_KINDS, "model"),
        judge=scenes_of(LINEAS_KINDS, "judge"),
        learnt=lambda wildcards: LINEAS_LEARNT[wildcards.problem],
    output:
        manifest=f"{LINEAS_FOLDER}/score/{{problem}}/{{concept}}/manifest.json",
        scores=f"{LINEAS_FOLDER}/score/{{problem}}/{{concept}}/scores.json",
    log:
        f"{LOGS}/lineas_score/{{problem}}_{{concept}}.log",
    benchmark:
        f"{BENCHMARKS}/lineas_score/{{problem}}_{{concept}}.tsv"
    threads: 1
    resources:
        mem_mb=LINEAS_MEMORY,
        runtime=720,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked("lineas_score.py", problem_keys("lineas", (*LINEAS_PARTS, "arms", "evaluation"))),
        data_root=root_of(LINEAS_KINDS),
    script:
        "../scripts/lineas_score.py"


LINEAS_SCORED = {  # problem -> manifests of its concepts
    name: expand(rules.lineas_score.output.manifest, problem=name, concept=problem.concepts)
    for name, problem in LINEAS.problems.items()
}


rule lineas_compare:
    input:
        model=scenes_of(LINEAS_KINDS, "model"),
        judge=scenes_of(LINEAS_KINDS, "judge"),
        learnt=lambda wildcards: LINEAS_LEARNT[wildcards.problem],
        scored=lambda wildcards: LINEAS_SCORED[wildcards.problem],
    output:
        manifest=f"{LINEAS_FOLDER}/compare/{{problem}}/manifest.json",
        scores=f"{LINEAS_FOLDER}/compare/{{problem}}/scores.json",
    log:
        f"{LOGS}/lineas_compare/{{problem}}.log",
    benchmark:
        f"{BENCHMARKS}/lineas_compare/{{problem}}.tsv"
    threads: 1
    resources:
        mem_mb=LINEAS_MEMORY,
        runtime=120,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "lineas_compare.py", problem_keys("lineas", (*LINEAS_PARTS, "arms", "evaluation"))
        ),
        data_root=root_of(LINEAS_KINDS),
    script:
        "../scripts/lineas_compare.py"


SCENE_MODELS = [  # of further seeds, which are scored only
    manifest
    for manifest in expand(rules.scene_model.output.manifest, seed=SCENES.model_seeds)
    if "scenes" in LINEAS_KINDS.values() and manifest not in scene_inputs("scenes")["model"]
]


rule lineas_figures:
    input:
        models=[m for kind in LINEAS_KINDS.values() for m in scene_inputs(kind)["model"]],
        learnt=[manifest for manifests in LINEAS_LEARNT.values() for manifest in manifests],
        scored=[manifest for manifests in LINEAS_SCORED.values() for manifest in manifests],
    output:
        manifest=f"{LINEAS_FOLDER}/figures/manifest.json",
    log:
        f"{LOGS}/lineas_figures.log",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        **tracked("lineas_figures.py", "lineas"),
    script:
        "../scripts/lineas_figures.py"


report_on(
    "lineas",
    acquired=[],
    scores=[
        *dict.fromkeys(
            manifest
            for kind in LINEAS_KINDS.values()
            for made in scene_inputs(kind).values()
            for manifest in made
        ),
        *SCENE_MODELS,
        *rules.lineas_figures.input.learnt,
        *rules.lineas_figures.input.scored,
        *expand(rules.lineas_compare.output.manifest, problem=list(LINEAS.problems)),
    ],
    figures=[rules.lineas_figures.output.manifest],
)

"""Multi-level activation: training, segmentation, scores and figures, by problem."""

from vismodels.methods.multilevel_activation.config import MultiLevelActivationConfig

ML = settings("multilevel_activation", MultiLevelActivationConfig)
ML_PROBLEMS = {
    name: problem
    for name, problem in ML.problems.items()
    if not problem.if_present or is_present(problem.cases.card, RUN_CONFIG.data_root)
}
ML_FOLDER = f"{RESULTS}/multilevel_activation"
ML_MEMORY = 40000 if RUN_CONFIG.run == "paper" else 4000  # MB; all cases of a split are held


rule multilevel_train:
    input:
        cases=lambda wildcards: brains(ML.problems[wildcards.problem].cases.card),
    output:
        manifest=f"{ML_FOLDER}/train/{{problem}}/{{model}}/seed{{seed}}/manifest.json",
        scores=f"{ML_FOLDER}/train/{{problem}}/{{model}}/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/multilevel_train/{{problem}}_{{model}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/multilevel_train/{{problem}}_{{model}}_seed{{seed}}.tsv"
    priority: 5
    threads: 1
    resources:
        mem_mb=ML_MEMORY,
        runtime=240,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "multilevel_train.py",
            {
                "cases": "multilevel_activation.problems.{problem}.cases",
                "trunk": "multilevel_activation.problems.{problem}.trunk",
                "variant": "multilevel_activation.problems.{problem}.models.{model}",
                "training": "multilevel_activation.problems.{problem}.training",
            },
        ),
    script:
        "../scripts/multilevel_train.py"


rule multilevel_segment:
    input:
        cases=lambda wildcards: brains(ML.problems[wildcards.problem].cases.card),
        model=segmented_by(ML.problems),
    output:
        manifest=f"{ML_FOLDER}/segment/{{problem}}/{{model}}/seed{{seed}}/manifest.json",
        scores=f"{ML_FOLDER}/segment/{{problem}}/{{model}}/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/multilevel_segment/{{problem}}_{{model}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/multilevel_segment/{{problem}}_{{model}}_seed{{seed}}.tsv"
    threads: 1
    resources:
        mem_mb=ML_MEMORY,
        runtime=240,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "multilevel_segment.py",
            {
                "cases": "multilevel_activation.problems.{problem}.cases",
                "variant": "multilevel_activation.problems.{problem}.models.{model}",
                "inference": "multilevel_activation.problems.{problem}.inference",
            },
        ),
    script:
        "../scripts/multilevel_segment.py"


ML_TRAINED = {  # problem -> manifests of its models, each on its first seeds
    name: first_runs(
        expand(rules.multilevel_train.output.manifest, problem=name, allow_missing=True),
        ML.seeds,
        model=problem.models,
    )
    for name, problem in ML_PROBLEMS.items()
    if problem.networks is None
}
ML_SEGMENTED = {  # problem -> manifests of what these models segmented
    name: first_runs(
        expand(rules.multilevel_segment.output.manifest, problem=name, allow_missing=True),
        ML.seeds,
        model=problem.models,
    )
    for name, problem in ML_PROBLEMS.items()
}


rule multilevel_score:
    input:
        cases=lambda wildcards: brains(ML.problems[wildcards.problem].cases.card),
        segmented=lambda wildcards: ML_SEGMENTED[wildcards.problem],
    output:
        manifest=f"{ML_FOLDER}/score/{{problem}}/manifest.json",
        scores=f"{ML_FOLDER}/score/{{problem}}/scores.json",
    log:
        f"{LOGS}/multilevel_score/{{problem}}.log",
    benchmark:
        f"{BENCHMARKS}/multilevel_score/{{problem}}.tsv"
    threads: 1
    resources:
        mem_mb=ML_MEMORY,
        runtime=120,
    params:
        **tracked(
            "multilevel_score.py",
            {
                "seeds": "multilevel_activation.seeds",
                "cases": "multilevel_activation.problems.{problem}.cases",
                "models": "multilevel_activation.problems.{problem}.models",
                "scoring": "multilevel_activation.problems.{problem}.scoring",
            },
        ),
    script:
        "../scripts/multilevel_score.py"


rule multilevel_figures:
    input:
        trained=[manifest for manifests in ML_TRAINED.values() for manifest in manifests],
        scored=expand(rules.multilevel_score.output.manifest, problem=list(ML_PROBLEMS)),
    output:
        manifest=f"{ML_FOLDER}/figures/manifest.json",
    log:
        f"{LOGS}/multilevel_figures.log",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        **tracked("multilevel_figures.py", "multilevel_activation"),
    script:
        "../scripts/multilevel_figures.py"


report_on(
    "multilevel_activation",
    acquired=expand(
        rules.data_acquire.output.manifest,
        card=[
            "mni152_2009a",
            *(p.cases.card for p in ML_PROBLEMS.values() if p.cases.card in BRAIN_SETS),
        ],
    ),
    scores=[
        *(brains(problem.cases.card) for problem in ML_PROBLEMS.values()),
        *rules.multilevel_figures.input.trained,
        *(manifest for manifests in ML_SEGMENTED.values() for manifest in manifests),
        *rules.multilevel_figures.input.scored,
    ],
    figures=[rules.multilevel_figures.output.manifest],
)

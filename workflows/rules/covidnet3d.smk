"""CovidNet3D: generated or prepared volumes, search, training, scores and maps, by problem."""

from vismodels.methods.covidnet3d.config import CovidNet3DConfig, compared_searches, search_of

CN = settings("covidnet3d", CovidNet3DConfig)
CN_FOLDER = f"{RESULTS}/covidnet3d"
CN_FOUND = {  # problem and network -> the search whose genotype it needs, if it needs one
    (problem, name): [search for search in [search_of(variant)] if search is not None]
    for problem, of_problem in CN.problems.items()
    for name, variant in of_problem.networks.items()
}
CN_MEMORY = 20000 if RUN_CONFIG.run == "paper" else 4000  # MB; all volumes are held


rule covidnet3d_shapes:
    input:
        acquired=lambda wildcards: expand(
            rules.data_acquire.output.manifest, card=CN.problems[wildcards.problem].data.card
        )[0],
    output:
        manifest=f"{CN_FOLDER}/shapes/{{problem}}/manifest.json",
        scores=f"{CN_FOLDER}/shapes/{{problem}}/scores.json",
    log:
        f"{LOGS}/covidnet3d_shapes/{{problem}}.log",
    benchmark:
        f"{BENCHMARKS}/covidnet3d_shapes/{{problem}}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        **tracked("covidnet3d_shapes.py", {"data": "covidnet3d.problems.{problem}.data"}),
        data_root=RUN_CONFIG.data_root,
    script:
        "../scripts/covidnet3d_shapes.py"


rule covidnet3d_search:
    input:
        volumes=lambda wildcards: volumes(
            wildcards.problem, CN.problems[wildcards.problem].data.card
        ),
    output:
        manifest=f"{CN_FOLDER}/search/{{problem}}/{{search}}/seed{{seed}}/manifest.json",
        scores=f"{CN_FOLDER}/search/{{problem}}/{{search}}/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/covidnet3d_search/{{problem}}_{{search}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/covidnet3d_search/{{problem}}_{{search}}_seed{{seed}}.tsv"
    priority: 10
    threads: 1
    resources:
        mem_mb=CN_MEMORY,
        runtime=240,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "covidnet3d_search.py",
            {
                "data": "covidnet3d.problems.{problem}.data",
                "space": "covidnet3d.problems.{problem}.space",
                "variant": "covidnet3d.problems.{problem}.searches.{search}",
                "settings": "covidnet3d.problems.{problem}.search",
                "training": "covidnet3d.problems.{problem}.training",
            },
        ),
    script:
        "../scripts/covidnet3d_search.py"


rule covidnet3d_train:
    input:
        volumes=lambda wildcards: volumes(
            wildcards.problem, CN.problems[wildcards.problem].data.card
        ),
        found=lambda wildcards: expand(
            rules.covidnet3d_search.output.manifest,
            problem=wildcards.problem,
            search=CN_FOUND[wildcards.problem, wildcards.network],
            seed=wildcards.seed,
        ),
    output:
        manifest=f"{CN_FOLDER}/train/{{problem}}/{{network}}/seed{{seed}}/manifest.json",
        scores=f"{CN_FOLDER}/train/{{problem}}/{{network}}/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/covidnet3d_train/{{problem}}_{{network}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/covidnet3d_train/{{problem}}_{{network}}_seed{{seed}}.tsv"
    threads: 1
    resources:
        mem_mb=CN_MEMORY,
        runtime=240,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "covidnet3d_train.py",
            {
                "data": "covidnet3d.problems.{problem}.data",
                "space": "covidnet3d.problems.{problem}.space",
                "variant": "covidnet3d.problems.{problem}.networks.{network}",
                "training": "covidnet3d.problems.{problem}.training",
            },
        ),
    script:
        "../scripts/covidnet3d_train.py"


CN_SEARCHED = {  # problem -> manifests of its searches, each on its first seeds
    name: first_runs(
        expand(rules.covidnet3d_search.output.manifest, problem=name, allow_missing=True),
        CN.seeds,
        search=problem.searches,
    )
    for name, problem in CN.problems.items()
}
CN_TRAINED = {  # problem -> manifests of its networks
    name: first_runs(
        expand(rules.covidnet3d_train.output.manifest, problem=name, allow_missing=True),
        CN.seeds,
        network=problem.networks,
    )
    for name, problem in CN.problems.items()
}
CN_COMPARED = {  # problem -> manifests of the searches whose compared networks are trained
    name: expand(
        rules.covidnet3d_search.output.manifest,
        problem=name,
        search=compared_searches(problem.networks),
        seed=CN.seeds[0],
    )
    for name, problem in CN.problems.items()
}


rule covidnet3d_score:
    input:
        volumes=lambda wildcards: volumes(
            wildcards.problem, CN.problems[wildcards.problem].data.card
        ),
        networks=lambda wildcards: CN_TRAINED[wildcards.problem],
        searches=lambda wildcards: CN_COMPARED[wildcards.problem],
    output:
        manifest=f"{CN_FOLDER}/score/{{problem}}/manifest.json",
        scores=f"{CN_FOLDER}/score/{{problem}}/scores.json",
    log:
        f"{LOGS}/covidnet3d_score/{{problem}}.log",
    benchmark:
        f"{BENCHMARKS}/covidnet3d_score/{{problem}}.tsv"
    threads: 1
    resources:
        mem_mb=CN_MEMORY,
        runtime=120,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "covidnet3d_score.py",
            {
                "seeds": "covidnet3d.seeds",
                "data": "covidnet3d.problems.{problem}.data",
                "networks": "covidnet3d.problems.{problem}.networks",
                "scoring": "covidnet3d.problems.{problem}.scoring",
                "maps": "covidnet3d.problems.{problem}.maps",
            },
        ),
    script:
        "../scripts/covidnet3d_score.py"


rule covidnet3d_audit:
    output:
        manifest=f"{CN_FOLDER}/audit/manifest.json",
        scores=f"{CN_FOLDER}/audit/scores.json",
    log:
        f"{LOGS}/covidnet3d_audit.log",
    benchmark:
        f"{BENCHMARKS}/covidnet3d_audit.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        **tracked("covidnet3d_audit.py", "covidnet3d.audit"),
    script:
        "../scripts/covidnet3d_audit.py"


rule covidnet3d_figures:
    input:
        searches=[manifest for manifests in CN_SEARCHED.values() for manifest in manifests],
        scored=expand(rules.covidnet3d_score.output.manifest, problem=list(CN.problems)),
    output:
        manifest=f"{CN_FOLDER}/figures/manifest.json",
    log:
        f"{LOGS}/covidnet3d_figures.log",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        **tracked("covidnet3d_figures.py", "covidnet3d"),
    script:
        "../scripts/covidnet3d_figures.py"


report_on(
    "covidnet3d",
    acquired=expand(
        rules.data_acquire.output.manifest,
        card=[p.data.card for p in CN.problems.values() if p.data.card not in SCAN_SETS],
    ),
    scores=[
        *(volumes(name, problem.data.card) for name, problem in CN.problems.items()),
        *rules.covidnet3d_figures.input.searches,
        *(manifest for manifests in CN_TRAINED.values() for manifest in manifests),
        *rules.covidnet3d_figures.input.scored,
        rules.covidnet3d_audit.output.manifest,
    ],
    figures=[rules.covidnet3d_figures.output.manifest],
)

"""QuantNAS: search a supernet, train what was found and what it is compared with, score, draw."""

from vismodels.data.manifest import is_present, refuse_leaks
from vismodels.methods.quantnas.config import QuantNASConfig, search_of

QN = settings("quantnas", QuantNASConfig)
checked(refuse_leaks, train=QN.sets.train, validation=QN.sets.validation, test=QN.sets.test)
QN_TESTS = [
    *QN.sets.test,
    *(name for name in QN.sets.test_if_present if is_present(name, RUN_CONFIG.data_root)),
]
QN_SETS = list(dict.fromkeys([*QN.sets.train, *QN.sets.validation, *QN_TESTS]))
QN_FOLDER = f"{RESULTS}/quantnas"
QN_MEMORY = 16000 if RUN_CONFIG.run == "paper" else 4000  # MB; all training images are held
QN_DATA = {
    "scale": "photographs.scale",
    "train_sets": "quantnas.sets.train",
    "validation_sets": "quantnas.sets.validation",
    "spaces": "quantnas.spaces",
}


def quantnas_runs(template, **arms):
    """Return the manifests of all arms, each on the first so many seeds."""
    ((wildcard, variants),) = arms.items()
    return [
        manifest
        for name, variant in variants.items()
        for manifest in collect(template, **{wildcard: name}, seed=QN.seeds[: variant.runs])
    ]


def quantnas_found(wildcards):
    """Return the folder of the search whose genotype a network needs, if it needs one."""
    search = search_of(QN.networks[wildcards.network])
    template = rules.quantnas_search.output.manifest
    return [] if search is None else collect(template, search=search, seed=wildcards.seed)


rule quantnas_search:
    input:
        training=photographs(QN.sets.train),
        validation=photographs(QN.sets.validation),
    output:
        manifest=f"{QN_FOLDER}/search/{{search}}/seed{{seed}}/manifest.json",
        scores=f"{QN_FOLDER}/search/{{search}}/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/quantnas_search/{{search}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/quantnas_search/{{search}}_seed{{seed}}.tsv"
    threads: 1
    resources:
        mem_mb=QN_MEMORY,
        runtime=240,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "quantnas_search.py",
            QN_DATA
            | {
                "variant": "quantnas.searches.{search}",
                "settings": "quantnas.search",
            },
        ),
    script:
        "../scripts/quantnas_search.py"


rule quantnas_train:
    input:
        training=photographs(QN.sets.train),
        validation=photographs(QN.sets.validation),
        found=quantnas_found,
    output:
        manifest=f"{QN_FOLDER}/train/{{network}}/seed{{seed}}/manifest.json",
        scores=f"{QN_FOLDER}/train/{{network}}/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/quantnas_train/{{network}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/quantnas_train/{{network}}_seed{{seed}}.tsv"
    threads: 1
    resources:
        mem_mb=QN_MEMORY,
        runtime=240,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "quantnas_train.py",
            QN_DATA
            | {
                "searches": "quantnas.searches",
                "variant": "quantnas.networks.{network}",
                "training": "quantnas.training",
            },
        ),
    script:
        "../scripts/quantnas_train.py"


rule quantnas_score:
    input:
        networks=quantnas_runs(rules.quantnas_train.output.manifest, network=QN.networks),
        tests=photographs(QN_TESTS),
    output:
        manifest=f"{QN_FOLDER}/score/manifest.json",
        scores=f"{QN_FOLDER}/score/scores.json",
    log:
        f"{LOGS}/quantnas_score.log",
    benchmark:
        f"{BENCHMARKS}/quantnas_score.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "quantnas_score.py",
            {
                "scale": "photographs.scale",
                "seeds": "quantnas.seeds",
                "sets": "quantnas.sets",
                "networks": "quantnas.networks",
                "counted": "quantnas.counted",
                "scoring": "quantnas.scoring",
            },
        ),
        sets=QN_TESTS,
    script:
        "../scripts/quantnas_score.py"


rule quantnas_figures:
    input:
        searches=quantnas_runs(rules.quantnas_search.output.manifest, search=QN.searches),
        networks=rules.quantnas_score.input.networks,
        scored=rules.quantnas_score.output.manifest,
    output:
        manifest=f"{QN_FOLDER}/figures/manifest.json",
    log:
        f"{LOGS}/quantnas_figures.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        **tracked(
            "quantnas_figures.py",
            {
                "seeds": "quantnas.seeds",
                "spaces": "quantnas.spaces",
                "searches": "quantnas.searches",
                "networks": "quantnas.networks",
                "shown": "quantnas.shown",
                "crops": "quantnas.scoring.crops",
            },
            files=lambda wildcards: ["workflows/paper_values/quantnas.yaml"],
        ),
    script:
        "../scripts/quantnas_figures.py"


report_on(
    "quantnas",
    acquired=collect(rules.data_acquire.output.manifest, card=QN_SETS),
    scores=[
        *photographs(QN_SETS),
        *rules.quantnas_figures.input.searches,
        *rules.quantnas_score.input.networks,
        rules.quantnas_score.output.manifest,
    ],
    figures=[rules.quantnas_figures.output.manifest],
)

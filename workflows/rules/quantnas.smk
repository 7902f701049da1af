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
QN_FOUND = {  # network -> the search whose genotype it needs, if it needs one
    name: [search for search in [search_of(variant)] if search is not None]
    for name, variant in QN.networks.items()
}


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
        found=lambda wildcards: collect(
            rules.quantnas_search.output.manifest,
            search=QN_FOUND[wildcards.network],
            seed=wildcards.seed,
        ),
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
        networks=first_runs(rules.quantnas_train.output.manifest, QN.seeds, network=QN.networks),
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
        searches=first_runs(rules.quantnas_search.output.manifest, QN.seeds, search=QN.searches),
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

"""The small super-resolution networks: train, score, draw."""

from vismodels.data.manifest import is_present, refuse_leaks
from vismodels.methods.super_resolution.config import SuperResolutionConfig

SR = settings("super_resolution", SuperResolutionConfig)
checked(refuse_leaks, train=SR.sets.train, validation=SR.sets.validation, test=SR.sets.test)
SR_TESTS = [
    *SR.sets.test,
    *(name for name in SR.sets.test_if_present if is_present(name, RUN_CONFIG.data_root)),
]
SR_SETS = list(dict.fromkeys([*SR.sets.train, *SR.sets.validation, *SR_TESTS]))
SR_FOLDER = f"{RESULTS}/super_resolution"


rule super_resolution_train:
    input:
        training=photographs(SR.sets.train),
        validation=photographs(SR.sets.validation),
    output:
        manifest=f"{SR_FOLDER}/train/{{network}}/seed{{seed}}/manifest.json",
        scores=f"{SR_FOLDER}/train/{{network}}/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/super_resolution_train/{{network}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/super_resolution_train/{{network}}_seed{{seed}}.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=120,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "super_resolution_train.py",
            {
                "scale": "photographs.scale",
                "train_sets": "super_resolution.sets.train",
                "validation_sets": "super_resolution.sets.validation",
                "network": "super_resolution.networks.{network}",
                "training": "super_resolution.training",
            },
        ),
    script:
        "../scripts/super_resolution_train.py"


rule super_resolution_score:
    input:
        networks=collect(
            rules.super_resolution_train.output.manifest,
            network=list(SR.networks),
            seed=SR.seeds,
        ),
        tests=photographs(SR_TESTS),
    output:
        manifest=f"{SR_FOLDER}/score/manifest.json",
        scores=f"{SR_FOLDER}/score/scores.json",
    log:
        f"{LOGS}/super_resolution_score.log",
    benchmark:
        f"{BENCHMARKS}/super_resolution_score.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "super_resolution_score.py",
            {
                "scale": "photographs.scale",
                "seeds": "super_resolution.seeds",
                "sets": "super_resolution.sets",
                "networks": "super_resolution.networks",
                "scoring": "super_resolution.scoring",
            },
        ),
        sets=SR_TESTS,
    script:
        "../scripts/super_resolution_score.py"


rule super_resolution_figures:
    input:
        networks=rules.super_resolution_score.input.networks,
        scored=rules.super_resolution_score.output.manifest,
    output:
        manifest=f"{SR_FOLDER}/figures/manifest.json",
    log:
        f"{LOGS}/super_resolution_figures.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        **tracked(
            "super_resolution_figures.py",
            {
                "networks": "super_resolution.networks",
                "crops": "super_resolution.scoring.crops",
            },
        ),
    script:
        "../scripts/super_resolution_figures.py"


report_on(
    "super_resolution",
    acquired=collect(rules.data_acquire.output.manifest, card=SR_SETS),
    scores=[
        *photographs(SR_SETS),
        *rules.super_resolution_score.input.networks,
        rules.super_resolution_score.output.manifest,
    ],
    figures=[rules.super_resolution_figures.output.manifest],
)

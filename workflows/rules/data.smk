"""Data: what is there (acquire, one job for each set, no input) and what is made of it."""

from vismodels.data.brain_sets import BrainSetConfig
from vismodels.data.ct_sets import CTSetConfig
from vismodels.data.manifest import PhotographsConfig, card_files

PHOTOGRAPHS = settings("photographs", PhotographsConfig)
KNOWN_KEYS.add("ct_sets")
CT_SETS = {
    name: settings(f"ct_sets.{name}", CTSetConfig) for name in checked(lookup, config, "ct_sets")
}
KNOWN_KEYS.add("brain_sets")
BRAIN_SETS.update(
    {
        name: settings(f"brain_sets.{name}", BrainSetConfig)
        for name in checked(lookup, config, "brain_sets")
    }
)


rule data_acquire:
    output:
        manifest=f"{RESULTS}/data/{{card}}/acquired/manifest.json",
        scores=f"{RESULTS}/data/{{card}}/acquired/scores.json",
    log:
        f"{LOGS}/data_acquire/{{card}}.log",
    benchmark:
        f"{BENCHMARKS}/data_acquire/{{card}}.tsv"
    priority: 100  # what is missing is said at once
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        **tracked("data_acquire.py", {}, files=lambda wildcards: card_files(wildcards.card)),
        data_root=RUN_CONFIG.data_root,
    script:
        "../scripts/data_acquire.py"


rule data_photographs:
    input:
        acquired=rules.data_acquire.output.manifest,
    output:
        manifest=f"{RESULTS}/data/{{card}}/photographs/manifest.json",
        scores=f"{RESULTS}/data/{{card}}/photographs/scores.json",
    log:
        f"{LOGS}/data_photographs/{{card}}.log",
    benchmark:
        f"{BENCHMARKS}/data_photographs/{{card}}.tsv"
    threads: 1
    resources:
        mem_mb=9000,  # the largest set, DIV2K, is held whole
        runtime=240,
    params:
        **tracked("data_photographs.py", "photographs"),
        data_root=RUN_CONFIG.data_root,
    script:
        "../scripts/data_photographs.py"


rule data_documents:
    input:
        acquired=rules.data_acquire.output.manifest,
    output:
        manifest=f"{RESULTS}/data/{{card}}/documents/manifest.json",
        scores=f"{RESULTS}/data/{{card}}/documents/scores.json",
    log:
        f"{LOGS}/data_documents/{{card}}.log",
    benchmark:
        f"{BENCHMARKS}/data_documents/{{card}}.tsv"
    threads: 1
    resources:
        mem_mb=1000,  # one page at a time
        runtime=120,
    params:
        **tracked("data_documents.py", {}),
        data_root=RUN_CONFIG.data_root,
    script:
        "../scripts/data_documents.py"


rule data_scans:
    input:
        acquired=rules.data_acquire.output.manifest,
    output:
        manifest=f"{RESULTS}/data/{{card}}/scans/manifest.json",
        scores=f"{RESULTS}/data/{{card}}/scans/scores.json",
    log:
        f"{LOGS}/data_scans/{{card}}.log",
    benchmark:
        f"{BENCHMARKS}/data_scans/{{card}}.tsv"
    threads: 1
    resources:
        mem_mb=4000,  # one scan at a time
        runtime=1440,
    params:
        **tracked("data_scans.py", "ct_sets.{card}"),
        data_root=RUN_CONFIG.data_root,
    script:
        "../scripts/data_scans.py"


rule data_brains:
    input:
        acquired=rules.data_acquire.output.manifest,
    output:
        manifest=f"{RESULTS}/data/{{card}}/brains/manifest.json",
        scores=f"{RESULTS}/data/{{card}}/brains/scores.json",
    log:
        f"{LOGS}/data_brains/{{card}}.log",
    benchmark:
        f"{BENCHMARKS}/data_brains/{{card}}.tsv"
    threads: 1
    resources:
        mem_mb=40000 if RUN_CONFIG.run == "paper" else 8000,  # the cases of a split are held
        runtime=1440,
    params:
        **tracked("data_brains.py", "brain_sets.{card}"),
        data_root=RUN_CONFIG.data_root,
    script:
        "../scripts/data_brains.py"

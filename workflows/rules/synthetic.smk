"""Generated data: pages whose words are known, CT scans whose lesions are, brains whose tumors are."""

from vismodels.synthetic.chest_ct import PhantomConfig
from vismodels.synthetic.glioma import GliomaConfig
from vismodels.synthetic.page_sets import PageSetConfig

SYNTHETIC_SEED = 0  # of all generated data: other seeds vary the methods, not the data
PAGE_SETS.update(
    {name: settings(f"pages.{name}", PageSetConfig) for name in checked(lookup, config, "pages")}
)
SCAN_SETS.update(
    {name: settings(f"scans.{name}", PhantomConfig) for name in checked(lookup, config, "scans")}
)
GENERATED_BRAINS = {
    name: settings(f"brains.{name}", GliomaConfig) for name in checked(lookup, config, "brains")
}
KNOWN_KEYS.add("brains")


rule synthetic_pages:
    output:
        manifest=f"{RESULTS}/pages/{{card}}/seed{{seed}}/manifest.json",
        scores=f"{RESULTS}/pages/{{card}}/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/synthetic_pages/{{card}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/synthetic_pages/{{card}}_seed{{seed}}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        **tracked("synthetic_pages.py", "pages.{card}"),
    script:
        "../scripts/synthetic_pages.py"


rule synthetic_chest_ct:
    output:
        manifest=f"{RESULTS}/scans/{{card}}/seed{{seed}}/manifest.json",
        scores=f"{RESULTS}/scans/{{card}}/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/synthetic_chest_ct/{{card}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/synthetic_chest_ct/{{card}}_seed{{seed}}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        **tracked("synthetic_chest_ct.py", "scans.{card}"),
    script:
        "../scripts/synthetic_chest_ct.py"


rule synthetic_glioma:
    input:
        template=expand(rules.data_acquire.output.manifest, card="mni152_2009a"),
    output:
        manifest=f"{RESULTS}/brains/{{card}}/seed{{seed}}/manifest.json",
        scores=f"{RESULTS}/brains/{{card}}/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/synthetic_glioma/{{card}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/synthetic_glioma/{{card}}_seed{{seed}}.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        **tracked("synthetic_glioma.py", "brains.{card}"),
    script:
        "../scripts/synthetic_glioma.py"

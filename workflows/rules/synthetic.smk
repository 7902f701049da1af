"""Generated data: pages whose every word is known, CT scans whose every lesion is."""

from vismodels.synthetic.chest_ct import PhantomConfig
from vismodels.synthetic.page_sets import PageSetConfig

SYNTHETIC_SEED = 0  # of all generated data: other seeds vary the methods, not the data
PAGE_SETS.update(
    {name: settings(f"pages.{name}", PageSetConfig) for name in checked(lookup, config, "pages")}
)
SCAN_SETS.update(
    {name: settings(f"scans.{name}", PhantomConfig) for name in checked(lookup, config, "scans")}
)


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

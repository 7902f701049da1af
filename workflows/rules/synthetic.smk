"""Generated data: pages, CT scans, brains, scenes; and the small models trained on the scenes."""

from vismodels.synthetic.chest_ct import PhantomConfig
from vismodels.synthetic.glioma import GliomaConfig
from vismodels.synthetic.page_sets import PageSetConfig
from vismodels.synthetic.scene_config import ScenesConfig

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
SCENES = settings("scenes", ScenesConfig)


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


rule scene_judge:
    output:
        manifest=f"{RESULTS}/scenes/judge/seed{{seed}}/manifest.json",
        scores=f"{RESULTS}/scenes/judge/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/scene_judge/seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/scene_judge/seed{{seed}}.tsv"
    priority: 10
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "scene_judge.py",
            {
                "scenes": "scenes.scenes",
                "code": "scenes.code",
                "backbone": "scenes.judge.backbone",
                "training": "scenes.judge.training",
                "test_scenes": "scenes.judge.test_scenes",
                "gate": "scenes.judge.gate",
            },
        ),
    script:
        "../scripts/scene_judge.py"


rule scene_model:
    input:
        judge=expand(rules.scene_judge.output.manifest, seed=SYNTHETIC_SEED),
    output:
        manifest=f"{RESULTS}/scenes/model/seed{{seed}}/manifest.json",
        scores=f"{RESULTS}/scenes/model/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/scene_model/seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/scene_model/seed{{seed}}.tsv"
    priority: 10  # it heads the longest chain
    threads: 1
    resources:
        mem_mb=3000,
        runtime=240,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "scene_model.py",
            {
                part: f"scenes.{part}"
                for part in ("scenes", "code", "network", "training", "scoring")
            },
        ),
    script:
        "../scripts/scene_model.py"


rule scene_class_model:
    input:
        judge=expand(rules.scene_judge.output.manifest, seed=SYNTHETIC_SEED),
    output:
        manifest=f"{RESULTS}/scenes/class_model/seed{{seed}}/manifest.json",
        scores=f"{RESULTS}/scenes/class_model/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/scene_class_model/seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/scene_class_model/seed{{seed}}.tsv"
    priority: 10
    threads: 1
    resources:
        mem_mb=3000,
        runtime=240,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "scene_class_model.py",
            {
                "scenes": "scenes.scenes",
                "code": "scenes.code",
                **{part: f"scenes.classes.{part}" for part in ("network", "training", "scoring")},
            },
        ),
    script:
        "../scripts/scene_class_model.py"

"""NAF-DPM: recognizers, training, finetuning with an OCR loss, scoring, drawing; two tasks."""

from vismodels.methods.nafdpm.config import TUNED_ON, NAFDPMConfig

ND = settings("nafdpm", NAFDPMConfig)
ND_FOLDER = f"{RESULTS}/nafdpm"
ND_MEMORY = 20000 if RUN_CONFIG.run == "paper" else 4000  # MB; all training pages are held


ND_RECOGNIZERS = {"critic": ND.recognizers.critic, "judge": ND.recognizers.judge}
ND_TASKS = {"deblurring": ND.tasks.deblurring, "binarization": ND.tasks.binarization}
ND_SETS = {task: page_purposes(section.pages) for task, section in ND_TASKS.items()}
LABELLED.update(ND.labels)
ND_SCANS = list(dict.fromkeys(name for sets in ND_SETS.values() for name in sets["scans"]))
ND_RENDERED = [
    name
    for name in PAGE_SETS
    if name in {n for sets in ND_SETS.values() for use in ("train", "test") for n in sets[use]}
]


rule nafdpm_labels:
    input:
        pages=rules.data_documents.output.manifest,
    output:
        manifest=f"{ND_FOLDER}/labels/{{card}}/manifest.json",
        scores=f"{ND_FOLDER}/labels/{{card}}/scores.json",
    log:
        f"{LOGS}/nafdpm_labels/{{card}}.log",
    benchmark:
        f"{BENCHMARKS}/nafdpm_labels/{{card}}.tsv"
    threads: 1
    resources:
        mem_mb=ND_MEMORY,
        runtime=1440,
    params:
        **tracked("nafdpm_labels.py", "nafdpm.labels.{card}"),
    script:
        "../scripts/nafdpm_labels.py"


rule nafdpm_recognizer:
    input:
        training=lambda wildcards: [
            page_set(name) for name in ND_RECOGNIZERS[wildcards.recognizer].pages
        ],
    output:
        manifest=f"{ND_FOLDER}/recognizer/{{recognizer}}/seed{{seed}}/manifest.json",
        scores=f"{ND_FOLDER}/recognizer/{{recognizer}}/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/nafdpm_recognizer/{{recognizer}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/nafdpm_recognizer/{{recognizer}}_seed{{seed}}.tsv"
    priority: 10
    threads: 1
    resources:
        mem_mb=ND_MEMORY,
        runtime=240,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked("nafdpm_recognizer.py", "nafdpm.recognizers.{recognizer}"),
    script:
        "../scripts/nafdpm_recognizer.py"


rule nafdpm_classical:
    input:
        pages=lambda wildcards: page_sets(ND_SETS, TUNED_ON[wildcards.task])(wildcards),
    output:
        manifest=f"{ND_FOLDER}/classical/{{task}}/manifest.json",
        scores=f"{ND_FOLDER}/classical/{{task}}/scores.json",
    log:
        f"{LOGS}/nafdpm_classical/{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/nafdpm_classical/{{task}}.tsv"
    threads: 1
    resources:
        mem_mb=ND_MEMORY,
        runtime=60,
    params:
        **tracked(
            "nafdpm_classical.py",
            {
                "pages": "nafdpm.tasks.{task}.pages",
                "classical": "nafdpm.tasks.{task}.classical",
            },
        ),
    script:
        "../scripts/nafdpm_classical.py"


rule nafdpm_train:
    input:
        training=page_sets(ND_SETS, "train"),
        validation=page_sets(ND_SETS, "validation"),
    output:
        manifest=f"{ND_FOLDER}/train/{{task}}/{{model}}/seed{{seed}}/manifest.json",
        scores=f"{ND_FOLDER}/train/{{task}}/{{model}}/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/nafdpm_train/{{task}}_{{model}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/nafdpm_train/{{task}}_{{model}}_seed{{seed}}.tsv"
    priority: 10
    threads: 1
    resources:
        mem_mb=ND_MEMORY,
        runtime=240,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "nafdpm_train.py",
            {
                "pages": "nafdpm.tasks.{task}.pages",
                "variant": "nafdpm.tasks.{task}.models.{model}",
                "training": "nafdpm.tasks.{task}.training",
            },
        ),
    script:
        "../scripts/nafdpm_train.py"


rule nafdpm_finetune:
    input:
        training=page_sets(ND_SETS, "train"),
        validation=page_sets(ND_SETS, "validation"),
        model=lambda wildcards: expand(
            rules.nafdpm_train.output.manifest,
            task=wildcards.task,
            model=ND_TASKS[wildcards.task].finetuned,
            seed=ND.seeds[0],
        ),
        critic=expand(
            rules.nafdpm_recognizer.output.manifest, recognizer="critic", seed=ND.seeds[0]
        ),
    output:
        manifest=f"{ND_FOLDER}/finetune/{{task}}/{{arm}}/seed{{seed}}/manifest.json",
        scores=f"{ND_FOLDER}/finetune/{{task}}/{{arm}}/seed{{seed}}/scores.json",
    log:
        f"{LOGS}/nafdpm_finetune/{{task}}_{{arm}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/nafdpm_finetune/{{task}}_{{arm}}_seed{{seed}}.tsv"
    threads: 1
    resources:
        mem_mb=ND_MEMORY,
        runtime=240,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "nafdpm_finetune.py",
            {
                "pages": "nafdpm.tasks.{task}.pages",
                "models": "nafdpm.tasks.{task}.models",
                "finetuned": "nafdpm.tasks.{task}.finetuned",
                "arm": "nafdpm.tasks.{task}.arms.{arm}",
                "finetuning": "nafdpm.tasks.{task}.finetuning",
            },
        ),
    script:
        "../scripts/nafdpm_finetune.py"


ND_TRAINED = {  # task -> manifests of all its models and arms, each on its first seeds
    task: [
        *first_runs(
            expand(rules.nafdpm_train.output.manifest, task=task, allow_missing=True),
            ND.seeds,
            model=section.models,
        ),
        *first_runs(
            expand(rules.nafdpm_finetune.output.manifest, task=task, allow_missing=True),
            ND.seeds,
            arm=section.arms,
        ),
    ]
    for task, section in ND_TASKS.items()
}


rule nafdpm_score:
    input:
        models=lambda wildcards: ND_TRAINED[wildcards.task],
        classical=rules.nafdpm_classical.output.manifest,
        judge=expand(rules.nafdpm_recognizer.output.manifest, recognizer="judge", seed=ND.seeds[0]),
        tests=page_sets(ND_SETS, "test"),
        scans=expand(rules.data_acquire.output.manifest, card=ND.scans),
    output:
        manifest=f"{ND_FOLDER}/score/{{task}}/manifest.json",
        scores=f"{ND_FOLDER}/score/{{task}}/scores.json",
    log:
        f"{LOGS}/nafdpm_score/{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/nafdpm_score/{{task}}.tsv"
    threads: 1
    resources:
        mem_mb=ND_MEMORY,
        runtime=240,
        gpu=GPU,
        device=RUN_CONFIG.device,
    params:
        **tracked(
            "nafdpm_score.py",
            {
                "seeds": "nafdpm.seeds",
                "pages": "nafdpm.tasks.{task}.pages",
                "models": "nafdpm.tasks.{task}.models",
                "arms": "nafdpm.tasks.{task}.arms",
                "scans": "nafdpm.scans",
                "scoring": "nafdpm.tasks.{task}.scoring",
            },
        ),
        sets=lambda wildcards: ND_SETS[wildcards.task]["test"],
        data_root=RUN_CONFIG.data_root,
    script:
        "../scripts/nafdpm_score.py"


rule nafdpm_figures:
    input:
        deblurring=ND_TRAINED["deblurring"],
        binarization=ND_TRAINED["binarization"],
        scored=expand(rules.nafdpm_score.output.manifest, task=list(ND_TASKS)),
        scans=expand(rules.data_acquire.output.manifest, card=ND.scans),
    output:
        manifest=f"{ND_FOLDER}/figures/manifest.json",
    log:
        f"{LOGS}/nafdpm_figures.log",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        **tracked("nafdpm_figures.py", "nafdpm"),
        data_root=RUN_CONFIG.data_root,
    script:
        "../scripts/nafdpm_figures.py"


report_on(
    "nafdpm",
    acquired=expand(rules.data_acquire.output.manifest, card=[*ND_SCANS, *ND.scans]),
    scores=[
        *(page_set(name) for name in [*ND_RENDERED, *ND_SCANS]),
        *expand(
            rules.nafdpm_recognizer.output.manifest,
            recognizer=list(ND_RECOGNIZERS),
            seed=ND.seeds[0],
        ),
        *expand(rules.nafdpm_classical.output.manifest, task=list(ND_TASKS)),
        *rules.nafdpm_figures.input.deblurring,
        *rules.nafdpm_figures.input.binarization,
        *rules.nafdpm_figures.input.scored,
    ],
    figures=[rules.nafdpm_figures.output.manifest],
)

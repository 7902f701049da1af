"""What all rules use, and what they leave for the report."""

import os
from pathlib import Path
from typing import Literal

import vismodels
from vismodels.config import (
    Config,
    ConfigError,
    compose,
    lookup,
    parse_config,
    suggestion,
)
from vismodels.data.manifest import is_present, refuse_leaks
from vismodels.provenance import CodeIndex, environment, environment_digest
from vismodels.report.method_files import read_method_files


class RunConfig(Config):
    """The keys that belong to no method."""

    run: Literal["default", "test", "benchmark", "paper"]
    data_root: str
    device: Literal["auto", "cpu", "cuda"]
    methods: tuple[str, ...]


# Jobs compare it with their ancestors: one that starts while the workflow is killed ends at once.
os.environ.update(VISMODELS_WORKFLOW_PID=str(os.getpid()))

CODE = CodeIndex(Path(workflow.basedir), Path(vismodels.__file__).parent)
ENVIRONMENT = environment_digest(environment())
KNOWN_KEYS = set(RunConfig.model_fields)
PAGE_SETS = {}  # rendered sets of pages, by name; filled in synthetic.smk
BRAIN_SETS = {}  # real sets of brain tumor cases, by name; filled in data.smk
SCAN_SETS = {}  # generated sets of CT scans, by name; filled in synthetic.smk
LABELLED = {}  # sets of pages whose words an OCR engine finds
REPORTABLE = {}  # method -> what a report shows of it; filled by `report_on`


def checked(function, *arguments, **named):
    """Return the result of a function; a mistake in the configuration stops the workflow here."""
    try:
        return function(*arguments, **named)
    except ConfigError as error:
        raise WorkflowError(str(error))


def settings(key, model):
    """Return the section at `key`, validated: whoever mistypes a key learns it in a second."""
    KNOWN_KEYS.add(key.partition(".")[0])
    return checked(parse_config, model, checked(lookup, config, key), key)


def refuse_unknown_keys():
    for key in config:
        if key not in KNOWN_KEYS:
            raise WorkflowError(f"{key}: unknown key{suggestion(key, KNOWN_KEYS)}")


def tracked(script, keys, files=lambda wildcards: []):
    """Return the parameters that all rules have, configuration and code.

    `keys` is the dotted key of the stage's section, or says where each part of it stands;
    wildcards are filled in. `files` names further files of the project that count as code.
    """

    def roots(wildcards):
        return [f"workflows/scripts/{script}", *files(wildcards)]

    def code(wildcards):
        return CODE.fingerprint(*roots(wildcards))

    def filled(wildcards):
        parts = {"": keys} if isinstance(keys, str) else keys
        return {part: key.format(**wildcards) for part, key in parts.items()}

    def section(wildcards):
        return checked(compose, config, filled(wildcards))

    return {
        "config": section,
        "config_keys": filled,
        "roots": roots,
        "code": code,
        "environment": ENVIRONMENT,
    }


def photographs(sets):
    """Return the manifests of prepared sets of photographs."""
    return collect(rules.data_photographs.output.manifest, card=sets)


def segmented_by(problems):
    """Return an input function: the network that segments, of this problem or of the one it names."""

    def network(wildcards):
        problem = problems[wildcards.problem].networks or wildcards.problem
        trained = rules.multilevel_train.output.manifest
        return expand(trained, problem=problem, model=wildcards.model, seed=wildcards.seed)[0]

    return network


def page_set(name):
    """Return the manifest of a set of pages: rendered, labelled by an OCR engine, or of scans."""
    if name in PAGE_SETS:
        rendered = rules.synthetic_pages.output.manifest
        return expand(rendered, card=name, seed=SYNTHETIC_SEED)[0]
    if name in LABELLED:
        return expand(rules.nafdpm_labels.output.manifest, card=name)[0]
    return expand(rules.data_documents.output.manifest, card=name)[0]


def volumes(problem, card):
    """Return the manifest of the volumes of a problem: generated, real scans, or binary shapes."""
    if card in SCAN_SETS:
        made = rules.synthetic_chest_ct.output.manifest
        return expand(made, card=card, seed=SYNTHETIC_SEED)[0]
    if card in CT_SETS:
        return expand(rules.data_scans.output.manifest, card=card)[0]
    return expand(rules.covidnet3d_shapes.output.manifest, problem=problem)[0]


def scene_inputs(kind):
    """Return the manifests of a model of scenes and of the judge, for a pipeline of some kind.

    `scenes` is the model of captions, `scene_classes` that of classes; others need neither.
    """
    models = {"scenes": "scene_model", "scene_classes": "scene_class_model"}
    if kind not in models:
        return {"model": [], "judge": []}
    made = {"model": getattr(rules, models[kind]), "judge": rules.scene_judge}
    return {name: expand(rule.output.manifest, seed=SYNTHETIC_SEED) for name, rule in made.items()}


def scenes_of(kinds, part):
    """Return an input function: the model or the judge of scenes, for problems that use them.

    `kinds` is problem -> kind of its pipeline.
    """
    return lambda wildcards: scene_inputs(kinds[wildcards.problem])[part]


def root_of(kinds):
    """Return a parameter function: where outside pipelines lie; nothing for the scene model."""
    return lambda wildcards: (
        "" if scene_inputs(kinds[wildcards.problem])["model"] else RUN_CONFIG.data_root
    )


def problem_keys(method, parts, **more):
    """Return part -> dotted key, of the seeds and of parts of a problem of the method."""
    keys = {name: f"{method}.problems.{{problem}}.{name}" for name in parts}
    return {"seeds": f"{method}.seeds", **keys, **more}


def brains(card):
    """Return the manifest of a set of brain tumor cases, real or generated."""
    if card in BRAIN_SETS:
        return expand(rules.data_brains.output.manifest, card=card)[0]
    return expand(rules.synthetic_glioma.output.manifest, card=card, seed=SYNTHETIC_SEED)[0]


def page_sets(sets, purpose):
    """Return an input function: the manifests of the sets that serve a purpose of the task."""
    return lambda wildcards: [page_set(name) for name in sets[wildcards.task][purpose]]


def page_purposes(pages):
    """Return purpose -> names of its sets, and `scans`, those that are not rendered.

    Sets that are wanted if present are among those of the test if they are.
    """
    present = [name for name in pages.test_if_present if is_present(name, RUN_CONFIG.data_root)]
    purposes = {
        "train": pages.train,
        "validation": pages.validation,
        "test": [*pages.test, *present],
    }
    scans = {use: [n for n in names if n not in PAGE_SETS] for use, names in purposes.items()}
    checked(refuse_leaks, **scans)
    return purposes | {"scans": list(dict.fromkeys(n for names in scans.values() for n in names))}


def first_runs(template, seeds, **arms):
    """Return the manifests of all arms, each on the first so many seeds; `wildcard=arms`."""
    ((wildcard, variants),) = arms.items()
    return [
        manifest
        for name, variant in variants.items()
        for manifest in collect(template, **{wildcard: name}, seed=seeds[: variant.runs])
    ]


def report_on(method, acquired, scores, figures):
    """Have the report show a method: manifests of its data, of all its scores, of its figures."""
    checked(read_method_files, method, Path(workflow.basedir) / "workflows")
    REPORTABLE[method] = {"acquired": acquired, "scores": scores, "figures": figures}


def refuse_unknown_methods():
    if not RUN_CONFIG.methods:
        raise WorkflowError(f"methods is empty; there are {', '.join(REPORTABLE)}")
    for method in RUN_CONFIG.methods:
        if method not in REPORTABLE:
            raise WorkflowError(f"methods: no method {method!r}{suggestion(method, REPORTABLE)}")


def reported(part):
    """Return one part of what the methods of this run report, each entry once, in order."""
    methods = [REPORTABLE[method] for method in RUN_CONFIG.methods]
    return list(dict.fromkeys(entry for method in methods for entry in method[part]))


RUN_CONFIG = checked(
    parse_config, RunConfig, {key: config.get(key) for key in RunConfig.model_fields}, "config"
)
RESULTS = f"results/{RUN_CONFIG.run}"
LOGS = f"logs/{RUN_CONFIG.run}"
BENCHMARKS = f"{RESULTS}/.benchmarks"
GPU = 1 if RUN_CONFIG.device == "cuda" else 0

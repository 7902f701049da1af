"""Entry of the workflow: `snakemake` reproduces everything with the default configuration.

Overlays: `--configfile workflows/config/{test,benchmark,paper}.yaml`; data: `--config data_root=DIR`.
"""

from snakemake.utils import min_version

min_version("9.14")


configfile: workflow.source_path("workflows/config/default.yaml")


report: "workflows/report/workflow.rst"


# Silences the linter on software environments; without --sdm it is ignored. To run in containers,
# name an image that has vismodels[workflows] and the system libraries of OpenCV.
container: "docker://python:3.11-bookworm"


wildcard_constraints:
    arm=r"[a-z0-9_]+",
    card=r"[A-Za-z0-9_.-]+",
    concept=r"[a-z0-9_]+",
    method=r"[a-z0-9_]+",
    model=r"[a-z0-9_]+",
    network=r"[a-z0-9_]+",
    problem=r"[a-z0-9_]+",
    recognizer=r"[a-z0-9_]+",
    search=r"[a-z0-9_]+",
    seed=r"\d+",
    task=r"[a-z0-9_]+",


include: "workflows/rules/common.smk"
include: "workflows/rules/data.smk"
include: "workflows/rules/synthetic.smk"
include: "workflows/rules/covidnet3d.smk"
include: "workflows/rules/lineas.smk"
include: "workflows/rules/multilevel_activation.smk"
include: "workflows/rules/nafdpm.smk"
include: "workflows/rules/quantnas.smk"
include: "workflows/rules/quest.smk"
include: "workflows/rules/super_resolution.smk"
include: "workflows/rules/tables.smk"


refuse_unknown_keys()


rule all:
    default_target: True
    input:
        report=rules.report.output.manifest,

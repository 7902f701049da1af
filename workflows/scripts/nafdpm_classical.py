"""Choose the parameters of a task's classical baselines, on pages that are not for the test."""

from script_tools import stage

from vismodels.data.documents import read_document_pages
from vismodels.methods.nafdpm.classical import tune, write_parameters
from vismodels.methods.nafdpm.config import TUNED_ON, ClassicalConfig

with stage(snakemake, ClassicalConfig) as s:
    pages = read_document_pages(s.input["pages"], TUNED_ON[s.wildcards["task"]])
    tuned = tune(s.config, pages, task=s.wildcards["task"])
    write_parameters(tuned.parameters, s.folder)
    s.write(tuned.scores)

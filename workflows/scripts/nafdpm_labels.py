"""Label the pages of a set with what an OCR engine reads on their clean images."""

from script_tools import stage

from vismodels.methods.nafdpm.config import LabelsConfig
from vismodels.methods.nafdpm.labels import label_set

with stage(snakemake, LabelsConfig) as s:
    s.write(label_set(s.input["pages"], s.config.engine, s.wildcards["card"], s.folder))

"""Make pairs of large and small photographs from an acquired set."""

from script_tools import stage

from vismodels.data.manifest import PhotographsConfig
from vismodels.data.photographs import prepare_photographs

with stage(snakemake, PhotographsConfig) as s:
    score = prepare_photographs(
        s.config, s.wildcards["card"], s.params.data_root, s.input["acquired"], s.folder
    )
    s.write([score])

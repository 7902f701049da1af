"""Make pairs of degraded and clean pages from an acquired set."""

from script_tools import stage

from vismodels.config import Config
from vismodels.data.documents import prepare_documents

with stage(snakemake, Config) as s:
    score = prepare_documents(
        s.wildcards["card"], s.params.data_root, s.input["acquired"], s.folder
    )
    s.write([score])

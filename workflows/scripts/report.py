"""Write the report of a run."""

from script_tools import stage

from vismodels.config import Config
from vismodels.report.page import Sources, write_page


class ReportConfig(Config):
    methods: tuple[str, ...]


with stage(snakemake, ReportConfig) as s:
    write_page(s.params.run, Sources(**s.input), s.folder / "index.html")

"""Build the tables of every method and judge its claims from the stored scores."""

from script_tools import stage

from vismodels.config import Config
from vismodels.files import project_root
from vismodels.report.method import write_method
from vismodels.results import SCORES, read_scores


class TablesConfig(Config):
    methods: tuple[str, ...]


with stage(snakemake, TablesConfig) as s:
    for method in s.config.methods:
        scores = [score for folder in s.input[method] for score in read_scores(folder / SCORES)]
        (s.folder / method).mkdir()
        write_method(method, project_root() / "workflows", scores, s.folder / method)

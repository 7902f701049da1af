"""Build a method's tables and judge its claims from the stored scores."""

from script_tools import stage

from vismodels.config import Config
from vismodels.files import project_root
from vismodels.report.method import write_method
from vismodels.results import SCORES, read_scores

with stage(snakemake, Config) as s:
    scores = [score for folder in s.input["scores"] for score in read_scores(folder / SCORES)]
    write_method(s.wildcards["method"], project_root() / "workflows", scores, s.folder)

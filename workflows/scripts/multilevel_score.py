"""Score all segmentations of a problem against the truth, and keep slices for the report."""

from script_tools import stage

from vismodels.data.brain_cases import read_cases
from vismodels.methods.multilevel_activation.config import ScoreConfig
from vismodels.methods.multilevel_activation.score import score, segmented_folders
from vismodels.methods.multilevel_activation.shown import SHOWN, store_shown
from vismodels.problems import of_problem

with stage(snakemake, ScoreConfig) as s:
    cases = read_cases(s.input["cases"] / "test")
    folders = segmented_folders(s.input["segmented"])
    training = read_cases(s.input["cases"] / "train")
    scores = score(s.config.cases, s.config.scoring, folders, cases, training)
    store_shown(s.config.scoring, folders, cases, s.folder / SHOWN)
    s.write(of_problem(s.wildcards["problem"], scores))

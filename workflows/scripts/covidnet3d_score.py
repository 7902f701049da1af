"""Score the networks and shortcuts of a problem on its test split, and the maps of some."""

from script_tools import stage

from vismodels.methods.covidnet3d.config import ScoreConfig
from vismodels.methods.covidnet3d.scoring_stage import score_problem
from vismodels.problems import of_problem

with stage(snakemake, ScoreConfig) as s:
    scored = score_problem(
        s.config,
        s.input["networks"],
        s.input["volumes"],
        s.folder,
        searches=s.input["searches"],
        device=s.device,
    )
    s.timings.update(scored.timings)
    s.write(of_problem(s.wildcards["problem"], scored.scores))

"""Score all networks and classical interpolation on the test photographs."""

from script_tools import stage

from vismodels.data.photographs import read_split
from vismodels.data.windows import write_windows
from vismodels.methods.super_resolution.config import ScoreConfig
from vismodels.methods.super_resolution.score import load_networks, score

with stage(snakemake, ScoreConfig) as s:
    scored = score(
        s.config.scoring,
        load_networks(s.input["networks"], s.device),
        {
            name: read_split([folder], "test", s.config.scale)
            for name, folder in zip(s.params.sets, s.input["tests"], strict=True)
        },
    )
    write_windows(scored.crops, s.folder)
    s.write(scored.scores)

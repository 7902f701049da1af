"""Score all networks on the test photographs, and count what they cost."""

from script_tools import stage

from vismodels.data.photographs import read_split
from vismodels.data.windows import write_windows
from vismodels.methods.quantnas.config import ScoreConfig
from vismodels.methods.quantnas.score import load_networks, score

with stage(snakemake, ScoreConfig) as s:
    scored = score(
        s.config,
        load_networks(s.input["networks"], s.device),
        {
            name: read_split([folder], "test", s.config.scale)
            for name, folder in zip(s.params.sets, s.input["tests"], strict=True)
        },
    )
    write_windows(scored.crops, s.folder)
    s.write(scored.scores)

"""Search one supernet with one seed: its genotype, its curves, its scores."""

from script_tools import stage

from vismodels.data.photographs import read_split
from vismodels.methods.quantnas.config import SearchConfig
from vismodels.methods.quantnas.search import search
from vismodels.nas.genotype import write_genotype

with stage(snakemake, SearchConfig) as s:
    searched = search(
        s.config,
        read_split(s.input["training"], "train", s.config.scale),
        read_split(s.input["validation"], "validation", s.config.scale),
        name=s.wildcards["search"],
        seed=s.seed,
        device=s.device,
        checkpoint_dir=s.checkpoint_dir,
    )
    write_genotype(searched.genotype, s.folder / "genotype.json")
    searched.losses.to_csv(s.folder / "losses.csv")
    searched.course.to_csv(s.folder / "course.csv")
    s.timings.update(searched.timings)
    s.write([searched.score])

"""Search the space of a problem with one seed: the network, the curves, the scores."""

from script_tools import stage

from vismodels.files import write_json
from vismodels.methods.covidnet3d.config import SearchConfig
from vismodels.methods.covidnet3d.data import load_split
from vismodels.methods.covidnet3d.search import search
from vismodels.nas.genotype import write_genotype
from vismodels.problems import of_problem

with stage(snakemake, SearchConfig) as s:
    searched = search(
        s.config,
        load_split(s.config.seen, s.input["volumes"], "train"),
        name=s.wildcards["search"],
        seed=s.seed,
        device=s.device,
        checkpoint_dir=s.checkpoint_dir,
    )
    write_genotype(searched.genotype, s.folder / "genotype.json")
    write_json(s.folder / "candidates.json", searched.candidates_record())
    searched.losses.to_csv(s.folder / "losses.csv")
    searched.course.to_csv(s.folder / "course.csv")
    s.timings.update(searched.timings)
    s.write(of_problem(s.wildcards["problem"], [searched.score]))

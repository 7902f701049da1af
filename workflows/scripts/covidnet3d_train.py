"""Train one network of a problem with one seed."""

from script_tools import stage

from vismodels.checkpoint import save_weights
from vismodels.methods.covidnet3d.config import TrainConfig
from vismodels.methods.covidnet3d.data import load_split
from vismodels.methods.covidnet3d.found import read_found
from vismodels.methods.covidnet3d.train import train
from vismodels.problems import of_problem

with stage(snakemake, TrainConfig) as s:
    found = [read_found(s.config.variant, folder) for folder in s.input["found"]]
    trained = train(
        s.config,
        load_split(s.config.data, s.input["volumes"], "train"),
        load_split(s.config.data, s.input["volumes"], "validation"),
        found=next(iter(found), None),
        name=s.wildcards["network"],
        seed=s.seed,
        device=s.device,
        checkpoint_dir=s.checkpoint_dir,
    )
    save_weights(trained.network, s.folder)
    trained.losses.to_csv(s.folder / "losses.csv")
    trained.validation.to_csv(s.folder / "validation.csv")
    s.write(of_problem(s.wildcards["problem"], [trained.score]))

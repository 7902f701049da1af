"""Train one network of the comparison with one seed."""

from script_tools import stage

from vismodels.checkpoint import save_weights
from vismodels.data.photographs import read_split
from vismodels.methods.quantnas.config import TrainConfig
from vismodels.methods.quantnas.train import train
from vismodels.nas.genotype import read_genotype

with stage(snakemake, TrainConfig) as s:
    found = [read_genotype(folder / "genotype.json") for folder in s.input["found"]]
    trained = train(
        s.config,
        read_split(s.input["training"], "train", s.config.scale),
        read_split(s.input["validation"], "validation", s.config.scale),
        found=next(iter(found), None),
        name=s.wildcards["network"],
        seed=s.seed,
        device=s.device,
        checkpoint_dir=s.checkpoint_dir,
    )
    save_weights(trained.network, s.folder)
    trained.losses.to_csv(s.folder / "losses.csv")
    trained.validation.to_csv(s.folder / "validation.csv")
    s.timings.update(trained.timings)
    s.write([trained.score])

"""Train one super-resolution network with one seed."""

from script_tools import stage

from vismodels.checkpoint import save_weights
from vismodels.data.photographs import read_split
from vismodels.methods.super_resolution.config import TrainConfig
from vismodels.methods.super_resolution.train import train

with stage(snakemake, TrainConfig) as s:
    trained = train(
        s.config,
        read_split(s.input["training"], "train", s.config.scale),
        read_split(s.input["validation"], "validation", s.config.scale),
        name=s.wildcards["network"],
        seed=s.seed,
        device=s.device,
        checkpoint_dir=s.checkpoint_dir,
    )
    save_weights(trained.network, s.folder)
    trained.losses.to_csv(s.folder / "losses.csv")
    trained.validation.to_csv(s.folder / "validation.csv")
    s.write([trained.score])

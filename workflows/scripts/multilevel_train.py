"""Train one model of a problem with one seed."""

from script_tools import stage

from vismodels.data.brain_cases import read_cases
from vismodels.methods.multilevel_activation.config import TrainConfig
from vismodels.methods.multilevel_activation.storage import save_segmenter
from vismodels.methods.multilevel_activation.train import train
from vismodels.problems import of_problem

with stage(snakemake, TrainConfig) as s:
    trained = train(
        s.config,
        read_cases(s.input["cases"] / "train"),
        read_cases(s.input["cases"] / "validation"),
        name=s.wildcards["model"],
        seed=s.seed,
        device=s.device,
        checkpoint_dir=s.checkpoint_dir,
    )
    save_segmenter(trained.network, s.config.variant.head, s.folder)
    trained.losses.to_csv(s.folder / "losses.csv")
    trained.validation.to_csv(s.folder / "validation.csv")
    s.write(of_problem(s.wildcards["problem"], [trained.score]))

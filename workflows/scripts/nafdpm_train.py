"""Train one model of one task with one seed: predictor and denoiser, or the predictor alone."""

from script_tools import stage

from vismodels.data.documents import read_document_pages
from vismodels.methods.nafdpm.config import TrainConfig
from vismodels.methods.nafdpm.storage import save_pipeline
from vismodels.methods.nafdpm.train import train
from vismodels.methods.nafdpm.trained import PIPELINE

with stage(snakemake, TrainConfig) as s:
    trained = train(
        s.config,
        read_document_pages(s.input["training"], "train"),
        read_document_pages(s.input["validation"], "validation"),
        task=s.wildcards["task"],
        name=s.wildcards["model"],
        seed=s.seed,
        device=s.device,
        checkpoint_dir=s.checkpoint_dir,
    )
    save_pipeline(trained.pipeline, s.folder / PIPELINE)
    trained.losses.to_csv(s.folder / "losses.csv")
    trained.validation.to_csv(s.folder / "validation.csv")
    s.write([trained.score])

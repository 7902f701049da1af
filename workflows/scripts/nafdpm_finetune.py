"""Finetune the trained model with one seed, with or without the OCR loss."""

from script_tools import stage

from vismodels.checkpoint import load_weights
from vismodels.data.documents import read_document_pages
from vismodels.methods.nafdpm.config import FinetuneConfig
from vismodels.methods.nafdpm.finetune import finetune
from vismodels.methods.nafdpm.storage import load_pipeline, save_pipeline
from vismodels.methods.nafdpm.trained import PIPELINE
from vismodels.nn.crnn import CRNN

with stage(snakemake, FinetuneConfig) as s:
    tuned = finetune(
        s.config,
        load_pipeline(s.input["model"][0] / PIPELINE),
        load_weights(CRNN, s.input["critic"][0], s.device),
        read_document_pages(s.input["training"], "train"),
        read_document_pages(s.input["validation"], "validation"),
        task=s.wildcards["task"],
        name=s.wildcards["arm"],
        seed=s.seed,
        device=s.device,
        checkpoint_dir=s.checkpoint_dir,
    )
    save_pipeline(tuned.pipeline, s.folder / PIPELINE)
    tuned.losses.to_csv(s.folder / "losses.csv")
    tuned.validation.to_csv(s.folder / "validation.csv")
    s.write([tuned.score])

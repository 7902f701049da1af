"""Train one recognizer of words: the critic in the OCR loss, or the judge of the results."""

from script_tools import stage

from vismodels.checkpoint import save_weights
from vismodels.data.documents import read_document_pages
from vismodels.methods.nafdpm.recognizer import train_recognizer
from vismodels.methods.nafdpm.recognizer_config import RecognizerConfig

with stage(snakemake, RecognizerConfig) as s:
    trained = train_recognizer(
        s.config,
        read_document_pages(s.input["training"], s.config.split),
        name=s.wildcards["recognizer"],
        seed=s.seed,
        device=s.device,
        checkpoint_dir=s.checkpoint_dir,
    )
    save_weights(trained.network, s.folder)
    trained.losses.to_csv(s.folder / "losses.csv")
    trained.validation.to_csv(s.folder / "validation.csv")
    s.write([trained.score])

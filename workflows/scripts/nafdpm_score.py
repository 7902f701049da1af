"""Score all models and the classical baselines of one task on its test pages."""

from script_tools import stage

from vismodels.checkpoint import load_weights
from vismodels.data.documents import read_document_pages, read_scans
from vismodels.methods.nafdpm.classical import read_parameters
from vismodels.methods.nafdpm.config import ScoreConfig
from vismodels.methods.nafdpm.reading import Readers
from vismodels.methods.nafdpm.score import score, write_pictures
from vismodels.methods.nafdpm.trained import load_pipelines
from vismodels.nn.crnn import CRNN

with stage(snakemake, ScoreConfig) as s:
    judge = load_weights(CRNN, s.input["judge"][0], s.device)
    scored = score(
        s.config.scoring,
        s.wildcards["task"],
        load_pipelines(s.input["models"], s.device),
        read_parameters(s.input["classical"]),
        {
            name: read_document_pages([folder], "test")
            for name, folder in zip(s.params.sets, s.input["tests"], strict=True)
        },
        Readers(judge, s.config.scoring.engines, s.config.scoring.engine_pages),
        read_scans(s.config.scans, s.params.data_root, s.input["scans"]),
    )
    write_pictures(scored, s.folder)
    s.write(scored.scores)

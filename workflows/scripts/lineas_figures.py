"""Draw images at rising strength, presence against fidelity, and the support of each layer."""

from script_tools import stage

from vismodels.figures import write_pictures
from vismodels.methods.lineas.config import FiguresConfig
from vismodels.methods.lineas.figures import draw_figures

with stage(snakemake, FiguresConfig) as s:
    write_pictures(
        s.folder,
        draw_figures(
            s.config,
            models=s.input["models"],
            learnt=s.input["learnt"],
            scored=s.input["scored"],
            folder=s.folder,
        ),
    )

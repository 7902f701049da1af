"""Draw the activation, the courses of training, segmentations and violations."""

from script_tools import stage

from vismodels.figures import write_pictures
from vismodels.methods.multilevel_activation.config import FiguresConfig
from vismodels.methods.multilevel_activation.figures import draw_figures

with stage(snakemake, FiguresConfig) as s:
    write_pictures(
        s.folder,
        draw_figures(
            s.config,
            trained=s.input["trained"],
            scored=s.input["scored"],
            folder=s.folder,
        ),
    )

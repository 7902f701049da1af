"""Draw the course of the searches and trainings, accuracy against size, and activation maps."""

from script_tools import stage

from vismodels.figures import write_pictures
from vismodels.methods.covidnet3d.config import FiguresConfig
from vismodels.methods.covidnet3d.figures import draw_figures

with stage(snakemake, FiguresConfig) as s:
    write_pictures(
        s.folder,
        draw_figures(
            s.config,
            searches=s.input["searches"],
            scored=s.input["scored"],
            folder=s.folder,
        ),
    )

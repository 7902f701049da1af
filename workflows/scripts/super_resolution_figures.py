"""Draw the course of training and the windows of test images."""

from script_tools import stage

from vismodels.figures import write_pictures
from vismodels.methods.super_resolution.config import FiguresConfig
from vismodels.methods.super_resolution.figures import draw_figures

with stage(snakemake, FiguresConfig) as s:
    write_pictures(
        s.folder, draw_figures(s.config, s.input["networks"], s.input["scored"], s.folder)
    )

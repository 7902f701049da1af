"""Draw the same noise through every network, errors by timestep and layer, activations."""

from script_tools import stage

from vismodels.figures import write_pictures
from vismodels.methods.quest.figures import draw_figures
from vismodels.methods.quest.workflow_config import FiguresConfig

with stage(snakemake, FiguresConfig) as s:
    write_pictures(
        s.folder,
        draw_figures(
            s.config,
            quantized=s.input["quantized"],
            scored=s.input["scored"],
            folder=s.folder,
        ),
    )

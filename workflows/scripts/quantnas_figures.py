"""Draw quality against cost, the architectures that were found, and the course of search."""

from script_tools import stage

from vismodels.figures import write_pictures
from vismodels.files import project_root
from vismodels.methods.quantnas.config import FiguresConfig
from vismodels.methods.quantnas.figures import draw_figures
from vismodels.report.method_files import read_method_files

with stage(snakemake, FiguresConfig) as s:
    _, papers, _ = read_method_files("quantnas", project_root() / "workflows")
    write_pictures(
        s.folder,
        draw_figures(
            s.config,
            searches=s.input["searches"],
            networks=s.input["networks"],
            scored=s.input["scored"],
            papers=papers,
            folder=s.folder,
        ),
    )

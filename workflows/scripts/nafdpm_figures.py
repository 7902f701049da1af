"""Draw the windows of test pages, quality over steps, courses of training, and the real scans."""

from script_tools import stage

from vismodels.data.documents import read_scans
from vismodels.figures import write_pictures
from vismodels.methods.nafdpm.config import NAFDPMConfig
from vismodels.methods.nafdpm.figures import draw_figures

with stage(snakemake, NAFDPMConfig) as s:
    write_pictures(
        s.folder,
        draw_figures(
            s.config,
            models={"deblurring": s.input["deblurring"], "binarization": s.input["binarization"]},
            scored=s.input["scored"],
            scans=read_scans(s.config.scans, s.params.data_root, s.input["scans"]),
            folder=s.folder,
        ),
    )

"""Prepare the binary shapes of a MedMNIST3D set for a problem."""

from script_tools import stage

from vismodels.methods.covidnet3d.config import ShapesConfig
from vismodels.methods.covidnet3d.shapes import prepare_shapes
from vismodels.problems import of_problem

with stage(snakemake, ShapesConfig) as s:
    scores = prepare_shapes(s.config, s.params.data_root, s.input["acquired"], s.folder)
    s.write(of_problem(s.wildcards["problem"], scores))

"""Segment the test cases of a problem with one model of one seed."""

from script_tools import stage

from vismodels.data.brain_cases import read_cases
from vismodels.methods.multilevel_activation.config import SegmentConfig
from vismodels.methods.multilevel_activation.segment import segment
from vismodels.methods.multilevel_activation.storage import load_network
from vismodels.problems import of_problem

with stage(snakemake, SegmentConfig) as s:
    segmented = segment(
        s.config,
        load_network(s.input["model"], s.device, head=s.config.variant.head),
        read_cases(s.input["cases"] / "test"),
        s.folder,
        name=s.wildcards["model"],
        seed=s.seed,
        device=s.device,
    )
    s.timings.update(segmented.timings)
    s.write(of_problem(s.wildcards["problem"], [segmented.score]))

"""Prepare a set of real brain tumor cases."""

from script_tools import stage

from vismodels.data.brain_sets import BrainSetConfig, prepare_brain_set

with stage(snakemake, BrainSetConfig) as s:
    s.write(
        prepare_brain_set(
            s.config, s.wildcards["card"], s.params.data_root, s.input["acquired"], s.folder
        )
    )

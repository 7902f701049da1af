"""Prepare a set of real CT scans: one shape, splits by patient."""

from script_tools import stage

from vismodels.data.ct_sets import CTSetConfig, prepare_ct_set

with stage(snakemake, CTSetConfig) as s:
    s.write(
        prepare_ct_set(
            s.config, s.wildcards["card"], s.params.data_root, s.input["acquired"], s.folder
        )
    )

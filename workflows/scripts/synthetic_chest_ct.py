"""Make one set of generated scans of a chest."""

from script_tools import stage

from vismodels.data.scans import write_scans
from vismodels.synthetic.chest_ct import SPLITS, PhantomConfig, make_scans, score_scans

with stage(snakemake, PhantomConfig) as s:
    sets = {split: make_scans(s.config, split, s.seed) for split in SPLITS}
    for split, scans in sets.items():
        write_scans(scans, s.folder / split)
    s.write(score_scans(s.wildcards["card"], sets, s.seed))

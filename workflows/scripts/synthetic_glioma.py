"""Make one set of semi-synthetic glioma cases."""

from script_tools import stage

from vismodels.data.brain_cases import SEMI_SYNTHETIC_NOTE, write_cases
from vismodels.data.brain_preparation import standardized
from vismodels.data.brain_sets import case_scores
from vismodels.synthetic.glioma import SPLITS, GliomaConfig, make_cases

with stage(snakemake, GliomaConfig) as s:
    sets = {}
    for split in SPLITS:
        sets[split] = [standardized(case) for case in make_cases(s.config, split, s.seed)]
        write_cases(sets[split], s.folder / split)
    s.write(
        case_scores(
            "synthetic_glioma", s.wildcards["card"], sets, seed=s.seed, note=SEMI_SYNTHETIC_NOTE
        )
    )

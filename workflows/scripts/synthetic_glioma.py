"""Make one set of semi-synthetic glioma cases."""

from script_tools import stage

from vismodels.data.brain_cases import SEMI_SYNTHETIC_NOTE, write_cases
from vismodels.data.brain_preparation import standardized
from vismodels.data.brain_sets import case_scores
from vismodels.synthetic.glioma import SPLITS, GliomaConfig, make_cases

with stage(snakemake, GliomaConfig) as s:
    sets = {}
    for split in SPLITS:
        cases = make_cases(s.config, split, s.seed)
        sets[split] = [standardized(case, may_lack=True) for case in cases]
        write_cases(sets[split], s.folder / split)
    s.write(
        case_scores(
            "synthetic_glioma", s.wildcards["card"], sets, seed=s.seed, note=SEMI_SYNTHETIC_NOTE
        )
    )

"""Find a data set, compare it with its card, and list what was found."""

from script_tools import stage

from vismodels.config import Config
from vismodels.data.manifest import acquire, write_acquired

with stage(snakemake, Config) as s:
    acquired = acquire(s.wildcards["card"], s.params.data_root)
    write_acquired(acquired, s.folder)
    s.write([acquired.score])

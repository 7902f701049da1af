"""Check the published tables against the sizes of their test splits."""

from script_tools import stage

from vismodels.methods.covidnet3d.audit import audit
from vismodels.methods.covidnet3d.config import AuditConfig

with stage(snakemake, AuditConfig) as s:
    s.write(audit(s.config))

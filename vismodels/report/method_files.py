"""The files that say what the report shows of a method: its tables, paper values and claims.

Read when the workflow plans, so that a mistyped name is found before anything is computed.
Torch-free.
"""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from vismodels.config import Config, ConfigError, parse_config, suggestion
from vismodels.metrics.catalog import METRICS
from vismodels.report.claims import PaperClaims
from vismodels.tables.layout import Layout, PaperValues, Quantity


class NamedLayout(Layout):
    """A table and the name of its files."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class MethodPage(Config):
    """What the report says about a method, as in `workflows/tables/*.yaml`."""

    title: str
    about: tuple[str, ...]  # paragraphs
    tables: tuple[NamedLayout, ...]


def read_method_files(
    method: str, workflows: Path
) -> tuple[MethodPage, list[PaperValues], PaperClaims]:
    """Return a method's page, the values of each paper beside it, and its claims.

    Args:
        method: its name; `<workflows>/{tables,paper_values,claims}/<method>.yaml` are read.
        workflows: folder of the workflow's files.

    Raises:
        ConfigError: if a file cannot be read or does not fit its schema, or if a column or claim
            names a metric that is not in the catalog, with the nearest name.
    """
    names = {kind: f"{kind}/{method}.yaml" for kind in ("tables", "paper_values", "claims")}
    sections = {kind: _read_yaml(workflows / name) for kind, name in names.items()}
    if not isinstance(sections["paper_values"], list):
        raise ConfigError(
            f"{names['paper_values']}: expected a list of papers (`[]` for none), "
            f"got {sections['paper_values']!r}"
        )
    page = parse_config(MethodPage, sections["tables"], names["tables"])
    papers = [
        parse_config(PaperValues, section, names["paper_values"])
        for section in sections["paper_values"]
    ]
    claims = parse_config(PaperClaims, sections["claims"], names["claims"])
    for table in page.tables:
        for column in table.columns:
            _check_metric(column, f"{names['tables']}, table {table.name}")
    for claim in claims.claims:
        _check_metric(claim, f"{names['claims']}, claim {claim.id}")
    return page, papers, claims


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML ({error})") from error


def _check_metric(quantity: Quantity, where: str) -> None:
    name, known = quantity.metric, METRICS.names()
    if name is not None and name not in known:
        raise ConfigError(f"{where}: no metric is called {name!r}{suggestion(name, known)}")

"""One method in the report: its layouts, paper values and claims applied to stored scores."""

from collections.abc import Iterable
from pathlib import Path

from vismodels.files import write_json
from vismodels.report.claims import to_records
from vismodels.report.claims_text import claims_table
from vismodels.report.judge import judge
from vismodels.report.method_files import read_method_files
from vismodels.results import Score
from vismodels.statistics import t_interval
from vismodels.tables.build import build_table
from vismodels.tables.render import write_table

METHOD = "method.json"


def write_method(method: str, workflows: Path, scores: Iterable[Score], folder: Path) -> None:
    """Write the tables and judged claims of a method, and `method.json`, which lists them.

    Args:
        method: its name; `<workflows>/{tables,paper_values,claims}/<method>.yaml` are read.
        workflows: folder of the workflow's files.
        scores: all records of the method.
        folder: where to write.

    Raises:
        ConfigError: if a file does not fit its schema, or names what no score or catalog has.
    """
    scores = list(scores)
    page, papers, claims = read_method_files(method, workflows)
    judgements = judge(claims, scores)
    for layout in page.tables:
        write_table(build_table(layout, scores, papers, t_interval), folder, layout.name)
    write_table(claims_table(judgements), folder, "claims")
    write_json(
        folder / METHOD,
        {
            "name": method,
            "title": page.title,
            "about": list(page.about),
            "tables": [{"name": table.name, "title": table.title} for table in page.tables],
            "judgements": to_records(judgements),
        },
    )

"""The report: one self-contained HTML page made from stored results, readable without a network."""

import base64
import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vismodels import __version__
from vismodels.data.manifest import read_acquired
from vismodels.figures import read_pictures
from vismodels.files import MANIFEST, VOLATILE, file_digest, read_json, write_text
from vismodels.provenance import PROVENANCE, Provenance
from vismodels.report.claims import Judgement, from_records, summary_line
from vismodels.report.claims_text import gates_table
from vismodels.report.method import METHOD
from vismodels.report.times import times_table
from vismodels.results import SCORES, Score, read_scores
from vismodels.tables.render import to_html

TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class Sources:
    """The stage folders a report is made of, by kind, relative to the working directory."""

    acquired: Sequence[Path]
    scores: Sequence[Path]
    figures: Sequence[Path]
    tables: Sequence[Path]

    def folders(self) -> list[Path]:
        """Return all of them, in the order of the workflow."""
        return [*self.acquired, *self.scores, *self.figures, *self.tables]


def write_page(run: str, sources: Sources, path: Path) -> None:
    """Write the report of a run to `path`.

    Args:
        run: name of the run.
        sources: where the results lie; their manifests have been checked.
        path: the HTML file.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vismodels.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    write_text(path, environment.get_template(TEMPLATE).render(page_content(run, sources)))


def page_content(run: str, sources: Sources) -> dict[str, Any]:
    """Return what the template shows, as plain values."""
    folders = sources.folders()
    records = [Provenance.from_dict(read_json(folder / PROVENANCE)) for folder in folders]
    runs = [read_json(folder / VOLATILE) for folder in folders]
    files = [folder / SCORES for folder in folders]
    scores = [score for file in files if file.is_file() for score in read_scores(file)]
    methods = [_method(folder, sources) for folder in sources.tables]
    judgements = [judgement for method in methods for judgement in method["judgements"]]
    cards = [_card(folder) for folder in sources.acquired]
    return {
        "run": run,
        "version": __version__,
        "facts": _facts(runs, scores, judgements),
        "claims_line": f"{summary_line(judgements)}.",
        "warnings": _warnings(run, scores, cards, records, runs),
        "methods": methods,
        "gates": to_html(gates_table(scores)),
        "cards": cards,
        "stages": [_stage(*row) for row in zip(folders, records, runs, strict=True)],
        "provenance": _provenance(records, runs),
    }


def _method(folder: Path, sources: Sources) -> dict[str, Any]:
    content = read_json(folder / METHOD)

    def own(folders: Iterable[Path]) -> list[Path]:
        return [path for path in folders if content["name"] in path.parts]

    times = times_table(own(sources.scores))
    return {
        **content,
        "judgements": from_records(content["judgements"]),
        "tables": [
            {**table, "html": (folder / f"{table['name']}.html").read_text(encoding="utf-8")}
            for table in content["tables"]
        ],
        "times_html": "" if times is None else to_html(times),
        "claims_html": (folder / "claims.html").read_text(encoding="utf-8"),
        "pictures": [
            {**vars(picture), "source": _data_address(path / picture.file)}
            for path in own(sources.figures)
            for picture in read_pictures(path)
        ],
    }


def _data_address(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _facts(
    runs: Sequence[Mapping[str, Any]], scores: Sequence[Score], judgements: Sequence[Judgement]
) -> list[tuple[str, str]]:
    gates = [gate for score in scores for gate in score.gates]
    seconds = sum(run["cpu_seconds"] for run in runs)
    reproduced = sum(judgement.verdict == "reproduced" for judgement in judgements)
    return [
        ("Claims reproduced", f"{reproduced} of {len(judgements)}"),
        ("Checks passed", f"{sum(gate.passed for gate in gates)} of {len(gates)}"),
        ("Stages", str(len(runs))),
        ("CPU time", f"{seconds / 60:.1f} min" if seconds >= 120 else f"{seconds:.0f} s"),
    ]


def _warnings(
    run: str,
    scores: Sequence[Score],
    cards: Sequence[Mapping[str, Any]],
    records: Sequence[Provenance],
    runs: Sequence[Mapping[str, Any]],
) -> list[str]:
    found = []
    if run == "test":
        found.append("This run only shows that every stage works. Its numbers mean nothing.")
    failed = sum(not gate.passed for score in scores for gate in score.gates)
    if failed:
        found.append(f"{failed} check{'s' * (failed != 1)} failed; see Checks.")
    for card in cards:
        if card["unverified"]:
            found.append(
                f"{card['title']}: the data card has no checksum for {card['unverified']} of the "
                "files; they are “unverified”."
            )
    if any((times["git"] or {}).get("dirty") for times in runs):
        found.append(
            "Some stages ran from a checkout with uncommitted changes; the code fingerprints "
            "below say what they ran, the commit does not."
        )
    if len({record.environment_digest for record in records}) > 1:
        found.append("The stages ran with different versions of the numeric packages.")
    return found


def _card(folder: Path) -> dict[str, Any]:
    card, items = read_acquired(folder)
    unverified = sum(not item["verified"] for item in items.values())
    splits = {
        split: sum(item["split"] == split for item in items.values()) for split in card["splits"]
    }
    facts = {
        "Set": f"{card['name']}, version {card['version']}",
        "Licence": _licence(card["licence"]),
        "Access": card["access"],
        "Files": f"{len(items)}, of which {len(items) - unverified} verified by checksum",
        "Splits": ", ".join(f"{name}: {count}" for name, count in splits.items()),
        "Intended use": card["intended_use"],
        "Personal data": card["personal_data"],
        "Known problems": " ".join(card["known_problems"]),
        "Preprocessing": card["preprocessing"],
        "Stand-in": card["stand_in"],
        "Cite": card["citation"],
    }
    terms = [
        (file["path"], "; ".join(filter(None, (_licence(file["licence"]), file["attribution"]))))
        for file in card["files"]
        if file["licence"] or file["attribution"]
    ]
    return {
        "title": card["title"],
        "unverified": unverified,
        "facts": [(name, text) for name, text in facts.items() if text],
        "terms": terms,
    }


def _licence(licence: Mapping[str, str | None] | None) -> str:
    stated = [licence.get(key) for key in ("spdx", "text", "url")] if licence else []
    return "; ".join(part for part in stated if part)


def _stage(folder: Path, record: Provenance, run: Mapping[str, Any]) -> dict[str, str]:
    return {
        "folder": folder.as_posix(),
        "cpu": f"{run['cpu_seconds']:.1f}{' (since resumed)' if run['resumed'] else ''}",
        "wall": f"{run['wall_seconds']:.1f}",
        "memory": str(run["peak_memory_mb"]),
        "code": record.code,
        "config": record.config_digest,
        "seed": "" if record.seed is None else str(record.seed),
        "device": record.device,
        "outputs": file_digest(folder / MANIFEST)[:16],
    }


def _provenance(
    records: Sequence[Provenance], runs: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    commits = sorted({run["git"]["commit"] for run in runs if run["git"]})
    versions = {name: version for r in records for name, version in r.environment.items()}
    return [
        ("First stage", min(run["started"] for run in runs)),
        ("Last stage", max(run["started"] for run in runs)),
        ("Commit", ", ".join(commits) or "not run from a checkout"),
        ("Machine", "; ".join(sorted({run["platform"] for run in runs}))),
        ("Threads a job", ", ".join(sorted({str(record.threads) for record in records}))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]

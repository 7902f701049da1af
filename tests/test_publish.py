import json
import shutil
from pathlib import Path

import pytest

from vismodels import publish
from vismodels.config import config_digest
from vismodels.files import (
    MANIFEST,
    VOLATILE,
    FileError,
    atomic_folder,
    file_digest,
    project_root,
    read_json,
    write_json,
)
from vismodels.metrics.image import PSNR_Y
from vismodels.provenance import (
    PROVENANCE,
    CodeIndex,
    Provenance,
    environment,
    environment_digest,
)
from vismodels.results import SCORES, Score, Value, write_scores

CODE = "workflows/scripts/script_tools.py"
PAGE = """
title: Toys
about: []
tables:
  - name: quality
    title: Quality
    caption: Toys.
    rows: [{label: ours, select: {stage: toy, variant: ours}}]
    columns: [{metric: psnr_y}]
"""


@pytest.fixture
def copy(project, tmp_path):
    """A copy of what publishing reads and writes."""
    for part in ("docs/results", "workflows", "vismodels"):
        shutil.copytree(
            project / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(project / "README.md", tmp_path)
    return tmp_path


def differing(root):
    files = publish.texts(root / "docs" / "results", root)
    return [
        path.relative_to(root).as_posix()
        for path, text in files.items()
        if not path.is_file() or path.read_text() != text
    ]


def test_what_is_committed_follows_from_the_published_scores(copy):
    assert differing(copy) == []


def test_a_number_changed_by_hand_is_found(copy):
    path = copy / "README.md"
    assert "**30." in path.read_text()
    path.write_text(path.read_text().replace("**30.", "**31.", 1))
    assert differing(copy) == ["README.md"]


def test_a_changed_score_changes_the_texts(copy):
    path = copy / "docs/results/default/results.json"
    content = json.loads(path.read_text())
    stage = content["stages"]["super_resolution/score"]
    for record in stage["scores"]["scores"]:
        for value in record["values"].values():
            value["value"] += 0.01
    path.write_text(json.dumps(content))
    assert "README.md" in differing(copy)
    assert any(name.endswith("quality.csv") for name in differing(copy))


def test_text_outside_the_marks_is_kept(copy):
    path = copy / "README.md"
    text = path.read_text().replace("# vismodels", "# another title", 1) + "\nan end\n"
    path.write_text(text)
    assert differing(copy) == []


def test_stages_whose_code_changed_are_named(copy):
    published = copy / "docs" / "results"
    before = set(publish.changed_stages(published, copy))
    path = copy / "vismodels/nn/residual_sr.py"
    path.write_text(path.read_text() + "\nNEW = 1\n")
    after = set(publish.changed_stages(published, copy))
    assert "default: super_resolution/train/residual/seed0" in after
    assert "default: data/wheel_photographs/acquired" not in after - before


def test_results_that_are_not_there_are_not_published(tmp_path):
    with pytest.raises(FileError, match="no results of the run 'default'"):
        publish.collect("default", tmp_path)


# --- what is taken from a run ------------------------------------------------------------------


def stage(directory, name, inputs=(), value=None, variant="ours", **timings):
    """Write the folder of a stage made from the stages `inputs`, with a score if it has one."""
    manifests = [f"results/test/{folder}/{MANIFEST}" for folder in inputs]
    record = Provenance(
        stage="toy",
        roots=[CODE],
        code=CodeIndex(project_root(), Path(publish.__file__).parent).fingerprint(CODE),
        config_keys={},
        config={},
        config_digest=config_digest({}),
        inputs={path: file_digest(directory / path) for path in manifests},
        environment=environment(),
        environment_digest=environment_digest(environment()),
    )
    with atomic_folder(directory / "results" / "test" / name) as folder:
        if value is not None:
            write_scores(folder / SCORES, [Score("toy", variant, [Value(PSNR_Y, value)])])
        write_json(folder / PROVENANCE, record.to_dict())
        times = {"cpu_seconds": 1.5, "started": "2026-01-02T03:04:05+00:00", "git": None}
        write_json(folder / VOLATILE, {**times, "timings": timings})
    return directory / "results" / "test" / name


@pytest.fixture
def finished(tmp_path):
    """Return the working directory of a finished run whose scores lie in no folder of the method.

    `toys/old` is left of a seed that was removed: nothing was made from it.
    """
    directory = tmp_path / "work"
    stage(directory, "data")
    stage(directory, "elsewhere/score", ["data"], value=31.25, step=7.5)
    stage(directory, "toys/old", ["data"], value=99.0)
    stage(directory, "toys/score", ["data"], value=30.0, variant="others", step=0.125)
    stage(directory, "tables/toys", ["elsewhere/score", "toys/score"])
    stage(directory, "report", ["tables/toys"])
    return directory


def test_only_what_the_report_was_made_from_is_published(finished):
    stages = publish.collect("test", finished)["stages"]
    assert list(stages) == ["data", "elsewhere/score", "report", "tables/toys", "toys/score"]
    written = read_json(finished / "results/test/elsewhere/score" / SCORES)
    assert stages["elsewhere/score"]["scores"] == written
    assert stages["data"]["scores"] is None
    assert (stages["elsewhere/score"]["timings"], stages["data"]["timings"]) == ({"step": 7.5}, {})


def test_single_items_are_published_where_a_claim_compares_them(finished, monkeypatch):
    items = {"a": 30.0, "b": 31.0}
    compared = {("toy", "ours", PSNR_Y.name)}
    path = finished / "results/test/elsewhere/score" / SCORES
    write_scores(
        path, [Score("toy", name, [Value(PSNR_Y, 30.5, items)]) for name in ("ours", "other")]
    )
    ours, other = publish._scores(path, compared)["scores"]
    assert ours["values"][PSNR_Y.name] == {"value": 30.5, "items": items}
    assert other["values"][PSNR_Y.name] == {"value": 30.5, "items": {}}


def test_what_is_published_has_one_line_for_each_stage(finished):
    content = publish.collect("test", finished)
    text = publish.to_text(content)
    assert json.loads(text) == content
    assert len(text.splitlines()) == len(content["stages"]) + 5


@pytest.mark.parametrize("left", ["changed", "unfinished"])
def test_what_the_report_does_not_reach_does_not_stand_in_the_way(finished, left):
    old = finished / "results/test/toys/old"
    (old / (SCORES if left == "changed" else MANIFEST)).unlink()
    assert "toys/old" not in publish.collect("test", finished)["stages"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("data/" + SCORES, "is stale .*damaged: results/test/data, results/test/elsewhere/score"),
        ("report/index.html", "is damaged .*damaged: results/test/report"),
    ],
)
def test_a_run_with_a_bad_folder_below_its_report_is_not_published(finished, damage, words):
    (finished / "results/test" / damage).write_text("{}")
    with pytest.raises(FileError, match=f"not published: the report of the run 'test' {words}"):
        publish.collect("test", finished)


def test_a_run_without_a_report_is_not_published(finished):
    report = finished / "results/test/report"
    (report / MANIFEST).unlink()
    with pytest.raises(FileError, match=r"is unfinished .*run `vismodels reproduce --run test`"):
        publish.collect("test", finished)
    shutil.rmtree(report)
    with pytest.raises(FileError, match=r"is missing \(stale or damaged: none\)"):
        publish.collect("test", finished)


@pytest.fixture
def project_of_toys(tmp_path):
    """Return a project with the page of toys, and a method that has published nothing."""
    for kind, text in (
        ("tables", PAGE),
        ("claims", "{paper: toy, claims: []}"),
        ("paper_values", "[]"),
    ):
        for method in ("toys", "unpublished"):
            path = tmp_path / "workflows" / kind / f"{method}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    (tmp_path / "README.md").write_text(f"{publish.BEGIN}{publish.END}")
    return tmp_path


def texts_of(content, project):
    """Return name -> text of the tables of toys, and the paths of all texts."""
    published = project / "docs" / "results"
    write_json(published / "test" / publish.PUBLISHED, content)
    files = publish.texts(published, project)
    tables = published / "test" / "tables" / "toys"
    return {path.name: text for path, text in files.items() if path.parent == tables}, files


def test_the_scores_of_a_table_are_those_it_was_made_from(finished, project_of_toys):
    tables, files = texts_of(publish.collect("test", finished), project_of_toys)
    assert "31.25" in tables["quality.csv"]
    assert "99" not in tables["quality.csv"]
    assert not any("unpublished" in path.parts for path in files)


def test_times_of_the_methods_own_stages_are_published_beside_the_scores(finished, project_of_toys):
    content = publish.collect("test", finished)
    tables, _ = texts_of(content, project_of_toys)
    assert tables["times.csv"].splitlines()[1:] == ['"toy, others",1,0.125,1.5']
    assert "7.5" not in tables["times.md"]  # of a stage that other methods share
    for stage in content["stages"].values():  # as published before times were
        del stage["timings"]
    tables, _ = texts_of(content, project_of_toys)
    assert "quality.csv" in tables
    assert "times.csv" not in tables


def test_a_run_of_which_no_table_can_be_made_is_refused(finished, project_of_toys):
    content = publish.collect("test", finished)
    del content["stages"]["tables/toys"]
    with pytest.raises(FileError, match="no table can be made of it; scores are found"):
        texts_of(content, project_of_toys)

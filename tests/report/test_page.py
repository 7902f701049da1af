import re

import pytest

from vismodels.data.manifest import Acquired, write_acquired
from vismodels.figures import Picture, write_pictures
from vismodels.files import VOLATILE, atomic_folder, write_json
from vismodels.provenance import PROVENANCE, Provenance
from vismodels.report.method import write_method
from vismodels.report.page import Sources, page_content, write_page
from vismodels.results import SCORES, Gate, Metric, Score, Value, write_scores

PSNR = Metric("psnr_y", "PSNR", "dB", higher_is_better=True, digits=2)
PAGE = """
title: Toy <method>
about: [One paragraph.]
tables:
  - name: quality
    title: Quality
    caption: Toys.
    rows: [{label: ours, select: {stage: toy, variant: ours}}]
    columns: [{metric: psnr_y}]
"""
CLAIMS = """
paper: toy
claims:
  - {id: up, text: Ours is above theirs., kind: greater, stage: toy, variants: [ours, theirs],
     metric: psnr_y, source: here}
"""
CARD = {
    "name": "toys",
    "version": "1",
    "title": "Toy data",
    "licence": {"spdx": "CC0-1.0", "text": None, "url": None},
    "access": "open",
    "splits": {"test": ["*"]},
    "intended_use": "play",
    "personal_data": "none",
    "known_problems": [],
    "preprocessing": "",
    "stand_in": None,
    "citation": "Toys & Co",
    "files": [{"path": "a.png", "licence": {"spdx": "CC-BY-2.0"}, "attribution": "by <b>me</b>"}],
}


def stage(root, name, write, dirty=False, environment="e", timings=None):
    """Write a stage folder as the workflow does."""
    with atomic_folder(root / name) as folder:
        write(folder)
        record = Provenance(
            stage=name, roots=[], code="c0de", config_keys={}, config={}, config_digest="d",
            inputs={}, environment={"torch": "2"}, environment_digest=environment,
        )  # fmt: skip
        write_json(folder / PROVENANCE, record.to_dict())
        times = {"started": "2026-01-02T03:04:05+00:00", "wall_seconds": 2.0, "cpu_seconds": 1.5}
        machine = {
            "peak_memory_mb": 9,
            "platform": "Linux",
            "timings": timings or {},
            "resumed": False,
        }
        git = {"commit": "a" * 40, "dirty": dirty}
        write_json(folder / VOLATILE, {**times, **machine, "git": git})
    return root / name


@pytest.fixture
def sources(tmp_path):
    """Return a function that makes the results of a small run."""

    def make(verified=True, passed=True, dirty=False, environment="e", timings=None):
        scores = [
            Score("toy", variant, [Value(PSNR, value + seed)], seed)
            for seed in range(3)
            for variant, value in (("ours", 30.0), ("theirs", 20.0))
        ]
        gate = Gate("good enough", 1.0, 0.5 if passed else 2.0)
        scores.append(Score("judge", "one", [], gates=[gate]))
        workflows = tmp_path / "workflows"
        for kind, text in (("tables", PAGE), ("claims", CLAIMS), ("paper_values", "[]")):
            (workflows / kind).mkdir(parents=True, exist_ok=True)
            (workflows / kind / "toys.yaml").write_text(text)
        items = {"a.png": {"sha256": "0" * 64, "verified": verified, "split": "test"}}
        acquired = Acquired(CARD, items, scores[0])
        picture = Picture("plot.svg", "A plot", "Of toys.", "A line that goes up.")

        def draw(folder):
            (folder / "plot.svg").write_text("<svg/>")
            write_pictures(folder, [picture])

        def tables(folder):
            write_method("toys", workflows, scores, folder)

        return Sources(
            acquired=[stage(tmp_path, "data", lambda f: write_acquired(acquired, f), dirty)],
            scores=[
                stage(
                    tmp_path,
                    "toys/score",
                    lambda f: write_scores(f / SCORES, scores),
                    timings=timings,
                )
            ],
            figures=[stage(tmp_path, "toys/figures", draw)],
            tables=[stage(tmp_path, "tables", tables, environment=environment)],
        )

    return make


def test_the_page_shows_claims_tables_figures_data_and_cost(sources, tmp_path):
    write_page("default", sources(), tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert "reproduced" in text
    assert "31.0" in text
    assert 'alt="A line that goes up."' in text
    assert "CC0-1.0" in text
    assert "c0de" in text
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text)


def test_what_comes_from_files_is_escaped(sources, tmp_path):
    write_page("default", sources(), tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert "Toy &lt;method&gt;" in text
    assert "by &lt;b&gt;me&lt;/b&gt;" in text
    assert "Toys &amp; Co" in text


def test_measured_times_are_shown_where_there_are_some(sources, tmp_path):
    write_page("default", sources(timings={"cpu_seconds_per_step": 0.25}), tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert "Measured times" in text
    assert re.search(r"toy, ours</th>\s*<td[^>]*>1</td>\s*<td[^>]*>0\.250", text)


def test_without_measured_times_nothing_is_said_of_them(sources, tmp_path):
    write_page("default", sources(), tmp_path / "index.html")
    assert "Measured times" not in (tmp_path / "index.html").read_text()


def test_a_good_run_has_no_warnings(sources):
    assert page_content("default", sources())["warnings"] == []


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ({"passed": False}, "1 check failed"),
        ({"verified": False}, "Toy data: .* no checksum for 1 of the files"),
        ({"dirty": True}, "uncommitted changes"),
        ({"environment": "other"}, "different versions"),
    ],
)
def test_trouble_is_said_at_the_top(sources, trouble, words):
    (warning,) = page_content("default", sources(**trouble))["warnings"]
    assert re.search(words, warning)


def test_the_test_run_says_that_its_numbers_mean_nothing(sources):
    (warning,) = page_content("test", sources())["warnings"]
    assert "mean nothing" in warning

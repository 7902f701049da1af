import json
import subprocess
import sys

import pytest
import yaml

from vismodels.config import ConfigError
from vismodels.metrics.image import PSNR_Y
from vismodels.report.method import METHOD, write_method
from vismodels.report.method_files import read_method_files
from vismodels.results import Score, Value

SCORES = [
    Score("toy", variant, [Value(PSNR_Y, value + seed)], seed, budget={"macs": 7})
    for seed in range(3)
    for variant, value in (("ours", 30.0), ("theirs", 20.0))
]


@pytest.fixture
def files():
    """What the three files of a method hold, to be changed by a test."""
    return {
        "tables": {
            "title": "Toys",
            "about": ["One paragraph."],
            "tables": [
                {
                    "name": "quality",
                    "title": "Quality",
                    "caption": "Toys.",
                    "rows": [{"label": "ours", "select": {"stage": "toy", "variant": "ours"}}],
                    "columns": [{"metric": "psnr_y"}, {"count": "macs"}],
                }
            ],
        },
        "paper_values": [],
        "claims": {
            "paper": "toy",
            "claims": [
                {
                    "id": "up",
                    "text": "Ours is above theirs.",
                    "kind": "greater",
                    "stage": "toy",
                    "variants": ["ours", "theirs"],
                    "metric": "psnr_y",
                    "source": "here",
                }
            ],
        },
    }


@pytest.fixture
def workflows(tmp_path, files):
    """Return a function that writes the files below a folder and returns it."""

    def write():
        for kind, content in files.items():
            (tmp_path / "workflows" / kind).mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(content, allow_unicode=True)
            (tmp_path / "workflows" / kind / "toys.yaml").write_text(text)
        return tmp_path / "workflows"

    return write


# --- reading -----------------------------------------------------------------------------------


def test_the_files_of_a_method_are_read(workflows, files):
    files["paper_values"] = [{"paper": "toy", "reference": "A. Nyone", "values": []}]
    page, papers, claims = read_method_files("toys", workflows())
    assert (page.title, page.about) == ("Toys", ("One paragraph.",))
    assert [table.name for table in page.tables] == ["quality"]
    assert [paper.reference for paper in papers] == ["A. Nyone"]
    assert [claim.id for claim in claims.claims] == ["up"]


def test_the_files_of_every_method_of_this_project_can_be_read(project):
    methods = [path.stem for path in (project / "workflows" / "tables").glob("*.yaml")]
    assert methods
    for method in methods:
        assert read_method_files(method, project / "workflows")[0].tables


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda f: f["tables"]["tables"][0]["columns"][0].update(metric="psnry"),
            r"tables/toys\.yaml, table quality: no metric is called 'psnry'; "
            r"did you mean 'psnr_y'\?",
        ),
        (
            lambda f: f["claims"]["claims"][0].update(metric="ssim_z"),
            r"claims/toys\.yaml, claim up: no metric is called 'ssim_z'; did you mean 'ssim_y'\?",
        ),
    ],
)
def test_a_metric_that_is_in_no_catalog_is_refused_with_the_nearest_name(
    workflows, files, change, words
):
    change(files)
    with pytest.raises(ConfigError, match=words):
        read_method_files("toys", workflows())


def test_counts_may_have_any_name(workflows, files):
    files["tables"]["tables"][0]["columns"] = [{"count": "made_up"}]
    claim = files["claims"]["claims"][0]
    claim["count"] = "made_up"
    del claim["metric"]
    read_method_files("toys", workflows())


@pytest.mark.parametrize("kind", ["tables", "paper_values", "claims"])
@pytest.mark.parametrize("content", [None, b"a: [", b"\xff", b"", b"3", b"{unknown: 1}"])
def test_a_file_that_is_missing_or_wrong_is_named(workflows, kind, content):
    path = workflows() / kind / "toys.yaml"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{kind}/toys\.yaml"):
        read_method_files("toys", path.parents[1])


@pytest.mark.parametrize("module", ["claims", "method_files"])
def test_reading_at_every_plan_loads_neither_torch_nor_scipy(module):
    code = (
        f"import sys, vismodels.report.{module}; "
        "print(*{'torch', 'scipy', 'skimage'} & sys.modules.keys())"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (output.returncode, output.stdout.split()) == (0, []), output.stderr


# --- writing -----------------------------------------------------------------------------------


def test_tables_and_judged_claims_are_written_and_listed(workflows, tmp_path):
    write_method("toys", workflows(), iter(SCORES), tmp_path)
    content = json.loads((tmp_path / METHOD).read_text())
    assert (content["name"], content["title"]) == ("toys", "Toys")
    assert content["about"] == ["One paragraph."]
    assert content["tables"] == [{"name": "quality", "title": "Quality"}]
    assert [entry["verdict"] for entry in content["judgements"]] == ["reproduced"]
    assert "ours,31," in (tmp_path / "quality.csv").read_text()
    assert (tmp_path / "claims.md").is_file()


def test_nothing_is_written_when_a_metric_is_mistyped(workflows, files, tmp_path):
    files["claims"]["claims"][0]["metric"] = "psnrr_y"
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="did you mean 'psnr_y'"):
        write_method("toys", workflows(), SCORES, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []

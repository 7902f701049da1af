"""The `test` configuration, run as a user runs it, and what happens when something changes."""

import json
import os
import re
import shutil
import subprocess

import pytest

from vismodels.results import read_scores

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # whole runs, several in one test

DATA = {"data_acquire", "data_photographs"}
AFTER_TRAINING = {
    "super_resolution_score": 1,
    "super_resolution_figures": 1,
    "table": 2,
    "report": 1,
    "all": 1,
}


def edit(project, name, old, new):
    path = project.root / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_run_says_where_its_report_is(finished):
    page = finished.directory / "results/test/report/index.html"
    assert f"the report is at {page}" in finished.output
    assert page.stat().st_size > 10_000


def test_the_report_needs_no_network_and_no_script(finished):
    text = (finished.directory / "results/test/report/index.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text)
    assert "<script" not in text
    assert "@import" not in text
    images = re.findall(r"<img [^>]*>", text)
    assert images
    assert all(re.search(r'alt="[^"]{20,}"', image) for image in images)


def test_a_second_run_does_nothing(finished):
    before = finished.manifests()
    output = finished.vismodels("reproduce", "--run", "test")
    assert "Nothing to be done" in output
    assert finished.manifests() == before


def test_every_score_record_is_complete(finished):
    paths = sorted((finished.directory / "results/test").rglob("scores.json"))
    assert len(paths) >= 6
    for path in paths:
        for score in read_scores(path):
            assert score.values
            missing = {value.metric.name for value in score.values if value.value is None}
            assert missing <= MAY_BE_UNDEFINED, f"{path} {score.variant}"


def test_no_path_of_this_machine_is_stored(finished):
    for path in (finished.directory / "results/test").rglob("*.json"):
        text = path.read_text()
        assert str(finished.directory) not in text, path
        assert str(finished.root) not in text, path


def test_equal_digests_in_another_folder_on_one_core_with_other_hash_seeds(
    finished, copied, tmp_path
):
    """Of two methods with searches, trainings and volumes: all would take minutes more."""
    other = type(copied)(copied.root, tmp_path / "elsewhere")
    methods = [f"--method={m}" for m in ("covidnet3d", "multilevel_activation")]
    options = ("--run", "test", "--cores", "1", *methods)
    other.vismodels("reproduce", *options, env={"PYTHONHASHSEED": "7"})
    made, expected = other.manifests(), finished.manifests()
    assert len(made) > 20
    assert made == {stage: expected[stage] for stage in made}


def test_a_comment_reruns_nothing(copied, test_overlay):
    old = "SCALES = (2, 3, 4)"
    edit(copied, "vismodels/nn/super_resolution.py", old, f"{old}  # x")
    os.utime(copied.root / "workflows/scripts/super_resolution_train.py")
    assert copied.planned(*test_overlay(copied)) == {}
    assert "0 not good" in copied.vismodels("verify", "--run", "test")


def test_a_constant_in_a_deep_helper_reruns_exactly_what_reaches_it(copied, test_overlay):
    edit(copied, "vismodels/nn/residual_sr.py", "BRANCH_SCALE = 0.1", "BRANCH_SCALE = 0.2")
    expected = {"super_resolution_train": 6, **AFTER_TRAINING}
    planned = copied.planned(*test_overlay(copied))
    assert {rule: planned.get(rule) for rule in expected} == expected
    assert not DATA & planned.keys()


def test_verify_knows_what_is_stale_without_the_records_of_snakemake(copied):
    shutil.rmtree(copied.directory / ".snakemake")
    assert "0 not good" in copied.vismodels("verify", "--run", "test")
    edit(copied, "vismodels/metrics/image.py", "_SSIM_WINDOW = 11", "_SSIM_WINDOW = 13")
    output = copied.vismodels("verify", "--run", "test", expect=4)
    stale = set(re.findall(r"^stale +results/test/(\S+)", output, re.MULTILINE))
    good = set(re.findall(r"^ok +results/test/(\S+)", output, re.MULTILINE))
    assert "super_resolution/score" in stale
    assert "report" in stale
    assert {"data/wheel_photographs/acquired", "data/wheel_photographs/photographs"} <= good


def test_a_changed_setting_reruns_what_depends_on_it(copied, test_overlay):
    (copied.directory / "mine.yaml").write_text("super_resolution: {scoring: {border: 8}}\n")
    planned = copied.planned("--configfile", test_overlay(copied)[1], "mine.yaml")
    assert "super_resolution_score" in planned
    assert "super_resolution_train" not in planned


def test_a_damaged_result_is_found_and_made_again(copied):
    weights = copied.directory / "results/test/super_resolution/train/espcn/seed0/model.safetensors"
    before, times = copied.manifests(), weights.stat()
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "damaged" in copied.vismodels("verify", "--run", "test", expect=4)
    output = copied.vismodels("reproduce", "--run", "test")
    assert "will be made again: results/test/super_resolution/train/espcn/seed0" in output
    assert copied.manifests() == before


def test_the_report_of_snakemake_can_be_made(finished, test_overlay, tmp_path):
    page = tmp_path / "report.html"
    finished.snakemake("--report", page, *test_overlay(finished))
    assert page.stat().st_size > 100_000


def test_the_installed_wheel_runs_the_workflow(project, tmp_path):
    """Outside the checkout, from a package folder that cannot be written."""
    import sys

    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path]
    subprocess.run([*map(str, build), str(project)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site, directory = tmp_path / "site", tmp_path / "run"
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--target", site, wheel]
    subprocess.run([sys.executable, *map(str, install)], check=True, capture_output=True)
    for path in [*site.rglob("*"), site]:
        path.chmod(path.stat().st_mode & ~0o222)
    before = sorted(path.relative_to(site) for path in site.rglob("*"))
    directory.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-P", "-m", "vismodels.cli"]
    options = {"cwd": tmp_path, "env": environment, "text": True, "capture_output": True}
    found = subprocess.run(
        [*command[:2], "-c", "import vismodels; print(vismodels.__file__)"], **options
    )
    assert found.stdout.startswith(str(site))
    listed = subprocess.run([*command, "data", "list"], **options)
    assert "wheel_photographs" in listed.stdout
    words = ["--run", "test", "--method", "super_resolution", "--directory", str(directory)]
    finished = subprocess.run([*command, "reproduce", *words], **options)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert (directory / "results/test/report/index.html").is_file()
    after = sorted(path.relative_to(site) for path in site.rglob("*"))
    assert [path for path in after if "__pycache__" not in path.parts] == before


# Absolute tolerances: other processors round otherwise, and training amplifies that. Counts: none.
TOLERANCES = {  # of a metric, or of all whose names begin so
    "accuracy": 15.0,  # of a dozen scans one is eight percent
    "auc": 0.2,
    "background_accuracy": 50.0,
    "balanced_accuracy": 15.0,
    "both_removed": 100.0,
    "cer": 0.1,
    "choice_entropy": 0.05,
    "code_psnr": 0.2,
    "color_accuracy": 50.0,
    "concept_presence": 100.0,
    "counterfactual_area": 1.0,
    "counterfactual_cosine": 0.2,
    "counterfactual_mse": 0.05,
    "decisiveness": 0.01,
    "deletion_area": 0.1,
    "denoiser_gbitops": 1.0e-3,
    "derivation_gap": 0.6,
    "derived_accuracy": 30.0,
    "derived_loss": 0.1,
    "derived_psnr": 0.3,
    "dice": 0.05,
    "drd": 1.0,
    "edge_mse": 0.1,
    "empty_et": 1.0,
    "empty_kept": 100.0,  # of one case
    "empty_tc": 1.0,
    "empty_wt": 1.0,
    "energy_in": 5.0,
    "et_outside_tc": 300.0,
    "expected_bitops": 1.0e7,  # of 1e9
    "expected_macs": 1.0e4,
    "f1": 40.0,
    "f_measure": 2.0,
    "f_measure_predicted": 2.0,
    "file_mb": 1.0e-3,
    "float_agreement": 100.0,
    "folded_difference": 1.0e-4,
    "frechet_distance": 2.0,
    "frechet_floor": 2.0,
    "hd95": 30.0,
    "image_area": 1.0,
    "image_cosine": 0.2,
    "image_mse": 0.05,
    "insertion_area": 0.1,
    "learning_speed": 0.02,
    "lesion_iou": 0.1,
    "lesion_share": 0.1,
    "level_weight": 0.01,
    "lowest_accuracy": 50.0,
    "map_support": 5.0,
    "mean_accuracy": 40.0,
    "megapixels": 0.001,
    "ocr_loss": 0.1,
    "other_attributes": 60.0,
    "output_error": 5.0,
    "page_megapixels": 0.001,
    "patch_dice": 0.02,
    "pfm_skeleton": 2.0,
    "pfm_weighted": 2.0,
    "pointing_game": 35.0,
    "positive_precision": 50.0,
    "precision": 3.0,
    "psnr": 0.3,
    "psnr_binary": 0.3,
    "psnr_predicted": 0.3,
    "psnr_y": 0.3,
    "random_loss": 0.1,
    "recall": 3.0,
    "resident_mb": 1.0e-3,
    "rim_error": 0.1,
    "sensitivity": 30.0,
    "sensitivity_et": 0.1,
    "sensitivity_tc": 0.1,
    "sensitivity_wt": 0.1,
    "shape_accuracy": 50.0,
    "size_accuracy": 60.0,
    "specificity": 30.0,
    "specificity_et": 0.05,
    "specificity_tc": 0.05,
    "specificity_wt": 0.05,
    "ssim": 0.02,
    "ssim_y": 0.02,
    "star_accuracy": 60.0,
    "style_accuracy": 60.0,
    "supernet_psnr": 0.3,
    "tc_outside_wt": 300.0,
    "text_share": 0.01,
    "train_loss": 0.01,
    "transport_loss": 0.3,
}
MAY_BE_UNDEFINED = {
    "counterfactual_area",  # of a concept that an untrained model does not paint
    "image_area",
    "positive_precision",  # of a network that calls nothing positive
}


def tolerance(metric):
    longest = max((name for name in TOLERANCES if metric.startswith(name)), key=len, default="")
    return TOLERANCES.get(longest, 0)


def scores_of(directory):
    table = {}
    for path in sorted((directory / "results/test").rglob("scores.json")):
        for score in read_scores(path):
            names = (score.stage, score.variant, score.seed, *score.dataset.values())
            what = ",".join(f"{name}={value}" for name, value in score.condition.items())
            key = "/".join(str(name) for name in (*names, what) if name not in (None, ""))
            assert key not in table
            table[key] = {value.metric.name: value.value for value in score.values}
    return table


def test_the_scores_are_the_expected_ones(finished, project, request):
    """A changed number is a line in the diff of `expected_scores.json`."""
    path = project / "tests/workflows/expected_scores.json"
    found = scores_of(finished.directory)
    if request.config.getoption("--update-expected-scores"):
        rounded = {
            key: {name: None if value is None else round(value, 4) for name, value in of.items()}
            for key, of in found.items()
        }
        path.write_text(json.dumps(rounded, indent=1) + "\n")
    expected = json.loads(path.read_text())
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key].keys() == values.keys(), key
        for metric, value in values.items():
            if metric in MAY_BE_UNDEFINED and None in (value, found[key][metric]):
                continue
            close = pytest.approx(value, abs=tolerance(metric) + 1e-4, rel=1e-3)  # four digits
            assert found[key][metric] == close, f"{key} {metric}"


def test_a_shorter_list_of_seeds_is_noticed_without_the_records_of_snakemake(copied):
    shutil.rmtree(copied.directory / ".snakemake")
    (copied.directory / "mine.yaml").write_text("super_resolution: {seeds: [0]}\n")
    words = ("verify", "--run", "test", "--configfile", "mine.yaml")
    output = copied.vismodels(*words, expect=4)
    assert re.search(r"^stale +results/test/super_resolution/score$", output, re.MULTILINE)


def test_networks_trained_on_other_sets_are_stale_without_the_records_of_snakemake(copied):
    shutil.rmtree(copied.directory / ".snakemake")
    (copied.directory / "mine.yaml").write_text("super_resolution: {sets: {train: [t91]}}\n")
    words = ("verify", "--run", "test", "--configfile", "mine.yaml")
    output = copied.vismodels(*words, expect=4)
    stale = re.findall(r"^stale +results/test/super_resolution/train/", output, re.MULTILINE)
    assert len(stale) == 6

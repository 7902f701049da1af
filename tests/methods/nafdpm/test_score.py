from dataclasses import replace

import numpy as np
import pytest
import torch
from small_pages import TINY, text_page, two_valued

from vismodels.data.words import Alphabet
from vismodels.methods.nafdpm.classical import Parameters
from vismodels.methods.nafdpm.config import (
    ModelConfig,
    NetworkConfig,
    Point,
    ScoringConfig,
    Window,
)
from vismodels.methods.nafdpm.model import PredictAndRefine
from vismodels.methods.nafdpm.pictures import SCANS, WINDOWS
from vismodels.methods.nafdpm.pipeline import NAFDPMPipeline
from vismodels.methods.nafdpm.reading import Readers
from vismodels.methods.nafdpm.score import score, write_pictures
from vismodels.metrics.bounds import Bound
from vismodels.nn.crnn import CRNN
from vismodels.results import read_scores, write_scores

PAGES = [text_page(f"page{number}", number) for number in range(2)]
WEAR = {"sauvola": Parameters(15, 0.1)}
BLUR = {"unsharp": Parameters(1.0, 0.5), "wiener": Parameters(2.0, 0.01)}


def pipeline(task="deblurring", seed=0, denoiser=True, **settings):
    sizes = NetworkConfig(**dict(TINY) | {"denoiser": denoiser})
    channels = 3 if task == "deblurring" else 1
    model = PredictAndRefine(channels, sizes, ModelConfig().diffusion)
    model.initialize_(seed)
    return NAFDPMPipeline.from_model(model, task, tile_size=64, **settings)


def scoring(**changed):
    settings = {
        "points": (Point(steps=0), Point(steps=1, all_seeds=False), Point(steps=2)),
        "engines": (),
        "engine_pages": 0,
        "tile": 48,
        "overlap": 8,
        "scanned": "base",
        "shown": ("base_2",),
        "windows": (Window(set="pages", page="page0", top=2, left=4, height=20, width=30),),
        "bounds": (),
    }
    return ScoringConfig(**settings | changed)


@pytest.fixture(scope="module")
def readers():
    judge = CRNN(classes=Alphabet().classes, widths=(4,) * 7, hidden=4, recurrent_layers=1)
    judge.initialize_(torch.Generator().manual_seed(0))
    return Readers(judge.eval(), (), 0)


def run(readers, task="deblurring", pages=PAGES, config=None, pipelines=None, scans=None):
    return score(
        config or scoring(),
        task,
        pipelines or {"base": {0: pipeline(task), 1: pipeline(task, 1)}},
        BLUR if task == "deblurring" else WEAR,
        {"pages": pages},
        readers,
        scans or {},
    )


@pytest.fixture(scope="module")
def deblurred(readers):
    return run(readers)


def by_variant(scored):
    return {(record.variant, record.seed): record for record in scored.scores}


def test_every_way_of_sampling_is_a_row_of_its_own(deblurred):
    assert list(by_variant(deblurred)) == [
        ("clean", None),
        ("input", None),
        ("unsharp", None),
        ("wiener", None),
        ("base_predictor", 0),
        ("base_1", 0),
        ("base_2", 0),
        ("base_predictor", 1),
        ("base_2", 1),
    ]


def test_records_hold_all_measures_with_the_value_of_every_page(deblurred, tmp_path):
    record = by_variant(deblurred)["base_2", 1]
    names = {value.metric.name for value in record.values}
    assert names == {"psnr", "ssim", "edge_mse", "cer", "parameters", "macs"}
    assert record.value("psnr").items.keys() == {"page0", "page1"}
    assert record.dataset == {"card": "pages", "split": "test", "items": 2}
    write_scores(tmp_path / "scores.json", deblurred.scores)
    assert read_scores(tmp_path / "scores.json") == list(deblurred.scores)


def test_clean_pages_are_read_but_not_compared_with_themselves(deblurred):
    assert {v.metric.name for v in by_variant(deblurred)["clean", None].values} == {"cer"}


def test_the_untouched_input_scores_its_own_psnr(deblurred):
    from vismodels.metrics.restoration import psnr

    expected = {page.name: psnr(page.degraded, page.clean) for page in PAGES}
    assert by_variant(deblurred)["input", None].value("psnr").items == expected


def test_a_regression_network_has_the_row_of_its_prediction_only(readers):
    alone = {"base": {0: pipeline()}, "regression": {0: pipeline(denoiser=False)}}
    rows = [r.variant for r in run(readers, pipelines=alone).scores if "regr" in r.variant]
    assert rows == ["regression_predictor"]


def test_binarization_measures_masks_and_is_read_by_nobody(readers):
    pages = [replace(two_valued(page), words=page.words) for page in PAGES]
    scored = run(readers, "binarization", pages)
    record = by_variant(scored)["base_predictor", 0]
    names = {value.metric.name for value in record.values}
    assert {"f_measure", "pfm_weighted", "pfm_skeleton", "psnr_binary", "drd"} <= names
    assert "cer" not in names
    variants = {v for v, _ in by_variant(scored)}
    assert variants >= {"otsu", "sauvola", "base_2"}
    assert not variants & {"clean", "input"}
    assert all(record.values for record in scored.scores)
    assert ("page0", "clean") in scored.windows
    assert record.value("empty_pages").value == 0


def test_a_page_without_text_is_counted_and_left_out_of_the_mean(readers):
    pages = [two_valued(page) for page in PAGES]
    pages[1].clean[:] = 255
    record = by_variant(run(readers, "binarization", pages))["otsu", None]
    assert record.value("f_measure").items.keys() == {"page0"}
    assert record.value("empty_pages").value == 1


def test_the_published_times_are_a_row_of_their_own(readers):
    points = (Point(steps=2), Point(steps=2, time_scale=1000.0), Point(steps=2, samples=2))
    scored = run(readers, config=scoring(points=points), pipelines={"base": {0: pipeline()}})
    values = {
        variant: record.value("psnr").value
        for (variant, _), record in by_variant(scored).items()
        if variant.startswith("base")
    }
    assert values.keys() == {"base_2", "base_2_times1000", "base_2_mean2"}


def test_bounds_are_recorded_as_gates_where_they_apply(readers):
    bounds = (
        Bound(set="pages", variant="base_2", metric="psnr", value=99.0),
        Bound(set="pages", variant="input", metric="cer", value=9.0, at_least=False),
    )
    records = by_variant(run(readers, config=scoring(bounds=bounds)))
    assert [gate.passed for gate in records["base_2", 0].gates] == [False]
    assert [gate.passed for gate in records["input", None].gates] == [True]
    assert not records["base_1", 0].gates


def test_windows_and_scans_are_written_as_pictures(readers, tmp_path):
    from vismodels.data.images import read_image

    scan = text_page(seed=9).degraded[:40, :70]
    scored = run(readers, scans={"real": scan})
    write_pictures(scored, tmp_path)
    window = read_image(tmp_path / WINDOWS / "page0" / "input.png")
    assert np.array_equal(window, PAGES[0].degraded[2:22, 4:34])
    assert {path.stem for path in (tmp_path / WINDOWS / "page0").iterdir()} == {
        variant for variant, _ in by_variant(scored)
    }
    assert read_image(tmp_path / SCANS / "real.png").shape == (40, 70, 3)


def test_a_window_of_an_unknown_page_is_refused(readers):
    wrong = (Window(set="pages", page="page7", top=0, left=0, height=4, width=4),)
    with pytest.raises(ValueError, match="page7"):
        run(readers, config=scoring(windows=wrong))

import numpy as np
import pytest
from small_pages import text_page

from vismodels.data.images import write_png
from vismodels.files import FileError
from vismodels.methods.nafdpm.figures import (
    draw_courses,
    draw_scan,
    draw_steps,
    draw_window,
    draw_windows,
    in_words,
)
from vismodels.methods.nafdpm.pictures import SCANS, WINDOWS
from vismodels.metrics.restoration import PSNR
from vismodels.results import Score, Value
from vismodels.training.log import ScalarLog


def record(variant, seed, value):
    return Score(
        stage="nafdpm_score",
        variant=variant,
        seed=seed,
        dataset={"card": "pages", "split": "test", "items": 1},
        values=[Value(PSNR, value)],
    )


def test_quality_over_steps_has_the_predictor_at_zero_and_a_line_per_model(tmp_path):
    scores = [record("input", None, 10.0)]
    for seed in (0, 1):
        for label, value in (("predictor", 20.0), ("1", 21.0), ("5", 22.5)):
            scores.append(record(f"ocr_{label}", seed, value + seed))
    scores.append(record("ocr_5_mean4", 0, 99.0))
    scores.append(record("ocr_20_times1000", 0, 99.0))
    picture = draw_steps(scores, "deblurring", "pages", tmp_path)
    assert (tmp_path / picture.file).read_text().startswith("<?xml")
    assert "ocr: 20.00 at 0, 21.00 at 1, 22.50 at 5" in picture.alt
    assert "99" not in picture.alt
    assert "input" not in picture.alt


def test_scores_of_other_sets_are_not_drawn(tmp_path):
    picture = draw_steps([record("base_1", 0, 3.0)], "deblurring", "elsewhere", tmp_path)
    assert "base" not in picture.alt


def test_courses_name_where_each_model_ended(tmp_path):
    log = ScalarLog()
    log.append(10, {"psnr": 12.0})
    log.append(20, {"psnr": 13.5})
    picture = draw_courses({"base": [log]}, "deblurring", tmp_path)
    assert "base 13.50 to 13.50" in picture.alt
    assert (tmp_path / picture.file).exists()


def test_panels_are_drawn_two_a_row(tmp_path):
    from PIL import Image

    page = text_page().clean
    sizes = []
    for count in (2, 4):
        panels = {str(number): page for number in range(count)}
        draw_window("t", "c", panels, f"{count}.png", tmp_path)
        with Image.open(tmp_path / f"{count}.png") as image:
            sizes.append(image.size)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[1][1] == pytest.approx(2 * sizes[0][1], rel=0.02)


def test_windows_are_drawn_in_the_order_of_the_configuration(tmp_path, task_config):
    config = task_config
    for name in ("input", *config.scoring.shown):
        write_png(tmp_path / WINDOWS / "page0" / f"{name}.png", np.zeros((8, 16, 3), np.uint8))
    (picture,) = draw_windows("deblurring", config, tmp_path, tmp_path)
    assert picture.file == "window_deblurring_page0.png"
    assert picture.alt.endswith("degraded page, wiener, base, 1 step, clean page.")


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("input", "degraded page"),
        ("ocr_5", "ocr, 5 steps"),
        ("with_input_1", "with_input, 1 step"),
        ("regression_predictor", "regression, predictor alone"),
        ("plain_20_times1000", "plain 20 times1000"),
        ("wiener", "wiener"),
    ],
)
def test_rows_have_names_for_readers(variant, words):
    assert in_words(variant) == words


def test_a_missing_window_is_an_error(tmp_path, task_config):
    with pytest.raises(FileError, match="input"):
        draw_windows("deblurring", task_config, tmp_path, tmp_path)


def test_a_scan_stands_beside_what_both_tasks_made_of_it(tmp_path):
    scan = text_page().degraded
    places = {task: tmp_path / task for task in ("deblurring", "binarization")}
    for place in places.values():
        write_png(place / SCANS / "page.png", scan)
    picture = draw_scan("page", scan, places, tmp_path)
    assert picture.alt.endswith("scan, deblurred, binarized.")

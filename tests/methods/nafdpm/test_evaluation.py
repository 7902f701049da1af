import numpy as np
import pytest
from small_pages import TINY, text_page, two_valued

from vismodels.methods.nafdpm.config import ModelConfig, NetworkConfig
from vismodels.methods.nafdpm.evaluation import (
    Targets,
    as_picture,
    cost_values,
    course_of,
    quality,
)
from vismodels.methods.nafdpm.model import PredictAndRefine
from vismodels.methods.nafdpm.pipeline import NAFDPMPipeline
from vismodels.metrics.binarization import measure_binarization
from vismodels.metrics.restoration import psnr


def pipeline(task="deblurring", **network):
    model = PredictAndRefine(
        3 if task == "deblurring" else 1,
        NetworkConfig(**dict(TINY) | network),
        ModelConfig().diffusion,
    )
    model.initialize_(0)
    return NAFDPMPipeline.from_model(model, task, tile_size=64)


def test_targets_measure_pictures_as_the_metrics_do():
    page = text_page()
    values = {
        v.metric.name: v for v in Targets("deblurring", [page]).measure({"page": page.degraded})
    }
    assert values["psnr"].items == {"page": psnr(page.degraded, page.clean)}
    assert values.keys() == {"psnr", "ssim", "edge_mse"}


def test_targets_measure_masks_as_the_metrics_do():
    page = two_valued(text_page())
    found = page.degraded[..., 0] < 120
    values = Targets("binarization", [page]).measure({"page": as_picture(found)})
    expected = measure_binarization(found, page.clean[..., 0] == 0)
    assert {v.metric.name: v.value for v in values if v.metric.name in expected} == expected


def test_a_page_that_was_not_restored_is_an_error():
    with pytest.raises(KeyError, match="page"):
        Targets("deblurring", [text_page()]).measure({})


@pytest.mark.parametrize("task", ["deblurring", "binarization"])
def test_quality_tells_prediction_and_refinement_apart(task):
    page = text_page() if task == "deblurring" else two_valued(text_page())
    refined, predicted = quality(pipeline(task), [page])
    assert predicted.metric.name == f"{refined.metric.name}_predicted"
    assert refined.items.keys() == predicted.items.keys() == {"page"}
    if task == "deblurring":
        assert refined.value != predicted.value


def test_without_a_denoiser_both_are_the_same():
    refined, predicted = quality(pipeline(denoiser=False), [text_page()])
    assert refined.value == predicted.value


def test_a_course_holds_numbers_even_for_pages_without_text():
    page = two_valued(text_page())
    page.clean[:] = 255
    assert course_of(quality(pipeline("binarization"), [page]))["f_measure"] == 0.0


def test_costs_add_predictor_and_one_call_of_the_denoiser():
    both, alone = cost_values(pipeline()), cost_values(pipeline(denoiser=False))
    for first, second in zip(both, alone, strict=True):
        assert first.metric == second.metric
        assert first.value > 1.9 * second.value
    sees_both = cost_values(pipeline(condition="prediction_and_input"))
    assert sees_both[1].value > both[1].value


def test_a_mask_as_a_picture_is_black_text_on_white():
    picture = as_picture(np.array([[True, False]]))
    assert picture.tolist() == [[[0, 0, 0], [255, 255, 255]]]

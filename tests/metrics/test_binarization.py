import math

import numpy as np
import pytest
from skimage.data import page as scanned_page
from skimage.filters import threshold_otsu, threshold_sauvola

from vismodels.metrics.binarization import BINARIZATION, ground_truth, measure_binarization
from vismodels.metrics.document import drd, f_measure
from vismodels.metrics.pseudo_f import pfm_skeleton, pfm_weighted, thinned, weight_maps


@pytest.fixture(scope="module")
def pages():
    """Return a scan binarized twice; the better one stands for the ground truth."""
    scan = scanned_page()
    return scan < threshold_otsu(scan), scan < threshold_sauvola(scan, 31, k=0.2)


def test_all_measures_come_under_the_names_of_their_metrics(pages):
    prediction, target = pages
    values = measure_binarization(prediction, target)
    assert list(values) == [metric.name for metric in BINARIZATION]
    assert {type(value) for value in values.values()} == {float}
    skeleton = thinned(target)
    assert values["f_measure"] == f_measure(prediction, target)
    assert values["drd"] == drd(prediction, target)
    assert values["pfm_skeleton"] == pfm_skeleton(prediction, target, skeleton)
    weights = weight_maps(target, skeleton)
    assert values["pfm_weighted"] == pfm_weighted(prediction, target, weights)
    assert values["pfm_weighted"] != values["pfm_skeleton"]


def blocks_of_both_colors(target, looked_at):
    """Return how many 8x8 blocks have both colors in their first rows and columns."""
    height, width = (side // 8 for side in target.shape)
    blocks = target[: height * 8, : width * 8].reshape(height, 8, width, 8).swapaxes(1, 2)
    seen = blocks[:, :, :looked_at, :looked_at]
    return np.count_nonzero(seen.any((2, 3)) & ~seen.all((2, 3)))


def test_a_scan_has_the_values_of_doxa(pages):
    """Doxa's DRD counts the blocks by 7x7 of their pixels, unlike the contests' tool."""
    doxapy = pytest.importorskip("doxapy")
    prediction, target = pages
    levels = [np.where(page, 0, 255).astype(np.uint8) for page in (target, prediction)]
    expected = doxapy.calculate_performance(*levels)
    values = measure_binarization(prediction, target)
    assert values["f_measure"] == pytest.approx(expected["fm"], abs=1e-9)
    assert values["psnr_binary"] == pytest.approx(expected["psnr"], abs=1e-9)
    distortion = expected["drdm"] * blocks_of_both_colors(target, 7)
    assert values["drd"] * blocks_of_both_colors(target, 8) == pytest.approx(distortion, rel=1e-5)


def test_a_ground_truth_prepared_once_changes_nothing(pages):
    prediction, target = pages
    truth = ground_truth(target)
    assert measure_binarization(prediction, truth) == measure_binarization(prediction, target)


def test_without_text_only_the_psnr_is_defined(pages):
    prediction, _ = pages
    values = measure_binarization(prediction, np.zeros_like(prediction))
    assert math.isfinite(values.pop("psnr_binary"))
    assert all(math.isnan(value) for value in values.values())


def test_text_that_is_not_found_has_zero(pages):
    _, target = pages
    values = measure_binarization(np.zeros_like(target), target)
    assert [values.pop(name) > 0 for name in ("psnr_binary", "drd")] == [True, True]
    assert set(values.values()) == {0}


def test_pages_that_are_not_masks_are_refused(pages):
    prediction, target = pages
    with pytest.raises(TypeError, match="boolean"):
        measure_binarization(prediction, target.astype(np.uint8))
    with pytest.raises(ValueError, match="differ in shape"):
        measure_binarization(prediction[1:], target)

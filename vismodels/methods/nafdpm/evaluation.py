"""Restored pages against clean ones: what both tasks measure, page by page."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from vismodels.cost.counters import count
from vismodels.data.documents import text_mask
from vismodels.data.pages import Image, PagePair
from vismodels.methods.nafdpm.config import Task
from vismodels.methods.nafdpm.pipeline import NAFDPMPipeline
from vismodels.metrics.binarization import (
    BINARIZATION,
    GroundTruth,
    ground_truth,
    measure_binarization,
)
from vismodels.metrics.document import F_MEASURE, Mask, empty_pages
from vismodels.metrics.general import MACS, PARAMETERS
from vismodels.metrics.refinement import F_MEASURE_PREDICTED, PSNR_PREDICTED
from vismodels.metrics.restoration import EDGE_MSE, PSNR, SSIM, edge_mse, psnr, ssim
from vismodels.results import Metric, Value, mean_value

PICTURE = (PSNR, SSIM, EDGE_MSE)
COST_SIZE = 128  # edge of the image, pixels, at which operations are counted


class Targets:
    """Clean pages, with what does not depend on the result computed once.

    Args:
        task: deblurring compares pictures, binarization text masks.
        pages: the test pages.
    """

    def __init__(self, task: Task, pages: Sequence[PagePair]) -> None:
        self.task = task
        self.pages = {page.name: page for page in pages}
        self._truths: dict[str, GroundTruth] = {}
        if task == "binarization":
            self._truths = {page.name: ground_truth(text_mask(page.clean)) for page in pages}

    def measure(self, results: Mapping[str, Image]) -> list[Value]:
        """Return all measures of a method, with the value of every page.

        Args:
            results: page -> (H, W, 3) uint8; for binarization black text on white.

        Raises:
            KeyError: if a page was not restored.
        """
        if self.task == "binarization":
            pages = {
                name: measure_binarization(text_mask(results[name]), truth)
                for name, truth in self._truths.items()
            }
            values = [_value(metric, pages) for metric in BINARIZATION]
            return [*values, empty_pages({name: m[F_MEASURE.name] for name, m in pages.items()})]
        pages = {
            name: {
                PSNR.name: psnr(results[name], page.clean),
                SSIM.name: ssim(results[name], page.clean),
                EDGE_MSE.name: edge_mse(results[name], page.clean),
            }
            for name, page in self.pages.items()
        }
        return [_value(metric, pages) for metric in PICTURE]


def _value(metric: Metric, pages: Mapping[str, Mapping[str, float]]) -> Value:
    return mean_value(metric, {name: measures[metric.name] for name, measures in pages.items()})


def quality(pipeline: NAFDPMPipeline, pages: Sequence[PagePair]) -> list[Value]:
    """Return the quality of the predictor and of one step of refinement, page by page.

    Args:
        pipeline: what restores.
        pages: not those of the test.
    """
    refined = {page.name: pipeline.restore(page.degraded, num_steps=1) for page in pages}
    predicted = {page.name: pipeline.restore(page.degraded, num_steps=0) for page in pages}
    task: Task = pipeline.config["task"]
    if task == "binarization":
        truths = {page.name: ground_truth(text_mask(page.clean)) for page in pages}
        return [
            mean_value(
                metric,
                {
                    name: measure_binarization(text_mask(results[name]), truth)[F_MEASURE.name]
                    for name, truth in truths.items()
                },
            )
            for metric, results in ((F_MEASURE, refined), (F_MEASURE_PREDICTED, predicted))
        ]
    return [
        mean_value(metric, {page.name: psnr(results[page.name], page.clean) for page in pages})
        for metric, results in ((PSNR, refined), (PSNR_PREDICTED, predicted))
    ]


def course_of(values: Sequence[Value]) -> dict[str, float]:
    """Return metric -> value, for a log; a page set without text counts as 0."""
    return {value.metric.name: value.value or 0.0 for value in values}


def cost_values(pipeline: NAFDPMPipeline) -> list[Value]:
    """Return parameters of all networks, and operations of the predictor and one denoiser call."""
    predictor: nn.Module = pipeline.predictor
    channels = pipeline.predictor.config.image_channels
    image = torch.zeros(1, channels, COST_SIZE, COST_SIZE)
    costs = [count(predictor, image)]
    if pipeline.denoiser is not None:
        condition = torch.zeros(1, pipeline.denoiser.condition_channels, COST_SIZE, COST_SIZE)
        costs.append(count(pipeline.denoiser, image, torch.zeros(1), condition))
    return [
        Value(PARAMETERS, sum(cost.parameters for cost in costs)),
        Value(MACS, sum(cost.macs for cost in costs)),
    ]


def as_picture(mask: Mask) -> Image:
    """Return a text mask (H, W) as (H, W, 3) uint8, black text on white."""
    return np.repeat(np.where(mask, 0, 255).astype(np.uint8)[..., None], 3, axis=2)

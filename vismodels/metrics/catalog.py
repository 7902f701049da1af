"""The one registry of scores: name -> `Metric` with unit, direction and protocol.

Stages import a metric from the module that defines it; the catalog is for tables and reports,
which meet names in score files.
"""

from vismodels.metrics.dataset import ITEMS, LR_DIFFERENCE, MEGAPIXELS, VERIFIED
from vismodels.metrics.general import ACTIVATIONS, BITOPS, MACS, PARAMETERS, TRAIN_LOSS
from vismodels.metrics.image import PSNR_Y, PSNR_Y_FLOAT, SSIM_Y
from vismodels.metrics.search import (
    BITOPS_256,
    CHOICE_ENTROPY,
    DECISIVENESS,
    DERIVATION_GAP,
    DERIVED_PSNR,
    EXPECTED_BITOPS,
    SUPERNET_PSNR,
)
from vismodels.registry import Registry
from vismodels.results import Metric

METRICS: Registry[Metric] = Registry("metric")

for _metric in (
    ITEMS,
    VERIFIED,
    MEGAPIXELS,
    LR_DIFFERENCE,
    TRAIN_LOSS,
    PARAMETERS,
    MACS,
    ACTIVATIONS,
    BITOPS,
    PSNR_Y,
    PSNR_Y_FLOAT,
    SSIM_Y,
    CHOICE_ENTROPY,
    DECISIVENESS,
    SUPERNET_PSNR,
    DERIVED_PSNR,
    DERIVATION_GAP,
    EXPECTED_BITOPS,
    BITOPS_256,
):
    METRICS.register(_metric.name, _metric)

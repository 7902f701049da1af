"""The one registry of scores: name -> `Metric` with unit, direction and protocol.

Stages import a metric from the module that defines it; the catalog is for tables and reports,
which meet names in score files.
"""

from vismodels.metrics.classification import (
    ACCURACY,
    AUC,
    AUC_HIGH,
    AUC_LOW,
    BALANCED_ACCURACY,
    BALANCED_ACCURACY_HIGH,
    BALANCED_ACCURACY_LOW,
    F1,
    POSITIVE_PRECISION,
    SECONDS_PER_SCAN,
    SENSITIVITY,
    SIZE_MB,
    SPECIFICITY,
)
from vismodels.metrics.dataset import (
    ITEMS,
    LR_DIFFERENCE,
    MANY_LEVELED,
    MEGAPIXELS,
    PAGE_MEGAPIXELS,
    TEXT_SHARE,
    VERIFIED,
)
from vismodels.metrics.document import DRD, EMPTY_PAGES, F_MEASURE, PRECISION, PSNR_BINARY, RECALL
from vismodels.metrics.faithfulness import DELETION_AREA, INSERTION_AREA
from vismodels.metrics.general import ACTIVATIONS, BITOPS, MACS, PARAMETERS, TRAIN_LOSS
from vismodels.metrics.image import PSNR_Y, PSNR_Y_FLOAT, SSIM_Y
from vismodels.metrics.localization import (
    ENERGY_IN_LESION,
    ENERGY_IN_LUNG,
    LESION_IOU,
    POINTING_GAME,
)
from vismodels.metrics.pages import CHARACTERS, WORDS
from vismodels.metrics.pseudo_f import PFM_SKELETON, PFM_WEIGHTED
from vismodels.metrics.published import (
    FALSE_ALARMS,
    FITTING_POSITIVES,
    HITS,
    IMPLIED_ACCURACY,
    IMPLIED_F1,
    MAJORITY_ACCURACY,
    PUBLISHED_ACCURACY,
    PUBLISHED_F1,
)
from vismodels.metrics.refinement import F_MEASURE_PREDICTED, PSNR_PREDICTED
from vismodels.metrics.restoration import EDGE_MSE, PSNR, SSIM
from vismodels.metrics.scans import LESION_SCANS, LESION_SHARE, PATIENTS, SLICES
from vismodels.metrics.scenes import (
    BACKGROUND_ACCURACY,
    CODE_PSNR,
    COLOR_ACCURACY,
    LOWEST_ACCURACY,
    MEAN_ACCURACY,
    SHAPE_ACCURACY,
    SIZE_ACCURACY,
    STAR_ACCURACY,
    STYLE_ACCURACY,
)
from vismodels.metrics.search import (
    BITOPS_256,
    CHOICE_ENTROPY,
    DECISIVENESS,
    DERIVATION_GAP,
    DERIVED_ACCURACY,
    DERIVED_LOSS,
    DERIVED_PSNR,
    EXPECTED_BITOPS,
    EXPECTED_MACS,
    RANDOM_LOSS,
    RANK_CORRELATION,
    SUPERNET_PSNR,
)
from vismodels.metrics.text import CER, CER_RAPIDOCR, CER_TESSERACT, OCR_LOSS
from vismodels.registry import Registry
from vismodels.results import Metric

METRICS: Registry[Metric] = Registry("metric")

for _metric in (
    ITEMS,
    VERIFIED,
    MEGAPIXELS,
    LR_DIFFERENCE,
    PAGE_MEGAPIXELS,
    TEXT_SHARE,
    MANY_LEVELED,
    WORDS,
    CHARACTERS,
    PSNR_PREDICTED,
    F_MEASURE_PREDICTED,
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
    F_MEASURE,
    PFM_WEIGHTED,
    PFM_SKELETON,
    PSNR_BINARY,
    DRD,
    PRECISION,
    RECALL,
    EMPTY_PAGES,
    PSNR,
    SSIM,
    EDGE_MSE,
    CER,
    CER_TESSERACT,
    CER_RAPIDOCR,
    OCR_LOSS,
    ACCURACY,
    BALANCED_ACCURACY,
    POSITIVE_PRECISION,
    SENSITIVITY,
    SPECIFICITY,
    F1,
    AUC,
    SIZE_MB,
    SECONDS_PER_SCAN,
    POINTING_GAME,
    ENERGY_IN_LESION,
    ENERGY_IN_LUNG,
    LESION_IOU,
    DELETION_AREA,
    INSERTION_AREA,
    BALANCED_ACCURACY_LOW,
    BALANCED_ACCURACY_HIGH,
    AUC_LOW,
    AUC_HIGH,
    FALSE_ALARMS,
    FITTING_POSITIVES,
    HITS,
    IMPLIED_ACCURACY,
    IMPLIED_F1,
    MAJORITY_ACCURACY,
    PUBLISHED_ACCURACY,
    PUBLISHED_F1,
    PATIENTS,
    LESION_SCANS,
    LESION_SHARE,
    SLICES,
    DERIVED_ACCURACY,
    DERIVED_LOSS,
    EXPECTED_MACS,
    RANK_CORRELATION,
    RANDOM_LOSS,
    SIZE_ACCURACY,
    COLOR_ACCURACY,
    SHAPE_ACCURACY,
    BACKGROUND_ACCURACY,
    STAR_ACCURACY,
    STYLE_ACCURACY,
    MEAN_ACCURACY,
    LOWEST_ACCURACY,
    CODE_PSNR,
):
    METRICS.register(_metric.name, _metric)

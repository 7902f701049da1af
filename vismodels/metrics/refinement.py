"""What a model that predicts and then refines records of its first guess."""

from vismodels.results import Metric

PSNR_PREDICTED = Metric(
    "psnr_predicted",
    "PSNR, predictor",
    unit="dB",
    higher_is_better=True,
    protocol="as PSNR, of the predictor's output without refinement",
    digits=2,
)
F_MEASURE_PREDICTED = Metric(
    "f_measure_predicted",
    "F-measure, predictor",
    unit="%",
    higher_is_better=True,
    protocol="as F-measure, of the predictor's output without refinement",
    digits=2,
)

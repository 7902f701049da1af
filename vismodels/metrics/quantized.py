"""What quantizing a generator does to its images, to its size, to its operations. Torch-free."""

from vismodels.results import Metric

SMALLEST_EXCESS = 0.01  # of the floor

FRECHET_EXCESS = Metric(
    "frechet_excess",
    "Distance above the floor",
    higher_is_better=False,
    protocol="Frechet distance less that of the float model with other noise, at least a hundredth "
    "of the latter: below it nothing can be told apart",
    digits=3,
)
AGREEMENT = Metric(
    "float_agreement",
    "Same as float",
    unit="%",
    higher_is_better=True,
    protocol="images in which the judge reads every attribute as in the float model's image of the "
    "same prompt and noise",
    digits=1,
)
TUNED_SHARE = Metric(
    "tuned_share",
    "Tuned",
    unit="%",
    protocol="parameters of the denoiser that finetuning moves, of all; of its stages together",
    digits=1,
)
FILE_MB = Metric(
    "file_mb",
    "File",
    unit="MB",
    higher_is_better=False,
    protocol="bytes of the denoiser's safetensors files on disk / 10^6",
    digits=3,
)
RESIDENT_MB = Metric(
    "resident_mb",
    "In memory",
    unit="MB",
    higher_is_better=False,
    protocol="bytes of parameters, buffers and packed weights of the denoiser, loaded / 10^6",
    digits=3,
)
DENOISER_GBITOPS = Metric(
    "denoiser_gbitops",
    "BitOPs of a call",
    unit="G",
    higher_is_better=False,
    protocol="MACs x weight bits x activation bits of one call of the denoiser for one image; "
    "of attention queries by keys at the bits of activations, the softmax at its own",
    digits=2,
)
OUTPUT_ERROR = Metric(
    "output_error",
    "Error of the output",
    unit="%",
    higher_is_better=False,
    protocol="mean squared difference of the denoiser's output from the float one's, on the float "
    "model's own trajectories of validation prompts, in percent of the float one's mean square",
    digits=2,
)


def above_floor(distance: float, floor: float) -> float:
    """Return by how much a distance is above the floor, at least `SMALLEST_EXCESS` of the floor."""
    return max(distance - floor, SMALLEST_EXCESS * floor)

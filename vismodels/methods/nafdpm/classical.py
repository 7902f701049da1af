"""Classical baselines: Otsu and Sauvola for binarization, unsharp masking and Wiener for blur.

Otsu, "A Threshold Selection Method from Gray-Level Histograms", IEEE Trans. SMC 9, 1979. Sauvola,
Pietikainen, "Adaptive Document Image Binarization", Pattern Recognition 33, 2000. The parameters
are tuned on pages that are not those of the test.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters, restoration

from vismodels.data.blur import defocus_kernel
from vismodels.data.documents import grey_levels, text_mask
from vismodels.data.pages import Image, PagePair
from vismodels.files import FileError, read_json, write_json
from vismodels.methods.nafdpm.config import TUNED_ON, ClassicalConfig, Task
from vismodels.metrics.document import F_MEASURE, Mask, f_measure
from vismodels.metrics.restoration import PSNR, psnr
from vismodels.results import Score, Value

Grey = NDArray[np.uint8]
Table = dict[tuple[float, float], float]
PARAMETERS = "parameters.json"


@dataclass(frozen=True)
class Parameters:
    """What was chosen for a baseline.

    Args:
        first: window of Sauvola, radius of the blur; pixels.
        second: k of Sauvola, amount of unsharp masking, balance of the Wiener filter.
    """

    first: float
    second: float


@dataclass(frozen=True)
class Tuned:
    """The choices, and the records of everything that was tried."""

    parameters: Mapping[str, Parameters]
    scores: Sequence[Score]


def tune(config: ClassicalConfig, pages: Sequence[PagePair], *, task: Task) -> Tuned:
    """Return the best parameters of each classical baseline of a task.

    Args:
        config: what to choose from.
        pages: of training for binarization (F-measure), of validation for deblurring (PSNR).
        task: deblurring or binarization.

    Raises:
        ValueError: if there is no page to tune on.
    """
    metric = F_MEASURE if task == "binarization" else PSNR
    split = TUNED_ON[task]
    sets = getattr(config.pages, split)
    parameters, scores = {}, []
    for name, grid in config.classical.items():
        if name == "sauvola":
            windows = [int(window) for window in grid.first]
            *best, table = tune_sauvola(pages, windows, grid.second)
        else:
            *best, table = tune_deblurring(DEBLURRING[name], pages, grid.first, grid.second)
        parameters[name] = Parameters(*map(float, best))
        tried = {f"{first:g}, {second:g}": value for (first, second), value in table.items()}
        scores.append(
            Score(
                stage="nafdpm_classical",
                variant=name,
                dataset={"card": "+".join(sets), "split": split, "items": len(pages)},
                values=[Value(metric, max(tried.values()), tried)],
                budget=asdict(parameters[name]),
                note="the best of the grid; items are its points",
            )
        )
    return Tuned(parameters, scores)


def write_parameters(parameters: Mapping[str, Parameters], folder: Path) -> None:
    """Write the choices as `parameters.json`."""
    write_json(folder / PARAMETERS, {name: asdict(chosen) for name, chosen in parameters.items()})


def read_parameters(folder: Path) -> dict[str, Parameters]:
    """Return the choices that `write_parameters` wrote.

    Raises:
        FileError: if they are missing or damaged.
    """
    path = folder / PARAMETERS
    try:
        return {name: Parameters(**chosen) for name, chosen in read_json(path).items()}
    except (AttributeError, TypeError) as error:
        raise FileError(f"{path}: not parameters ({error}); run the stage again") from error


def otsu(grey: Grey) -> Mask:
    """Return where a page is not brighter than Otsu's threshold: (H, W) bool, True is text.

    Args:
        grey: (H, W) uint8. A page of one level has no text.
    """
    if grey.min() == grey.max():
        return np.zeros(grey.shape, dtype=bool)
    threshold: Callable[[Grey], float] = filters.threshold_otsu
    mask: Mask = grey <= threshold(grey)
    return mask


def sauvola(grey: Grey, window: int, k: float, r: float = 128) -> Mask:
    """Return where a page is darker than Sauvola's local threshold: (H, W) bool, True is text.

    T = m (1 + k (s / r - 1)), with mean m and standard deviation s of the window around the pixel.

    Args:
        grey: (H, W) uint8.
        window: edge of the window in pixels, odd.
        k: how far the threshold lies below the mean where the page is even.
        r: largest standard deviation that is expected, in levels.

    Raises:
        ValueError: for an even window.
    """
    mean, slack = _sauvola_terms(grey, window, r)
    mask: Mask = grey < mean - k * slack
    return mask


def tune_sauvola(
    pages: Sequence[PagePair], windows: Iterable[int], ks: Sequence[float]
) -> tuple[int, float, Table]:
    """Return the window and k of the highest mean F-measure, and the mean of every combination.

    Args:
        pages: pages with ground truth; those without text count for nothing.
        windows: edges to try, odd; of equal combinations the first wins.
        ks: to try with each window.

    Returns:
        Window, k, and (window, k) -> mean F-measure in percent.

    Raises:
        ValueError: if no page has text.
    """
    masks = [text_mask(page.clean) for page in pages]
    greys = [
        (grey_levels(page.degraded), text)
        for page, text in zip(pages, masks, strict=True)
        if text.any()
    ]
    if not greys:
        raise ValueError(f"no page with text to tune on, got {len(pages)} pages; name other pages")
    table: Table = {}
    for edge in windows:
        scores = np.array([_f_measures(grey, text, edge, ks) for grey, text in greys])
        means = scores.mean(axis=0)
        table |= {(edge, k): float(mean) for k, mean in zip(ks, means, strict=True)}
    window, k = max(table, key=table.__getitem__)
    return int(window), k, table


def unsharp(image: Image, radius: float, amount: float) -> Image:
    """Return an image with `amount` times its difference to a Gaussian blur of it added.

    Args:
        image: (H, W, 3) uint8 RGB.
        radius: standard deviation of the Gaussian in pixels.
        amount: 0 changes nothing.
    """
    levels = image / 255
    blurred = ndimage.gaussian_filter(levels, (radius, radius, 0))
    return _to_levels(levels + amount * (levels - blurred))


def wiener(image: Image, psf: NDArray[np.float64], balance: float) -> Image:
    """Return an image deconvolved by the Wiener filter with a Laplacian as prior.

    The page is continued by its mirror image, so that its border does not ring.

    Args:
        image: (H, W, 3) uint8 RGB.
        psf: assumed point spread, of odd edge and sum 1, e.g. `defocus_kernel`.
        balance: weight of the prior; more is smoother.
    """
    margin = 2 * max(psf.shape)
    around = ((margin, margin), (margin, margin), (0, 0))
    padded = np.pad(image / 255, around, mode="symmetric")
    deconvolve: Callable[..., NDArray[np.float64]] = restoration.wiener
    channels = [deconvolve(padded[:, :, c], psf, balance, clip=False) for c in range(3)]
    return _to_levels(np.stack(channels, axis=-1)[margin:-margin, margin:-margin])


def wiener_disc(image: Image, radius: float, balance: float) -> Image:
    """Return `image` by `wiener` with the point spread `defocus_kernel(radius)`."""
    return wiener(image, defocus_kernel(radius), balance)


DEBLURRING: Mapping[str, Callable[[Image, float, float], Image]] = {
    "unsharp": unsharp,
    "wiener": wiener_disc,
}


def tune_deblurring(
    method: Callable[[Image, float, float], Image],
    pages: Sequence[PagePair],
    radii: Iterable[float],
    strengths: Sequence[float],
) -> tuple[float, float, Table]:
    """Return the radius and strength of the highest mean PSNR, and the mean of every combination.

    Args:
        method: `unsharp` (strength: amount) or `wiener_disc` (strength: balance).
        pages: pages with their sharp version.
        radii: to try; of equal combinations the first wins.
        strengths: to try with each radius.

    Returns:
        Radius, strength, and (radius, strength) -> mean PSNR of the RGB levels in dB.

    Raises:
        ValueError: if there is no page.
    """
    if not pages:
        raise ValueError("no page to tune on; name pages with their sharp version")
    table = {
        (radius, strength): float(
            np.mean([psnr(method(page.degraded, radius, strength), page.clean) for page in pages])
        )
        for radius in radii
        for strength in strengths
    }
    radius, strength = max(table, key=table.__getitem__)
    return radius, strength, table


def _sauvola_terms(
    grey: Grey, window: int, r: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return m and m (1 - s / r): the threshold is the first minus k times the second."""
    if window % 2 == 0:
        raise ValueError(f"expected an odd window, got {window}; it must have a middle pixel")
    levels = grey.astype(np.float64)
    mean = ndimage.uniform_filter(levels, window, mode="mirror")
    square = ndimage.uniform_filter(levels * levels, window, mode="mirror")
    deviation = np.sqrt(np.maximum(square - mean * mean, 0))
    return mean, mean * (1 - deviation / r)


def _f_measures(grey: Grey, text: Mask, window: int, ks: Sequence[float]) -> list[float]:
    mean, slack = _sauvola_terms(grey, window, r=128)
    return [f_measure(grey < mean - k * slack, text) for k in ks]


def _to_levels(image: NDArray[np.float64]) -> Image:
    levels: Image = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    return levels

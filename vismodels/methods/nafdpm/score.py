"""Score everything on the test pages: the one look at them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vismodels.data.documents import grey_levels
from vismodels.data.images import write_png
from vismodels.data.pages import Image, PagePair
from vismodels.methods.nafdpm.classical import Parameters, otsu, sauvola, unsharp, wiener_disc
from vismodels.methods.nafdpm.config import CLEAN, INPUT, Point, ScoringConfig, Task, Window
from vismodels.methods.nafdpm.evaluation import Targets, as_picture, cost_values
from vismodels.methods.nafdpm.pictures import SCANS, WINDOWS
from vismodels.methods.nafdpm.pipeline import NUM_STEPS, NAFDPMPipeline
from vismodels.methods.nafdpm.reading import Readers
from vismodels.methods.nafdpm.trained import with_settings
from vismodels.metrics.bounds import with_bounds
from vismodels.results import Score, Value

STAGE = "nafdpm_score"
Restore = Callable[[Image], Image]


@dataclass(frozen=True)
class Scored:
    """The records, and what is to be looked at.

    Args:
        scores: one for each row and test set.
        windows: (page, row) -> pixels of a window.
        scans: name -> the scan as it was restored.
    """

    scores: Sequence[Score]
    windows: Mapping[tuple[str, str], Image]
    scans: Mapping[str, Image]


@dataclass(frozen=True)
class _Row:
    """One row of the table: what turns a degraded page into a restored one."""

    variant: str
    restore: Restore
    seed: int | None = None
    cost: Sequence[Value] = ()
    first: bool = True  # of its seeds: the OCR engines read it, and its windows are shown


def score(
    config: ScoringConfig,
    task: Task,
    pipelines: Mapping[str, Mapping[int, NAFDPMPipeline]],
    classical: Mapping[str, Parameters],
    tests: Mapping[str, Sequence[PagePair]],
    readers: Readers,
    scans: Mapping[str, Image],
) -> Scored:
    """Return the records of every row on every test set, and windows of the pages.

    Args:
        config: how models are sampled from, and what is shown.
        task: deblurring or binarization.
        pipelines: name -> seed -> trained model.
        classical: name -> parameters of the classical baselines.
        tests: name of the set -> its pages.
        readers: recognizer and OCR engines that read sharpened pages; pages without known words
            are left out by them.
        scans: real scans without ground truth, to be restored as pictures.

    Raises:
        ValueError: if a window or a bound names something that was not scored.
    """
    scores: list[Score] = []
    windows: dict[tuple[str, str], Image] = {}
    for card, pages in tests.items():
        targets = Targets(task, pages)
        for row in _rows(config, task, pipelines, classical, pages):
            results = {page.name: row.restore(page.degraded) for page in pages}
            values = [*row.cost]
            if row.variant != CLEAN and (task, row.variant) != ("binarization", INPUT):
                values += targets.measure(results)
            if task == "deblurring":
                values += readers.read(pages, results, engines=row.first)
            if values:  # an untouched page is no binarization: there is nothing to compare
                scores.append(
                    Score(
                        stage=STAGE,
                        variant=row.variant,
                        seed=row.seed,
                        dataset={"card": card, "split": "test", "items": len(pages)},
                        values=values,
                    )
                )
            if row.first:
                windows |= _cut(config.windows, card, row.variant, results)
    seeds = pipelines[config.scanned]
    restore = _refining(config, seeds[min(seeds)], Point(steps=NUM_STEPS))
    restored = {name: restore(scan) for name, scan in scans.items()}
    return Scored(with_bounds(config.bounds, scores), windows, restored)


def _rows(
    config: ScoringConfig,
    task: Task,
    pipelines: Mapping[str, Mapping[int, NAFDPMPipeline]],
    classical: Mapping[str, Parameters],
    pages: Sequence[PagePair],
) -> Iterator[_Row]:
    clean = {page.degraded.tobytes(): page.clean for page in pages}
    yield _Row(CLEAN, lambda image: clean[image.tobytes()])
    yield _Row(INPUT, lambda image: image)
    if task == "binarization":
        yield _Row("otsu", lambda image: as_picture(otsu(grey_levels(image))))
    for name, parameters in classical.items():
        yield _Row(name, _classical(name, parameters))
    for name, seeds in pipelines.items():
        for seed, pipeline in seeds.items():
            first = seed == min(seeds)
            cost = cost_values(pipeline)
            for point in config.points:
                if (point.all_seeds or first) and (point.steps == 0 or pipeline.denoiser):
                    restore = _refining(config, pipeline, point)
                    yield _Row(f"{name}_{point.label}", restore, seed, cost, first)


def _classical(name: str, parameters: Parameters) -> Restore:
    if name == "sauvola":
        return lambda image: as_picture(
            sauvola(grey_levels(image), int(parameters.first), parameters.second)
        )
    method = {"unsharp": unsharp, "wiener": wiener_disc}[name]
    return lambda image: method(image, parameters.first, parameters.second)


def _refining(config: ScoringConfig, pipeline: NAFDPMPipeline, point: Point) -> Restore:
    adapted = with_settings(pipeline, tile_size=config.tile, time_scale=point.time_scale)

    def restore(image: Image) -> Image:
        return adapted.restore(
            image, num_steps=point.steps, samples=point.samples, overlap=config.overlap
        )

    return restore


def _cut(
    windows: Sequence[Window], card: str, row: str, results: Mapping[str, Image]
) -> dict[tuple[str, str], Image]:
    cut = {}
    for window in windows:
        if window.set != card:
            continue
        if window.page not in results:
            raise ValueError(
                f"a window names the page {window.page!r}, but {card} has {', '.join(results)}"
            )
        rows = slice(window.top, window.top + window.height)
        columns = slice(window.left, window.left + window.width)
        cut[window.page, row] = results[window.page][rows, columns]
    return cut


def write_pictures(scored: Scored, folder: Path) -> None:
    """Write `windows/<page>/<row>.png` and `scans/<name>.png` below `folder`."""
    for (page, row), pixels in scored.windows.items():
        write_png(folder / WINDOWS / page / f"{row}.png", pixels)
    for name, pixels in scored.scans.items():
        write_png(folder / SCANS / f"{name}.png", pixels)

"""Pictures of NAF-DPM: courses, windows of test pages, scans, quality over solver steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vismodels.data.images import read_image
from vismodels.data.pages import Image
from vismodels.figures import Picture, draw_curves, figure_to
from vismodels.methods.nafdpm.config import CLEAN, INPUT, NAFDPMConfig, Task, TaskConfig
from vismodels.methods.nafdpm.pictures import SCANS, WINDOWS
from vismodels.metrics.document import F_MEASURE
from vismodels.metrics.restoration import PSNR
from vismodels.results import SCORES, Score, read_scores
from vismodels.tables.table import number
from vismodels.training.curves import read_runs
from vismodels.training.log import ScalarLog

TASKS: tuple[Task, ...] = ("deblurring", "binarization")
QUALITY = {"deblurring": PSNR, "binarization": F_MEASURE}
RESTORED: dict[Task, str] = {"deblurring": "deblurred", "binarization": "binarized"}
PAGE_WIDTH = 7.0  # inches
CAPTION_HEIGHT = 0.28


def draw_courses(runs: Mapping[str, Sequence[ScalarLog]], task: Task, folder: Path) -> Picture:
    """Draw validation quality over iterations into `course_<task>.svg`, a line a model and seed.

    Args:
        runs: model or arm -> log of each seed.
        task: names the curve that is drawn.
        folder: where to draw.
    """
    metric = QUALITY[task]
    curves = {
        name: [(log.iterations, log.curves[metric.name]) for log in logs]
        for name, logs in runs.items()
    }
    file = f"course_{task}.svg"
    with figure_to(folder / file) as figure:
        axes = figure.subplots()
        draw_curves(axes, curves)
        axes.set_xlabel("iteration")
        axes.set_ylabel(f"validation {metric.title} ({metric.unit})")
    last = {name: [y[-1] for _, y in lines] for name, lines in curves.items()}
    ends = ", ".join(f"{name} {min(v):.2f} to {max(v):.2f}" for name, v in last.items())
    return Picture(
        file=file,
        title=f"Course of training, {task}",
        caption=f"{metric.title} of the averaged weights on validation pages with one step, one "
        "line per seed. Finetuning starts again at 0. Nothing is selected by it.",
        alt=f"Line plot of validation {metric.title} over iterations; final values: {ends}.",
    )


def draw_steps(scores: Sequence[Score], task: Task, card: str, folder: Path) -> Picture:
    """Draw quality over the solver's steps into `steps_<task>.svg`, 0 being the predictor.

    Args:
        scores: records of the stage `score`.
        task: names the metric.
        card: of the test set.
        folder: where to draw.
    """
    metric = QUALITY[task]
    lines: dict[str, dict[int | None, dict[int, float]]] = {}
    for record in scores:
        name, _, label = record.variant.rpartition("_")
        steps = 0 if label == "predictor" else int(label) if label.isdigit() else None
        value = next((v.value for v in record.values if v.metric.name == metric.name), None)
        if record.seed is None or steps is None or value is None:
            continue
        if record.dataset["card"] == card:
            lines.setdefault(name, {}).setdefault(record.seed, {})[steps] = value
    curves = {
        name: [(sorted(points), [points[s] for s in sorted(points)]) for points in seeds.values()]
        for name, seeds in lines.items()
    }
    file = f"steps_{task}.svg"
    with figure_to(folder / file) as figure:
        axes = figure.subplots()
        if curves:
            draw_curves(axes, curves)
        for line in axes.lines:
            line.set_marker("o")
        axes.set_xscale("symlog", linthresh=1)
        ticks = sorted({step for runs in curves.values() for steps, _ in runs for step in steps})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlabel("steps of the solver (0: the predictor alone)")
        axes.set_ylabel(f"test {metric.title} ({metric.unit})")
    ends = "; ".join(
        f"{name}: " + ", ".join(f"{number(y, 2)} at {x}" for x, y in zip(*runs[0], strict=True))
        for name, runs in curves.items()
    )
    return Picture(
        file=file,
        title=f"Quality over the steps of the solver, {task}",
        caption=f"{metric.title} on {card}, one line per seed; 0 steps is the predictor alone, one "
        "step the mean of what may be there, many steps one sample of it.",
        alt=f"Line plot of {metric.title} over solver steps. {ends}.",
    )


def draw_window(
    title: str, caption: str, panels: Mapping[str, Image], file: str, folder: Path
) -> Picture:
    """Draw images of one size, two a row, into `file`.

    Args:
        title: of the picture.
        caption: of the picture.
        panels: name -> (h, w, 3) uint8.
        file: name, `.png`.
        folder: where to draw.
    """
    columns = 2
    rows = -(-len(panels) // columns)
    height, width = next(iter(panels.values())).shape[:2]
    panel = PAGE_WIDTH / columns
    size = rows * (panel * height / width + CAPTION_HEIGHT)
    with figure_to(folder / file, PAGE_WIDTH, size) as figure:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        for axes, (name, pixels) in zip(grid, panels.items(), strict=False):
            axes.imshow(pixels, interpolation="nearest")
            axes.set_title(name, fontsize=8)
    names = ", ".join(panels)
    return Picture(file, title, caption, f"The same text {len(panels)} times: {names}.")


def draw_windows(task: Task, config: TaskConfig, scored: Path, folder: Path) -> list[Picture]:
    """Draw the windows that the stage `score` cut, each into `window_<task>_<page>.png`.

    Raises:
        FileError: if a window is missing.
    """
    pictures = []
    for window in config.scoring.windows:
        stored = scored / WINDOWS / window.page
        panels = {
            in_words(name): read_image(stored / f"{name}.png")
            for name in (INPUT, *config.scoring.shown)
        }
        pictures.append(
            draw_window(
                f"Part of the page “{window.page}” of {window.set}, {task}",
                "The degraded page and what was made of it, first seed; beside it the clean page.",
                panels,
                f"window_{task}_{window.page}.png",
                folder,
            )
        )
    return pictures


def in_words(variant: str) -> str:
    """Return the name of a row for a reader: `ocr_5` is `ocr, 5 steps`."""
    name, _, label = variant.rpartition("_")
    if label == "predictor":
        return f"{name}, predictor alone"
    if name and label.isdigit():
        return f"{name}, {label} step{'s' * (label != '1')}"
    return {INPUT: "degraded page", CLEAN: "clean page"}.get(variant, variant.replace("_", " "))


def draw_scan(name: str, scan: Image, scored: Mapping[Task, Path], folder: Path) -> Picture:
    """Draw a real scan without ground truth, and what each task made of it, into `scan_<name>.png`.

    Args:
        name: of the scan.
        scan: (H, W, 3) uint8.
        scored: task -> folder of the stage `score`, which restored it.
        folder: where to draw.
    """
    panels = {"scan": scan} | {
        RESTORED[task]: read_image(place / SCANS / f"{name}.png") for task, place in scored.items()
    }
    return draw_window(
        f"A real scan: “{name}”",
        "A scan that comes with scikit-image, without ground truth, restored by models that saw "
        "rendered pages only; light and paper that those do not have can come out wrong.",
        panels,
        f"scan_{name}.png",
        folder,
    )


def draw_figures(
    config: NAFDPMConfig,
    *,
    models: Mapping[Task, Sequence[Path]],
    scored: Sequence[Path],
    scans: Mapping[str, Image],
    folder: Path,
) -> list[Picture]:
    """Draw all pictures of the method into `folder` and return their list.

    Args:
        config: of the whole method.
        models: task -> folders of the stages `train` and `finetune`.
        scored: folders of the stage `score`, in the order of `TASKS`.
        scans: name -> real scan.
        folder: where to draw.
    """
    places = dict(zip(TASKS, scored, strict=True))
    pictures = []
    for task, place in places.items():
        section: TaskConfig = getattr(config.tasks, task)
        scores = read_scores(place / SCORES)
        pictures += [
            *draw_windows(task, section, place, folder),
            draw_steps(scores, task, section.pages.test[0], folder),
            draw_courses(read_runs(models[task], "validation.csv"), task, folder),
        ]
    return [*pictures, *(draw_scan(name, scan, places, folder) for name, scan in scans.items())]

"""Quality against cost: our networks, and beside them the published ones, which are others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from vismodels.config import ConfigError
from vismodels.figures import COLOURS, LINE_STYLES, Picture, figure_to
from vismodels.methods.quantnas.config import BICUBIC, NetworkVariant
from vismodels.methods.quantnas.labels import label_points
from vismodels.metrics.general import BITOPS
from vismodels.metrics.image import PSNR_Y
from vismodels.results import Score
from vismodels.tables.layout import PaperValues

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PREFERRED = "set14"  # the set of the published points
PUBLISHED = "figure of PSNR against BitOPs"  # the table of the paper's values that holds them
COST, QUALITY = "GBitOPs", "PSNR-Y"  # its columns; its rows are `series, number`
GIGA = 1.0e9

FAMILIES: Mapping[str, tuple[str, str, str]] = {  # kind -> title, marker, colour
    "searched": ("searched", "o", COLOURS[0]),
    "uniform": ("same skeleton, one operation, equal bits", "s", COLOURS[1]),
    "random": ("random genotype", "^", COLOURS[2]),
    "fixed": ("published network", "D", COLOURS[3]),
}


@dataclass(frozen=True)
class Point:
    """A network of ours: its name and kind, and (GBitOPs, PSNR-Y) of every seed."""

    name: str
    kind: str
    runs: Sequence[tuple[float, float]]

    @property
    def mean(self) -> tuple[float, float]:
        """Means over the seeds."""
        return fmean(x for x, _ in self.runs), fmean(y for _, y in self.runs)


def chosen_set(scores: Iterable[Score]) -> str:
    """Return the test set that the plot shows: Set14 if it was scored, else the first one."""
    cards = [str(score.dataset["card"]) for score in scores if score.dataset]
    return PREFERRED if PREFERRED in cards else cards[0]


def points(
    networks: Mapping[str, NetworkVariant], scores: Sequence[Score], card: str
) -> list[Point]:
    """Return cost and quality of every network that was scored on a set.

    Args:
        networks: name -> what it is.
        scores: records of the stage `score`.
        card: name of the test set.
    """
    cost = {
        (score.variant, score.seed): score.value(BITOPS.name).value or 0.0
        for score in scores
        if not score.dataset
    }
    quality = {
        (score.variant, score.seed): score.value(PSNR_Y.name).value or 0.0
        for score in scores
        if score.dataset.get("card") == card
    }
    return [
        Point(
            name,
            variant.network.kind,
            [(cost[run] / GIGA, quality[run]) for run in quality if run[0] == name],
        )
        for name, variant in networks.items()
    ]


def published_points(papers: Iterable[PaperValues]) -> dict[str, list[tuple[float, float]]]:
    """Return series -> (GBitOPs, PSNR-Y) of the published figure, in ascending order of cost.

    Raises:
        ConfigError: if a point has only one of its two coordinates.
    """
    places: dict[str, dict[str, float]] = {}
    for paper in papers:
        for value in paper.values:
            if value.table == PUBLISHED and value.row and value.column and value.value is not None:
                places.setdefault(value.row, {})[value.column] = value.value
    series: dict[str, list[tuple[float, float]]] = {}
    for row, place in places.items():
        if place.keys() != {COST, QUALITY}:
            raise ConfigError(
                f"{PUBLISHED}, row {row!r}: expected {COST} and {QUALITY}, got {', '.join(place)}"
            )
        name = row.rpartition(", ")[0] or row
        series.setdefault(name, []).append((place[COST], place[QUALITY]))
    return {name: sorted(places) for name, places in series.items()}


def draw_pareto(
    networks: Mapping[str, NetworkVariant],
    scores: Sequence[Score],
    papers: Iterable[PaperValues],
    folder: Path,
) -> Picture:
    """Draw PSNR-Y over GBitOPs into `pareto.svg`: ours on the left, published on the right."""
    card = chosen_set(scores)
    ours, published = points(networks, scores, card), published_points(papers)
    (bicubic,) = (
        score.value(PSNR_Y.name).value or 0.0
        for score in scores
        if score.variant == BICUBIC and score.dataset.get("card") == card
    )
    with figure_to(folder / "pareto.svg", 10.2, 5.2) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.9, 1))
        _draw_published(right, published)
        omitted = _draw_ours(left, ours, bicubic, card)
    missing = f" Without a label, for want of room: {', '.join(omitted)}." if omitted else ""
    return Picture(
        file="pareto.svg",
        title="Quality against cost",
        caption=f"Left: our networks on {card}, mean over seeds, with small points for the seeds "
        "where there are several; operations counted at a small image of 32 x 32 pixels."
        f"{missing} Right: published, digitised from a figure of the authors' first repository "
        "(Set14 by its range; ±0.02 GBitOPs, ±0.002 dB); other training data, budget and "
        "networks, so the two panels must not be compared point by point.",
        alt=f"Two scatter plots of PSNR over operations. Ours on {card}, where bicubic "
        f"interpolation has {bicubic:.2f} dB: "
        f"{'; '.join(f'{p.name} {p.mean[0]:.3g} G, {p.mean[1]:.2f} dB' for p in ours)}. "
        "Published: "
        + "; ".join(
            f"{name} from {line[0][0]:.3g} G, {line[0][1]:.2f} dB to {line[-1][0]:.3g} G, "
            f"{line[-1][1]:.2f} dB"
            for name, line in published.items()
        )
        + ".",
    )


def _draw_ours(axes: "Axes", ours: Sequence[Point], bicubic: float, card: str) -> list[str]:
    from matplotlib.ticker import StrMethodFormatter

    for kind, (title, marker, colour) in FAMILIES.items():
        own = [point for point in ours if point.kind == kind]
        runs = [run for point in own if len(point.runs) > 1 for run in point.runs]
        if runs:
            x, y = zip(*runs, strict=True)
            axes.scatter(x, y, s=7, marker=marker, color=colour, alpha=0.45)
        if own:
            x, y = zip(*(point.mean for point in own), strict=True)
            axes.scatter(x, y, s=42, marker=marker, color=colour, edgecolor="white", label=title)
    axes.set_xscale("log")
    axes.margins(x=0.1, y=0.08)
    axes.set_ylim(axes.get_ylim())  # of the networks: a line far away must not press them together
    where = "" if axes.get_ylim()[0] < bicubic < axes.get_ylim()[1] else ", out of the plot"
    title = f"bicubic interpolation, {bicubic:.2f} dB{where}"
    axes.axhline(bicubic, color="0.35", linewidth=1, linestyle=":", label=title)
    axes.set_title(f"ours, {card}")
    axes.set_xlabel("GBitOPs at 32 x 32 pixels")
    axes.set_ylabel("PSNR-Y (dB)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2, fontsize=7.5)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    specks = [run for point in ours for run in point.runs]
    return label_points(axes, [(point.name, *point.mean) for point in ours], [bicubic], specks)


def _draw_published(axes: "Axes", series: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    for number, (name, line) in enumerate(series.items()):
        axes.plot(
            *zip(*line, strict=True),
            color=COLOURS[number % len(COLOURS)],
            linestyle=LINE_STYLES[number % len(LINE_STYLES)],
            marker="osD^v"[number % 5],
            markersize=4.5,
            linewidth=1.1,
            label=name,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([2, 4, 8, 16]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_title("published, Set14")
    axes.set_xlabel("GBitOPs at 32 x 32 pixels")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=1, fontsize=7.5)

"""How far quantized networks are from the float one: their images, and their outputs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any

from vismodels.figures import COLOURS, Picture, draw_curves, figure_to
from vismodels.methods.quest.score_stage import OTHER_NOISE
from vismodels.metrics.generation import FRECHET_DISTANCE, FRECHET_FLOOR
from vismodels.metrics.quantized import FILE_MB, OUTPUT_ERROR
from vismodels.results import Metric, Score

MARKERS = "os^Dv*PX<>"
SMALLEST = 1e-3  # distance that is drawn: logarithms end somewhere, rounding leaves less than 0


def draw_distances(
    problem: str, arms: Sequence[str], records: Sequence[Score], steps: Sequence[int], folder: Path
) -> Picture:
    """Draw the distance of every arm's images into `distances_<problem>.svg`.

    Args:
        problem: its name.
        arms: their names.
        records: of the stage `score`.
        steps: numbers of sampling steps, a column each.
        folder: where to draw.
    """
    file, told = f"distances_{problem}.svg", []
    with figure_to(folder / file, 2.2 + 2.6 * len(steps), 1.0 + 0.26 * len(arms)) as figure:
        panels = figure.subplots(1, len(steps), squeeze=False, sharey=True)[0]
        for axes, count in zip(panels, steps, strict=True):
            floor = fmean(values_of(records, OTHER_NOISE, FRECHET_FLOOR, steps=count))
            axes.axvline(max(floor, SMALLEST), color="black", linestyle="--", label="floor")
            found = {arm: values_of(records, arm, FRECHET_DISTANCE, steps=count) for arm in arms}
            for place, values in enumerate(found.values()):
                drawn = [max(value, SMALLEST) for value in values]
                axes.plot(drawn, [place] * len(drawn), "o", color=COLOURS[0], alpha=0.6)
            axes.set_xscale("log")
            axes.set_xlabel(FRECHET_DISTANCE.title)
            axes.set_title(_counted(count))
            means = ", ".join(f"{arm} {fmean(values):.3g}" for arm, values in found.items())
            told.append(f"{_counted(count)}: floor {floor:.3g}, {means}")
        panels[0].set_yticks(range(len(arms)), [arm.replace("_", " ") for arm in arms])
        panels[0].set_ylim(len(arms) - 0.5, -0.5)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right")
    return Picture(
        file=file,
        title=f"Distance to the float model's images, {problem}",
        caption="Frechet distance of the judge's features to those of the float model's images of "
        "the same test prompts and noise, a point for each seed, on a logarithmic scale; less is "
        "better. The floor is the distance between the float model's images of different noise: "
        "networks to the left of it cannot be told from the float one by this measure.",
        alt=f"Dot plots of Frechet distances; means over seeds. {'; '.join(told)}.",
    )


def draw_sizes(
    problem: str,
    sizes: Mapping[str, Sequence[Score]],
    records: Sequence[Score],
    steps: int,
    folder: Path,
    execution: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Picture:
    """Draw the distance of every arm's images over its file's size into `sizes_<problem>.svg`.

    Args:
        problem: its name.
        sizes: arm -> records of the stage `quantize`.
        records: of the stage `score`.
        steps: number of sampling steps.
        folder: where to draw.
        execution: arm -> what became of its layers on 8-bit kernels, as
            `score_stage.execution_record` gives it.
    """
    file, told = f"sizes_{problem}.svg", []
    with figure_to(folder / file, 7.0, 1.6 + 0.2 * max(len(sizes), 9)) as figure:
        axes = figure.subplots()
        for number, (arm, own) in enumerate(sizes.items()):
            size = fmean(values_of(own, arm, FILE_MB, what="size"))
            distance = fmean(values_of(records, arm, FRECHET_DISTANCE, steps=steps))
            axes.plot(
                size,
                max(distance, SMALLEST),
                MARKERS[number % len(MARKERS)],
                color=COLOURS[number % len(COLOURS)],
                linestyle="none",
                alpha=0.8,
                label=arm.replace("_", " "),
            )
            told.append(f"{arm} {size:.3f} MB and {distance:.3g}")
        floor = fmean(values_of(records, OTHER_NOISE, FRECHET_FLOOR, steps=steps))
        axes.axhline(max(floor, SMALLEST), color="black", linestyle="--", label="floor")
        axes.set_yscale("log")
        axes.set_xlim(left=0)
        axes.set_xlabel(f"{FILE_MB.title.lower()} ({FILE_MB.unit})")
        axes.set_ylabel(FRECHET_DISTANCE.title)
        figure.legend(loc="outside right center", fontsize=8)
    return Picture(
        file=file,
        title=f"Distance over size, {problem}",
        caption=f"Frechet distance to the float model's images at {_counted(steps)}, over the size "
        "of the denoiser's file as it is stored; means over seeds. Left and below is better. The "
        "floor is that of other noise."
        + "".join(f" On 8-bit kernels, {_executed(arm, own)}." for arm, own in execution.items()),
        alt=f"Scatter plot of file size and distance: {'; '.join(told)}; floor {floor:.3g}.",
    )


def draw_errors(problem: str, sizes: Mapping[str, Sequence[Score]], folder: Path) -> Picture:
    """Draw the error of the output at every timestep into `errors_<problem>.svg`.

    Args:
        problem: its name.
        sizes: arm that is shown -> records of the stage `quantize`.
        folder: where to draw.
    """
    file = f"errors_{problem}.svg"
    curves = {arm.replace("_", " "): errors_of(own, arm) for arm, own in sizes.items()}
    with figure_to(folder / file, 6.4, 3.4) as figure:
        axes = figure.subplots()
        draw_curves(axes, curves)
        axes.set_yscale("log")
        axes.invert_xaxis()
        axes.set_xlabel("timestep; sampling goes from left to right")
        axes.set_ylabel(f"{OUTPUT_ERROR.title.lower()} ({OUTPUT_ERROR.unit})")
        legend = axes.get_legend()
        assert legend is not None
        legend.remove()  # another one stands beside the axes
        figure.legend(loc="outside right center", fontsize=8)
    told = "; ".join(
        f"{arm} {fmean(y[-1] for _, y in runs):.3g} % at {runs[0][0][-1]:g}, "
        f"{fmean(y[0] for _, y in runs):.3g} % at {runs[0][0][0]:g}"
        for arm, runs in curves.items()
    )
    return Picture(
        file=file,
        title=f"Error of the output at every timestep, {problem}",
        caption="Mean squared difference of the denoiser's output from the float one's, in percent "
        "of the float one's mean square, on inputs that the float model meets while it samples "
        "validation prompts: what a network adds at a step, without what it has gathered before. A "
        "line for each seed.",
        alt=f"Line plot over timesteps; means over seeds: {told}.",
    )


def errors_of(records: Sequence[Score], arm: str) -> list[tuple[list[float], list[float]]]:
    """Return timesteps, rising, and errors in percent, of every seed of an arm."""
    found: dict[int | None, dict[float, float]] = {}
    for record in records:
        if record.variant == arm and "timestep" in record.condition:
            error = record.value(OUTPUT_ERROR.name).value or 0.0
            found.setdefault(record.seed, {})[float(record.condition["timestep"])] = error
    return [(sorted(errors), [errors[t] for t in sorted(errors)]) for errors in found.values()]


def values_of(
    records: Sequence[Score], variant: str, metric: Metric, **condition: Any
) -> list[float]:
    """Return a metric's value of every record of a variant under a condition, a record a seed."""
    return [
        record.value(metric.name).value or 0.0
        for record in records
        if record.variant == variant
        and all(record.condition.get(name) == value for name, value in condition.items())
    ]


def _executed(arm: str, record: Mapping[str, Any]) -> str:
    """Return in words what became of an arm's layers."""
    limited = Counter(record["weight_bits_limited_to"].values())
    fewer = [f", {n} of them with weights of {bits} bits" for bits, n in sorted(limited.items())]
    kept = f", {len(record['kept_float'])} stay float" if record["kept_float"] else ""
    words = arm.replace("_", " ")
    return f"{words}: {len(record['executed'])} layers on integers{''.join(fewer)}{kept}"


def _counted(steps: int) -> str:
    return f"{steps} step{'' if steps == 1 else 's'}"

"""Boxes, arrows and frames of a network's drawing; all coordinates in inches, y upwards."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vismodels.methods.quantnas.space import parse_candidate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT, GAP = 0.94, 0.56, 0.2  # of a box; between boxes
RADIUS = 0.09  # of the circle of a sum
INK = "0.25"

# Light enough for black text; told apart by colour-blind readers, and the bits are written too.
BIT_COLOURS = {2: "#F0E442", 4: "#8CCBF0", 8: "#F3C15F", 16: "#E3B4CF", 32: "#D0D0D0"}
PLAIN = "white"
BITS_ONLY = "bits"  # the operation of a published network's decisions

Place = tuple[float, float]


class Drawing:
    """A figure to draw a network on.

    Args:
        figure: empty; its size is set by `fit`.
    """

    def __init__(self, figure: "Figure") -> None:
        self.figure = figure
        self.axes: Axes = figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.low: list[float] = [0.0, 0.0]
        self.high: list[float] = [0.0, 0.0]

    def layer(self, center: Place, decision: str, chosen: str) -> None:
        """Draw a searched layer: its decision, its operation, its bits."""
        operation, bits = parse_candidate(chosen)
        self._rectangle(center, BIT_COLOURS[bits])
        x, y = center
        name, *groups = operation.split("_grouped_")
        lines = [name, ", ".join([*(f"{number} groups" for number in groups), f"{bits} bits"])]
        self._text((x, y + 0.17), decision, 6.5, "normal")
        if operation == BITS_ONLY:
            self._text((x, y - 0.07), f"{bits} bits", 7.5, "bold")
        else:
            self._text(center, lines[0], 7.5, "bold")
            self._text((x, y - 0.17), lines[1], 6.5, "normal")

    def note(self, center: Place, *lines: str, bits: int | None = None) -> None:
        """Draw a part that is not searched."""
        self._rectangle(center, PLAIN if bits is None else BIT_COLOURS[bits], dashed=True)
        self._text(center, "\n".join(lines), 6.5, "normal")

    def plus(self, center: Place) -> None:
        """Draw the sum of what arrives."""
        from matplotlib.patches import Circle

        self._add(Circle(center, RADIUS, facecolor="white", edgecolor=INK, linewidth=0.9))
        self._text(center, "+", 8, "bold")
        self._reach(center, RADIUS, RADIUS)

    def arrow(self, *places: Place) -> None:
        """Draw a line through the places, with a head at the last one."""
        self.line(*places[:-1], places[-1])
        self.axes.annotate(
            "", places[-1], places[-2],
            arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 0.9, "shrinkA": 0,
                        "shrinkB": 0, "mutation_scale": 7},
        )  # fmt: skip

    def line(self, *places: Place) -> None:
        """Draw a line through the places."""
        self.axes.plot(*zip(*places, strict=True), color=INK, linewidth=0.9, zorder=1)
        for place in places:
            self._reach(place, 0.03, 0.03)

    def frame(self, low: Place, high: Place, label: str) -> None:
        """Draw a dashed frame with a label above its left end."""
        from matplotlib.patches import Rectangle

        size = (high[0] - low[0], high[1] - low[1])
        self._add(
            Rectangle(
                low, *size, fill=False, edgecolor="0.55", linewidth=0.8, linestyle=(0, (4, 2))
            )
        )
        self.axes.text(low[0] + 0.06, high[1] + 0.05, label, fontsize=7, color=INK, va="bottom")
        self._reach(low, 0, 0)
        self._reach((high[0], high[1] + 0.22), 0, 0)

    def say(self, place: Place, text: str) -> None:
        """Write a remark that begins at `place`."""
        self.axes.text(*place, text, fontsize=6.5, color=INK, va="center")
        self._reach((place[0] + 0.055 * len(text), place[1]), 0, 0.08)

    def fit(self, margin: float = 0.1) -> None:
        """Give the figure the size of what was drawn."""
        self.axes.set_xlim(self.low[0] - margin, self.high[0] + margin)
        self.axes.set_ylim(self.low[1] - margin, self.high[1] + margin)
        width, height = (
            high - low + 2 * margin for low, high in zip(self.low, self.high, strict=True)
        )
        self.figure.set_size_inches(width, height)

    def _rectangle(self, center: Place, colour: str, dashed: bool = False) -> None:
        from matplotlib.patches import FancyBboxPatch

        x, y = center
        self._add(
            FancyBboxPatch(
                (x - WIDTH / 2, y - HEIGHT / 2),
                WIDTH,
                HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor=colour,
                edgecolor=INK,
                linewidth=0.9,
                linestyle=(0, (2, 1.5)) if dashed else "-",
            )
        )
        self._reach(center, WIDTH / 2, HEIGHT / 2)

    def _add(self, patch: Any) -> None:
        patch.set_zorder(2)
        self.axes.add_patch(patch)

    def _text(self, center: Place, text: str, size: float, weight: str) -> None:
        self.axes.text(
            *center, text, fontsize=size, fontweight=weight, ha="center", va="center", zorder=3
        )

    def _reach(self, place: Sequence[float], dx: float, dy: float) -> None:
        for axis, (value, more) in enumerate(zip(place, (dx, dy), strict=True)):
            self.low[axis] = min(self.low[axis], value - more)
            self.high[axis] = max(self.high[axis], value + more)

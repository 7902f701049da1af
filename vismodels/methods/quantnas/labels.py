"""Names beside the points of a plot, wherever there is room for them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKER = 4.5  # half the edge of the square that a point occupies, points
DISTANCES = (7, 15, 24, 34, 46, 60)  # of a label from its point, points; beyond the first: a line
DIRECTIONS = (  # horizontal, vertical
    (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1),
    (0.5, 1), (-0.5, 1), (0.5, -1), (-0.5, -1),
)  # fmt: skip
STEPS = 12  # points of a line that must not meet a label

Box = Sequence[float]  # left, bottom, right, top, pixels


def label_points(
    axes: "Axes",
    points: Sequence[tuple[str, float, float]],
    lines: Sequence[float] = (),
    specks: Sequence[tuple[float, float]] = (),
) -> list[str]:
    """Write each name beside its point and return the names for which there was no room.

    A label covers no point, line or other label, and stays within the axes, whose limits and scales
    must be set before; a thin line leads to a point farther away. Names that come first are placed
    first.

    Args:
        axes: where the points are drawn.
        points: name, x and y.
        lines: y of horizontal lines.
        specks: x and y of small points without a name.
    """
    figure: Any = axes.get_figure()
    figure.draw_without_rendering()  # now the layout is what it will be
    half = MARKER * figure.dpi / 72
    frame = axes.get_window_extent().extents
    places = axes.transData.transform([(x, y) for _, x, y in points])
    taken: list[Box] = [(x - half, y - half, x + half, y + half) for x, y in places]
    for x, y in (axes.transData.transform(speck) for speck in specks):
        taken.append((x - half / 2, y - half / 2, x + half / 2, y + half / 2))
    for line in lines:
        _, y = axes.transData.transform((points[0][1], line))
        taken.append((frame[0], y - 2, frame[2], y + 2))
    labels: list[Box] = []
    omitted = []
    for (name, x, y), place in zip(points, places, strict=True):
        for text, box, leader in _attempts(axes, name, (x, y), place):
            is_free = not any(_overlap(box, other) for other in (*taken, *labels))
            if is_free and _is_within(box, frame) and not _meet(leader, labels):
                labels.append(box)
                taken += leader
                break
            text.remove()
        else:
            omitted.append(name)
    return omitted


def _attempts(
    axes: "Axes", name: str, at: tuple[float, float], place: Sequence[float]
) -> Iterator[tuple[Any, Box, list[Box]]]:
    """Yield a label at one place after another, the nearest first, its room and that of its line.

    Args:
        axes: where it is written.
        name: its text.
        at: the point, in the axes' own coordinates.
        place: the point, in pixels.
    """
    from matplotlib.text import Text

    scale = axes.get_figure().dpi / 72  # type: ignore[union-attr]
    alignments = {1: ("left", "bottom"), 0: ("center", "center"), -1: ("right", "top")}
    line = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
    for distance in DISTANCES:
        for dx, dy in DIRECTIONS:
            is_far = distance > DISTANCES[0]
            text = axes.annotate(
                name,
                at,
                (dx * distance, dy * distance),
                textcoords="offset points",
                ha=alignments[(dx > 0) - (dx < 0)][0],
                va=alignments[(dy > 0) - (dy < 0)][1],
                fontsize=7.0,
                arrowprops=line | {"relpos": ((1 - dx) / 2, (1 - dy) / 2)} if is_far else None,
            )
            text.set_in_layout(False)
            text.get_window_extent()  # moves the text to its place
            leader: list[Box] = []
            for step in range(STEPS if is_far else 0):
                part = distance * scale * step / STEPS
                x, y = place[0] + dx * part, place[1] + dy * part
                leader.append((x, y, x, y))
            yield text, Text.get_window_extent(text).extents, leader


def _is_within(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _meet(first: Sequence[Box], second: Sequence[Box]) -> bool:
    return any(_overlap(a, b) for a in first for b in second)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

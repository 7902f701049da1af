"""Names beside the points of a plot, wherever there is room for them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKER = 5.0  # half the edge of the square that a point occupies, points
_PLACES = (  # offset in points, horizontal and vertical alignment of the text
    (7, 0, "left", "center"),
    (-7, 0, "right", "center"),
    (0, 7, "center", "bottom"),
    (0, -7, "center", "top"),
    (5, 6, "left", "bottom"),
    (-5, 6, "right", "bottom"),
    (5, -6, "left", "top"),
    (-5, -6, "right", "top"),
)


def label_points(axes: "Axes", points: Sequence[tuple[str, float, float]]) -> list[str]:
    """Write each name beside its point and return the names for which there was no room.

    A label covers no point, no other label, and stays within the axes. Limits and scales of the
    axes must be set before. Names that come first are placed first.

    Args:
        axes: where the points are drawn.
        points: name, x and y.
    """
    figure: Any = axes.get_figure()
    figure.draw_without_rendering()  # now the layout is what it will be
    half = MARKER * figure.dpi / 72
    taken: list[Sequence[float]] = []
    for x, y in axes.transData.transform([(x, y) for _, x, y in points]):
        taken.append((x - half, y - half, x + half, y + half))
    frame = axes.get_window_extent().extents
    omitted = []
    for name, x, y in points:
        for dx, dy, horizontal, vertical in _PLACES:
            text = axes.annotate(
                name, (x, y), (dx, dy),
                textcoords="offset points", ha=horizontal, va=vertical, fontsize=7.5,
            )  # fmt: skip
            text.set_in_layout(False)
            box = text.get_window_extent().extents
            if _is_within(box, frame) and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                break
            text.remove()
        else:
            omitted.append(name)
    return omitted


def _is_within(box: Sequence[float], frame: Sequence[float]) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

"""Figures of the report: one style, byte-equal files, and the words that go with each picture.

matplotlib is imported where it is used; it comes with the `workflows` extra. No global state of
matplotlib is touched.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vismodels.files import FileError, atomic_path, read_json, write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURES = "figures.json"

# Okabe and Ito's palette: told apart by colour-blind readers. Line styles differ as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINE_STYLES = ("-", "--", "-.", ":")
_STYLE: dict[Any, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 9.0,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "savefig.dpi": 160,
    "svg.hashsalt": "vismodels",
}
_CHANGING_METADATA = {".svg": "Date", ".png": "Software"}  # left out, for equal bytes


@dataclass(frozen=True)
class Picture:
    """A stored figure: file name, title, caption for the reader, text for who cannot see it."""

    file: str
    title: str
    caption: str
    alt: str


@contextmanager
def figure_to(path: Path | str, width: float = 7.0, height: float = 3.6) -> "Iterator[Figure]":
    """Yield an empty matplotlib figure in the house style and save it to `path`, whole or not.

    Args:
        path: `.png` for pictures, `.svg` for plots; equal content gives equal bytes.
        width: inches.
        height: inches.

    Raises:
        ValueError: for another suffix.
    """
    import matplotlib
    from matplotlib.figure import Figure

    path = Path(path)
    if path.suffix not in _CHANGING_METADATA:
        known = " or ".join(_CHANGING_METADATA)
        raise ValueError(f"{path}: expected the suffix {known}, got {path.suffix!r}")
    with matplotlib.rc_context(_STYLE), atomic_path(path) as temporary:
        figure = Figure(figsize=(width, height))
        yield figure
        figure.savefig(temporary, metadata={_CHANGING_METADATA[path.suffix]: None})


def draw_curves(
    axes: "Axes", curves: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]]
) -> None:
    """Draw one colour and line style per name, one thin line per run of it.

    Args:
        axes: where to draw.
        curves: name -> one (x, y) pair of sequences for each seed.
    """
    for position, (name, runs) in enumerate(curves.items()):
        for number, (x, y) in enumerate(runs):
            axes.plot(
                x, y,
                color=COLOURS[position % len(COLOURS)],
                linestyle=LINE_STYLES[position % len(LINE_STYLES)],
                linewidth=1.2,
                alpha=0.8,
                label=name if number == 0 else None,
            )  # fmt: skip
    axes.legend()


def write_pictures(folder: Path, pictures: Sequence[Picture]) -> None:
    """Write the list of the pictures in `folder` as `figures.json`, in reading order."""
    write_json(folder / FIGURES, [asdict(picture) for picture in pictures])


def read_pictures(folder: Path) -> list[Picture]:
    """Return the pictures listed in a folder's `figures.json`.

    Raises:
        FileError: if it is missing or damaged.
    """
    path = folder / FIGURES
    try:
        return [Picture(**record) for record in read_json(path)]
    except TypeError as error:
        raise FileError(f"{path}: not a list of pictures ({error}); run the stage again") from error

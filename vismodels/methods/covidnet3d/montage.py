"""Montages of activation maps: slices of a scan, the lesion's outline, the map above them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vismodels.data.array_files import read_arrays, write_arrays
from vismodels.figures import Picture, figure_to

SLICES = 4  # of a scan
ALPHA = 0.45  # of the map over the slice


def store_shown(
    path: Path, scans: dict[str, dict[str, NDArray[Any]]], maps: dict[str, NDArray[Any]]
) -> None:
    """Write what a montage needs: scans in [-1, 1], their lesions, and maps by `network/kind/scan`.

    Args:
        path: an NPZ file.
        scans: name -> `image` (D, H, W) and `lesion`.
        maps: `network/kind/scan` -> (D, H, W).
    """
    arrays: dict[str, NDArray[Any]] = {
        f"{what}/{name}": values for name, of in scans.items() for what, values in of.items()
    }
    write_arrays(path, arrays | maps)


def draw_montage(problem: str, path: Path, folder: Path) -> list[Picture]:
    """Draw one picture for each network: its maps of the stored scans.

    Args:
        problem: its name.
        path: what `store_shown` wrote.
        folder: where to draw.

    Raises:
        FileError: if the file is damaged.
    """
    arrays = read_arrays(path)
    scans = [name.split("/")[1] for name in arrays if name.startswith("image/")]
    rows: dict[str, list[tuple[str, str]]] = {}
    for key in arrays:
        parts = key.split("/")
        if len(parts) == 3:
            rows.setdefault(parts[0], []).append((parts[1], parts[2]))
    return [
        _draw(problem, network, drawn, scans, arrays, folder) for network, drawn in rows.items()
    ]


def _draw(
    problem: str,
    network: str,
    drawn: Sequence[tuple[str, str]],
    scans: Sequence[str],
    arrays: dict[str, NDArray[Any]],
    folder: Path,
) -> Picture:
    file = f"maps_{problem}_{network}.png"
    kinds = list(dict.fromkeys(kind for kind, _ in drawn))
    rows = [(scan, kind) for scan in scans for kind in kinds]
    with figure_to(folder / file, 1.5 * SLICES + 1.2, 1.35 * len(rows) + 0.4) as figure:
        grid = figure.subplots(len(rows), SLICES, squeeze=False)
        for line, (scan, kind) in zip(grid, rows, strict=True):
            image, lesion = arrays[f"image/{scan}"], arrays[f"lesion/{scan}"]
            values = arrays[f"{network}/{kind}/{scan}"].astype(np.float32)
            low, high = float(values.min()), float(values.max())
            for axes, depth in zip(line, _depths(lesion), strict=True):
                axes.imshow(image[depth], cmap="gray", vmin=-1, vmax=1)
                axes.imshow(values[depth], cmap="inferno", alpha=ALPHA, vmin=low, vmax=high)
                if lesion[depth].any():
                    axes.contour(lesion[depth], levels=[0.5], colors="#56B4E9", linewidths=0.9)
                axes.set_xticks([])
                axes.set_yticks([])
                axes.grid(visible=False)
                axes.set_title(f"slice {depth}", fontsize=6)
            line[0].set_ylabel(f"{scan}\n{kind}", fontsize=6)
    return Picture(
        file=file,
        title=f"Where {network} looks, {problem}",
        caption="Activation maps for the true class over slices of test scans, one scale for the "
        "whole volume of a scan; the outline is the known lesion, which no network was shown. "
        "Phantom: generated scans.",
        alt=f"Slices of {len(scans)} scans with {', '.join(kinds)} of {network} as a heat map, and "
        "outlines of the lesions.",
    )


def _depths(lesion: NDArray[Any]) -> list[int]:
    """Return different slices through the lesion, evenly from its first to its last.

    Where it has fewer, some beside it are taken; a scan with fewer repeats its last one.
    """
    held = np.flatnonzero(lesion.any(axis=(1, 2)))
    first, last = (int(held[0]), int(held[-1])) if held.size else (0, len(lesion) - 1)
    missing = max(SLICES - (last - first + 1), 0)
    first = max(min(first - missing // 2, len(lesion) - SLICES), 0)
    last = max(last, min(first + SLICES, len(lesion)) - 1)
    return [int(depth) for depth in np.round(np.linspace(first, last, SLICES))]

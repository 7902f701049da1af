"""The drawing of a found architecture: what each layer became, and how the layers are wired."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from vismodels.figures import Picture, figure_to
from vismodels.methods.quantnas.drawing import GAP, HEIGHT, RADIUS, WIDTH, Drawing, Place
from vismodels.methods.quantnas.space import FIXED_BITS, BasicSkeleton, RFDNSkeleton
from vismodels.nas.genotype import Genotype

STEP = WIDTH + GAP  # from box to box
ROW = HEIGHT + 0.28  # from row to row

Choices = Mapping[str, str]


def draw_architecture(
    name: str,
    seed: int,
    skeleton: BasicSkeleton | RFDNSkeleton,
    genotype: Genotype,
    folder: Path,
) -> Picture:
    """Draw a genotype in its skeleton into `architecture_<name>.svg`."""
    file = f"architecture_{name}.svg"
    choices = genotype.choices
    with figure_to(folder / file) as figure:
        figure.set_layout_engine("none")
        drawing = Drawing(figure)
        if isinstance(skeleton, BasicSkeleton):
            _draw_basic(drawing, skeleton, choices)
        else:
            _draw_rfdn(drawing, skeleton, choices)
        drawing.fit()
    adq = "with ADQ around every branch" if skeleton.adq else "without ADQ"
    return Picture(
        file=file,
        title=f"Architecture that the search “{name}” found",
        caption=f"Seed {seed}, {skeleton.channels} channels, {adq}. A box is a searched layer: its "
        "decision, the chosen operation, the bits of its weights and inputs, which also give the "
        "colour. Dashed boxes are not searched. "
        + (
            "All cells have this architecture, each with weights of its own."
            if isinstance(skeleton, BasicSkeleton)
            else "Each cell reads the result of the one above it; a body layer's result is added "
            "to its input where the widths agree."
        ),
        alt=f"Diagram of a network of {len(choices)} decisions: "
        f"{', '.join(f'{decision} {chosen}' for decision, chosen in choices.items())}.",
    )


def _draw_basic(drawing: Drawing, skeleton: BasicSkeleton, choices: Choices) -> None:
    x = _inner(drawing, 0.0, 0.0, "LR image")
    x = _chain(drawing, x, 0.0, _names("head", skeleton.head_layers), choices)
    split = x - WIDTH / 2 + GAP  # where the body leaves the identity
    start = split + 0.3
    body, skip = _names("body", skeleton.body_layers), _names("skip", skeleton.skip_layers)
    longest = max(len(body), len(skip))
    top, bottom = ROW / 2, -ROW / 2
    end = start + 0.3 + longest * STEP  # x of the cell's sum
    fork = start + 0.12
    drawing.line((split - 0.3, 0.0), (fork, 0.0))
    for names, y in ((body, top), (skip, bottom)):
        first = fork + 0.18 + WIDTH / 2 + (longest - len(names)) * STEP / 2
        centers = [(first + i * STEP, y) for i in range(len(names))]
        drawing.arrow((fork, 0.0), (fork, y), (centers[0][0] - WIDTH / 2, y))
        for name, center in zip(names, centers, strict=True):
            drawing.layer(center, name, choices[name])
        _connect(drawing, centers)
        side = RADIUS if y > 0 else -RADIUS
        drawing.arrow((centers[-1][0] + WIDTH / 2, y), (end, y), (end, side))
    drawing.arrow((fork, 0.0), (end - RADIUS, 0.0))  # the identity of the cell
    drawing.plus((end, 0.0))
    edge = ROW / 2 + HEIGHT / 2 + 0.12
    right = end + RADIUS + 0.12
    count = f"{skeleton.cells} cells in sequence" if skeleton.cells > 1 else "1 cell"
    drawing.frame((start, -edge), (right, edge), count)
    after = right + 0.3
    drawing.arrow((end + RADIUS, 0.0), (after - RADIUS, 0.0))
    high = edge + 0.32
    drawing.arrow((split - 0.1, 0.0), (split - 0.1, high), (after, high), (after, RADIUS))
    drawing.plus((after, 0.0))
    x = _enlarge(drawing, after, choices, skeleton.scale)
    if skeleton.tail_layers:
        x = _tail(drawing, x, _names("tail", skeleton.tail_layers), choices)
    _end(drawing, x, skeleton.bicubic_skip, -edge - 0.2)


def _draw_rfdn(drawing: Drawing, skeleton: RFDNSkeleton, choices: Choices) -> None:
    height = 2 * ROW + 0.6
    for cell in range(skeleton.cells):
        _draw_rfdn_cell(drawing, skeleton, choices, cell, -cell * height)
    y = -skeleton.cells * height + 0.3
    x = _inner(drawing, 0.0, y, "all cells'", "results, joined")
    for lines in (("1x1", f"{FIXED_BITS} bits"), ("3x3", f"{FIXED_BITS} bits")):
        drawing.arrow((x - STEP + WIDTH / 2, y), (x - WIDTH / 2, y))
        drawing.note((x, y), *lines, bits=FIXED_BITS)
        x += STEP
    total = x - WIDTH / 2 + RADIUS
    drawing.arrow((x - STEP + WIDTH / 2, y), (total - RADIUS, y))
    drawing.plus((total, y))
    drawing.arrow((total, y + 0.42), (total, y + RADIUS))
    drawing.say((total + 0.06, y + 0.36), "+ image, repeated over the channels")
    x = _enlarge(drawing, total, choices, skeleton.scale, y)
    if skeleton.tail_layers:
        x = _tail(drawing, x, ["tail_0"], choices, y)
    _end(drawing, x, skeleton.bicubic_skip, y - 0.5, y)


def _draw_rfdn_cell(
    drawing: Drawing, skeleton: RFDNSkeleton, choices: Choices, cell: int, top: float
) -> None:
    lines = ("image, repeated",) if cell == 0 else (f"result of", f"cell {cell - 1}")
    x = _inner(drawing, 0.0, top, *lines)
    bottom, bus = top - ROW, top - ROW - HEIGHT / 2 - 0.14
    for i in range(skeleton.distilled):
        left = x - WIDTH / 2
        body, skip = f"cell_{cell}_body_{i}", f"cell_{cell}_skip_{i}"
        drawing.arrow((left - GAP, top), (left, top))
        fork = left - GAP / 2
        drawing.arrow((fork, top), (fork, bottom), (left, bottom))
        drawing.layer((x, top), f"body_{i}", choices[body])
        drawing.layer((x, bottom), f"skip_{i}", choices[skip])
        drawing.line((x, bottom - HEIGHT / 2), (x, bus))
        x += STEP
    last = f"body_{skeleton.distilled}"
    drawing.arrow((x - STEP + WIDTH / 2, top), (x - WIDTH / 2, top))
    drawing.layer((x, top), last, choices[f"cell_{cell}_{last}"])
    joined = x + STEP
    drawing.arrow((x + WIDTH / 2, top), (joined - WIDTH / 2, top))
    first = WIDTH + GAP
    drawing.arrow((first, bus), (joined, bus), (joined, top - HEIGHT / 2))
    drawing.note((joined, top), "joined, 1x1", "then attention", f"{FIXED_BITS} bits", bits=8)
    total = joined + WIDTH / 2 + 0.4
    drawing.arrow((joined + WIDTH / 2, top), (total - RADIUS, top))
    over = top + HEIGHT / 2 + 0.14
    split = WIDTH / 2 + GAP / 4
    drawing.arrow((split, top), (split, over), (total, over), (total, top + RADIUS))
    drawing.plus((total, top))
    drawing.arrow((total + RADIUS, top), (total + 0.35, top))
    drawing.frame((WIDTH / 2 + 0.02, bus - 0.1), (total + 0.2, over + 0.1), f"cell {cell}")


def _inner(drawing: Drawing, x: float, y: float, *lines: str) -> float:
    """Draw a part that is not searched and return where the next box stands."""
    drawing.note((x, y), *lines)
    return x + STEP


def _chain(drawing: Drawing, x: float, y: float, names: Sequence[str], choices: Choices) -> float:
    """Draw layers one after the other, the first at x, and return where the next box stands."""
    for name in names:
        drawing.arrow((x - WIDTH / 2 - GAP, y), (x - WIDTH / 2, y))
        drawing.layer((x, y), name, choices[name])
        x += STEP
    return x


def _connect(drawing: Drawing, centers: Sequence[Place]) -> None:
    for (left, y), (right, _) in pairwise(centers):
        drawing.arrow((left + WIDTH / 2, y), (right - WIDTH / 2, y))


def _enlarge(drawing: Drawing, total: float, choices: Choices, scale: int, y: float = 0.0) -> float:
    """Draw what comes after the sum at `total`: upsampling and pixel shuffle."""
    x = total + RADIUS + GAP + WIDTH / 2
    x = _chain(drawing, x, y, ["upsample"], choices)
    drawing.arrow((x - STEP + WIDTH / 2, y), (x - WIDTH / 2, y))
    return _inner(drawing, x, y, "pixel shuffle", f"x{scale}")


def _tail(
    drawing: Drawing, x: float, names: Sequence[str], choices: Choices, y: float = 0.0
) -> float:
    """Draw the tail and its identity."""
    fork = x - WIDTH / 2 - GAP / 2
    x = _chain(drawing, x, y, names, choices)
    total = x - WIDTH / 2 + RADIUS
    over = y + HEIGHT / 2 + 0.2
    drawing.arrow((x - STEP + WIDTH / 2, y), (total - RADIUS, y))
    drawing.arrow((fork, y), (fork, over), (total, over), (total, y + RADIUS))
    drawing.plus((total, y))
    return total + RADIUS + GAP + WIDTH / 2


def _end(drawing: Drawing, x: float, bicubic: bool, below: float, y: float = 0.0) -> None:
    """Draw the large image, and the bicubic image that is added to it."""
    drawing.arrow((x - WIDTH / 2 - GAP, y), (x - WIDTH / 2, y))
    drawing.note((x, y), "HR image", *(("+ bicubic image",) if bicubic else ()))


def _names(group: str, count: int) -> list[str]:
    return [f"{group}_{i}" for i in range(count)]

"""The drawing of a found architecture: what each layer became, and how the layers are wired."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from vismodels.figures import Picture, figure_to
from vismodels.methods.quantnas.drawing import GAP, HEIGHT, RADIUS, WIDTH, Drawing, Place
from vismodels.methods.quantnas.space import (
    FIXED_BITS,
    BasicSkeleton,
    FixedSpace,
    RFDNSkeleton,
    SpaceConfig,
)
from vismodels.nas.genotype import Genotype

STEP = WIDTH + GAP  # from box to box
ROW = HEIGHT + 0.28  # from row to row
BOXES_A_LINE = 7
INDENT = 0.24  # between what a cell reads and its first layers

Choices = Mapping[str, str]


def draw_architecture(
    name: str,
    seed: int,
    space: SpaceConfig | FixedSpace,
    genotype: Genotype,
    folder: Path,
) -> Picture:
    """Draw a genotype of a space into `architecture_<name>.svg`."""
    file = f"architecture_{name}.svg"
    choices = genotype.choices
    with figure_to(folder / file) as figure:
        figure.set_layout_engine("none")
        drawing = Drawing(figure)
        if isinstance(space, FixedSpace):
            _draw_sequence(drawing, choices)
        elif isinstance(space.skeleton, BasicSkeleton):
            _draw_basic(drawing, space.skeleton, choices)
        else:
            _draw_rfdn(drawing, space.skeleton, choices)
        drawing.fit()
    return Picture(
        file=file,
        title=f"Architecture that the search “{name}” found",
        caption=f"Seed {seed}. {_about(space)} A box is a searched layer: its decision, what was "
        "chosen, the bits of its weights and inputs, which also give the colour.",
        alt=f"Diagram of a network of {len(choices)} decisions: "
        f"{', '.join(f'{decision} {chosen}' for decision, chosen in choices.items())}.",
    )


def _about(space: SpaceConfig | FixedSpace) -> str:
    """Return what the reader must know about a space's drawings."""
    if isinstance(space, FixedSpace):
        return f"The convolutions of {space.model} in the order of the network."
    skeleton = space.skeleton
    adq = "with ADQ around every branch" if skeleton.adq else "without ADQ"
    size = f"{skeleton.channels} channels, {adq}. Dashed boxes are not searched."
    if isinstance(skeleton, BasicSkeleton):
        return f"{size} All cells have this architecture, each with weights of its own."
    return (
        f"{size} Each cell reads the result of the one above it; a body layer's result is added to "
        "its input where the widths agree."
    )


def _draw_sequence(drawing: Drawing, choices: Choices) -> None:
    """Draw layers in lines, as text is written."""
    for number, (decision, chosen) in enumerate(choices.items()):
        line, place = divmod(number, BOXES_A_LINE)
        x, y = place * STEP, -line * ROW
        drawing.layer((x, y), decision, chosen)
        if place:
            drawing.arrow((x - WIDTH / 2 - GAP, y), (x - WIDTH / 2, y))
        elif line:
            above, end = y + ROW / 2, (BOXES_A_LINE - 1) * STEP
            start = (end, y + ROW - HEIGHT / 2)
            drawing.arrow(start, (end, above), (x, above), (x, y + HEIGHT / 2))


def _draw_basic(drawing: Drawing, skeleton: BasicSkeleton, choices: Choices) -> None:
    x = _inner(drawing, 0.0, 0.0, "LR image")
    x = _chain(drawing, x, 0.0, _names("head", skeleton.head_layers), choices)
    left = x - WIDTH / 2 - GAP  # right edge of the head
    split, start = left + 0.15, left + 0.3  # where the identity leaves; left edge of the cells
    body, skip = _names("body", skeleton.body_layers), _names("skip", skeleton.skip_layers)
    longest = max(len(body), len(skip))
    top, bottom = ROW / 2, -ROW / 2
    end = start + 0.3 + longest * STEP  # x of the cell's sum
    fork = start + 0.12
    drawing.line((left, 0.0), (fork, 0.0))
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
    after = right + 0.28
    drawing.arrow((end + RADIUS, 0.0), (after - RADIUS, 0.0))
    high = edge + 0.32
    drawing.arrow((split, 0.0), (split, high), (after, high), (after, RADIUS))
    drawing.plus((after, 0.0))
    x = _enlarge(drawing, after, choices, skeleton.scale)
    if skeleton.tail_layers:
        x = _tail(drawing, x, _names("tail", skeleton.tail_layers), choices)
    _end(drawing, x, skeleton.bicubic_skip)


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
    _end(drawing, x, skeleton.bicubic_skip, y)


def _draw_rfdn_cell(
    drawing: Drawing, skeleton: RFDNSkeleton, choices: Choices, cell: int, top: float
) -> None:
    lines = ("image, repeated",) if cell == 0 else ("result of", f"cell {cell - 1}")
    x = _inner(drawing, 0.0, top, *lines) + INDENT
    drawing.line((WIDTH / 2, top), (WIDTH / 2 + INDENT, top))
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
    drawing.arrow((STEP + INDENT, bus), (joined, bus), (joined, top - HEIGHT / 2))
    drawing.note((joined, top), "joined, 1x1", "then attention", f"{FIXED_BITS} bits", bits=8)
    total = joined + WIDTH / 2 + 0.4
    drawing.arrow((joined + WIDTH / 2, top), (total - RADIUS, top))
    over = top + HEIGHT / 2 + 0.14
    split = WIDTH / 2 + INDENT
    drawing.arrow((split, top), (split, over), (total, over), (total, top + RADIUS))
    drawing.plus((total, top))
    drawing.arrow((total + RADIUS, top), (total + 0.35, top))
    drawing.frame((WIDTH / 2 + INDENT / 2, bus - 0.1), (total + 0.2, over + 0.1), f"cell {cell}")


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


def _end(drawing: Drawing, x: float, bicubic: bool, y: float = 0.0) -> None:
    """Draw the large image, and the bicubic image that is added to it."""
    drawing.arrow((x - WIDTH / 2 - GAP, y), (x - WIDTH / 2, y))
    drawing.note((x, y), "HR image", *(("+ bicubic image",) if bicubic else ()))


def _names(group: str, count: int) -> list[str]:
    return [f"{group}_{i}" for i in range(count)]

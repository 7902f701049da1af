"""Floors: a PSNR-Y that a network must reach on a set, checked where the set is scored."""

from collections.abc import Sequence
from dataclasses import replace

from vismodels.config import Config
from vismodels.metrics.image import PSNR_Y
from vismodels.results import Gate, Score


class Floor(Config):
    """A PSNR-Y in dB that a network must reach on a set of test images."""

    set: str
    network: str
    psnr_y: float


def with_floors(floors: Sequence[Floor], scores: Sequence[Score]) -> list[Score]:
    """Return the scores, with the gate "at least so many dB on this set" where one applies.

    Args:
        floors: bounds fixed beforehand; those of a set or network that was not scored do nothing.
        scores: records with PSNR-Y on a set, `dataset["card"]`.
    """
    bounds = {(floor.set, floor.network): floor.psnr_y for floor in floors}
    checked = []
    for record in scores:
        card, value = record.dataset["card"], record.value(PSNR_Y.name).value
        bound = bounds.get((card, record.variant))
        if bound is not None and value is not None:
            gate = Gate(f"PSNR-Y on {card}, dB", value, bound)
            record = replace(record, gates=[*record.gates, gate])
        checked.append(record)
    return checked

"""Segment whole test cases with a trained model, into NIfTI files that tell everything scored.

Hu et al. (2018), arXiv 1810.09488. `<case>.nii.gz` has labels of the scheme that the case's own
files have, on the grid the case was prepared on; `segment_files` returns to that of the scanner's
files. The masks of the regions lie beside it as bits, since three independent masks need not be
nested and labels are.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vismodels.data.brain_cases import BrainCase
from vismodels.data.label_schemes import LabelScheme, scheme_by_name
from vismodels.methods.multilevel_activation.build import build_head
from vismodels.methods.multilevel_activation.config import InferenceSettings, SegmentConfig
from vismodels.methods.multilevel_activation.files import (
    LABELS,
    MASKS,
    PRODUCT,
    write_regions,
    write_segmentation,
)
from vismodels.methods.multilevel_activation.heads import SigmoidRegionsHead
from vismodels.methods.multilevel_activation.inference import predict_logits
from vismodels.methods.multilevel_activation.nesting import multiply, violations
from vismodels.metrics.segmentation import CASES, ET_OUTSIDE_TC, TC_OUTSIDE_WT
from vismodels.results import Score, Value

STAGE = "multilevel_segment"


@dataclass(frozen=True)
class Segmented:
    """The record, and CPU seconds of a case, which vary from run to run."""

    score: Score
    timings: dict[str, float] = field(default_factory=dict)


def case_logits(
    network: torch.nn.Module,
    case: BrainCase,
    settings: InferenceSettings,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return the logits of a case, (K, D, H, W) float32; see `inference.predict_logits`."""
    return predict_logits(
        network,
        torch.from_numpy(case.images),
        window=settings.window,
        overlap=settings.overlap,
        batch=settings.batch,
        flips=settings.flips,
        dtype=None if settings.dtype == "float32" else torch.bfloat16,
        device=device,
    )


def segment(
    config: SegmentConfig,
    network: torch.nn.Module,
    cases: Sequence[BrainCase],
    folder: Path,
    *,
    name: str,
    seed: int,
    device: torch.device | str = "cpu",
) -> Segmented:
    """Write the segmentations of all cases below `folder`; return what was counted on the way.

    Args:
        config: head and inference.
        network: trained, below the head.
        cases: standardized.
        folder: where the files go.
        name: of the model, in its record.
        seed: of its training.
        device: where to compute.

    Raises:
        ValueError: if neither the cases nor the settings name a label scheme.
    """
    settings, head = config.inference, build_head(config.variant.head)
    network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    found: dict[str, NDArray[np.bool_]] = {}
    seconds = []
    for case in cases:
        clock = time.process_time()
        logits = case_logits(network, case, settings, device)
        regions = head.regions(logits[None])[0].numpy()
        levels = head.levels(logits[None])[0].numpy()
        seconds.append(time.process_time() - clock)
        write_segmentation(
            folder / f"{case.name}{LABELS}", levels, case.affine, _scheme(settings.scheme, case)
        )
        write_regions(folder / f"{case.name}{MASKS}", regions, case.affine)
        if isinstance(head, SigmoidRegionsHead):
            product = multiply(head.probabilities(logits[None])[0]).numpy()
            write_regions(folder / f"{case.name}{PRODUCT}", product, case.affine)
        found[case.name] = regions
    return Segmented(_score(config, name, seed, found), {"cpu_seconds_per_case": fmean(seconds)})


def _scheme(stated: str | None, case: BrainCase) -> LabelScheme:
    name = stated or case.scheme
    if not name:
        raise ValueError(
            f"case {case.name!r} names no label scheme to write; set inference.scheme, e.g. to "
            "'brats2023'"
        )
    return scheme_by_name(name)


def _score(
    config: SegmentConfig, name: str, seed: int, found: dict[str, NDArray[np.bool_]]
) -> Score:
    counted = {case: violations(regions) for case, regions in found.items()}
    enhancing = {case: float(each.et_outside_tc) for case, each in counted.items()}
    core = {case: float(each.tc_outside_wt) for case, each in counted.items()}
    return Score(
        stage=STAGE,
        variant=name,
        seed=seed,
        dataset={"card": config.cases.card, "split": "test", "items": len(found)},
        values=[
            Value(CASES, len(found)),
            Value(ET_OUTSIDE_TC, sum(enhancing.values()), enhancing),
            Value(TC_OUTSIDE_WT, sum(core.values()), core),
        ],
        note=config.cases.note,
    )

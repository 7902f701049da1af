"""A denoiser quantized by a recipe, in one call: from nearest rounding to finetuning."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vismodels.methods.quest.calibration import calibrate_
from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.closed_form import FitReport, fit_in_closed_form_
from vismodels.methods.quest.config import Recipe
from vismodels.methods.quest.finetuning import StageReport, finetune_
from vismodels.methods.quest.layer_sets import parameter_share
from vismodels.methods.quest.objective import epsilon_weights
from vismodels.methods.quest.quantize import LayerReport, quantize_
from vismodels.methods.quest.reconstruction import UnitReport, reconstruct_
from vismodels.methods.quest.shortcuts import find_splits
from vismodels.nn.modes import evaluation_mode
from vismodels.training.loop import CHECKPOINT, remove_checkpoint


@dataclass(frozen=True)
class RecipeReport:
    """What became of a denoiser.

    Args:
        layers: what is quantized.
        units: of a reconstruction.
        fits: of a closed form.
        stages: of a finetuning.
        tuned_share: of the network's parameters, in all stages together, 0 to 1.
    """

    layers: tuple[LayerReport, ...]
    units: tuple[UnitReport, ...] = ()
    fits: tuple[FitReport, ...] = ()
    stages: tuple[StageReport, ...] = ()
    tuned_share: float = 0.0

    @property
    def iterations(self) -> int:
        """Of the finetuning, all stages together."""
        return sum(stage.iterations for stage in self.stages)

    @property
    def tuning_seconds(self) -> float:
        """Of the processor, for the finetuning alone."""
        return sum(stage.seconds for stage in self.stages)


def quantize_pipeline_(
    pipeline: Any,
    recipe: Recipe,
    calibration: CalibrationSet,
    *,
    pool: CalibrationSet | None = None,
    component: str = "unet",
    seed: int = 0,
    checkpoint_dir: Path | str | None = None,
) -> RecipeReport:
    """Quantize the denoiser of a pipeline by a recipe.

        pipeline = StableDiffusionPipeline.from_pretrained(folder)
        calls = [{"prompt": prompt, "num_inference_steps": 20} for prompt in prompts]
        calibration = collect(pipeline, calls)
        quantize_pipeline_(pipeline, recipe("selective"), calibration)
        pipeline("a red ball")  # 4-bit weights and activations

    Args:
        pipeline: of diffusers, in floating point, changed in place; or a denoiser itself, if the
            recipe does not ask for `prediction: epsilon`, which needs a scheduler.
        recipe: what is done; `config.recipe` names the usual ones.
        calibration: inputs of the denoiser, for ranges and rounding.
        pool: inputs for finetuning; None: those of the calibration.
        component: the denoiser's name: `unet`, or `transformer`.
        seed: of batches.
        checkpoint_dir: scratch folder; the same call goes on where an interrupted one ended;
            `remove_checkpoints` clears it once results are written.

    Raises:
        ValueError: as the steps do, or for `prediction: epsilon` without a scheduler.
    """
    model = pipeline if isinstance(pipeline, nn.Module) else getattr(pipeline, component)
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    teacher = copy.deepcopy(model)
    splits = None
    if recipe.quantization.split_shortcuts:
        sample = calibration.select(torch.arange(1))
        with evaluation_mode(model):
            splits = find_splits(model, **sample.arguments(like=model))
    report: dict[str, Any] = {"layers": quantize_(model, recipe.quantization, splits)}
    # Scales that go into weights belong to what is rounded: they are known before it is.
    folds = recipe.quantization.activations.granularity == "channel"
    if folds or recipe.reconstruction is None:
        calibrate_(model, calibration)
    if recipe.reconstruction is not None:
        report["units"] = reconstruct_(
            model,
            teacher,
            calibration,
            recipe.reconstruction,
            seed=seed,
            checkpoint_dir=_inside(folder, "reconstruction"),
        )
        if not folds:
            calibrate_(model, calibration, with_quantized_weights=True)
    if recipe.closed_form is not None:
        report["fits"] = fit_in_closed_form_(model, teacher, calibration, recipe.closed_form)
    if recipe.finetuning is not None:
        tuned = calibration if pool is None else pool
        weights = None
        if recipe.finetuning.prediction == "epsilon":
            if isinstance(pipeline, nn.Module):
                raise ValueError("prediction: epsilon needs a pipeline, whose scheduler it asks")
            weights = epsilon_weights(pipeline.scheduler, tuned.timesteps)
        report["stages"] = finetune_(
            model,
            teacher,
            tuned,
            recipe.finetuning,
            seed=seed,
            sample_weights=weights,
            checkpoint_dir=_inside(folder, "finetuning"),
        )
        report["tuned_share"] = _share(teacher, report["stages"])
    return RecipeReport(**report)


def remove_checkpoints(folder: Path | str) -> None:
    """Delete the checkpoints of a finished call, and the folders with nothing else in them."""
    parents = {path.parent for path in Path(folder).rglob(CHECKPOINT)}
    for parent in sorted(parents, reverse=True):
        remove_checkpoint(parent)
    for each in sorted((p for p in Path(folder).rglob("*") if p.is_dir()), reverse=True):
        if not any(each.iterdir()):
            each.rmdir()


def _share(model: nn.Module, stages: tuple[StageReport, ...]) -> float:
    """Return the share of the parameters that at least one stage tuned."""
    layers = {name for stage in stages for name in stage.layers}
    return max(parameter_share(model, layers), *(stage.share for stage in stages))


def _inside(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / name

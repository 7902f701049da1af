"""NAF-DPM as a pipeline of diffusers: predictor, denoiser and solver, saved and loaded together.

Cicchetti and Comminiello (2024), "NAF-DPM", arXiv 2404.05669. `restore` takes a page of any kind
and size.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.utils.outputs import BaseOutput
from torch import Tensor

from vismodels.diffusion.sampling import noise_like
from vismodels.diffusion.schedules import linear_betas, solver
from vismodels.methods.nafdpm.config import Task
from vismodels.methods.nafdpm.levels import leveled
from vismodels.methods.nafdpm.model import PredictAndRefine
from vismodels.methods.nafdpm.restoration import (
    Tiling,
    predict_page,
    refine_page,
    sample_residual,
)
from vismodels.nn.image_kinds import AnyImage, from_unit, like_image, to_grey, to_tensor, to_unit
from vismodels.nn.nafnet import ConditionalNAFNet, NAFNet, check_channels
from vismodels.seeding import generator as seeded

NUM_STEPS = 5  # the difference to 20 is invisible, see benchmarks/nafdpm.py
OVERLAP = 16


@dataclass
class RestorationOutput(BaseOutput):
    """What the pipeline returns.

    Args:
        images: (B, C, H, W) in [0, 1], refined; the predictions where nothing was refined.
        predictions: (B, C, H, W) in [0, 1], of the predictor alone.
    """

    images: Tensor
    predictions: Tensor


class NAFDPMPipeline(DiffusionPipeline):
    """Restores pages: a first guess, plus the residual that a diffusion model samples for it.

    Args:
        predictor: the first guess.
        denoiser: of the residual; None for the predictor alone.
        scheduler: goes from noise to residual.
        task: `deblurring` or `binarization`.
        tile_size: edge of the training patches, which pages are cut into.
        time_scale: the denoiser sees timestep / T * time_scale; None for T, as in
            training.
        condition_on_input: the denoiser sees the degraded page too.
        threshold: a binarization's page is white from this value on.
        page_levels: pages are brought to the same levels of ink and paper first; see `levels`.

    Raises:
        ValueError: if the networks do not fit one another, or a number is out of range.
    """

    _optional_components = ["denoiser"]  # noqa: RUF012  (diffusers reads it from the class)

    def __init__(
        self,
        predictor: NAFNet,
        denoiser: ConditionalNAFNet | None,
        scheduler: DPMSolverMultistepScheduler,
        task: str = "deblurring",  # a Task; diffusers compares with this annotation
        tile_size: int = 128,
        time_scale: float | None = None,
        condition_on_input: bool = False,
        threshold: float = 0.5,
        page_levels: bool = False,
    ) -> None:
        super().__init__()
        if task not in ("deblurring", "binarization"):
            raise ValueError(f"task is deblurring or binarization, got {task!r}")
        if tile_size <= 2 * OVERLAP:
            raise ValueError(f"tile_size must be above {2 * OVERLAP} pixels, got {tile_size}")
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
        if page_levels and (task, predictor.image_channels) != ("binarization", 1):
            raise ValueError(
                "page_levels is for a binarization of grey pages, whose result has no levels of "
                f"its own; got {task} with {predictor.image_channels} channels"
            )
        channels = predictor.image_channels
        seen = channels * (2 if condition_on_input else 1)
        if denoiser is not None and (denoiser.image_channels, denoiser.condition_channels) != (
            channels,
            seen,
        ):
            raise ValueError(
                f"expected a denoiser of {channels} channels with {seen} of the condition, got "
                f"{denoiser.image_channels} with {denoiser.condition_channels}; is "
                "condition_on_input as in training?"
            )
        self.register_modules(  # type: ignore[no-untyped-call]
            predictor=predictor, denoiser=denoiser, scheduler=scheduler
        )
        self.register_to_config(  # type: ignore[no-untyped-call]
            task=task,
            tile_size=tile_size,
            time_scale=time_scale,
            condition_on_input=condition_on_input,
            threshold=threshold,
            page_levels=page_levels,
        )

    @classmethod
    def from_model(
        cls, model: PredictAndRefine, task: Task, tile_size: int, threshold: float = 0.5
    ) -> "NAFDPMPipeline":
        """Return a pipeline of the networks of a trained model, which it shares.

        Args:
            model: its diffusion's configuration gives solver and time scale.
            task: see the class.
            tile_size: see the class.
            threshold: see the class.
        """
        diffusion = model.diffusion
        scheduler = solver(
            linear_betas(diffusion.timesteps),
            prediction_type=diffusion.prediction_type,
            order=diffusion.order,
            final_sigma=diffusion.final_sigma,
        )
        return cls(
            model.predictor,
            model.denoiser,
            scheduler,
            task=task,
            tile_size=tile_size,
            time_scale=diffusion.time_scale,
            condition_on_input=model.with_input,
            threshold=threshold,
            page_levels=model.page_levels,
        )

    @torch.no_grad()
    def __call__(
        self,
        image: Tensor,
        *,
        num_steps: int = NUM_STEPS,
        generator: torch.Generator | None = None,
        samples: int = 1,
        overlap: int = OVERLAP,
        batch_size: int | None = None,
        blank_tolerance: float | None = 0.03,
    ) -> RestorationOutput:
        """Return restored pages, of values between black and white for a binarization too.

        All pages of a batch get the same noise: a page does not depend on its neighbours.

        Args:
            image: (B, C, H, W) in [0, 1], with the channels of the networks; any size.
            num_steps: calls of the denoiser for each tile, at most T; 0 for the prediction alone.
            generator: of the noise, on the CPU; None for a fixed one.
            samples: residuals that are drawn and averaged.
            overlap: pixels that neighbouring tiles share at least, below half of `tile_size`.
            batch_size: tiles computed at a time; None for the fastest on CPUs.
            blank_tolerance: see `restoration.Tiling`.

        Raises:
            ValueError: if the image has another shape, or a number is out of range.
        """
        check_channels(image, self.predictor.image_channels, "images")
        timesteps = self.scheduler.config.num_train_timesteps
        if not 0 <= num_steps <= timesteps:
            raise ValueError(f"num_steps must be in 0..{timesteps}, got {num_steps}")
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        if generator is None:
            generator = seeded(0, "nafdpm", "restore")
        task: Task = self.config["task"]
        tiling = Tiling(self.config["tile_size"], overlap, batch_size, blank_tolerance)
        page = image.to(self.device, self.dtype)
        if self.config["page_levels"]:
            page = leveled(page)
        prediction = predict_page(self.predictor, page, tiling, task)
        if self.denoiser is None or num_steps == 0:
            predicted = prediction.clamp(0, 1)
            return RestorationOutput(images=predicted, predictions=predicted)
        condition = (
            torch.cat([prediction, page], dim=1)
            if self.config["condition_on_input"]
            else prediction
        )
        residuals = [
            sample_residual(
                self.denoiser,
                self.scheduler,
                page,
                condition,
                noise_like((1, *page.shape[1:]), generator, page),
                num_steps,
                tiling,
                task,
                self.config["time_scale"] or timesteps,
            )
            for _ in range(samples)
        ]
        return RestorationOutput(
            images=refine_page(prediction, residuals), predictions=prediction.clamp(0, 1)
        )

    def restore(
        self,
        image: AnyImage,
        *,
        num_steps: int = NUM_STEPS,
        seed: int = 0,
        result: Literal["refined", "predicted"] = "refined",
        soft: bool = False,
        samples: int = 1,
        overlap: int = OVERLAP,
        batch_size: int | None = None,
        blank_tolerance: float | None = 0.03,
    ) -> AnyImage:
        """Return a restored page, or a batch of them, of the kind, size and dtype of `image`.

        An alpha channel is kept as it is, a grey image stays grey. Networks of one channel see the
        luma of RGB, and all channels change by what it changes; a binarization makes them equal.

        Args:
            image: any kind that `nn.image_kinds.to_tensor` knows, of any size.
            num_steps: see `__call__`.
            seed: of the noise; equal seeds give equal pages.
            result: `predicted` for what the predictor alone makes of the page.
            soft: the values between black and white of a binarization, without threshold.
            samples: see `__call__`.
            overlap: see `__call__`.
            batch_size: see `__call__`.
            blank_tolerance: see `__call__`.

        Raises:
            ValueError: if the image is empty or has another mode, shape or range, `result` is
                unknown, or a number is out of range.
            TypeError: for another kind of image or another dtype.
        """
        if result not in ("refined", "predicted"):
            raise ValueError(f"result is refined or predicted, got {result!r}")
        pixels = to_tensor(image)
        alpha = pixels[:, -1:] if pixels.shape[1] in (2, 4) else pixels[:, :0]
        color = to_unit(pixels[:, : pixels.shape[1] - alpha.shape[1]], self.dtype).to(self.device)
        channels = self.predictor.image_channels
        if color.shape[1] == channels:
            seen = color
        else:
            seen = to_grey(color) if channels == 1 else color.repeat(1, channels, 1, 1)
        output = self(
            seen,
            num_steps=num_steps if result == "refined" else 0,
            generator=seeded(seed, "nafdpm", "restore"),
            samples=samples,
            overlap=overlap,
            batch_size=batch_size,
            blank_tolerance=blank_tolerance,
        )
        restored = output.images
        if self.config["task"] == "binarization":
            restored = restored.mean(1, keepdim=True)
            restored = restored if soft else (restored >= self.config["threshold"]).to(restored)
            restored = restored.expand_as(color)
        elif color.shape[1] < channels:
            restored = restored.mean(1, keepdim=True)
        elif color.shape[1] > channels:
            restored = color + (restored - seen)
        done = from_unit(restored, pixels.dtype).to(pixels.device)
        return like_image(torch.cat([done, alpha], dim=1), image)

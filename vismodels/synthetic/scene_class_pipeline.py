"""A diffusion transformer that paints classes of scenes: a `DiTPipeline` in small.

The transformer is that of Peebles and Xie (2023, arXiv 2212.09748), of diffusers; code and
scheduler are those of the scene model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.pipelines.dit.pipeline_dit import DiTPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from vismodels.checkpoint import load_weights, save_weights
from vismodels.seeding import derive_seed, generator
from vismodels.synthetic.scene_classes import CLASSES
from vismodels.synthetic.scene_config import SceneClassModelConfig
from vismodels.synthetic.scene_latents import PatchVAE, fit_scene_code
from vismodels.synthetic.scene_pipeline import build_scheduler, check_pipeline_folder, own_memory_
from vismodels.synthetic.scenes import EDGE

STAGE = "scene_class_model"


def build_class_pipeline(config: SceneClassModelConfig, seed: int) -> DiTPipeline:
    """Return a pipeline with an untrained transformer and the finished code of the scenes.

    Args:
        config: sizes, and the scenes that the code is computed from.
        seed: of the run; it decides scenes and weights.
    """
    code = fit_scene_code(config.scenes, config.code, seed)
    network = config.network
    with torch.random.fork_rng(devices=[]):  # diffusers initializes from the global generator
        torch.manual_seed(derive_seed(seed, STAGE, "weights"))
        transformer = DiTTransformer2DModel(
            num_attention_heads=network.heads,
            attention_head_dim=network.head_width,
            num_layers=network.layers,
            in_channels=config.code.components,
            out_channels=config.code.components,
            sample_size=EDGE // config.code.patch_size,
            patch_size=network.patch_size,
            num_embeds_ada_norm=len(CLASSES),
        )
    return assemble_class_pipeline(code, transformer)


def assemble_class_pipeline(
    code: PatchVAE, transformer: DiTTransformer2DModel, scheduler: DDIMScheduler | None = None
) -> DiTPipeline:
    """Return a pipeline of these parts, which it shares, in evaluation mode.

    Args:
        code: between images and latents.
        transformer: the denoiser.
        scheduler: None for the one that the transformer is trained with.
    """
    parts: dict[str, Any] = {
        "transformer": transformer.eval(),
        "vae": code.eval(),
        "scheduler": build_scheduler() if scheduler is None else scheduler,
    }
    pipeline = DiTPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    return pipeline


def generate_classes(
    pipeline: DiTPipeline,
    classes: Sequence[int],
    num_steps: int,
    seed: int,
    *names: str | int,
    batch_size: int = 100,
) -> Tensor:
    """Return images on the CPU, (N, 3, H, W) in [0, 1], by the pipeline's own call.

    An image depends on its class and its number, not on its batch.

    Args:
        pipeline: of classes.
        classes: N of them.
        num_steps: calls of the denoiser.
        seed: of the noise.
        names: what the images are for; see `seeding.derive_seed`.
        batch_size: images at a time.
    """
    parts = []
    for start in range(0, len(classes), batch_size):
        chosen = list(classes[start : start + batch_size])
        images = pipeline(
            chosen,
            num_inference_steps=num_steps,
            guidance_scale=1.0,
            generator=[generator(seed, *names, start + i) for i in range(len(chosen))],
            output_type="np",
            return_dict=False,
        )[0]
        parts.append(torch.from_numpy(images).movedim(-1, 1).contiguous())
    return torch.cat(parts)


def save_class_model(pipeline: DiTPipeline, folder: Path | str) -> None:
    """Write a pipeline into `folder`; its bytes depend on classes, settings and tensors only.

    Args:
        pipeline: as `build_class_pipeline` makes them, trained or changed.
        folder: written into; made if need be.
    """
    folder = Path(folder)
    pipeline.save_pretrained(folder)
    for name in ("vae", "transformer"):
        save_weights(getattr(pipeline, name), folder / name)


def load_class_model(folder: Path | str, device: torch.device | str = "cpu") -> DiTPipeline:
    """Return the pipeline saved in `folder`, on `device`, after checking every file of it.

    Args:
        folder: a local folder written by `save_class_model`; nothing is fetched.
        device: where the networks go.

    Raises:
        FileError: for a missing or damaged folder, or one of another pipeline.
    """
    folder = Path(folder)
    check_pipeline_folder(folder, DiTPipeline.__name__, "save_class_model")
    pipeline = assemble_class_pipeline(
        load_weights(PatchVAE, folder / "vae").requires_grad_(False),
        load_weights(DiTTransformer2DModel, folder / "transformer"),
        DDIMScheduler.from_pretrained(folder / "scheduler", local_files_only=True),
    )
    own_memory_((pipeline.vae, pipeline.transformer))
    return pipeline.to(device)

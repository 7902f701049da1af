"""The scene model: a Stable Diffusion pipeline in small, built, stored, and asked for images.

All parts are classes of diffusers and transformers but the closed-form `PatchVAE`. The scheduler
goes from pure noise (zero terminal SNR; Lin et al. 2024, arXiv 2305.08891), so that one step is a
legal one.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel
from transformers.utils import logging

from vismodels.checkpoint import load_weights, save_weights
from vismodels.files import MANIFEST, FileError, check_manifest, read_json, write_json
from vismodels.seeding import derive_seed, generator
from vismodels.synthetic.scene_config import SceneModelConfig, SceneNetworkConfig
from vismodels.synthetic.scene_latents import PatchVAE, fit_scene_code
from vismodels.synthetic.scene_tokenizer import build_tokenizer
from vismodels.synthetic.scenes import EDGE

INDEX = "model_index.json"
NETWORKS = ("vae", "text_encoder", "unet")
_UNUSED = ("safety_checker", "feature_extractor")
_TOKENIZER_USE = (  # how a tokenizer was loaded and called last, in its configuration
    *("is_local", "local_files_only", "max_length", "pad_to_multiple_of"),
    *("pad_token_type_id", "padding_side"),
)


def build_pipeline(config: SceneModelConfig, seed: int) -> StableDiffusionPipeline:
    """Return a pipeline with untrained networks and the finished code of the scenes.

    Args:
        config: sizes, and the scenes that the code is computed from.
        seed: of the run; it decides scenes and weights.
    """
    code = fit_scene_code(config.scenes, config.code, seed)
    tokenizer = build_tokenizer(config.network.text_length)
    with torch.random.fork_rng(devices=[]):  # both libraries initialize from the global generator
        torch.manual_seed(derive_seed(seed, "scene_model", "weights"))
        text_encoder = CLIPTextModel(_text_config(config.network, tokenizer))
        unet = _build_unet(config)
    return assemble(code, text_encoder, tokenizer, unet)


def assemble(
    code: PatchVAE,
    text_encoder: CLIPTextModel,
    tokenizer: PreTrainedTokenizerFast,
    unet: UNet2DConditionModel,
    scheduler: DDIMScheduler | None = None,
) -> StableDiffusionPipeline:
    """Return a pipeline of these parts, which it shares, in evaluation mode.

    Args:
        code: between images and latents.
        text_encoder: of the captions.
        tokenizer: of the captions.
        unet: the denoiser.
        scheduler: None for the one that the networks are trained with.
    """
    parts: dict[str, Any] = dict.fromkeys(_UNUSED) | {
        "vae": code,
        "text_encoder": text_encoder,
        "tokenizer": tokenizer,
        "unet": unet,
        "scheduler": build_scheduler() if scheduler is None else scheduler,
    }
    pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    for name in NETWORKS:
        parts[name].eval()
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    return pipeline


def build_scheduler() -> DDIMScheduler:
    """Return the scheduler: Stable Diffusion's betas, but no signal at all at the last timestep."""
    scheduler: DDIMScheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",  # the first step is the last timestep
        clip_sample=False,
        steps_offset=1,  # unused by this spacing; pipelines warn of another value
    )
    return scheduler


def save_scene_model(pipeline: StableDiffusionPipeline, folder: Path | str) -> None:
    """Write a pipeline into `folder`; its bytes depend on classes, settings and tensors only.

    Give it a folder of `files.atomic_folder` to make it appear whole and with a manifest.

    Args:
        pipeline: as `build_pipeline` makes them, trained or changed.
        folder: written into; made if need be.
    """
    folder = Path(folder)
    pipeline.tokenizer.backend_tokenizer.no_padding()  # as the last call left it
    pipeline.tokenizer.backend_tokenizer.no_truncation()
    with _without_bars():
        pipeline.save_pretrained(folder)
    for name in ("vae", "unet"):
        save_weights(getattr(pipeline, name), folder / name)
    _rewrite(folder / INDEX, leave_out=("_name_or_path",))  # where it was loaded from once
    _rewrite(folder / "tokenizer" / "tokenizer_config.json", leave_out=_TOKENIZER_USE)


def load_scene_model(
    folder: Path | str, device: torch.device | str = "cpu"
) -> StableDiffusionPipeline:
    """Return the pipeline saved in `folder`, on `device`, after checking every file of it.

    `StableDiffusionPipeline.from_pretrained(folder)` reads it too, where this package is installed.

    Args:
        folder: a local folder written by `save_scene_model`; nothing is fetched.
        device: where the networks go.

    Raises:
        FileError: for a missing or damaged folder, or one of another pipeline.
    """
    folder = Path(folder)
    check_pipeline_folder(folder, StableDiffusionPipeline.__name__, "save_scene_model")
    pipeline = assemble(
        load_weights(PatchVAE, folder / "vae").requires_grad_(False),
        _load_text_encoder(folder / "text_encoder"),
        PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer", local_files_only=True),
        load_weights(UNet2DConditionModel, folder / "unet"),
        DDIMScheduler.from_pretrained(folder / "scheduler", local_files_only=True),
    )
    own_memory_(getattr(pipeline, name) for name in NETWORKS)
    return pipeline.to(device)


def check_pipeline_folder(folder: Path, pipeline: str, written_by: str) -> None:
    """Raise an error unless a folder holds a pipeline of scenes of this class, undamaged.

    Args:
        folder: to check.
        pipeline: name of the class.
        written_by: the function that writes such a folder, for the message.

    Raises:
        FileError: for a missing or damaged folder, or one of another pipeline.
    """
    if not folder.is_dir():
        raise FileError(f"{folder}: no such folder; give one written by {written_by}")
    if (folder / MANIFEST).is_file():
        check_manifest(folder)
    index: dict[str, Any] = read_json(folder / INDEX)
    found = (index.get("_class_name"), index.get("vae", [None])[-1])
    if found != (pipeline, PatchVAE.__name__):
        raise FileError(
            f"{folder / INDEX}: pipeline {found[0]!r} with {found[1]!r}, expected {pipeline!r} "
            f"with {PatchVAE.__name__!r}; give a folder written by {written_by}"
        )


def own_memory_(networks: Iterable[nn.Module]) -> None:
    """Move the weights of loaded networks, in place, to memory of their own.

    Within a file tensors start anywhere, which changes the order of a product's sums.
    """
    for network in networks:
        for parameter in network.parameters():
            parameter.data = parameter.data.clone()


def draw_noise(
    pipeline: StableDiffusionPipeline, count: int, seed: int, *names: str | int
) -> Tensor:
    """Return start noise on the CPU, (count, C, H, W); an image's depends on its number only.

    Args:
        pipeline: gives the shape.
        count: images.
        seed: of the run.
        names: what the images are for; see `seeding.derive_seed`.
    """
    size = pipeline.unet.config.sample_size
    shape = (pipeline.unet.config.in_channels, size, size)
    draws = [torch.randn(shape, generator=generator(seed, *names, i)) for i in range(count)]
    return torch.stack(draws)


def generate(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    noise: Tensor,
    num_steps: int = 1,
    *,
    batch_size: int = 100,
    guidance_scale: float = 0.0,
    negative_prompt: str | None = None,
) -> Tensor:
    """Return images on the CPU, (N, 3, H, W) in [0, 1], by the pipeline's own call.

    An image depends on its prompt and its noise, not on its batch.

    Args:
        pipeline: any Stable Diffusion pipeline.
        prompts: N of them.
        noise: (N, C, h, w), as of `draw_noise`.
        num_steps: calls of the denoiser.
        batch_size: images at a time.
        guidance_scale: above 1 for guidance without a classifier.
        negative_prompt: of all images; it acts with guidance only.

    Raises:
        ValueError: if the numbers of prompts and noises differ, or no guidance uses the negative
            prompt.
    """
    if len(prompts) != len(noise) or not prompts:
        raise ValueError(
            f"expected one start noise for each prompt and at least one, got {len(noise)} for "
            f"{len(prompts)} prompts"
        )
    if negative_prompt is not None and guidance_scale <= 1:
        raise ValueError(
            f"a negative prompt acts with a guidance_scale above 1 only, got {guidance_scale}"
        )
    images = []
    for start in range(0, len(prompts), batch_size):
        batch = slice(start, start + batch_size)
        texts = list(prompts[batch])
        output = pipeline(
            texts,
            num_inference_steps=num_steps,
            guidance_scale=guidance_scale,
            negative_prompt=None if negative_prompt is None else [negative_prompt] * len(texts),
            latents=noise[batch].to(pipeline.device, pipeline.dtype),
            output_type="pt",
        )
        images.append(output.images.cpu())
    return torch.cat(images)


def _text_config(network: SceneNetworkConfig, tokenizer: PreTrainedTokenizerFast) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=network.text_width,
        intermediate_size=4 * network.text_width,
        projection_dim=network.text_width,
        num_hidden_layers=network.text_layers,
        num_attention_heads=network.text_heads,
        max_position_embeddings=network.text_length,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _build_unet(config: SceneModelConfig) -> UNet2DConditionModel:
    network, levels = config.network, len(config.network.channels)
    unet: UNet2DConditionModel = UNet2DConditionModel(
        sample_size=EDGE // config.code.patch_size,
        in_channels=config.code.components,
        out_channels=config.code.components,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        block_out_channels=network.channels,
        layers_per_block=1,
        cross_attention_dim=network.text_width,
        attention_head_dim=network.heads,  # in this class the number of heads
        norm_num_groups=network.norm_groups,
    )
    return unet


def _rewrite(path: Path, leave_out: Sequence[str]) -> None:
    content: dict[str, Any] = read_json(path)
    write_json(path, {name: value for name, value in content.items() if name not in leave_out})


@contextmanager
def _without_bars() -> Iterator[None]:
    """Switch the progress bars of transformers off while the block runs."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _load_text_encoder(folder: Path) -> CLIPTextModel:
    try:
        with _without_bars():
            loaded: Any = CLIPTextModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise FileError(f"{folder} cannot be loaded as a CLIPTextModel: {error}") from error
    encoder, report = loaded
    problems = [f"{kind}: {', '.join(sorted(names))}" for kind, names in report.items() if names]
    if problems:
        raise FileError(f"{folder} does not fit CLIPTextModel: {'; '.join(problems)}")
    result: CLIPTextModel = encoder
    return result

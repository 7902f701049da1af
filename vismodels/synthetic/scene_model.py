"""Train the scene model: denoiser and text encoder together, on the code of generated scenes."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast
from transformers.models.clip.modeling_clip import CLIPTextModel

from vismodels.metrics.restoration import psnr
from vismodels.metrics.scenes import CODE_PSNR
from vismodels.results import Score, Value
from vismodels.seeding import generator
from vismodels.synthetic.scene_config import SceneModelConfig
from vismodels.synthetic.scene_judge import SceneJudge, reading_values
from vismodels.synthetic.scene_latents import reconstructed
from vismodels.synthetic.scene_pipeline import assemble, build_pipeline, draw_noise, generate
from vismodels.synthetic.scene_scores import CARD, with_gate
from vismodels.synthetic.scene_training import (
    TrainedPipeline,
    encode_scenes,
    fit_denoiser,
    noised_batches,
    training_score,
)
from vismodels.synthetic.scenes import Scene, make_scenes, render_all
from vismodels.training.log import ScalarLog

STAGE = "scene_model"
VARIANT = "pipeline"


class CaptionedDenoiser(nn.Module):
    """The two networks that are trained together.

    Args:
        unet: predicts v.
        text_encoder: its last hidden states are what the denoiser attends to.
    """

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Return v, like `noisy`.

        Args:
            noisy: (B, C, h, w) latents.
            timesteps: (B,) int64.
            tokens: (B, length) int64, padded.
        """
        states = self.text_encoder(tokens)[0]
        prediction: Tensor = self.unet(noisy, timesteps, states, return_dict=False)[0]
        return prediction


def train_scene_model(
    config: SceneModelConfig,
    judge: SceneJudge,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint_dir: Path | None = None,
) -> TrainedPipeline[StableDiffusionPipeline]:
    """Return a pipeline that paints scenes, scored by what the judge reads in its test images.

    The last iteration counts: nothing is selected, the validation images only show the course.

    Args:
        config: scenes, code, networks, training, scoring.
        judge: reads images; trained on scenes of its own.
        seed: of scenes, weights, batches and noise.
        device: where to compute.
        checkpoint_dir: scratch folder; an interrupted training goes on from it bit by bit.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    settings, scoring = config.training, config.scoring
    start = build_pipeline(config, seed).to(device)
    model = CaptionedDenoiser(start.unet, start.text_encoder).train()
    draws = generator(seed, STAGE, "batches")
    scenes = make_scenes(config.scenes, "train", settings.scenes, seed)
    tokens = _tokens(start.tokenizer, [scene.attributes.caption for scene in scenes])
    batches = noised_batches(
        encode_scenes(start.vae, scenes),
        tokens,
        start.scheduler,
        settings,
        draws,
        empty=_tokens(start.tokenizer, [""]),
    )
    shown = make_scenes(config.scenes, "validation", scoring.validation_scenes, seed)

    def painting(averaged: CaptionedDenoiser) -> StableDiffusionPipeline:
        return assemble(start.vae, averaged.text_encoder, start.tokenizer, averaged.unet)

    fitted = fit_denoiser(
        model,
        batches,
        settings,
        draws,
        lambda averaged: read_generated(painting(averaged), judge, shown, 1, seed, "validation"),
        device=device,
        checkpoint_dir=checkpoint_dir,
    )
    pipeline, losses, course = painting(fitted.average), fitted.losses, fitted.validation
    scores = [_training_score(config, pipeline, losses, seed)]
    scores += score_scene_model(config, pipeline, judge, seed)
    return TrainedPipeline(pipeline, losses, course, scores)


def score_scene_model(
    config: SceneModelConfig, pipeline: StableDiffusionPipeline, judge: SceneJudge, seed: int
) -> list[Score]:
    """Return one record for each number of steps: attributes of images of the test captions."""
    scenes = make_scenes(config.scenes, "test", config.scoring.test_scenes, seed)
    scores = []
    for steps in config.scoring.steps:
        scores.append(
            Score(
                stage=STAGE,
                variant=VARIANT,
                seed=seed,
                dataset={"card": CARD, "split": "test", "items": len(scenes)},
                values=read_generated(pipeline, judge, scenes, steps, seed, "test"),
                condition={"steps": steps},
            )
        )
    return with_gate(config.scoring.gate, scores)


def read_generated(
    pipeline: StableDiffusionPipeline,
    judge: SceneJudge,
    scenes: Sequence[Scene],
    num_steps: int,
    seed: int,
    purpose: str,
) -> list[Value]:
    """Return how well images of the captions of `scenes` show what these say.

    Args:
        pipeline: paints.
        judge: reads.
        scenes: of which the captions count only.
        num_steps: calls of the denoiser.
        seed: of the noise.
        purpose: names the noise; equal for equal captions and all numbers of steps.
    """
    contents = [scene.attributes for scene in scenes]
    noise = draw_noise(pipeline, len(contents), seed, STAGE, purpose)
    images = generate(pipeline, [each.caption for each in contents], noise, num_steps)
    return reading_values(judge.read(images), contents)


def _tokens(tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> Tensor:
    """Return (N, length) int64."""
    encoded: Tensor = tokenizer(
        captions,
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids
    return encoded


def _training_score(
    config: SceneModelConfig, pipeline: StableDiffusionPipeline, losses: ScalarLog, seed: int
) -> Score:
    scenes = make_scenes(config.scenes, "validation", config.scoring.validation_scenes, seed)
    pictures = render_all(scenes)
    decoded = reconstructed(pipeline.vae, pictures)
    quality = fmean(psnr(*pair) for pair in zip(decoded, pictures, strict=True))
    return training_score(
        config.training,
        losses,
        [pipeline.unet, pipeline.text_encoder],
        stage=STAGE,
        variant=VARIANT,
        seed=seed,
        more=[Value(CODE_PSNR, quality)],
    )

"""Train the small diffusion transformer that paints classes of scenes, and have it read."""

from pathlib import Path
from statistics import fmean

import torch
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.pipelines.dit.pipeline_dit import DiTPipeline
from torch import Tensor, nn

from vismodels.metrics.scenes import ACCURACIES, LOWEST_ACCURACY
from vismodels.results import Score, Value
from vismodels.seeding import generator
from vismodels.synthetic.scene_class_pipeline import (
    STAGE,
    assemble_class_pipeline,
    build_class_pipeline,
    generate_classes,
)
from vismodels.synthetic.scene_classes import CLASS_ATTRIBUTES, CLASSES, class_labels, class_of
from vismodels.synthetic.scene_config import SceneClassModelConfig
from vismodels.synthetic.scene_judge import SceneJudge
from vismodels.synthetic.scene_scores import CARD, with_gate
from vismodels.synthetic.scene_training import (
    TrainedPipeline,
    encode_scenes,
    fit_denoiser,
    noised_batches,
    training_score,
)
from vismodels.synthetic.scenes import make_scenes

VARIANT = "class_pipeline"


class ClassDenoiser(nn.Module):
    """The transformer, called like a denoiser with conditions.

    Args:
        transformer: predicts v.
    """

    def __init__(self, transformer: DiTTransformer2DModel) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, noisy: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """Return v, like `noisy`.

        Args:
            noisy: (B, C, h, w) latents.
            timesteps: (B,) int64.
            classes: (B,) int64.
        """
        prediction: Tensor = self.transformer(
            noisy, timestep=timesteps, class_labels=classes, return_dict=False
        )[0]
        return prediction


def train_class_model(
    config: SceneClassModelConfig,
    judge: SceneJudge,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint_dir: Path | None = None,
) -> TrainedPipeline[DiTPipeline]:
    """Return a pipeline that paints classes, scored by what the judge reads in its test images.

    It is trained without empty classes, hence for sampling without guidance: `guidance_scale` up
    to 1. `DiTPipeline` has the number of ImageNet's empty class written into it.

    Args:
        config: scenes, code, network, training, scoring.
        judge: reads images; trained on scenes of its own.
        seed: of scenes, weights, batches and noise.
        device: where to compute.
        checkpoint_dir: scratch folder; an interrupted training goes on from it bit by bit.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    settings, scoring = config.training, config.scoring
    start = build_class_pipeline(config, seed).to(device)
    draws = generator(seed, STAGE, "batches")
    scenes = make_scenes(config.scenes, "train", settings.scenes, seed)
    classes = torch.tensor([class_of(scene.attributes) for scene in scenes])
    latents = encode_scenes(start.vae, scenes)
    # In training mode every block drops classes of its own; nothing else depends on the mode.
    model = ClassDenoiser(start.transformer).eval()

    def painting(averaged: ClassDenoiser) -> DiTPipeline:
        return assemble_class_pipeline(start.vae, averaged.transformer)

    fitted = fit_denoiser(
        model,
        noised_batches(latents, classes, start.scheduler, settings, draws),
        settings,
        draws,
        lambda averaged: read_classes(
            painting(averaged), judge, scoring.validation_scenes, 4, seed, "validation"
        ),
        device=device,
        checkpoint_dir=checkpoint_dir,
    )
    pipeline, losses = painting(fitted.average), fitted.losses
    course = training_score(
        settings, losses, [pipeline.transformer], stage=STAGE, variant=VARIANT, seed=seed
    )
    scores = [course, *score_class_model(config, pipeline, judge, seed)]
    return TrainedPipeline(pipeline, losses, fitted.validation, scores)


def score_class_model(
    config: SceneClassModelConfig, pipeline: DiTPipeline, judge: SceneJudge, seed: int
) -> list[Score]:
    """Return one record for each number of steps: what the judge reads in images of all classes."""
    count = config.scoring.test_scenes
    scores = [
        Score(
            stage=STAGE,
            variant=VARIANT,
            seed=seed,
            dataset={"card": CARD, "split": "test", "items": count},
            values=read_classes(pipeline, judge, count, steps, seed, "test"),
            condition={"steps": steps},
        )
        for steps in config.scoring.steps
    ]
    return with_gate(config.scoring.gate, scores)


def read_classes(
    pipeline: DiTPipeline, judge: SceneJudge, count: int, num_steps: int, seed: int, purpose: str
) -> list[Value]:
    """Return how often images of classes in turn show the shape and the color of their class.

    Args:
        pipeline: paints.
        judge: reads.
        count: images.
        num_steps: calls of the denoiser.
        seed: of the noise.
        purpose: names the noise; equal for all numbers of steps.
    """
    classes = [number % len(CLASSES) for number in range(count)]
    images = generate_classes(pipeline, classes, num_steps, seed, STAGE, purpose)
    read = judge.read(images).labels
    told = [class_labels(number) for number in classes]
    right = {
        name: [a == b[name] for a, b in zip(read[name].tolist(), told, strict=True)]
        for name in CLASS_ATTRIBUTES
    }
    shares = {name: 100 * fmean(found) for name, found in right.items()}
    return [
        *(Value(ACCURACIES[name], share) for name, share in shares.items()),
        Value(LOWEST_ACCURACY, min(shares.values())),
    ]

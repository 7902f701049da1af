"""Train the judge of scenes on pictures as they are and on those that went through the code."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor
from torch.nn import functional as F

from vismodels.metrics.general import PARAMETERS, TRAIN_LOSS
from vismodels.results import Score, Value
from vismodels.seeding import derive_seed, generator
from vismodels.synthetic.scene_captions import VALUES
from vismodels.synthetic.scene_config import JudgeConfig, JudgeTrainingConfig
from vismodels.synthetic.scene_judge import SceneJudge, reading_values
from vismodels.synthetic.scene_latents import PatchVAE, as_unit, fit_scene_code, reconstructed
from vismodels.synthetic.scene_scores import CARD, with_gate
from vismodels.synthetic.scenes import Scene, make_scenes, render_all
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit
from vismodels.training.schedule import warmup_cosine
from vismodels.training.state import TrainState

Batch = tuple[Tensor, dict[str, Tensor]]
STAGE = "scene_judge"
VARIANT = "judge"


@dataclass(frozen=True)
class TrainedJudge:
    """The judge, in evaluation mode, its losses and its records."""

    judge: SceneJudge
    losses: ScalarLog
    scores: list[Score]


def train_judge(
    config: JudgeConfig,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint_dir: Path | None = None,
) -> TrainedJudge:
    """Return a judge trained on the scenes of its split, scored on those of the test.

    Args:
        config: scenes, code, network, training, scoring.
        seed: of scenes, weights and batches.
        device: where to compute.
        checkpoint_dir: scratch folder; an interrupted training goes on from it bit by bit.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    settings = config.training
    code = fit_scene_code(config.scenes, config.code, seed)
    judge = build_judge(config, seed).to(device).train()
    optimizer = torch.optim.AdamW(
        judge.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = warmup_cosine(optimizer, settings.iterations, settings.warmup)
    draws, losses = generator(seed, STAGE, "batches"), ScalarLog()
    state = TrainState(
        judge=judge, optimizer=optimizer, schedule=schedule, draws=draws, losses=losses
    )

    def step(batch: Batch) -> Mapping[str, float]:
        logits = judge(batch[0].to(device))
        loss = sum(
            (F.cross_entropy(logits[name], told.to(device)) for name, told in batch[1].items()),
            start=torch.zeros((), device=device),
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step_update(state.iteration + 1)
        return {"loss": loss.item()}

    scenes = make_scenes(config.scenes, "judge", settings.scenes, seed)
    fit(
        step,
        _batches(scenes, code, settings, draws),
        state,
        iterations=settings.iterations,
        checkpoint_dir=checkpoint_dir,
        checkpoint_every=settings.checkpoint_every,
        log=losses,
    )
    judge.eval()
    tests = make_scenes(config.scenes, "test", config.test_scenes, seed)
    scores = [
        _training_score(judge, losses, settings, seed),
        *score_judge(judge, code, tests, seed),
    ]
    return TrainedJudge(judge, losses, with_gate(config.gate, scores))


def build_judge(config: JudgeConfig, seed: int) -> SceneJudge:
    """Return an untrained judge, whose weights `seed` decides."""
    with torch.random.fork_rng(devices=[]):  # timm initializes from the global generator
        torch.manual_seed(derive_seed(seed, STAGE, "weights"))
        return SceneJudge(config.backbone)


def score_judge(
    judge: SceneJudge, code: PatchVAE, scenes: Sequence[Scene], seed: int
) -> list[Score]:
    """Return a record of what is read in the scenes as they are, and one of those after the code.

    Args:
        judge: reads.
        code: between images and latents.
        scenes: none of those that the judge learned from.
        seed: that the judge was trained with.
    """
    contents = [scene.attributes for scene in scenes]
    clean = render_all(scenes)
    return [
        Score(
            stage=STAGE,
            variant=VARIANT,
            seed=seed,
            dataset={"card": CARD, "split": "test", "items": len(contents)},
            values=reading_values(judge.read(as_unit(images)), contents),
            condition={"images": kind},
        )
        for kind, images in (("clean", clean), ("reconstructed", reconstructed(code, clean)))
    ]


def _batches(
    scenes: Sequence[Scene],
    code: PatchVAE,
    settings: JudgeTrainingConfig,
    draws: torch.Generator,
) -> Iterator[Batch]:
    """Yield noisy images, (B, 3, H, W), and their labels."""
    pictures, size = render_all(scenes), settings.batch_size
    clean, coded = as_unit(pictures), as_unit(reconstructed(code, pictures))
    contents = [scene.attributes.labels for scene in scenes]
    labels = {name: torch.tensor([each[name] for each in contents]) for name in VALUES}
    while True:
        chosen = torch.randint(len(clean), (size,), generator=draws)
        through = torch.rand(size, 1, 1, 1, generator=draws) < settings.reconstructed
        images = torch.where(through, coded[chosen], clean[chosen])
        images = images + settings.noise * torch.randn(images.shape, generator=draws)
        yield images, {name: values[chosen] for name, values in labels.items()}


def _training_score(
    judge: SceneJudge, losses: ScalarLog, settings: JudgeTrainingConfig, seed: int
) -> Score:
    return Score(
        stage=STAGE,
        variant=VARIANT,
        seed=seed,
        dataset={"card": CARD, "split": "train", "items": settings.scenes},
        values=[
            Value(TRAIN_LOSS, fmean(losses.curves["loss"][-settings.checkpoint_every :])),
            Value(PARAMETERS, sum(p.numel() for p in judge.parameters())),
        ],
        budget={
            "iterations": settings.iterations,
            "images": settings.iterations * settings.batch_size,
        },
    )

"""Finetune a trained model with the OCR loss: a frozen critic reads what the model restores.

Cicchetti and Comminiello (2024), arXiv 2404.05669. The loss is the CTC loss of the critic on the
words in the one-step estimate c + r, at the timestep that the denoiser was asked for; its gradient
goes through the critic to denoiser and predictor.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vismodels.data.pages import PagePair
from vismodels.data.words import Alphabet, word_crops
from vismodels.losses.ctc import ctc_losses
from vismodels.methods.nafdpm.config import CHANNELS, ArmConfig, FinetuneConfig, Task
from vismodels.methods.nafdpm.fitting import Run, Trained, fit_and_record
from vismodels.methods.nafdpm.levels import leveled_pair
from vismodels.methods.nafdpm.model import Estimate, PredictAndRefine
from vismodels.methods.nafdpm.optimization import Optimization
from vismodels.methods.nafdpm.pipeline import NAFDPMPipeline
from vismodels.methods.nafdpm.word_batches import as_channels
from vismodels.methods.nafdpm.word_patches import WordPatches, word_patches
from vismodels.nn.crnn import CRNN
from vismodels.seeding import generator
from vismodels.training.log import ScalarLog
from vismodels.training.state import TrainState


def finetune(
    config: FinetuneConfig,
    start: NAFDPMPipeline,
    critic: CRNN,
    training: Sequence[PagePair],
    validation: Sequence[PagePair],
    *,
    task: Task,
    name: str,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint_dir: Path | None = None,
) -> Trained:
    """Return the model after some more training, with or without the OCR loss.

    Arms of one seed see the same patches and the same noise in the same order. The OCR loss is
    measured in both, so that its course can be compared; without a weight it moves nothing.

    Args:
        config: of the model, of the arm and of the training.
        start: the trained model; left as it is.
        critic: a recognizer of words; left as it is, to the bit.
        training: pages with known words.
        validation: pages restored at intervals, by the averaged weights, with one step.
        task: deblurring or binarization.
        name: of the arm, in its score record.
        seed: of the patches and of the noise.
        device: where to compute.
        checkpoint_dir: scratch folder; an interrupted training goes on from it bit by bit.

    Raises:
        ValueError: if no page has words, or one is smaller than a patch.
        FloatingPointError: if a loss is not finite.
    """
    settings, variant = config.finetuning, config.models[config.finetuned]
    model = PredictAndRefine(CHANNELS[task], variant.network, variant.diffusion)
    model.load_networks_(start.predictor, start.denoiser)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    alphabet = Alphabet()
    read = OCRLoss(critic.to(device), alphabet, config.arm)
    optimization = Optimization(model, settings.optimizer, settings.iterations)
    patches, noise = (generator(seed, "nafdpm", "finetune", what) for what in ("patches", "noise"))
    losses, course = ScalarLog(), ScalarLog()
    state = TrainState(
        **optimization.parts(), patches=patches, noise=noise, losses=losses, course=course
    )

    def step(batch: WordPatches) -> Mapping[str, float]:
        degraded, clean = batch.degraded.to(device), batch.clean.to(device)
        estimate = model(degraded, clean, variant.objective, noise)
        loss = estimate.losses["loss"]
        ocr = read(estimate, batch)
        total = loss
        if config.arm.weight:
            scale = loss.detach() / ocr.detach().clamp(min=1e-6) if config.arm.balanced else 1.0
            total = loss + config.arm.weight * scale * ocr
        optimization.update(total, state.iteration + 1)
        return {"loss": loss.item(), "ocr": ocr.item()}

    batches = word_patches(
        [leveled_pair(page) for page in training] if model.page_levels else training,
        patches,
        alphabet,
        batch_size=settings.batch_size,
        patch=settings.patch,
        channels=CHANNELS[task],
    )
    pipeline = NAFDPMPipeline.from_model(
        optimization.averaged, task, max(settings.patch), start.config["threshold"]
    )
    return fit_and_record(
        step,
        batches,
        state,
        losses=losses,
        course=course,
        pipeline=pipeline,
        validation=validation,
        settings=settings,
        run=Run("nafdpm_finetune", name, seed, config.pages.validation),
        checkpoint_dir=checkpoint_dir,
    )


class OCRLoss:
    """What a critic makes of the words in restored patches.

    The critic is never trained here: its weights ask for no gradient, and its batch normalization
    keeps the statistics it learned.

    Args:
        critic: recognizer of words.
        alphabet: of the critic.
        config: how the loss is weighted over the timesteps, and what is read.
    """

    def __init__(self, critic: CRNN, alphabet: Alphabet, config: ArmConfig) -> None:
        self._critic = critic.eval().requires_grad_(False)
        critic.recurrence.train()  # without dropout the same; cuDNN's backward pass asks for it
        self._alphabet = alphabet
        self._config = config

    def __call__(self, estimate: Estimate, batch: WordPatches) -> Tensor:
        """Return the mean loss of all words of a batch, a scalar; 0 without words.

        Args:
            estimate: of the model at the timesteps of the batch.
            batch: whose words are to be read.
        """
        labels = [word.text for words in batch.words for word in words]
        if not labels:
            return estimate.restored.sum() * 0
        weights = estimate.restored.new_ones(len(batch.words))
        if self._config.timesteps == "noise" and estimate.noise_level is not None:
            weights = estimate.noise_level.to(weights)
        counts = torch.tensor([len(words) for words in batch.words], device=weights.device)
        of_word = weights.repeat_interleave(counts)
        losses = self._read(estimate.restored, batch, labels) * of_word
        total = losses.sum() / of_word.sum().clamp(min=1e-6)
        if self._config.on_prediction:
            total = (total + self._read(estimate.prediction, batch, labels).mean()) / 2
        return total

    def _read(self, images: Tensor, batch: WordPatches, labels: Sequence[str]) -> Tensor:
        """Return the loss of each word, (N,)."""
        crops = as_channels(word_crops(images, batch.words), self._critic.image_channels)
        return ctc_losses(self._critic(crops), labels, self._alphabet)

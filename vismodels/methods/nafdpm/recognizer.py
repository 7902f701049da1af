"""Train a recognizer of words, and read pages with it at the known places of their words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from torch import nn

from vismodels.data.pages import Image, PagePair, Word, page_text
from vismodels.data.words import (
    CANVAS,
    Alphabet,
    greedy_decode,
    qualifies,
    uniform_alignment,
    word_crop,
)
from vismodels.losses.ctc import aligned_loss, ctc_loss
from vismodels.methods.nafdpm.recognizer_config import RecognizerConfig
from vismodels.methods.nafdpm.word_batches import WordBatch, page_tensor, word_batches
from vismodels.metrics.general import PARAMETERS, TRAIN_LOSS
from vismodels.metrics.text import CER, cer
from vismodels.nn.crnn import CRNN, frame_centers
from vismodels.nn.modes import evaluation_mode
from vismodels.results import Score, Value, mean_value
from vismodels.seeding import generator
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit_to_milestones
from vismodels.training.schedule import warmup_cosine
from vismodels.training.state import TrainState

READ_AT_ONCE = 64  # words


@dataclass(frozen=True)
class TrainedRecognizer:
    """What training gives: the network, its curves, its score on pages it did not learn from."""

    network: CRNN
    losses: ScalarLog
    validation: ScalarLog
    score: Score


def build_recognizer(config: RecognizerConfig, seed: int, name: str) -> CRNN:
    """Return an untrained recognizer whose weights depend on `seed` and `name` alone."""
    network = CRNN(classes=Alphabet().classes, **config.network.model_dump())
    network.initialize_(generator(seed, "nafdpm", "recognizer", name, "weights"))
    return network


def train_recognizer(
    config: RecognizerConfig,
    pages: Sequence[PagePair],
    *,
    name: str,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint_dir: Path | None = None,
) -> TrainedRecognizer:
    """Return a recognizer trained on the words of clean pages.

    The last `validation_pages` pages are not learned from. The last iteration counts: nothing is
    selected, the validation pages only show the course.

    Args:
        config: network and training settings.
        pages: with known words.
        name: of the recognizer, in its score record; critic and judge of one seed differ by it.
        seed: of the weights and of the batches.
        device: where to compute.
        checkpoint_dir: scratch folder; an interrupted training goes on from it bit by bit.

    Raises:
        ValueError: if pages or words to learn from or to validate on are missing.
        FloatingPointError: if the loss is not finite.
    """
    settings, alphabet = config.training, Alphabet()
    training, validation = _split(pages, config.validation_pages)
    network = build_recognizer(config, seed, name)
    # In this order of memory an iteration takes three quarters of the time on CPUs.
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    scheduler = warmup_cosine(optimizer, settings.iterations, settings.warmup)
    draws = generator(seed, "nafdpm", "recognizer", name, "batches")
    losses, course = ScalarLog(), ScalarLog()
    state = TrainState(
        network=network,
        optimizer=optimizer,
        scheduler=scheduler,
        batches=draws,
        losses=losses,
        course=course,
    )
    centers = frame_centers(CANVAS[1])

    def step(batch: WordBatch) -> Mapping[str, float]:
        log_probs = network(batch.images.to(device))
        loss = ctc_loss(log_probs, batch.texts, alphabet)
        share = aligned_share(state.iteration, settings.aligned_iterations)
        if share > 0:
            words = zip(batch.texts, batch.spans, strict=True)
            alignment = [uniform_alignment(alphabet.encode(t), span, centers) for t, span in words]
            aligned = aligned_loss(log_probs, torch.tensor(alignment))
            loss = (1 - share) * loss + share * aligned
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), settings.max_gradient_norm)
        optimizer.step()
        scheduler.step_update(state.iteration + 1)
        return {"loss": loss.item()}

    batches = word_batches(
        training,
        draws,
        alphabet,
        batch_size=settings.batch_size,
        channels=config.network.image_channels,
        augmentation=settings.augmentation,
    )
    for end in fit_to_milestones(
        step,
        batches,
        state,
        iterations=settings.iterations,
        every=settings.validate_every,
        checkpoint_dir=checkpoint_dir,
        log=losses,
    ):
        if end not in course.iterations:
            rates = clean_cer(network, alphabet, validation)
            course.append(end, {CER.name: fmean(rates.values())})
    network.eval()
    score = _score(config, name, seed, network, losses, clean_cer(network, alphabet, validation))
    return TrainedRecognizer(network, losses, course, score)


def aligned_share(iteration: int, aligned_iterations: int) -> float:
    """Return the weight of the aligned loss, that of CTC being the rest.

    1 in the first half of `aligned_iterations`, then falling to 0 along a line.
    """
    if iteration >= aligned_iterations:
        return 0.0
    return min(1.0, 2 * (1 - iteration / aligned_iterations))


def read_words(
    network: CRNN, alphabet: Alphabet, image: Image, words: Sequence[Word]
) -> list[Word]:
    """Return the words of a page with the texts that the network reads in their boxes.

    Args:
        network: its mode is left as it is; it reads in evaluation mode, without gradients.
        alphabet: of the network.
        image: (H, W, 3) uint8.
        words: with their boxes; those that do not qualify (`data.words.qualifies`) are left out.
    """
    device = next(network.parameters()).device
    page = page_tensor(image, network.image_channels)
    readable = [word for word in words if qualifies(word, alphabet)]
    found: list[Word] = []
    with torch.inference_mode(), evaluation_mode(network):
        for start in range(0, len(readable), READ_AT_ONCE):
            part = readable[start : start + READ_AT_ONCE]
            crops = torch.stack([word_crop(page, word) for word in part])
            texts = greedy_decode(network(crops.to(device).float() / 255), alphabet)
            found += [replace(word, text=text) for word, text in zip(part, texts, strict=True)]
    return found


def read_page(network: CRNN, alphabet: Alphabet, image: Image, words: Sequence[Word]) -> str:
    """Return the text of a page, its words read in their boxes and set in reading order.

    Args:
        network: of the recognizer.
        alphabet: of the network.
        image: (H, W, 3) uint8.
        words: as for `read_words`.
    """
    return page_text(read_words(network, alphabet, image, words))


def page_cer(network: CRNN, alphabet: Alphabet, image: Image, words: Sequence[Word]) -> float:
    """Return the character error rate of a page: of its words in reading order, joined by blanks.

    Words that do not qualify count on neither side.

    Args:
        network: of the recognizer.
        alphabet: of the network.
        image: (H, W, 3) uint8, a page of any quality.
        words: what stands there, and where.

    Returns:
        NaN if no word qualifies.
    """
    reference = page_text([word for word in words if qualifies(word, alphabet)])
    return cer(read_page(network, alphabet, image, words), reference)


def clean_cer(network: CRNN, alphabet: Alphabet, pages: Sequence[PagePair]) -> dict[str, float]:
    """Return page -> character error rate of its clean image."""
    return {page.name: page_cer(network, alphabet, page.clean, page.words) for page in pages}


def _split(
    pages: Sequence[PagePair], validation_pages: int
) -> tuple[Sequence[PagePair], Sequence[PagePair]]:
    """Return the pages to learn from and the last ones, to validate on."""
    training, validation = pages[:-validation_pages], pages[-validation_pages:]
    alphabet = Alphabet()
    silent = [p.name for p in validation if not any(qualifies(w, alphabet) for w in p.words)]
    if not training or silent:
        raise ValueError(
            f"expected more than {validation_pages} pages, the last {validation_pages} of them "
            f"with words to read; got {len(pages)} pages, without words: {silent or 'none'}"
        )
    return training, validation


def _score(
    config: RecognizerConfig,
    name: str,
    seed: int,
    network: CRNN,
    losses: ScalarLog,
    rates: Mapping[str, float],
) -> Score:
    settings = config.training
    return Score(
        stage="nafdpm_recognizer",
        variant=name,
        seed=seed,
        dataset={"card": "+".join(config.pages), "split": config.split, "items": len(rates)},
        values=[
            mean_value(CER, rates),
            Value(TRAIN_LOSS, fmean(losses.curves["loss"][-settings.validate_every :])),
            Value(PARAMETERS, sum(parameter.numel() for parameter in network.parameters())),
        ],
        budget={
            "iterations": settings.iterations,
            "images": settings.iterations * settings.batch_size,
        },
    )

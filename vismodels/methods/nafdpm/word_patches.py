"""Random patches of pages with the words that lie wholly in them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vismodels.data.pages import PagePair, Word
from vismodels.data.words import Alphabet, qualifies, words_inside
from vismodels.methods.nafdpm.patches import as_batch, grey_or_rgb


@dataclass(frozen=True)
class WordPatches:
    """A batch of patches.

    Args:
        degraded: (B, C, h, w) in [0, 1], channels_last.
        clean: like `degraded`.
        words: of each patch, those that the critic can be asked to read, in its coordinates.
    """

    degraded: Tensor
    clean: Tensor
    words: tuple[tuple[Word, ...], ...]


def word_patches(
    pages: Sequence[PagePair],
    draws: torch.Generator,
    alphabet: Alphabet,
    *,
    batch_size: int,
    patch: tuple[int, int],
    channels: int,
) -> Iterator[WordPatches]:
    """Yield endless batches of patches that lie inside the pages, without any variation.

    Text that is turned or mirrored cannot be read, so patches are only cut.

    Args:
        pages: to draw from, with their words.
        draws: source of all randomness, on the CPU.
        alphabet: of the critic; words it cannot spell are not asked for.
        batch_size: B.
        patch: rows h and columns w.
        channels: 3 for RGB, 1 for grey.

    Raises:
        ValueError: if there is no page, one is smaller than the patch, or none has words.
    """
    if not any(page.words for page in pages):
        raise ValueError(
            f"expected pages with known words, got {len(pages)} without; render pages, or label "
            "them with an OCR engine"
        )
    for page in pages:
        if min(np.subtract(page.clean.shape[:2], patch)) < 0:
            raise ValueError(
                f"the page {page.name!r} is {page.clean.shape[0]}x{page.clean.shape[1]}, smaller "
                f"than the patch {patch[0]}x{patch[1]}; take smaller patches"
            )
    while True:
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=draws)))
        degraded: list[NDArray[np.float32]] = []
        clean: list[NDArray[np.float32]] = []
        words = []
        for _ in range(batch_size):
            page = pages[int(rng.integers(len(pages)))]
            top, left = (
                int(rng.integers(whole - edge + 1))
                for whole, edge in zip(page.clean.shape[:2], patch, strict=True)
            )
            window = (slice(top, top + patch[0]), slice(left, left + patch[1]))
            degraded.append(grey_or_rgb(page.degraded[window], channels))
            clean.append(grey_or_rgb(page.clean[window], channels))
            inside = words_inside(page.words, top, left, patch)
            words.append(tuple(word for word in inside if qualifies(word, alphabet)))
        yield WordPatches(as_batch(degraded), as_batch(clean), tuple(words))

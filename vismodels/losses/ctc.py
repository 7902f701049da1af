"""Connectionist temporal classification (Graves et al., ICML 2006), and a start for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from vismodels.data.words import Alphabet


def ctc_loss(log_probs: Tensor, labels: Sequence[str], alphabet: Alphabet) -> Tensor:
    """Return the mean over words of the negative log-likelihood per character.

    Each word's loss is divided by its length, as the mean of `nn.CTCLoss`. A label that needs more
    frames than there are (its characters and a blank between equal neighbors) has loss 0 and no
    gradient; in the published code it makes the loss infinite.

    Args:
        log_probs: (B, T, K), normalized over the classes K = `alphabet.classes`.
        labels: the text of each item; an empty one is divided by 1.
        alphabet: gives the classes of the characters and the blank.

    Returns:
        A scalar, 0 if there is no item.

    Raises:
        ValueError: if there are not B labels of K classes, or a label has a foreign character.
    """
    items, frames, classes = log_probs.shape
    if items != len(labels) or classes != alphabet.classes:
        raise ValueError(
            f"expected ({len(labels)}, T, {alphabet.classes}) for these labels and this alphabet, "
            f"got {tuple(log_probs.shape)}"
        )
    if not labels:
        return log_probs.sum()
    codes = [alphabet.encode(label) for label in labels]
    flat = [code for label in codes for code in label]
    return functional.ctc_loss(
        log_probs.transpose(0, 1),
        torch.tensor(flat, dtype=torch.long, device=log_probs.device),
        torch.full((items,), frames, dtype=torch.long),
        torch.tensor([len(label) for label in codes], dtype=torch.long),
        blank=alphabet.BLANK,
        zero_infinity=True,
    )


def aligned_loss(log_probs: Tensor, alignment: Tensor) -> Tensor:
    """Return the mean over frames of the negative log-likelihood of a given class.

    Replaces CTC in the first iterations, where CTC spends hundreds on learning that most frames are
    blank; with `data.words.uniform_alignment` nothing but the box of the word is needed.

    Args:
        log_probs: (B, T, K), normalized over the classes.
        alignment: (B, T), the class of each frame.
    """
    return functional.nll_loss(log_probs.flatten(0, 1), alignment.flatten().to(log_probs.device))

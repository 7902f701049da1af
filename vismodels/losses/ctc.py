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

    The mean of `ctc_losses`, and that of `nn.CTCLoss`.

    Args:
        log_probs: (B, T, K), normalized over the classes K = `alphabet.classes`.
        labels: the text of each item.
        alphabet: gives the classes of the characters and the blank.

    Returns:
        A scalar, 0 if there is no item.

    Raises:
        ValueError: as `ctc_losses`.
    """
    losses = ctc_losses(log_probs, labels, alphabet)
    return losses.mean() if labels else log_probs.sum()


def ctc_losses(log_probs: Tensor, labels: Sequence[str], alphabet: Alphabet) -> Tensor:
    """Return the negative log-likelihood per character of each word, (B,).

    A label that needs more frames than there are (its characters and a blank between equal
    neighbors) has loss 0 and no gradient; in the published code it makes the loss infinite.

    Args:
        log_probs: (B, T, K), normalized over the classes K = `alphabet.classes`.
        labels: the text of each item; the loss of an empty one is divided by 1.
        alphabet: gives the classes of the characters and the blank.

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
        return log_probs.new_zeros(0)
    codes = [alphabet.encode(label) for label in labels]
    flat = [code for label in codes for code in label]
    lengths = torch.tensor([len(label) for label in codes], dtype=torch.long)
    losses: Tensor = functional.ctc_loss(
        log_probs.transpose(0, 1),
        torch.tensor(flat, dtype=torch.long, device=log_probs.device),
        torch.full((items,), frames, dtype=torch.long),
        lengths,
        blank=alphabet.BLANK,
        reduction="none",
        zero_infinity=True,
    )
    return losses / lengths.clamp(min=1).to(losses)


def aligned_loss(log_probs: Tensor, alignment: Tensor) -> Tensor:
    """Return the mean over frames of the negative log-likelihood of a given class.

    Replaces CTC in the first iterations, where CTC spends hundreds on learning that most frames are
    blank; with `data.words.uniform_alignment` nothing but the box of the word is needed.

    Args:
        log_probs: (B, T, K), normalized over the classes.
        alignment: (B, T), the class of each frame.
    """
    return functional.nll_loss(log_probs.flatten(0, 1), alignment.flatten().to(log_probs.device))

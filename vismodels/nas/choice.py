"""One decision of a search: named candidates and a logit for each.

A choice is not a container: the supernet owns the operations and decides how probabilities are
used. It may be shared by several layers, and its candidates may be pairs (`simple_3x3@8`).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vismodels.config import suggestion
from vismodels.nas.relaxation import Relaxation, gumbel_softmax


class Choice(nn.Module):
    """Candidates by name and their logits, which start at zero: all equally probable.

    Args:
        candidates: names, in the order of the logits.

    Raises:
        ValueError: if there is none, or a name occurs twice.
    """

    def __init__(self, candidates: Sequence[str]) -> None:
        super().__init__()
        self.candidates = tuple(candidates)
        if not self.candidates or len(set(self.candidates)) < len(self.candidates):
            raise ValueError(f"a choice needs different candidates, got {list(candidates)}")
        self.logits = nn.Parameter(torch.zeros(len(self.candidates)))

    def probabilities(self) -> Tensor:
        """Return the softmax of the logits, (n,)."""
        return torch.softmax(self.logits, dim=0)

    def weights(
        self, relaxation: Relaxation, temperature: float, generator: torch.Generator
    ) -> Tensor:
        """Return the weights of the candidates for one forward pass, (n,), summing to 1.

        Args:
            relaxation: `softmax` (no randomness), `gumbel`, or `hard_gumbel` (one-hot with a
                straight-through gradient).
            temperature: of the Gumbel relaxations.
            generator: of the Gumbel noise.
        """
        if relaxation == "softmax":
            return self.probabilities()
        hard = relaxation == "hard_gumbel"
        return gumbel_softmax(self.logits, temperature, generator, hard)

    def best(self) -> str:
        """Return the candidate with the largest logit, whatever its sign; the first of equals."""
        return self.candidates[int(self.logits.detach().argmax())]

    def one_hot(self, candidate: str) -> Tensor:
        """Return the weights that select one candidate, (n,).

        Raises:
            KeyError: for an unknown name, with the nearest one.
        """
        if candidate not in self.candidates:
            raise KeyError(f"no candidate {candidate!r}{suggestion(candidate, self.candidates)}")
        weights = torch.zeros_like(self.logits)
        weights[self.candidates.index(candidate)] = 1.0
        return weights

    def entropy(self) -> Tensor:
        """Return the Shannon entropy of the probabilities in nats, a scalar."""
        return entropy(self.probabilities())


def named_probabilities(choices: Mapping[str, Choice]) -> dict[str, float]:
    """Return `decision/candidate` -> probability, for the log of a search.

    Args:
        choices: decision -> choice.
    """
    return {
        f"{decision}/{candidate}": probability
        for decision, choice in choices.items()
        for candidate, probability in zip(
            choice.candidates, choice.probabilities().tolist(), strict=True
        )
    }


def entropy(probabilities: Tensor) -> Tensor:
    """Return the Shannon entropy in nats of (n,) probabilities; 0 log 0 counts as 0.

    The gradient is finite at 0 too, which the softmax of distant logits reaches.
    """
    tiny = torch.finfo(probabilities.dtype).tiny
    return -(probabilities * probabilities.clamp_min(tiny).log()).sum()

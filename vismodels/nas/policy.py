"""The score-function gradient of an architecture: no gradient through the network is needed.

Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
Learning" (1992); the baseline of each sample is the mean of the others on the same batch, as in
Kool et al., "Buy 4 REINFORCE Samples, Get a Baseline for Free!" (ICLR 2019 workshop).
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from vismodels.nas.choice import Choice


def sample_path(
    choices: Mapping[str, Choice], generator: torch.Generator
) -> tuple[dict[str, Tensor], Tensor]:
    """Return one candidate of every decision, drawn from its probabilities.

    Args:
        choices: decision -> choice.
        generator: source of randomness; drawn on its device and moved.

    Returns:
        Decision -> one-hot weights, (n,), without gradient, and the logarithm of the probability
        of the whole path, a scalar with gradient.
    """
    weights, logs = {}, []
    for name, choice in choices.items():
        log_probabilities = torch.log_softmax(choice.logits, dim=0)
        probabilities = log_probabilities.detach().exp().to(generator.device)
        index = int(torch.multinomial(probabilities, 1, generator=generator))
        weights[name] = choice.one_hot(choice.candidates[index])
        logs.append(log_probabilities[index])
    return weights, torch.stack(logs).sum()


def policy_loss(log_probabilities: Sequence[Tensor], losses: Sequence[float]) -> Tensor:
    """Return a scalar whose gradient is that of the expected loss, estimated without bias.

    Args:
        log_probabilities: of two paths or more.
        losses: of the same paths on the same batch.

    Raises:
        ValueError: for fewer than two paths, which leave no baseline, or unequal numbers.
    """
    count = len(losses)
    if count < 2 or len(log_probabilities) != count:
        raise ValueError(
            f"expected the losses of two paths or more and as many probabilities, got {count} and "
            f"{len(log_probabilities)}"
        )
    mean = sum(losses) / count
    terms = [
        log_probability * ((loss - mean) * count / (count - 1))
        for log_probability, loss in zip(log_probabilities, losses, strict=True)
    ]
    return torch.stack(terms).mean()


def policy_step(
    choices: Mapping[str, Choice],
    loss_of: Callable[[Mapping[str, Tensor]], float],
    paths: int,
    generator: torch.Generator,
) -> tuple[Tensor, float]:
    """Return the policy loss of some sampled paths, and the mean of their losses.

    Args:
        choices: decision -> choice.
        loss_of: weights of all decisions -> loss on the batch at hand.
        paths: how many, at least 2.
        generator: source of randomness.

    Raises:
        ValueError: for fewer than two paths.
    """
    drawn = [sample_path(choices, generator) for _ in range(paths)]
    losses = [loss_of(weights) for weights, _ in drawn]
    return policy_loss([log for _, log in drawn], losses), sum(losses) / max(paths, 1)

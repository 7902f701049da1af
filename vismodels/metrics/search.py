"""What an architecture search records of itself, and the cost at the larger of two input sizes."""

from vismodels.results import Metric

CHOICE_ENTROPY = Metric(
    "choice_entropy",
    "Entropy",
    unit="nats",
    higher_is_better=False,
    protocol="sum over all decisions of the Shannon entropy of their probabilities",
)
DECISIVENESS = Metric(
    "decisiveness",
    "Decisiveness",
    higher_is_better=True,
    protocol="mean over all decisions of the largest probability",
)
SUPERNET_PSNR = Metric(
    "supernet_psnr",
    "Supernet PSNR-Y",
    unit="dB",
    higher_is_better=True,
    protocol="PSNR-Y of the mixed supernet on the validation photographs",
    digits=2,
)
DERIVED_PSNR = Metric(
    "derived_psnr",
    "Derived PSNR-Y",
    unit="dB",
    higher_is_better=True,
    protocol="PSNR-Y on the validation photographs of the supernet with each decision set to the "
    "chosen candidate, before any retraining",
    digits=2,
)
DERIVATION_GAP = Metric(
    "derivation_gap",
    "Derivation gap",
    unit="dB",
    higher_is_better=False,
    protocol="supernet PSNR-Y minus derived PSNR-Y on the validation photographs",
    digits=2,
)
EXPECTED_BITOPS = Metric(
    "expected_bitops",
    "Expected cost",
    protocol="expected cost of the searched layers at a 32x32 LR image under the final "
    "probabilities, by the penalty's own count",
    digits=0,
)
BITOPS_256 = Metric(
    "bitops_256",
    "BitOPs at 256x256",
    higher_is_better=False,
    protocol="as BitOPs, at a 256x256 LR image",
    digits=0,
)
PROBABLE_LOSS = Metric(
    "probable_loss",
    "Loss of the most probable network",
    higher_is_better=False,
    protocol="class-weighted cross-entropy of the network of the most probable candidates with the "
    "supernet's weights, on patients of the training split that moved neither weights nor "
    "architecture; they had no part in its choice",
)
DERIVED_LOSS = Metric(
    "derived_loss",
    "Derived loss",
    higher_is_better=False,
    protocol="as that of the most probable network, of the chosen one: the best of it and some "
    "sampled ones on the same patients, so that it flatters itself",
)
DERIVED_ACCURACY = Metric(
    "derived_accuracy",
    "Derived accuracy",
    unit="%",
    higher_is_better=True,
    protocol="right answers of the chosen network with the supernet's weights, same patients",
    digits=1,
)
RANDOM_LOSS = Metric(
    "random_loss",
    "Loss of random networks",
    higher_is_better=False,
    protocol="as the derived loss, of evenly random networks of the space; mean over them",
)
EXPECTED_MACS = Metric(
    "expected_macs",
    "Expected MACs",
    protocol="expected multiply-accumulates of the searched blocks under the final probabilities",
    digits=0,
)
RANK_CORRELATION = Metric(
    "rank_correlation",
    "Rank correlation",
    higher_is_better=True,
    protocol="Spearman's, between minus the loss with the supernet's weights on held-out patients "
    "and the balanced accuracy after training from scratch on the test split",
    digits=2,
)

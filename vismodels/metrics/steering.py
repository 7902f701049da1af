"""How well a concept is taken out of images, and what of the images is kept.

Fidelity to an image is measured by the cosine of features, with chance taken out: 1 for equal
features, 0 for those of an image of another prompt. Torch-free.
"""

from collections.abc import Sequence

from vismodels.results import Metric

CONCEPT_PRESENCE = Metric(
    "concept_presence",
    "Concept present",
    unit="%",
    protocol="images in which the judge reads the concept; mean over prompts that ask for it (or, "
    "where maps are inverted to bring it in, that do not)",
    digits=1,
)
CLIP_SCORE = Metric(
    "clip_score",
    "CLIPScore",
    protocol="cosine of CLIP's embeddings of the image and of the words for the concept; mean over "
    "prompts that ask for it",
)
OTHER_ATTRIBUTES = Metric(
    "other_attributes",
    "Other attributes",
    unit="%",
    higher_is_better=True,
    protocol="share of the attributes apart from the concept's that the judge reads as the caption "
    "says; mean over prompts",
    digits=1,
)
COUNTERFACTUAL_COSINE = Metric(
    "counterfactual_cosine",
    "Cosine to counterfactual",
    higher_is_better=True,
    protocol="cosine of the judge's features with those of the unsteered image of the same prompt "
    "without the concept and of the same noise; mean over prompts",
)
COUNTERFACTUAL_MSE = Metric(
    "counterfactual_mse",
    "MSE to counterfactual",
    higher_is_better=False,
    protocol="mean squared difference of RGB in [0, 1] from the unsteered image of the same prompt "
    "without the concept and of the same noise; mean over prompts",
    digits=4,
)
IMAGE_COSINE = Metric(
    "image_cosine",
    "Cosine to unsteered",
    higher_is_better=True,
    protocol="cosine of features with those of the unsteered image of the same prompt and noise; "
    "mean over prompts (the paper's IMGScore, of DINOv2 there)",
)
COUNTERFACTUAL_AREA = Metric(
    "counterfactual_area",
    "Area, counterfactual",
    higher_is_better=True,
    protocol="over shares of the concept that remain, from 0 to 1, mean of the best fidelity to "
    "the counterfactual at a strength that leaves no more; 0 where no strength does; fidelity "
    "is the cosine of features scaled so that an image of another prompt has 0",
)
IMAGE_AREA = Metric(
    "image_area",
    "Area, unsteered",
    higher_is_better=True,
    protocol="over shares of the concept that remain, from 0 to 1, mean of the best fidelity to "
    "the unsteered image at a strength that leaves no more; 0 where no strength does; fidelity "
    "is the cosine of features scaled so that an image of another prompt has 0",
)
MAP_SUPPORT = Metric(
    "map_support",
    "Support",
    unit="%",
    protocol="share of the units of all steered layers whose map is not the identity's",
    digits=1,
)
MAPPED_UNITS = Metric(
    "mapped_units", "Steered units", protocol="units of all layers that have a map", digits=0
)
TRANSPORT_LOSS = Metric(
    "transport_loss",
    "Transport loss",
    higher_is_better=False,
    protocol="distance of steered to target activations, as fitted; mean of the last tenth of the "
    "iterations",
)
FOLDED_DIFFERENCE = Metric(
    "folded_difference",
    "Folded against hooked",
    higher_is_better=False,
    protocol="largest difference of RGB in [0, 1] between images with maps folded into the weights "
    "and with maps inserted, at strength 1; full float32 figures, shown rounded",
    digits=7,
)
BOTH_REMOVED = Metric(
    "both_removed",
    "Neither present",
    unit="%",
    higher_is_better=True,
    protocol="images of prompts that ask for two concepts in which the judge reads neither of them",
    digits=1,
)

Curve = Sequence[tuple[float, float]]  # (share of the concept that remains, fidelity)


def fidelity(cosine: float, chance: float) -> float:
    """Return a cosine of features with chance taken out.

    Args:
        cosine: of the steered image with the one it is compared with.
        chance: mean cosine of images of different prompts, below 1.

    Raises:
        ValueError: for a chance of 1 or above, where images cannot be told apart.
    """
    if chance >= 1:
        raise ValueError(
            f"images of different prompts have a cosine of {chance}, expected one below 1: these "
            "features tell nothing apart"
        )
    return (cosine - chance) / (1 - chance)


def remaining_share(presence: float, unsteered: float, without: float) -> float:
    """Return the share of the concept that remains, in [0, 1].

    Args:
        presence: in the steered images.
        unsteered: in the unsteered images of prompts that ask for it.
        without: in the unsteered images of prompts that do not.

    Raises:
        ValueError: if the prompts make no difference.
    """
    if unsteered <= without:
        raise ValueError(
            f"the concept is no more present where prompts ask for it ({unsteered:g}) than where "
            f"they do not ({without:g}): there is nothing to remove"
        )
    return min(max((presence - without) / (unsteered - without), 0.0), 1.0)


def area(curve: Curve) -> float:
    """Return the mean, over shares from 0 to 1, of the best fidelity at no larger a share.

    A method is compared with others at matched presence this way, whatever its dial means. It is
    the normalized hypervolume of the curve against the corner (1, 0).

    Args:
        curve: one point for each strength; a share is in [0, 1], a fidelity counts from 0 up.
    """
    total, best, reached = 0.0, 0.0, 0.0
    for share, value in sorted(curve):
        if not 0 <= share <= 1:
            raise ValueError(f"a share is in [0, 1], got {share}")
        total += best * (share - reached)
        best, reached = max(best, value), share
    return total + best * (1 - reached)

"""How well the attributes of generated scenes can be read, by the judge, one score for each."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from vismodels.results import Metric, Value, mean_value

_READ = "as the judge reads it, the largest logit"


def _accuracy(attribute: str) -> Metric:
    return Metric(
        f"{attribute}_accuracy",
        f"{attribute.capitalize()} accuracy",
        unit="%",
        higher_is_better=True,
        protocol=f"images whose {attribute} is the caption's, {_READ}; items are with the mean "
        "accuracy",
        digits=1,
    )


SIZE_ACCURACY = _accuracy("size")
COLOR_ACCURACY = _accuracy("color")
SHAPE_ACCURACY = _accuracy("shape")
BACKGROUND_ACCURACY = _accuracy("background")
STAR_ACCURACY = _accuracy("star")
STYLE_ACCURACY = _accuracy("style")
MEAN_ACCURACY = Metric(
    "mean_accuracy",
    "Mean accuracy",
    unit="%",
    higher_is_better=True,
    protocol=f"share of the six attributes that are the caption's, {_READ}; mean over images",
    digits=1,
)
LOWEST_ACCURACY = Metric(
    "lowest_accuracy",
    "Lowest accuracy",
    unit="%",
    higher_is_better=True,
    protocol=f"least of the accuracies of the six attributes, {_READ}",
    digits=1,
)
CODE_PSNR = Metric(
    "code_psnr",
    "PSNR of the code",
    unit="dB",
    higher_is_better=True,
    protocol="8-bit RGB scenes after encoding and decoding; all channels together; peak 255; mean "
    "over scenes",
    digits=2,
)
ACCURACIES: Mapping[str, Metric] = {
    "size": SIZE_ACCURACY,
    "color": COLOR_ACCURACY,
    "shape": SHAPE_ACCURACY,
    "background": BACKGROUND_ACCURACY,
    "star": STAR_ACCURACY,
    "style": STYLE_ACCURACY,
}


def attribute_values(
    read: Mapping[str, Sequence[int]], told: Mapping[str, Sequence[int]], items: Sequence[str]
) -> list[Value]:
    """Return the accuracy of each attribute, their mean with its items, and the lowest of them.

    Args:
        read: attribute -> the label that was read, of every item.
        told: attribute -> the label of the caption, of every item.
        items: their names.

    Raises:
        ValueError: if the attributes are not the six, there is no item, or the numbers of items
            differ.
    """
    for labels in (read, told):
        if labels.keys() != ACCURACIES.keys():
            raise ValueError(
                f"expected labels of {', '.join(ACCURACIES)}, got {', '.join(labels) or 'none'}"
            )
    if not items:
        raise ValueError("expected images that were read, got none")
    right = {
        name: [a == b for _, a, b in zip(items, read[name], told[name], strict=True)]
        for name in ACCURACIES
    }
    shares = {name: 100 * fmean(found) for name, found in right.items()}
    by_item = zip(*right.values(), strict=True)
    return [
        *(Value(metric, shares[name]) for name, metric in ACCURACIES.items()),
        mean_value(
            MEAN_ACCURACY,
            {item: 100 * fmean(found) for item, found in zip(items, by_item, strict=True)},
        ),
        Value(LOWEST_ACCURACY, min(shares.values())),
    ]

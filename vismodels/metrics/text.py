"""Character error rate of recognized text."""

import math

from vismodels.results import Metric

CER = Metric(
    "cer",
    "CER",
    higher_is_better=False,
    protocol="Levenshtein distance over the length of the reference, runs of white space as one "
    "blank; may exceed 1; mean over items with a reference",
)


def cer(hypothesis: str, reference: str, ignore_blanks: bool = False) -> float:
    """Return the character error rate: edits per character of the reference.

    Insertions, deletions and substitutions cost 1 each. Runs of white space count as one blank,
    at the ends as none. Upper and lower case differ.

    Args:
        hypothesis: recognized text.
        reference: true text.
        ignore_blanks: leave out all white space on both sides, for recognizers that write none.

    Returns:
        0 for equal texts; above 1 for a hypothesis much longer than the reference; NaN if the
        reference is empty.
    """
    from rapidfuzz.distance import Levenshtein

    separator = "" if ignore_blanks else " "
    found, true = (separator.join(text.split()) for text in (hypothesis, reference))
    return Levenshtein.distance(found, true) / len(true) if true else math.nan

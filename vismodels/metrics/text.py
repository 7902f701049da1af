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
CER_TESSERACT = Metric(
    "cer_tesseract",
    "CER, Tesseract",
    higher_is_better=False,
    protocol="as CER, of the text that Tesseract finds on the page by itself",
)
CER_RAPIDOCR = Metric(
    "cer_rapidocr",
    "CER, RapidOCR",
    higher_is_better=False,
    protocol="as CER, of the text that RapidOCR finds on the page by itself; without blanks on "
    "both sides",
)
OCR_LOSS = Metric(
    "ocr_loss",
    "OCR loss",
    unit="nats",
    higher_is_better=False,
    protocol="CTC loss per character of the critic on one-step estimates, mean over the last "
    "training batches",
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

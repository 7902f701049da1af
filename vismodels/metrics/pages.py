"""What a stage that makes pages records about the text on them."""

from vismodels.results import Metric

WORDS = Metric("words", "Words", protocol="words whose text is known, over all pages", digits=0)
CHARACTERS = Metric(
    "characters",
    "Characters",
    protocol="characters of the words whose text is known, without blanks, over all pages",
    digits=0,
)

"""What follows from published numbers: counts and scores that can be compared with them."""

from vismodels.results import Metric

PUBLISHED_ACCURACY = Metric(
    "published_accuracy",
    "Accuracy, published",
    unit="%",
    protocol="as the paper prints it, nothing computed",
    digits=2,
)
IMPLIED_ACCURACY = Metric(
    "implied_accuracy",
    "Accuracy, implied",
    unit="%",
    protocol="of the counts that published sensitivity and precision name, two classes",
    digits=2,
)
PUBLISHED_F1 = Metric(
    "published_f1",
    "F1, published",
    unit="%",
    protocol="as the paper prints it, nothing computed",
    digits=2,
)
IMPLIED_F1 = Metric(
    "implied_f1",
    "F1, implied",
    unit="%",
    protocol="harmonic mean of published precision and sensitivity",
    digits=2,
)
HITS = Metric(
    "hits", "Hits", protocol="positives found, named by the published sensitivity", digits=0
)
FALSE_ALARMS = Metric(
    "false_alarms",
    "False alarms",
    protocol="named by the published precision beside the hits",
    digits=0,
)
FITTING_POSITIVES = Metric(
    "fitting_positives",
    "Positives that fit",
    protocol="the first of the test's number of positives and those of other splits of which the "
    "published sensitivity is a share",
    digits=0,
)
MAJORITY_ACCURACY = Metric(
    "majority_accuracy",
    "Largest class",
    unit="%",
    protocol="share of the largest class of the test split",
    digits=2,
)
CONTRADICTIONS = Metric(
    "contradictions",
    "Contradictions",
    higher_is_better=False,
    protocol="checks that a published row fails: F1 against precision and sensitivity, sensitivity "
    "against the test's positives, accuracy against hits and false alarms, scores against those of "
    "other rows: equal ones have one accuracy",
    digits=0,
)

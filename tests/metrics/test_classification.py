import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import assume, given
from hypothesis import strategies as st

from vismodels.metrics.classification import (
    ACCURACY,
    AUC,
    BALANCED_ACCURACY,
    F1,
    POSITIVE_PRECISION,
    SENSITIVITY,
    SPECIFICITY,
    classification_scores,
    classification_values,
    size_mb,
)

METRICS = [ACCURACY, BALANCED_ACCURACY, POSITIVE_PRECISION, SENSITIVITY, SPECIFICITY, F1, AUC]
MEANS = {ACCURACY, BALANCED_ACCURACY, SENSITIVITY, SPECIFICITY, AUC}
CP, NCP, NORMAL = range(3)


def logits_for(predicted, classes=3):
    """Return logits whose largest is at the predicted class."""
    return np.eye(classes)[predicted]


def random_set(seed, size=30, classes=3):
    """Return logits with ties, and labels that they know something of."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, size)
    return np.round(rng.normal(size=(size, classes)) + np.eye(classes)[labels], 1), labels


def names(labels):
    return [f"scan {i}" for i in range(len(labels))]


def test_three_classes_counted_by_hand():
    labels = np.array([NCP, NCP, NCP, NCP, CP, CP, NORMAL, NORMAL, NORMAL, NORMAL])
    predicted = [NCP, NCP, NCP, CP, CP, NCP, NORMAL, NORMAL, CP, NORMAL]
    scores = classification_scores(logits_for(predicted), labels, NCP)
    assert scores == pytest.approx(
        {
            "accuracy": 70,
            "balanced_accuracy": 100 * (3 / 4 + 1 / 2 + 3 / 4) / 3,
            "positive_precision": 75,
            "sensitivity": 75,
            "specificity": 100 * 5 / 6,  # CP taken for Normal is no error here
            "f1": 75,
            "auc": (3 * 5.5 + 2.5)
            / 24,  # logit 1: above five, equal to one; logit 0: equal to five
        }
    )


def test_counts_that_the_published_table_implies_give_another_accuracy_than_it_prints():
    """COVID-CTset, CovidNet3D-L: 39 true, 1 false, 3 missed of 124 is 96.77 %, printed 96.88."""
    labels = np.array([1] * 42 + [0] * 82)
    predicted = [1] * 39 + [0] * 3 + [1] + [0] * 81
    scores = classification_scores(logits_for(predicted, 2), labels, 1)
    rounded = {name: round(score, 2) for name, score in scores.items()}
    assert rounded["positive_precision"] == 97.5
    assert (rounded["sensitivity"], rounded["f1"]) == (92.86, 95.12)
    assert rounded["accuracy"] == 96.77


def test_a_small_last_batch_weighs_what_its_items_weigh():
    batches = [[1, 1, 1, 1], [1, 1, 0, 0], [0]]  # hits
    labels = np.ones(9, int)
    scores = classification_scores(logits_for(np.concatenate(batches), 2), labels, 1)
    assert scores["accuracy"] == pytest.approx(100 * 6 / 9)
    assert np.mean([100 * np.mean(batch) for batch in batches]) == 50  # the published way


@given(st.integers(0, 2**32 - 1), st.integers(0, 2))
def test_the_order_of_the_items_does_not_matter(seed, positive):
    logits, labels = random_set(seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    expected = classification_scores(logits, labels, positive)
    moved = classification_scores(logits[order], labels[order], positive)
    assert moved == pytest.approx(expected, nan_ok=True)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2))
def test_scores_agree_with_scikit_learn(seed, positive):
    logits, labels = random_set(seed)
    assume(len(set(labels)) == 3)
    predicted, truth = logits.argmax(1), labels == positive
    found = predicted == positive
    expected = {
        "accuracy": 100 * sklearn.metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": 100 * sklearn.metrics.balanced_accuracy_score(labels, predicted),
        "positive_precision": 100
        * sklearn.metrics.precision_score(truth, found, zero_division=math.nan),
        "sensitivity": 100 * sklearn.metrics.recall_score(truth, found),
        "specificity": 100 * sklearn.metrics.recall_score(~truth, ~found),
        "f1": 100 * sklearn.metrics.f1_score(truth, found),
        "auc": sklearn.metrics.roc_auc_score(truth, logits[:, positive]),
    }
    scores = classification_scores(logits, labels, positive)
    assert scores == pytest.approx(expected, nan_ok=True)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2))
def test_scores_are_the_means_of_their_items(seed, positive):
    logits, labels = random_set(seed)
    assume((labels == positive).any())
    values = classification_values(names(labels), logits, labels, positive)
    assert [value.metric for value in values] == METRICS
    scores = classification_scores(logits, labels, positive)
    for value in values:
        assert value.value == pytest.approx(scores[value.metric.name])
        if value.metric in MEANS:
            assert value.value == pytest.approx(np.mean(list(value.items.values())))
        else:
            assert not value.items


def test_items_belong_to_their_scans():
    labels = np.array([NCP, CP, NCP, NORMAL])
    logits = np.array([[0, 3.0, 0], [4, 2, 0], [3, 2, 0], [0, 1, 5]])
    values = {v.metric: v.items for v in classification_values("abcd", logits, labels, NCP)}
    assert values[ACCURACY] == {"a": 100, "b": 100, "c": 0, "d": 100}
    # Weights 4 / (3 classes x 2 items) and 4 / (3 x 1).
    balanced = {"a": 200 / 3, "b": 400 / 3, "c": 0, "d": 400 / 3}
    assert values[BALANCED_ACCURACY] == pytest.approx(balanced)
    assert values[SENSITIVITY] == {"a": 100, "c": 0}
    assert values[SPECIFICITY] == {"b": 100, "d": 100}
    assert values[AUC] == {"a": 1, "c": 0.75}  # 2 is above 1 and level with 2


@pytest.mark.parametrize(
    ("labels", "predicted", "undefined"),
    [
        ([0, 0, 1], [0, 0, 0], {POSITIVE_PRECISION}),
        ([0, 0, 0], [0, 1, 0], {SENSITIVITY, F1, AUC}),
        ([0, 0, 0], [0, 0, 0], {POSITIVE_PRECISION, SENSITIVITY, F1, AUC}),
        ([1, 1, 1], [1, 0, 1], {SPECIFICITY, AUC}),
        ([0, 0, 1], [1, 1, 0], set()),  # zeros, and all of them true
    ],
)
def test_what_is_not_defined_is_no_zero(labels, predicted, undefined):
    logits, labels = logits_for(predicted, 2), np.array(labels)
    scores = classification_scores(logits, labels, 1)
    missing = {metric.name for metric in undefined}
    assert {name for name, score in scores.items() if math.isnan(score)} == missing
    values = classification_values(names(labels), logits, labels, 1)
    assert {value.metric for value in values if value.value is None} == undefined
    assert not any(value.items for value in values if value.value is None)
    assert not any(math.isnan(item) for value in values for item in value.items.values())


def test_a_class_that_does_not_occur_is_left_out_of_the_balanced_accuracy():
    labels = np.array([0, 0, 1])
    scores = classification_scores(logits_for([0, 2, 1]), labels, 1)
    assert scores["balanced_accuracy"] == 75


def test_labels_of_eight_bits_do_not_overflow():
    labels = np.array([19, 13, 0], np.uint8)
    assert classification_scores(logits_for([19, 13, 0], 20), labels, 19)["accuracy"] == 100


def test_the_auc_is_of_the_raw_logit_of_the_positive_class():
    """Softmax would order these two by the other column."""
    logits, labels = np.array([[9.0, 2.0], [-9.0, 1.0]]), np.array([1, 0])
    assert classification_scores(logits, labels, 1)["auc"] == 1


def test_the_size_of_a_network_is_four_bytes_a_parameter():
    assert size_mb(2**20) == 4
    assert size_mb(82_258) == pytest.approx(0.314, abs=5e-4)


@pytest.mark.parametrize(
    ("logits", "labels", "positive", "message"),
    [
        (np.zeros((2, 3)), np.array([0]), 1, r"got \(2, 3\) and \(1,\)"),
        (np.zeros((0, 3)), np.zeros(0, int), 1, r"at least one item"),
        (np.zeros(3), np.zeros(3, int), 1, r"logits \(N, K\)"),
        (np.zeros((2, 1)), np.array([0, 0]), 0, r"two columns \(0, z\)"),
        (np.zeros((2, 3)), np.array([0, 1]), 3, r"got 3 and 3"),
        (np.zeros((2, 3)), np.array([0, 3]), 1, r"labels from 0 to 2, got 0 to 3"),
        (np.zeros((2, 3)), np.array([-1, 2]), 1, r"got -1 to 2"),
        (np.full((2, 3), math.nan), np.array([0, 1]), 1, r"NaN or infinite"),
    ],
)
def test_what_cannot_be_scored_is_refused(logits, labels, positive, message):
    with pytest.raises(ValueError, match=message):
        classification_scores(logits, labels, positive)


@pytest.mark.parametrize("wrong", [["a", "b"], ["a", "b", "b"], ["a", "b", "c", "c"]])
def test_names_must_be_one_for_each_item(wrong):
    with pytest.raises(ValueError, match=r"expected 3 different names, got \d"):
        classification_values(wrong, np.eye(3), np.arange(3), 1)

"""Whether a supernet ranks networks as training from scratch does. Torch-free."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from vismodels.metrics.search import RANK_CORRELATION
from vismodels.results import Gate, Score, Value

FEWEST = 6  # networks, below which a rank correlation says nothing
LEAST = 0.2  # of a correlation that is of any use
RANK_GATE = "rank correlation of supernet and retrained scores"


def rank_score(
    stage: str,
    search: str,
    dataset: Mapping[str, object],
    supernet: Mapping[str, float],
    retrained: Mapping[str, Sequence[float]],
    note: str = "",
) -> Score | None:
    """Return the rank correlation between two scores of the same networks, None below six.

    Args:
        stage: that records it.
        search: whose supernet it is.
        dataset: on which the retrained networks were scored.
        supernet: network -> its loss with the supernet's weights.
        retrained: network -> its accuracy on every seed.
        note: what a reader must know of the data.
    """
    from scipy.stats import spearmanr

    names = sorted(set(supernet) & set(retrained))
    if len(names) < FEWEST:
        return None
    accuracies = [fmean(retrained[name]) for name in names]
    found = 0.0  # where all are equal, nothing is ranked
    if len(set(accuracies)) > 1 and len({supernet[name] for name in names}) > 1:
        found = float(spearmanr([-supernet[name] for name in names], accuracies).statistic)
    return Score(
        stage=stage,
        variant=f"ranking_{search}",
        dataset=dict(dataset),
        values=[Value(RANK_CORRELATION, found)],
        gates=[Gate(RANK_GATE, found, LEAST)],
        budget={"networks": len(names)},
        note=note,
    )

"""What the records hold for the selection of a table or of a claim: values and gates."""

from collections.abc import Iterable, Mapping, Sequence

from vismodels.config import ConfigError, suggestion
from vismodels.results import Gate, Metric, Score, Value
from vismodels.tables.layout import DataSplit, Quantity, Select


class UnknownNameError(ConfigError):
    """A selector that no score answers to, whatever the rest of the selection."""


def find_values(
    scores: Iterable[Score], select: Select, quantity: Quantity
) -> dict[int | None, Value | str]:
    """Return seed -> value (text, for a count that is a text) of the records selected.

    Empty if every name is known but not in this combination.

    Raises:
        UnknownNameError: for a name that no score has, with the nearest one, and for a selection
            without a condition where every record has one.
        ConfigError: if two records of one seed differ, if the records are of several conditions,
            or if seeded and deterministic ones mix.
    """
    scores = list(scores)
    _check_names(scores, select, quantity)
    what = f"{quantity.metric or quantity.count} of {select.stage}/{select.variant}"
    measured = [
        (score, value)
        for score in scores
        if _is_of(score, select, quantity.dataset)
        and (value := _measured(score, quantity)) is not None
    ]
    here = [(score, value) for score, value in measured if _is_at(score, select)]
    places = " and at ".join(
        dict.fromkeys(condition_text(s.condition) for s, _ in here or measured)
    )
    if measured and not here and not select.condition:
        raise UnknownNameError(f"{what} was recorded only at {places}: select it by `condition`")
    if any(score.condition != here[0][0].condition for score, _ in here):
        raise ConfigError(f"{what} was recorded at {places}: select one of them by `condition`")
    found: dict[int | None, Value | str] = {}
    for score, value in here:
        if found.setdefault(score.seed, value) != value:
            raise ConfigError(
                f"two different values of {what}, seed {score.seed}: "
                "select one of the records by `dataset` or `condition`"
            )
    if None in found and len(found) > 1:
        raise ConfigError(
            f"{select.stage}/{select.variant} has records with and without a seed; "
            "give deterministic records a variant of their own"
        )
    return dict(sorted(found.items(), key=lambda pair: pair[0] or 0))


def failed_gates(names: Iterable[str], scores: Iterable[Score]) -> list[tuple[Score, Gate]]:
    """Return the recorded gates of these names that did not hold, with their records."""
    wanted = set(names)
    return [(s, g) for s in scores for g in s.gates if g.name in wanted and not g.passed]


def unrecorded_gates(names: Iterable[str], scores: Iterable[Score]) -> list[str]:
    """Return those of the names that no record has a gate of."""
    recorded = {gate.name for score in scores for gate in score.gates}
    return [name for name in names if name not in recorded]


def condition_text(condition: Mapping[str, str | int | float]) -> str:
    """Return a condition in words: `strength 0.5, weight bits 4`; 5 and 5.0 read the same."""
    points = sorted(condition.items())
    return ", ".join(_point(key.replace("_", " "), value) for key, value in points)


def gate_text(gate: Gate) -> str:
    """Return a gate in words: `accuracy is 0.85, at least 0.9 is asked for`."""
    bound = "at least" if gate.at_least else "at most"
    return f"{gate.name} is {gate.value:.4g}, {bound} {gate.bound:.4g} is asked for"


def _check_names(scores: Sequence[Score], select: Select, quantity: Quantity) -> None:
    dataset = quantity.dataset
    checks: list[tuple[str, str | None, set[str]]] = [
        ("stage", select.stage, {score.stage for score in scores}),
        ("variant", select.variant, {score.variant for score in scores}),
        *(
            ("condition", key, {key for score in scores for key in score.condition})
            for key in select.condition
        ),
        *(
            ("condition", _point(*item), {_point(*i) for s in scores for i in s.condition.items()})
            for item in select.condition.items()
        ),
        (
            "data set",
            f"{dataset.card}/{dataset.split}" if dataset else None,
            {f"{s.dataset.get('card')}/{s.dataset.get('split')}" for s in scores if s.dataset},
        ),
        (
            "metric" if quantity.metric else "count",
            quantity.metric or quantity.count,
            {value.metric.name for score in scores for value in score.values}
            | ({name for score in scores for name in score.budget} if quantity.count else set()),
        ),
    ]
    for what, name, known in checks:
        if name is not None and name not in known:
            raise UnknownNameError(f"no score has the {what} {name!r}{suggestion(name, known)}")


def matches(score: Score, select: Select, dataset: DataSplit | None = None) -> bool:
    """Return whether a record is one of those selected, on the data set if one is given."""
    return _is_of(score, select, dataset) and _is_at(score, select)


def _is_of(score: Score, select: Select, dataset: DataSplit | None) -> bool:
    return (score.stage, score.variant) == (select.stage, select.variant) and (
        dataset is None
        or (score.dataset.get("card"), score.dataset.get("split")) == (dataset.card, dataset.split)
    )


def _is_at(score: Score, select: Select) -> bool:
    if not select.condition:
        return not score.condition
    return select.condition.items() <= score.condition.items()


def _point(key: str, value: str | int | float) -> str:
    return f"{key} {value if isinstance(value, str) else format(value, '.15g')}"


def _measured(score: Score, quantity: Quantity) -> Value | str | None:
    if quantity.count is not None and quantity.count in score.budget:
        entry = score.budget[quantity.count]
        if isinstance(entry, str):
            return entry
        return Value(_count_metric(quantity.count, whole=isinstance(entry, int)), float(entry))
    name = quantity.metric or quantity.count
    return next((value for value in score.values if value.metric.name == name), None)


def _count_metric(name: str, whole: bool = True) -> Metric:
    return Metric(name, name.replace("_", " ").capitalize(), digits=0 if whole else 3)


def metric_of(quantity: Quantity, scores: Sequence[Score]) -> Metric:
    """Return the metric of a quantity, as recorded anywhere."""
    for score in scores:
        value = _measured(score, quantity)
        if isinstance(value, Value):
            return value.metric
    return _count_metric(quantity.metric or quantity.count or "")

"""All concepts together: means over them, and maps of two concepts acting together.

Rodriguez et al. (2025), "LinEAS", arXiv 2503.10679, Table 2 (means over concepts) and Appendix J
(composition).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.nn.functional import cosine_similarity

from vismodels.data.prompts import ConceptPrompt, ConceptPrompts
from vismodels.methods.lineas.generation import generate
from vismodels.methods.lineas.maps import Maps
from vismodels.methods.lineas.readers import Reader
from vismodels.metrics.steering import BOTH_REMOVED, COUNTERFACTUAL_COSINE, OTHER_ATTRIBUTES
from vismodels.results import Metric, Score, mean_value
from vismodels.seeding import derive_seed

STAGE = "lineas_compare"


def over_concepts(scores: Sequence[Score]) -> list[Score]:
    """Return the means over concepts of what was scored for each of them, one item a concept.

    What belongs to a strength is called `<arm>_at_<percent>`; areas keep the name of their arm.
    Only what every concept has, of the same seed, is averaged.

    Args:
        scores: records of the stage `score`, of all concepts.
    """
    concepts = sorted({str(score.condition["concept"]) for score in scores})
    grouped: dict[tuple[str, int | None], dict[Metric, dict[str, float]]] = {}
    for score in scores:
        if "folded" in score.condition:
            continue
        found = grouped.setdefault((_name(score), score.seed), {})
        for value in score.values:
            if value.value is not None:
                concept = str(score.condition["concept"])
                found.setdefault(value.metric, {})[concept] = value.value
    first = scores[0]
    return [
        Score(
            stage=STAGE,
            variant=name,
            seed=seed,
            dataset={**first.dataset, "items": len(concepts)},
            values=values,
        )
        for (name, seed), found in grouped.items()
        if (
            values := [
                mean_value(metric, items)
                for metric, items in found.items()
                if sorted(items) == concepts
            ]
        )
    ]


def score_pair(
    pipeline: Any,
    reader: Reader,
    prompts: Sequence[ConceptPrompt],
    abouts: tuple[ConceptPrompts, ConceptPrompts],
    maps: tuple[Maps, Maps],
    *,
    arm: str,
    seed: int,
    batch_size: int,
    call: Mapping[str, Any],
    card: str,
) -> list[Score]:
    """Return what is left of two concepts and of the rest: by no maps, one, the other, both.

    One map alone cannot take both out. What tells is whether both together keep as much of the rest
    as one does: the attributes that belong to neither concept, and how near the image is to that of
    the prompt without both, of the same noise.

    Args:
        pipeline: of diffusers.
        reader: of its images, in percent.
        prompts: that ask for both concepts.
        abouts: the concepts.
        maps: that take out the first and the second; together they act in this order.
        arm: whose maps they are.
        seed: of the noise.
        batch_size: images in one call.
        call: further arguments of the pipeline.
        card: of the prompts.
    """
    pair = "+".join(about.concept for about in abouts)
    seeds = [derive_seed(seed, "lineas", "pair", pair, number) for number in range(len(prompts))]
    acting: Mapping[str, Maps | None] = {
        "neither": None,
        "first": maps[0],
        "second": maps[1],
        "both": maps[0].then(maps[1]),
    }
    rest = _without_labels(prompts, abouts)

    def paint(texts: list[str], together: Maps | None = None) -> Tensor:
        return generate(pipeline, texts, together, seeds=seeds, batch_size=batch_size, call=call)

    counterfactual = paint([prompt.without for prompt in prompts])
    ideal = reader.read(counterfactual, rest, abouts[0]).features
    scores = []
    for name, together in acting.items():
        images = paint([prompt.text for prompt in prompts], together)
        seen = [reader.read(images, rest, about) for about in abouts]
        gone = ((seen[0].presence == 0) & (seen[1].presence == 0)).float()
        columns: dict[Metric, Tensor | None] = {
            BOTH_REMOVED: 100 * gone,
            OTHER_ATTRIBUTES: seen[0].others,
            COUNTERFACTUAL_COSINE: cosine_similarity(seen[0].features, ideal, dim=1),
        }
        values = [
            mean_value(metric, {f"{n:03d}": round(v, 5) for n, v in enumerate(column.tolist())})
            for metric, column in columns.items()
            if column is not None
        ]
        scores.append(
            Score(
                stage=STAGE,
                variant=f"{arm}_of_{name}",
                seed=seed,
                dataset={"card": card, "split": "test", "items": len(prompts)},
                values=values,
                condition={"concepts": pair},
            )
        )
    return scores


def _without_labels(
    prompts: Sequence[ConceptPrompt], abouts: Sequence[ConceptPrompts]
) -> list[ConceptPrompt]:
    """Return prompts whose labels are those that belong to none of the concepts."""
    concerned = {about.attribute for about in abouts}
    return [
        replace(prompt, labels={k: v for k, v in prompt.labels.items() if k not in concerned})
        for prompt in prompts
    ]


def _name(score: Score) -> str:
    strength = score.condition.get("strength")
    return score.variant if strength is None else f"{score.variant}_at_{100 * float(strength):.0f}"

"""All concepts together: means over them, and maps of two concepts acting together.

Rodriguez et al. (2025), "LinEAS", arXiv 2503.10679, Table 2 (means over concepts) and Appendix J
(composition).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from vismodels.data.prompts import ConceptPrompt, ConceptPrompts
from vismodels.methods.lineas.generation import generate
from vismodels.methods.lineas.maps import Maps
from vismodels.methods.lineas.readers import Reader
from vismodels.metrics.steering import BOTH_REMOVED
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
    """Return in how many images of both concepts neither is left: by no maps, one, the other, both.

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
    scores = []
    for name, together in acting.items():
        texts = [prompt.text for prompt in prompts]
        images = generate(pipeline, texts, together, seeds=seeds, batch_size=batch_size, call=call)
        seen = [reader.read(images, prompts, about).presence for about in abouts]
        gone = ((seen[0] == 0) & (seen[1] == 0)).float()
        items = {f"{n:03d}": 100 * value for n, value in enumerate(gone.tolist())}
        scores.append(
            Score(
                stage=STAGE,
                variant=f"{arm}_of_{name}",
                seed=seed,
                dataset={"card": card, "split": "test", "items": len(prompts)},
                values=[mean_value(BOTH_REMOVED, items)],
                condition={"concepts": pair},
            )
        )
    return scores


def _name(score: Score) -> str:
    strength = score.condition.get("strength")
    return score.variant if strength is None else f"{score.variant}_at_{100 * float(strength):.0f}"

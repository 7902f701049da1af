"""The stage `learn` of one arm: which settings, then maps for every concept and seed; its files."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from vismodels.choices import write_choice
from vismodels.data.prompts import ConceptPrompts
from vismodels.files import atomic_folder, read_json, write_json
from vismodels.methods.lineas.choosing import STAGE, choose
from vismodels.methods.lineas.config import ArmConfig, LearnConfig
from vismodels.methods.lineas.learning import learn
from vismodels.methods.lineas.maps import Maps
from vismodels.methods.lineas.prompting import PromptMethod
from vismodels.methods.lineas.readers import Reader
from vismodels.metrics.steering import MAP_SUPPORT, MAPPED_UNITS, TRANSPORT_LOSS
from vismodels.results import Score, Value
from vismodels.training.log import ScalarLog

COURSES = "courses"  # folder of the curves of learning
COURSE = "course.csv"  # one of them, beside maps in the scratch folder
SECONDS = "seconds.json"  # of CPU to learn them, there too
PromptsOf = Callable[[str, int], ConceptPrompts]  # concept, seed


@dataclass(frozen=True)
class LearntArm:
    """Records, and CPU seconds of learning one set of maps."""

    scores: list[Score]
    timings: dict[str, float] = field(default_factory=dict)


def learn_arm(
    config: LearnConfig,
    pipeline: Any,
    reader: Reader,
    prompts_of: PromptsOf,
    *,
    name: str,
    card: str,
    folder: Path,
    checkpoint_dir: Path,
) -> LearntArm:
    """Write the chosen settings of an arm, and its maps if it has some, into `folder`.

    Args:
        config: the arm, concepts, seeds.
        pipeline: of diffusers.
        reader: of its images; used where there is a choice.
        prompts_of: (concept, seed) -> prompts.
        name: of the arm.
        card: of the prompts.
        folder: gets `choice.json`, `<concept>/seed<n>/` with maps, `courses/<concept>_seed<n>.csv`.
        checkpoint_dir: scratch folder; what is learnt already is not learnt again after a kill.
    """
    seeds, arm = config.seeds[: config.arm.runs], config.arm
    learner = _Learner(config, pipeline, prompts_of, checkpoint_dir)
    settings = next(iter(arm.grid))
    scores: list[Score] = []
    if len(arm.grid) > 1:
        settings, scores = choose(
            config, pipeline, reader, prompts_of, learner.method, name=name, card=card
        )
    write_choice(folder, settings)
    if not arm.has_maps:
        return LearntArm(scores or [_nothing_learnt(config, name, card, settings)])
    for concept in config.concepts:
        for seed in seeds:
            maps, log = learner.maps(settings, concept, seed)
            maps.save_pretrained(folder / concept / f"seed{seed}")
            if len(log):
                log.to_csv(folder / COURSES / f"{concept}_seed{seed}.csv")
            scores.append(_score(config, name, card, concept, seed, settings, maps, log))
    seconds = learner.seconds[settings].values()
    return LearntArm(scores, {"cpu_seconds_per_concept": fmean(seconds)})


class _Learner:
    """Learns each set of maps once, and keeps it in a scratch folder."""

    def __init__(
        self, config: LearnConfig, pipeline: Any, prompts_of: PromptsOf, folder: Path
    ) -> None:
        self.config, self.pipeline, self.prompts_of = config, pipeline, prompts_of
        self.folder = folder
        self.seconds: dict[str, dict[str, float]] = {}  # settings -> maps -> CPU seconds

    def method(self, settings: str, concept: str, seed: int) -> Maps | PromptMethod:
        """Return maps, or a way with prompts."""
        if self.config.arm.has_maps:
            return self.maps(settings, concept, seed)[0]
        return self._learn(settings, concept, seed)

    def maps(self, settings: str, concept: str, seed: int) -> tuple[Maps, ScalarLog]:
        """Return maps and the course of learning, which is empty for those in closed form."""
        kept = self.folder / settings / concept / f"seed{seed}"
        if not kept.is_dir():
            log, clock = ScalarLog(), time.process_time()
            training = self.folder / settings / f"{concept}_seed{seed}"
            maps = self._learn(settings, concept, seed, log=log, checkpoint_dir=training)
            assert isinstance(maps, Maps)  # `has_maps` says so
            with atomic_folder(kept) as temporary:
                maps.save_pretrained(temporary)
                log.to_csv(temporary / COURSE)
                write_json(temporary / SECONDS, time.process_time() - clock)
        of_maps = self.seconds.setdefault(settings, {})
        of_maps[f"{concept}/seed{seed}"] = float(read_json(kept / SECONDS))
        return Maps.from_pretrained(kept), ScalarLog.read_csv(kept / COURSE)

    def _learn(self, settings: str, concept: str, seed: int, **scratch: Any) -> Maps | PromptMethod:
        return learn(
            self.pipeline,
            self.prompts_of(concept, seed),
            self.config.arm.grid[settings],
            samples=self.config.arm.samples,
            call=self.config.call,
            seed=seed,
            **scratch,
        )


def read_maps(
    arm: ArmConfig, folder: Path, concept: str, seeds: tuple[int, ...]
) -> dict[int, Maps]:
    """Return seed -> maps of a concept; nothing for an arm without maps.

    Raises:
        FileError: if a folder is missing or damaged.
    """
    if not arm.has_maps:
        return {}
    return {
        seed: Maps.from_pretrained(folder / concept / f"seed{seed}") for seed in seeds[: arm.runs]
    }


def _score(
    config: LearnConfig,
    name: str,
    card: str,
    concept: str,
    seed: int,
    settings: str,
    maps: Maps,
    log: ScalarLog,
) -> Score:
    units = sum(each.units for each in maps.values())
    values = [Value(MAP_SUPPORT, 100 * maps.support()), Value(MAPPED_UNITS, units)]
    if len(log):
        losses = log.curves["loss"]
        values.append(Value(TRANSPORT_LOSS, fmean(losses[-max(len(losses) // 10, 1) :])))
    samples = config.arm.samples
    return Score(
        stage=STAGE,
        variant=name,
        seed=seed,
        dataset={"card": card, "split": "train", "items": samples or config.prompts.source},
        values=values,
        condition={"concept": concept, "settings": settings},
        budget={"iterations": len(log)},
    )


def _nothing_learnt(config: LearnConfig, name: str, card: str, settings: str) -> Score:
    return Score(
        stage=STAGE,
        variant=name,
        dataset={"card": card, "split": "train", "items": 0},
        values=[Value(MAPPED_UNITS, 0)],
        condition={"settings": settings},
        note="nothing is learnt: only the prompts change",
    )

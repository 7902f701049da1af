"""Small pages, models and configurations of NAF-DPM."""

import pytest
from small_pages import TINY, text_page

from vismodels.methods.nafdpm.config import (
    FinetuningConfig,
    ModelConfig,
    PagesConfig,
    Point,
    ScoringConfig,
    TaskConfig,
    TrainConfig,
    TrainingConfig,
    Window,
)


@pytest.fixture
def pages():
    return [text_page(f"page{number}", number) for number in range(3)]


@pytest.fixture
def sets():
    return PagesConfig(train=("rendered",), validation=("rendered",), test=("rendered",))


@pytest.fixture
def train_config(sets):
    def make(model=None, **training):
        settings = {
            "iterations": 4,
            "batch_size": 2,
            "patch": (48, 48),
            "validate_every": 2,
            "validation_pages": 1,
        } | training
        return TrainConfig(
            pages=sets,
            variant=model or ModelConfig(network=TINY),
            training=TrainingConfig(**settings),
        )

    return make


@pytest.fixture
def finetuning():
    def make(**settings):
        return FinetuningConfig(
            **{
                "iterations": 3,
                "batch_size": 2,
                "patch": (64, 128),
                "validate_every": 2,
                "validation_pages": 1,
            }
            | settings
        )

    return make


@pytest.fixture
def task_config(sets, train_config):
    scoring = ScoringConfig(
        points=(Point(steps=1),),
        engines=(),
        engine_pages=0,
        tile=64,
        overlap=8,
        scanned="base",
        shown=("wiener", "base_1", "clean"),
        windows=(Window(set="pages", page="page0", top=0, left=0, height=8, width=16),),
        bounds=(),
    )
    return TaskConfig(
        pages=sets,
        models={"base": ModelConfig(network=TINY)},
        training=train_config().training,
        classical={},
        scoring=scoring,
    )

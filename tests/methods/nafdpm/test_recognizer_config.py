import pytest

from vismodels.config import ConfigError, parse_config
from vismodels.methods.nafdpm.recognizer_config import RecognizerConfig
from vismodels.nn.crnn import CRNN

SECTION = {
    "pages": ["rendered"],
    "split": "train",
    "validation_pages": 2,
    "training": {"iterations": 10, "max_gradient_norm": 5.0, "validate_every": 5},
}


def parsed(training=None, **section):
    merged = SECTION | section | {"training": SECTION["training"] | (training or {})}
    return parse_config(RecognizerConfig, merged, "nafdpm.recognizers.critic")


def test_the_defaults_are_the_published_network_and_rate():
    config = parsed()
    assert CRNN(classes=96, **config.network.model_dump()).classifier.in_features == 512
    total = sum(p.numel() for p in CRNN(classes=96, **config.network.model_dump()).parameters())
    assert total == 8_755_168
    assert config.training.learning_rate == 1e-4
    assert config.training.batch_size == 32
    assert config.training.aligned_iterations == 0


@pytest.mark.parametrize("name", ["warmup", "aligned_iterations"])
def test_what_happens_first_ends_before_the_training(name):
    assert parsed({name: 9})
    with pytest.raises(ConfigError, match=rf"{name} \(10\) must be below iterations \(10\)"):
        parsed({name: 10})


@pytest.mark.parametrize(
    "section",
    [
        {"pages": []},
        {"split": "test"},
        {"validation_pages": 0},
        {"network": {"widths": [4, 4]}},
        {"network": {"image_channels": 2}},
        {"network": {"normalized": [7]}},
        {"training": {"augmentation": {"probability": 1.5}}},
        {"training": {"augmentation": {"blur": [2.0, 1.0]}}},
    ],
)
def test_impossible_settings_are_refused(section):
    with pytest.raises(ConfigError, match=r"^nafdpm\.recognizers\.critic"):
        parsed(section.pop("training", None), **section)

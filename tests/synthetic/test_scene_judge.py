import pytest
import torch

from vismodels.checkpoint import load_weights, save_weights, tensor_digest
from vismodels.synthetic.scene_captions import VALUES, Attributes
from vismodels.synthetic.scene_judge import Reading, SceneJudge, reading_values


@pytest.fixture
def images(generator):
    return torch.rand(7, 3, 32, 32, generator=generator)


def test_every_attribute_has_a_head(untrained_judge, images):
    logits = untrained_judge(images)
    assert {name: tuple(values.shape) for name, values in logits.items()} == {
        name: (7, len(known)) for name, known in VALUES.items()
    }


def test_features_are_the_pooled_feature_maps_of_timm(untrained_judge, images):
    maps = untrained_judge.backbone.forward_features(2 * images - 1)
    torch.testing.assert_close(untrained_judge.features(images), maps.mean(dim=(2, 3)))


def test_a_reading_holds_labels_probabilities_and_features(untrained_judge, images):
    reading = untrained_judge.read(images, batch_size=3)
    whole = untrained_judge.read(images)
    logits = untrained_judge(images)
    for name, values in logits.items():
        assert torch.equal(reading.labels[name], values.argmax(1))
        torch.testing.assert_close(reading.shares[name], values.softmax(1))
    torch.testing.assert_close(reading.features, whole.features)
    assert not reading.features.requires_grad


def test_reading_changes_nothing(images):
    judge = SceneJudge().train()
    before = tensor_digest(judge)
    judge.read(images)
    assert judge.training
    assert tensor_digest(judge) == before


def test_it_is_saved_and_loaded(untrained_judge, images, tmp_path):
    save_weights(untrained_judge, tmp_path)
    loaded = load_weights(SceneJudge, tmp_path)
    assert torch.equal(loaded.read(images).features, untrained_judge.read(images).features)


def test_other_backbones_of_timm_will_do(images):
    features = SceneJudge("test_convnext").eval().features(images)
    assert features.shape == (7, 64)


def test_images_of_another_shape_are_refused(untrained_judge):
    with pytest.raises(ValueError, match=r"expected \(B, 3, 32, 32\).*got \(1, 1, 32, 32\)"):
        untrained_judge(torch.zeros(1, 1, 32, 32))


def test_values_compare_what_was_read_with_captions():
    contents = [
        Attributes("small", "red", "circle", "black"),
        Attributes("large", "green", "cross", "gray", True, "night"),
    ]
    labels = {name: torch.tensor([a.labels[name] for a in contents]) for name in VALUES}
    labels["shape"] = torch.tensor([0, 0])
    values = reading_values(Reading(labels, {}, torch.zeros(2, 1)), contents)
    scores = {value.metric.name: value.value for value in values}
    assert scores.pop("shape_accuracy") == scores.pop("lowest_accuracy") == 50
    assert scores.pop("mean_accuracy") == pytest.approx(550 / 6)
    assert set(scores.values()) == {100}
    assert list(values[-2].items) == ["0000", "0001"]

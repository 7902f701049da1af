import pytest
import torch
from small_scenes import CLASS_MODEL

from vismodels.checkpoint import tensor_digest
from vismodels.results import read_scores, write_scores
from vismodels.synthetic import scene_training
from vismodels.synthetic.scene_class_model import (
    read_classes,
    score_class_model,
    train_class_model,
)
from vismodels.synthetic.scene_class_pipeline import build_class_pipeline, generate_classes
from vismodels.synthetic.scene_classes import class_labels


def config(gate=None, **training):
    return CLASS_MODEL.model_copy(
        update={
            "training": CLASS_MODEL.training.model_copy(update=training),
            "scoring": CLASS_MODEL.scoring.model_copy(update={"gate": gate}),
        }
    )


@pytest.fixture(scope="module")
def trained(untrained_judge):
    return train_class_model(config(), untrained_judge, seed=0)


def test_a_training_gives_its_course_and_a_record_for_each_number_of_steps(trained, tmp_path):
    write_scores(tmp_path / "scores.json", trained.scores)
    assert read_scores(tmp_path / "scores.json") == trained.scores
    assert trained.validation.iterations == [2, 4]
    assert trained.validation.curves.keys() == {
        "shape_accuracy",
        "color_accuracy",
        "lowest_accuracy",
    }
    course, one, two = trained.scores
    assert course.value("train_loss").value == sum(trained.losses.curves["loss"][-2:]) / 2
    count = sum(p.numel() for p in trained.pipeline.transformer.parameters())
    assert course.value("parameters").value == count
    assert course.budget == {"iterations": 4, "images": 16}
    assert [dict(record.condition) for record in (one, two)] == [{"steps": 1}, {"steps": 2}]
    assert one.dataset == {"card": "scenes", "split": "test", "items": 8}
    assert not any(record.gates for record in trained.scores)


def test_accuracies_are_counted_over_classes_in_turn(trained, untrained_judge):
    values = read_classes(trained.pipeline, untrained_judge, 30, 1, 0, "x")
    classes = [*range(24), *range(6)]
    read = untrained_judge.read(
        generate_classes(trained.pipeline, classes, 1, 0, "scene_class_model", "x")
    ).labels
    shares = {}
    for name in ("shape", "color"):
        told = torch.tensor([class_labels(number)[name] for number in classes])
        shares[f"{name}_accuracy"] = 100 * (read[name] == told).double().mean().item()
    found = {value.metric.name: value.value for value in values}
    assert found == pytest.approx({**shares, "lowest_accuracy": min(shares.values())})


def test_the_gate_is_on_the_lowest_accuracy(trained, untrained_judge):
    for record in score_class_model(config(gate=90.0), trained.pipeline, untrained_judge, seed=0):
        (gate,) = record.gates
        assert gate.value == record.value("lowest_accuracy").value
        assert (gate.bound, gate.passed) == (90, False)


def test_equal_seeds_give_equal_models_whatever_the_global_generator(trained, untrained_judge):
    torch.manual_seed(123)
    second, other = (train_class_model(config(), untrained_judge, seed=seed) for seed in (0, 1))
    digests = [tensor_digest(each.pipeline.transformer) for each in (trained, second, other)]
    assert digests[0] == digests[1] != digests[2]


def test_an_interrupted_training_ends_with_the_same_bits(
    trained, untrained_judge, tmp_path, monkeypatch
):
    mse_loss, calls = scene_training.F.mse_loss, []

    def stops(*arguments):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(1)
        return mse_loss(*arguments)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(scene_training.F, "mse_loss", stops)
        train_class_model(config(), untrained_judge, seed=0, checkpoint_dir=tmp_path)
    resumed = train_class_model(config(), untrained_judge, seed=0, checkpoint_dir=tmp_path)
    assert tensor_digest(resumed.pipeline.transformer) == tensor_digest(
        trained.pipeline.transformer
    )
    assert resumed.losses.curves == trained.losses.curves
    assert resumed.scores == trained.scores


def test_training_lowers_the_loss_and_leaves_the_code_alone(untrained_judge):
    settings = config(iterations=40, validate_every=40, scenes=1, learning_rate=1e-2)
    done = train_class_model(settings, untrained_judge, seed=0)
    losses = done.losses.curves["loss"]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    start = build_class_pipeline(settings, 0)
    assert tensor_digest(start.vae) == tensor_digest(done.pipeline.vae)

import numpy as np
import pytest
import torch
from small_scenes import JUDGE

from vismodels.checkpoint import tensor_digest
from vismodels.results import read_scores, write_scores
from vismodels.seeding import generator
from vismodels.synthetic import scene_judge_training
from vismodels.synthetic.scene_judge_training import train_judge
from vismodels.synthetic.scene_latents import as_unit, fit_scene_code
from vismodels.synthetic.scenes import make_scenes, render_all
from vismodels.training.loop import CHECKPOINT


def config(gate=None, **training):
    return JUDGE.model_copy(
        update={"training": JUDGE.training.model_copy(update=training), "gate": gate}
    )


def test_a_training_gives_records_of_clean_and_of_coded_scenes(tmp_path):
    trained = train_judge(config(gate=90.0), seed=0)
    write_scores(tmp_path / "scores.json", trained.scores)
    assert read_scores(tmp_path / "scores.json") == trained.scores
    course, clean, coded = trained.scores
    assert len(trained.losses) == 4
    assert course.budget == {"iterations": 4, "images": 32}
    assert course.value("train_loss").value == sum(trained.losses.curves["loss"][-2:]) / 2
    assert [dict(record.condition) for record in (clean, coded)] == [
        {"images": "clean"}, {"images": "reconstructed"}
    ]  # fmt: skip
    assert clean.dataset == {"card": "scenes", "split": "test", "items": 12}
    assert clean.value("lowest_accuracy").value < 90
    assert [gate.passed for gate in (*clean.gates, *coded.gates)] == [False, False]
    assert not trained.judge.training


def test_without_a_bound_there_is_no_gate():
    assert not any(record.gates for record in train_judge(config(), seed=0).scores)


def test_equal_seeds_give_equal_judges():
    first, second, other = (train_judge(config(), seed=seed) for seed in (0, 0, 1))
    assert tensor_digest(first.judge) == tensor_digest(second.judge)
    assert tensor_digest(first.judge) != tensor_digest(other.judge)


def test_an_interrupted_training_ends_with_the_same_bits(tmp_path, monkeypatch):
    whole = train_judge(config(), seed=0)
    cross_entropy = scene_judge_training.F.cross_entropy
    calls = []

    def stops(*arguments):
        if len(calls) == 3 * 6:
            raise KeyboardInterrupt
        calls.append(1)
        return cross_entropy(*arguments)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(scene_judge_training.F, "cross_entropy", stops)
        train_judge(config(), seed=0, checkpoint_dir=tmp_path)
    assert (tmp_path / CHECKPOINT).exists()
    resumed = train_judge(config(), seed=0, checkpoint_dir=tmp_path)
    assert tensor_digest(resumed.judge) == tensor_digest(whole.judge)
    assert resumed.losses.curves == whole.losses.curves


def test_training_lowers_the_loss():
    losses = train_judge(config(iterations=40), seed=0).losses.curves["loss"]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_half_of_the_images_went_through_the_code(monkeypatch):
    """Clean ones keep their pixels here, and coded ones are white."""
    scenes = make_scenes(JUDGE.scenes, "judge", 5, 0)
    monkeypatch.setattr(
        scene_judge_training, "reconstructed", lambda code, images: np.full_like(images, 255)
    )
    settings = config(noise=0.0, batch_size=400).training
    images, labels = next(scene_judge_training._batches(scenes, None, settings, generator(0)))
    white = (images == 1).all(dim=(1, 2, 3))
    assert 150 < white.sum() < 250
    clean = as_unit(render_all(scenes))
    for number, image in enumerate(images[:50]):
        if not white[number]:
            (found,) = [i for i, picture in enumerate(clean) if torch.equal(picture, image)]
            told = {name: int(values[number]) for name, values in labels.items()}
            assert told == scenes[found].attributes.labels


def test_noise_is_as_strong_as_it_should_be():
    scenes = make_scenes(JUDGE.scenes, "judge", 1, 0)
    settings = config(noise=0.05, reconstructed=0.0, batch_size=100).training
    code = fit_scene_code(JUDGE.scenes, JUDGE.code, 0)
    images, _ = next(scene_judge_training._batches(scenes, code, settings, generator(0)))
    noise = images - as_unit(render_all(scenes))
    assert noise.std() == pytest.approx(0.05, abs=1e-3)

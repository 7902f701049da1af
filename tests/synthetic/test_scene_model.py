import pytest
import torch
from small_scenes import MODEL

from vismodels.checkpoint import tensor_digest
from vismodels.results import read_scores, write_scores
from vismodels.seeding import generator
from vismodels.synthetic import scene_training
from vismodels.synthetic.scene_latents import as_model_input
from vismodels.synthetic.scene_model import (
    read_generated,
    score_scene_model,
    train_scene_model,
)
from vismodels.synthetic.scene_training import encode_scenes, noised_batches
from vismodels.synthetic.scenes import make_scenes, render_all
from vismodels.training.loop import CHECKPOINT


def config(gate=None, **training):
    return MODEL.model_copy(
        update={
            "training": MODEL.training.model_copy(update=training),
            "scoring": MODEL.scoring.model_copy(update={"gate": gate}),
        }
    )


def digest(trained):
    return tensor_digest(trained.pipeline.unet), tensor_digest(trained.pipeline.text_encoder)


def batches(pipeline, scenes, **training):
    encoded = pipeline.tokenizer(
        [scene.attributes.caption for scene in scenes] + [""],
        padding="max_length",
        return_tensors="pt",
    ).input_ids
    return noised_batches(
        encode_scenes(pipeline.vae, scenes),
        encoded[:-1],
        pipeline.scheduler,
        config(**training).training,
        generator(0),
        empty=encoded[-1:],
    )


# --- batches -----------------------------------------------------------------------------------


def test_batches_hold_what_the_scheduler_says(untrained_pipeline):
    """With v = sqrt(a) noise - sqrt(1 - a) x the clean latents come back: x = sqrt(a) z - ..."""
    scenes = make_scenes(MODEL.scenes, "train", 1, 0)
    stream = batches(untrained_pipeline, scenes, batch_size=50, empty_captions=0.0)
    noisy, timesteps, tokens, v = next(stream)
    kept = untrained_pipeline.scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    clean = untrained_pipeline.vae.encode(as_model_input(render_all(scenes))).latents
    torch.testing.assert_close(
        kept.sqrt() * noisy - (1 - kept).sqrt() * v, clean.expand_as(v), atol=1e-5, rtol=1e-5
    )
    noise = (1 - kept).sqrt() * noisy + kept.sqrt() * v
    assert noise.std() == pytest.approx(1, abs=0.02)
    words = untrained_pipeline.tokenizer.decode(tokens[0], skip_special_tokens=True)
    assert words.replace(" ,", ",") == scenes[0].attributes.caption


def test_a_share_of_the_batch_is_pure_noise_and_a_share_has_no_caption(untrained_pipeline):
    scenes = make_scenes(MODEL.scenes, "train", 20, 0)
    settings = {"batch_size": 2000, "last_timesteps": 0.25, "empty_captions": 0.1}
    _, timesteps, tokens, v = next(batches(untrained_pipeline, scenes, **settings))
    at_last = timesteps == 999
    assert 0.21 < at_last.float().mean() < 0.29
    assert 480 < timesteps[~at_last].float().mean() < 520
    empty = untrained_pipeline.tokenizer("", padding="max_length", return_tensors="pt").input_ids
    assert 0.07 < (tokens == empty).all(1).float().mean() < 0.13
    latents = untrained_pipeline.vae.encode(as_model_input(render_all(scenes))).latents
    assert all(any(torch.equal(-target, x) for x in latents) for target in v[at_last][:20])


# --- training ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(untrained_judge):
    return train_scene_model(config(), untrained_judge, seed=0)


def test_a_training_gives_its_course_and_a_record_for_each_number_of_steps(trained, tmp_path):
    write_scores(tmp_path / "scores.json", trained.scores)
    assert read_scores(tmp_path / "scores.json") == trained.scores
    assert trained.validation.iterations == [2, 4]
    assert {"shape_accuracy", "lowest_accuracy"} < trained.validation.curves.keys()
    course, one, two = trained.scores
    assert course.value("train_loss").value == sum(trained.losses.curves["loss"][-2:]) / 2
    assert 20 < course.value("code_psnr").value < 40
    networks = (trained.pipeline.unet, trained.pipeline.text_encoder)
    count = sum(p.numel() for network in networks for p in network.parameters())
    assert course.value("parameters").value == count
    assert course.budget == {"iterations": 4, "images": 16}
    assert [dict(record.condition) for record in (one, two)] == [{"steps": 1}, {"steps": 2}]
    assert one.dataset == {"card": "scenes", "split": "test", "items": 8}
    assert not any(record.gates for record in trained.scores)


def test_the_gate_is_on_the_lowest_accuracy(trained, untrained_judge):
    scores = score_scene_model(config(gate=90.0), trained.pipeline, untrained_judge, seed=0)
    assert [record.values for record in scores] == [r.values for r in trained.scores[1:]]
    for record in scores:
        (gate,) = record.gates
        assert gate.value == record.value("lowest_accuracy").value
        assert (gate.bound, gate.passed) == (90, False)


def test_equal_seeds_give_equal_models(trained, untrained_judge):
    second, other = (train_scene_model(config(), untrained_judge, seed=seed) for seed in (0, 1))
    assert digest(second) == digest(trained)
    assert digest(second) != digest(other)


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
        train_scene_model(config(), untrained_judge, seed=0, checkpoint_dir=tmp_path)
    assert (tmp_path / CHECKPOINT).exists()
    resumed = train_scene_model(config(), untrained_judge, seed=0, checkpoint_dir=tmp_path)
    assert digest(resumed) == digest(trained)
    assert resumed.losses.curves == trained.losses.curves
    assert resumed.validation.curves == trained.validation.curves
    assert resumed.scores == trained.scores


def test_the_averaged_weights_are_what_is_kept(trained, untrained_judge):
    last = train_scene_model(config(ema_decay=0.0), untrained_judge, seed=0)
    assert trained.losses.curves == last.losses.curves  # the same training
    assert digest(trained) != digest(last)


def test_the_average_is_of_the_recipe(untrained_judge, monkeypatch):
    """The decay after iteration i, from 0, is (1 + i) / (10 + i)."""
    decays = []
    get_decay = scene_training.ModelEmaV3.get_decay

    def kept(self, step=None):
        decays.append(get_decay(self, step))
        return decays[-1]

    monkeypatch.setattr(scene_training.ModelEmaV3, "get_decay", kept)
    train_scene_model(config(), untrained_judge, seed=0)
    assert decays == pytest.approx([1 / 10, 2 / 11, 3 / 12, 4 / 13])


def test_denoiser_and_text_encoder_are_both_trained_and_the_code_is_not(
    trained, untrained_pipeline
):
    for name, changes in (("unet", True), ("text_encoder", True), ("vae", False)):
        digests = [
            tensor_digest(getattr(pipeline, name))
            for pipeline in (untrained_pipeline, trained.pipeline)
        ]
        assert (digests[0] != digests[1]) is changes, name


def test_training_lowers_the_loss(untrained_judge):
    settings = config(
        iterations=30, validate_every=30, scenes=1, last_timesteps=1.0, learning_rate=1e-2
    )
    losses = train_scene_model(settings, untrained_judge, seed=0).losses.curves["loss"]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_a_loss_that_is_not_finite_stops_the_training(untrained_judge):
    settings = config(learning_rate=1e20, max_gradient_norm=1e20)
    with pytest.raises(FloatingPointError, match="learning rate"):
        train_scene_model(settings, untrained_judge, seed=0)


def test_what_is_read_belongs_to_the_captions(untrained_pipeline, untrained_judge):
    """Two scenes of one caption differ in geometry, which no prompt tells."""
    scenes = make_scenes(MODEL.scenes, "test", 6, 0)
    moved = [a.showing(b.attributes) for a, b in zip(reversed(scenes), scenes, strict=True)]
    first, second = (
        read_generated(untrained_pipeline, untrained_judge, each, 1, 0, "x")
        for each in (scenes, moved)
    )
    assert first == second

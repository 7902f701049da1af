from itertools import count

import pytest
from small_concepts import CALL, EDIT, LAYERS, LINEAS, MEAN, RedReader, about_star, stage_config

from vismodels.checkpoint import tensor_digest
from vismodels.choices import read_choice
from vismodels.files import FileError, folder_digests, write_json
from vismodels.methods.lineas import learning_stage
from vismodels.methods.lineas.config import ActMethod, ArmConfig, LearnConfig
from vismodels.methods.lineas.learning import learn
from vismodels.methods.lineas.learning_stage import learn_arm, read_maps
from vismodels.training.log import ScalarLog

GAUSSIAN = ActMethod(kind="act", layers=LAYERS, estimator="gaussian", order="at_once")
LEARNT = ArmConfig(runs=2, grid={"few": LINEAS})
CLOSED = ArmConfig(runs=2, grid={"mean": MEAN, "gaussian": GAUSSIAN})
WORDS = ArmConfig(grid={"before": EDIT})
CONCEPTS = ("star", "moon")


def prompts_of(concept, seed):
    return about_star(seed, concept=concept)


def learn_into(folder, pipeline, arm, prompts_of=prompts_of, scratch=None):
    return learn_arm(
        stage_config(LearnConfig, concepts=CONCEPTS, arm=arm),
        pipeline,
        RedReader(),
        prompts_of,
        name="arm",
        card="scenes",
        folder=folder,
        checkpoint_dir=scratch or folder.parent / "scratch",
    )


def digest(maps):
    return tensor_digest(
        {f"{layer}.{k}": v for layer in maps for k, v in maps[layer].tensors().items()}
    )


@pytest.fixture
def counted(monkeypatch):
    """Return the concepts and seeds of all calls of `learn`."""
    calls = []

    def counting(pipeline, about, method, **options):
        calls.append((about.concept, options["seed"]))
        return learn(pipeline, about, method, **options)

    monkeypatch.setattr(learning_stage, "learn", counting)
    return calls


def test_maps_of_every_concept_and_seed_are_stored_with_their_course(sd, tmp_path):
    learnt = learn_into(tmp_path / "out", sd, LEARNT)
    assert read_choice(LEARNT.grid, tmp_path / "out") == ("few", LINEAS)
    maps = read_maps(LEARNT, tmp_path / "out", "moon", (0, 1, 2))
    assert list(maps) == [0, 1]
    expected = learn(sd, prompts_of("moon", 1), LINEAS, call=CALL, seed=1)
    assert digest(maps[1]) == digest(expected)
    course = ScalarLog.read_csv(tmp_path / "out" / "courses" / "moon_seed1.csv")
    assert course.iterations == [1, 2, 3]
    score = learnt.scores[-1]
    assert (score.variant, score.seed, score.budget) == ("arm", 1, {"iterations": 3})
    assert score.condition == {"concept": "moon", "settings": "few"}
    assert score.value("transport_loss").value == course.curves["loss"][-1]
    assert score.value("map_support").value == 100 * maps[1].support()
    assert score.value("mapped_units").value == sum(each.units for each in maps[1].values())
    assert [s.seed for s in learnt.scores] == [0, 1, 0, 1]
    assert learnt.timings["cpu_seconds_per_concept"] > 0


def test_closed_forms_have_no_course(sd, tmp_path):
    arm = ArmConfig(grid={"mean": MEAN})
    (score, _) = learn_into(tmp_path / "out", sd, arm).scores
    assert not (tmp_path / "out" / "courses").exists()
    assert score.budget == {"iterations": 0}
    assert [value.metric.name for value in score.values] == ["map_support", "mapped_units"]


def test_what_choosing_has_learnt_is_not_learnt_again(sd, tmp_path, counted):
    learnt = learn_into(tmp_path / "out", sd, CLOSED)
    tried = [("star", 0), ("star", 0), ("moon", 0), ("moon", 0)]  # two settings, the first seed
    assert counted == [*tried, ("star", 1), ("moon", 1)]
    settings = [score.condition["settings"] for score in learnt.scores]
    assert settings[:2] == ["mean", "gaussian"]
    assert settings[2:] == [read_choice(CLOSED.grid, tmp_path / "out")[0]] * 4


def test_an_arm_of_words_learns_nothing_and_says_so(tmp_path):
    learnt = learn_into(tmp_path / "out", None, WORDS)
    assert list(folder_digests(tmp_path / "out")) == ["choice.json"]
    assert [score.note for score in learnt.scores] == ["nothing is learnt: only the prompts change"]
    assert read_maps(WORDS, tmp_path / "out", "star", (0, 1)) == {}
    assert not learnt.timings


def test_after_a_kill_nothing_is_learnt_twice_and_the_files_are_the_same(
    sd, tmp_path, counted, monkeypatch
):
    def killed(concept, seed):
        if (concept, seed) == ("moon", 1):
            raise KeyboardInterrupt
        return prompts_of(concept, seed)

    scratch = tmp_path / "scratch"
    monkeypatch.setattr(learning_stage.time, "process_time", count(0, 10).__next__)
    with pytest.raises(KeyboardInterrupt):
        learn_into(tmp_path / "killed", sd, LEARNT, killed, scratch)
    assert counted == [("star", 0), ("star", 1), ("moon", 0)]
    monkeypatch.setattr(learning_stage.time, "process_time", count(0, 50).__next__)
    resumed = learn_into(tmp_path / "resumed", sd, LEARNT, scratch=scratch)
    assert resumed.timings["cpu_seconds_per_concept"] == (3 * 10 + 50) / 4  # those before count
    assert counted == [("star", 0), ("star", 1), ("moon", 0), ("moon", 1)]
    whole = learn_into(tmp_path / "whole", sd, LEARNT, scratch=tmp_path / "other")
    assert resumed.scores == whole.scores
    assert folder_digests(tmp_path / "resumed") == folder_digests(tmp_path / "whole")


@pytest.mark.parametrize("content", [{"settings": "gausian"}, {}, ["mean"]])
def test_a_choice_that_is_none_is_named(tmp_path, content):
    write_json(tmp_path / "choice.json", content)
    with pytest.raises(FileError, match=r"choice\.json: the settings .* run the stage again"):
        read_choice(CLOSED.grid, tmp_path)


def test_a_missing_choice_and_missing_or_damaged_maps_are_named(sd, tmp_path):
    with pytest.raises(FileError, match=r"choice\.json: no such file"):
        read_choice(CLOSED.grid, tmp_path)
    with pytest.raises(FileError, match="seed0: no such folder"):
        read_maps(CLOSED, tmp_path, "star", (0, 1))
    learn(sd, about_star(), MEAN, call=CALL, seed=0).save_pretrained(tmp_path / "star" / "seed0")
    weights = tmp_path / "star" / "seed0" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(FileError, match="seed0: damaged"):
        read_maps(CLOSED, tmp_path, "star", (0, 1))

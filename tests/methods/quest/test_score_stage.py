import copy
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoModel
from small_quantized import (
    COMMON,
    SAMPLING,
    MeanJudge,
    arm_of,
    load,
    prompts_of,
    quantize_config,
    recipe_of,
    score_config,
)

from vismodels.data.prompts import LabelledPrompt
from vismodels.integrations.diffusers import pack_for_diffusers_
from vismodels.methods.quest.images import calls, generate
from vismodels.methods.quest.quantize import quantized_layers
from vismodels.methods.quest.quantize_stage import quantize_arm
from vismodels.methods.quest.score_stage import exchanged, execution_record, heading, score
from vismodels.methods.quest.storage import resident_bytes

FOUR = recipe_of(4)
TESTED = COMMON["counts"].test


def scored(arms, load_denoiser, folders, prompts=prompts_of, shown=MappingProxyType({})):
    config = score_config(arms, shown)
    return score(config, load, load_denoiser, MeanJudge(), prompts, folders=folders, card="balls")


def values_of(result, variant, seed=0):
    (record,) = [s for s in result.scores if (s.variant, s.seed) == (variant, seed)]
    return {value.metric.name: value.value for value in record.values}


# --- exchanged denoisers -------------------------------------------------------------------------


def test_a_pipeline_gets_its_own_denoiser_back_even_after_an_error():
    own, other = object(), object()
    pipeline = SimpleNamespace(unet=own)
    with exchanged(pipeline, "unet", other):
        assert pipeline.unet is other
    assert pipeline.unet is own
    with pytest.raises(KeyError), exchanged(pipeline, "unet", other):
        raise KeyError
    assert pipeline.unet is own
    with exchanged(pipeline, "unet", None):
        assert pipeline.unet is own


# --- scores --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def floats():
    """Return what is scored of two arms that are the float network; one has a second seed."""
    wanted, loaded = [], []

    def prompts(part, count, seed):
        wanted.append((part, count, seed))
        return prompts_of(part, count, seed)

    def load_denoiser(folder):
        loaded.append(folder)
        return load().unet

    arms = {"once": arm_of(FOUR), "twice": arm_of(FOUR, runs=2)}
    folders = {"once": {0: "once0"}, "twice": {0: "twice0", 1: "twice1"}}
    result = scored(arms, load_denoiser, folders, prompts, {"arms": ("twice",), "images": 2})
    return result, wanted, loaded


def test_every_arm_is_scored_on_its_seeds(floats):
    result, _, loaded = floats
    assert [(score.variant, score.seed) for score in result.scores] == [
        ("float", 0),
        ("other_noise", 0),
        ("once", 0),
        ("twice", 0),
        ("float", 1),
        ("other_noise", 1),
        ("twice", 1),
    ]
    assert loaded == ["once0", "twice0", "twice1"]


def test_only_test_prompts_are_asked_for(floats):
    result, wanted, _ = floats
    assert {part for part, _, _ in wanted} == {"test"}
    assert [(count, seed) for _, count, seed in wanted[:2]] == [(TESTED, 0), (TESTED, 1)]
    for record in result.scores:
        assert record.dataset == {"card": "balls", "split": "test", "items": TESTED}
        assert record.condition == {"steps": 2}


def test_every_network_meets_the_same_noise(floats):
    result, _, _ = floats
    for variant, seed in (("float", 0), ("once", 0), ("twice", 0), ("twice", 1)):
        values = values_of(result, variant, seed)
        assert values["image_mse"] == 0
        assert values["float_agreement"] == 100
        assert values["frechet_distance"] == pytest.approx(0, abs=1e-9)


def test_other_noise_is_the_floor_and_occupies_nothing(floats):
    result, _, _ = floats
    other = values_of(result, "other_noise")
    assert other["image_mse"] > 1e-6
    assert other["frechet_floor"] == other["frechet_distance"] > 0
    assert "resident_mb" not in other
    unet = load().unet
    assert values_of(result, "float")["resident_mb"] == resident_bytes(unet) / 1e6
    assert "frechet_floor" not in values_of(result, "twice")
    assert "frechet_excess" not in other
    assert values_of(result, "twice")["frechet_excess"] == 0.01 * other["frechet_floor"]


def test_first_images_of_the_first_seed_are_shown_with_their_prompts(floats):
    shown = floats[0].shown
    assert list(shown) == ["prompts", "float", "other_noise", "twice"]
    assert shown["prompts"].tolist() == ["a red ball", "a green ball"]
    assert {(shown[name].shape, shown[name].dtype) for name in list(shown)[1:]} == {
        ((2, 8, 8, 3), np.dtype(np.uint8))
    }
    assert np.array_equal(shown["float"], shown["twice"])
    assert not np.array_equal(shown["float"], shown["other_noise"])
    made = calls(prompts_of("test", 3, 0), SAMPLING, "test images", "same", seed=0)
    first = generate(load(), MeanJudge(), made).pixels[:2].permute(0, 2, 3, 1)
    assert np.abs(shown["float"] - 255.0 * first.numpy()).max() <= 0.5 + 1e-4


def test_images_of_classes_are_headed_by_them():
    assert heading(LabelledPrompt("", class_label=7)) == "class 7"
    assert heading(LabelledPrompt("a red ball")) == "a red ball"


def test_other_numbers_of_steps_are_scored_too():
    config = score_config({"arm": arm_of(FOUR)})
    sampling = SAMPLING.model_copy(update={"other_steps": (1,)})
    config = config.model_copy(update={"sampling": sampling})
    result = score(
        config,
        load,
        lambda folder: load().unet,
        MeanJudge(),
        prompts_of,
        folders={"arm": {0: "arm"}},
        card="balls",
    )
    assert [(s.variant, s.condition["steps"]) for s in result.scores] == [
        (name, steps) for steps in (2, 1) for name in ("float", "other_noise", "arm")
    ]


# --- stored networks -----------------------------------------------------------------------------


def test_networks_read_from_files_paint_what_the_saved_ones_did(tmp_path):
    made = quantize_arm(quantize_config(FOUR), load, prompts_of, "first", seed=0)
    arguments = calls(prompts_of("test", TESTED, 0), SAMPLING, "test images", "same", seed=0)
    images = generate(made.pipeline, MeanJudge(), copy.deepcopy(arguments)).pixels
    pack_for_diffusers_(made.denoiser)
    made.denoiser.save_pretrained(tmp_path)

    def read(folder):
        return AutoModel.from_pretrained(str(folder), local_files_only=True)

    arms, folders = {"net": arm_of(FOUR)}, {"net": {0: tmp_path}}
    shown = {"arms": ("net",), "images": TESTED, "executed": ("net",)}
    result = scored(arms, read, folders, shown=shown)
    expected = (images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    assert np.array_equal(result.shown["net"], expected)
    assert not np.array_equal(result.shown["net"], result.shown["float"])
    pipeline = load()
    with exchanged(pipeline, "unet", read(tmp_path)):
        assert torch.equal(generate(pipeline, MeanJudge(), arguments).pixels, images)
    values = values_of(result, "net")
    assert values["image_mse"] > 0
    assert values["resident_mb"] < values_of(result, "float")["resident_mb"]
    assert list(result.timings) == [
        f"cpu_seconds_per_image{kind}_{name}"
        for name in ("float", "net_simulated", "net_int8")
        for kind in ("", "_alone")
    ] + ["cpu_seconds_saved_per_image_net_int8"]
    saved = result.timings.pop("cpu_seconds_saved_per_image_net_int8")
    assert min(result.timings.values()) > 0
    start = "cpu_seconds_per_image"
    assert saved == result.timings[f"{start}_float"] - result.timings[f"{start}_net_int8"]
    report = result.execution["net"]
    assert report.speed_ratio > 0
    record = execution_record(report)
    assert sorted(record) == ["executed", "kept_float", "weight_bits_limited_to"]
    layers = set(quantized_layers(made.denoiser))
    assert {*record["executed"], *record["kept_float"]} == layers

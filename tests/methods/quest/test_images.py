import pytest
import torch
from small_quantized import COLORS, SAMPLING, Look, MeanJudge, load

from vismodels.data.prompts import LabelledPrompt
from vismodels.methods.quest.images import Images, calls, closeness, generate
from vismodels.methods.quest.workflow_config import SamplingConfig

PROMPTS = [LabelledPrompt(f"a {color} ball") for color in (*COLORS, *COLORS)]


def noises(*names, prompts=PROMPTS, batch_size=3, seed=0):
    """Return what the generator of each image draws first."""
    sampling = SamplingConfig(batch_size=batch_size)
    made = calls(prompts, sampling, *names, seed=seed)
    return [torch.randn(4, generator=each) for call in made for each in call["generator"]]


# --- calls ---------------------------------------------------------------------------------------


def test_every_image_has_noise_of_its_own():
    drawn = torch.stack(noises("test images", "same"))
    assert len(torch.unique(drawn, dim=0)) == len(PROMPTS)


def test_noise_depends_on_number_names_and_seed_not_on_the_batch():
    drawn = torch.stack(noises("test images", "same"))
    assert torch.equal(drawn, torch.stack(noises("test images", "same", batch_size=4)))
    assert torch.equal(drawn[:2], torch.stack(noises("test images", "same", prompts=PROMPTS[:2])))
    others = [noises("test images", "other"), noises("validation"), noises("same", seed=1)]
    for other in others:
        assert not (torch.stack(other) == drawn).all(1).any()


def test_calls_say_how_to_sample():
    sampling = SamplingConfig(num_inference_steps=7, guidance_scale=2.0, batch_size=4)
    first, last = calls(PROMPTS, sampling, seed=0)
    assert (len(first["generator"]), len(last["generator"])) == (4, 2)
    assert last["prompt"] == ["a green ball", "a blue ball"]
    assert (first["num_inference_steps"], first["guidance_scale"]) == (7, 2.0)
    assert calls(PROMPTS, sampling, seed=0, steps=3)[1]["num_inference_steps"] == 3


def test_without_texts_only_the_number_of_images_is_told():
    first, last = calls([LabelledPrompt("")] * 4, SAMPLING, seed=0)
    assert first.keys() == {"num_inference_steps", "generator", "batch_size"}
    assert (first["batch_size"], last["batch_size"]) == (3, 1)


# --- images --------------------------------------------------------------------------------------


def test_images_are_those_of_the_calls_and_are_read():
    pipeline, judge = load(), MeanJudge()
    images = generate(pipeline, judge, calls(PROMPTS[:4], SAMPLING, "a", seed=0))
    assert images.pixels.shape == (4, 3, 8, 8)
    assert images.pixels.min() >= 0
    assert images.pixels.max() <= 1
    assert images.pixels.flatten(1).std(1).min() > 0
    assert torch.equal(images.reading.features, images.pixels.mean((2, 3)))
    again = generate(pipeline, judge, calls(PROMPTS[:4], SAMPLING, "a", seed=0))
    assert torch.equal(again.pixels, images.pixels)
    call = {"prompt": PROMPTS[3].text, "num_inference_steps": 2, "guidance_scale": 0.0}
    own = calls(PROMPTS[:4], SAMPLING, "a", seed=0)[1]["generator"]
    alone = pipeline(**call, generator=own, output_type="pt").images
    assert torch.equal(images.pixels[3:], alone)


# --- closeness -----------------------------------------------------------------------------------


def images_of(values, labels):
    """Return gray images of one pixel; their features are their values."""
    values = torch.tensor(values)
    pixels = values[:, None, None, None].expand(-1, 3, 1, 1)
    labels = {name: torch.tensor(found) for name, found in labels.items()}
    return Images(pixels, Look(labels, values[:, None]))


def by_name(values):
    return {value.metric.name: value.value for value in values}


def test_closeness_by_hand():
    """Two attributes of four images.

    Values are 0.1 apart, squares of 0.2 in [-1, 1] are 0.04; features have the same spread around
    means 0.1 apart: 0.01. The first and the last image are read alike in both.
    """
    told = [{"size": 0, "color": each} for each in (0, 1, 2, 0)]
    prompts = [LabelledPrompt("a ball", labels) for labels in told]
    size = [0, 0, 0, 1]
    reference = images_of([0.1, 0.2, 0.4, 0.8], {"size": size, "color": [0, 1, 2, 2]})
    images = images_of([0.2, 0.3, 0.5, 0.9], {"size": size, "color": [0, 0, 1, 2]})
    values = closeness(images, reference, prompts)
    assert by_name(values) == pytest.approx(
        {
            "frechet_distance": 0.01,
            "image_mse": 0.04,
            "float_agreement": 50,
            "mean_accuracy": (75 + 25) / 2,
            "lowest_accuracy": 25,
        },
        rel=1e-5,  # features are float32
    )
    (items,) = (value.items for value in values if value.metric.name == "image_mse")
    assert items == pytest.approx({f"000{number}": 0.04 for number in range(4)})


def test_what_a_prompt_leaves_open_is_not_judged():
    """A class says the size alone; images are read alike if all that is read is the same."""
    prompts = [LabelledPrompt("", {"size": each}, class_label=each) for each in (0, 1)]
    reference = images_of([0.1, 0.2], {"size": [0, 1], "color": [0, 1]})
    images = images_of([0.1, 0.2], {"size": [0, 0], "color": [0, 1]})
    values = by_name(closeness(images, reference, prompts))
    assert values["mean_accuracy"] == values["lowest_accuracy"] == 50
    assert values["float_agreement"] == 50


def test_the_reference_is_as_close_as_can_be():
    reference = images_of([0.1, 0.2, 0.4], {"size": [0, 1, 1]})
    values = by_name(closeness(reference, reference, [LabelledPrompt("a ball")] * 3))
    assert values.pop("frechet_distance") == pytest.approx(0, abs=1e-12)
    assert values == {"image_mse": 0, "float_agreement": 100}


def test_a_judge_without_labels_tells_distances_only():
    reference, images = images_of([0.1, 0.2], {}), images_of([0.3, 0.2], {})
    prompts = [LabelledPrompt("a ball", {"size": 0})] * 2
    assert by_name(closeness(images, reference, prompts)).keys() == {
        "frechet_distance",
        "image_mse",
    }

import pytest
import torch
from small_pipelines import PIPELINES, TARGET, build, call_of, hooks_of
from torch.testing import assert_close

from vismodels.methods.lineas.generation import generate
from vismodels.methods.lineas.pipelines import seeded
from vismodels.methods.lineas.prompting import NegativePrompt, PromptEdit


def images(pipeline, method=None, strength=1.0, name="sd", **options):
    options = {"seeds": [3, 4, 5], "batch_size": 2, "call": call_of(name)} | options
    return generate(pipeline, TARGET[:3], method, strength, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", PIPELINES)
def test_images_are_rgb_between_0_and_1(name, dtype):
    made = images(build(name, dtype), name=name)
    assert (made.shape, made.dtype) == ((3, 3, 8, 8), torch.float32)
    assert 0 <= made.min() < made.max() <= 1


def test_the_plain_images_are_those_of_the_pipeline(sd):
    expected = sd(TARGET[:2], generator=seeded([3, 4]), output_type="pt", **call_of("sd")).images
    assert torch.equal(images(sd)[:2], expected)


def test_an_image_does_not_depend_on_its_batch_and_seeds_differ(sd):
    assert_close(images(sd, batch_size=1), images(sd, batch_size=3), atol=1e-5, rtol=0)
    twice = generate(sd, TARGET[:1] * 2, seeds=[0, 1], batch_size=2, call=call_of("sd"))
    assert not torch.allclose(twice[0], twice[1])


def test_maps_steer_with_their_strength_and_0_changes_no_bit(sd, random_maps):
    maps = random_maps({"unet.conv_norm_out": 4})
    plain = images(sd)
    assert torch.equal(images(sd, maps, 0.0), plain)
    changes = [(images(sd, maps, s) - plain).abs().mean() for s in (0.1, 0.5, 1.0)]
    assert 0 < changes[0] < changes[1] < changes[2]
    assert not hooks_of(sd)


def test_prompt_methods_change_the_call(sd):
    plain = images(sd)
    edited = images(sd, PromptEdit(lambda prompt: TARGET[3]))
    same = generate(sd, TARGET[3:4] * 3, seeds=[3, 4, 5], batch_size=2, call=call_of("sd"))
    assert torch.equal(edited, same)
    negative = NegativePrompt("a star", guidance_scale=5.0)
    assert torch.equal(images(sd, negative, 0.0), plain)
    assert not torch.allclose(images(sd, negative, 1.0), plain)


def test_negative_prompts_are_one_for_all_or_one_for_each(sd):
    guided = call_of("sd", guidance_scale=4.0)
    texts = [*TARGET[3:], "a star"]
    each = images(sd, call={**guided, "negative_prompt": texts})
    for index, text in enumerate(texts):
        same = images(sd, call={**guided, "negative_prompt": text})
        assert_close(each[index], same[index], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="got 2 for 3 prompts"):
        images(sd, call={**guided, "negative_prompt": texts[:2]})


def test_prompts_and_seeds_belong_together(sd):
    with pytest.raises(ValueError, match="got 2 and 3"):
        images(sd, seeds=[1, 2])


@pytest.mark.parametrize("name", ["prompt", "generator", "output_type"])
def test_arguments_that_are_set_here_are_refused_in_a_call(sd, name):
    with pytest.raises(ValueError, match=f"call has {name}, .* leave it out"):
        images(sd, call={**call_of("sd"), name: "pil"})

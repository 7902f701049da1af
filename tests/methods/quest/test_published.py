from collections import Counter

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DiTPipeline,
    LDMPipeline,
    UNet2DModel,
)
from small_denoisers import build_dit
from small_pipelines import build, vae

from vismodels.cards.schema import load_card
from vismodels.config import parse_config
from vismodels.data.prompts import LabelledPrompt
from vismodels.files import FileError
from vismodels.methods.quest.calibration_set import collect
from vismodels.methods.quest.images import calls, generate
from vismodels.methods.quest.published import (
    PARTS,
    FeatureJudge,
    load_published,
    load_published_judge,
    read_published_prompts,
)
from vismodels.methods.quest.recipes import quantize_pipeline_
from vismodels.methods.quest.workflow_config import (
    PublishedDenoiser,
    QuestWorkflowConfig,
    SamplingConfig,
)
from vismodels.verify import load_config

SAMPLING = SamplingConfig(num_inference_steps=2, batch_size=2)


def unconditional():
    network = UNet2DModel(
        sample_size=4,
        in_channels=4,
        out_channels=4,
        block_out_channels=(4, 8),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
        norm_num_groups=2,
    )
    return LDMPipeline(vae(), network, DDIMScheduler())


def of_classes():
    labels = {str(number): f"class {number}" for number in range(10)}
    return DiTPipeline(build_dit(in_channels=4), vae(), DDPMScheduler(), id2label=labels)


class Means:
    """A judge that looks at the mean of each channel."""

    def read(self, images):
        return images.mean((2, 3))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with a small pipeline of each kind, and a file of prompts."""
    folder = tmp_path_factory.mktemp("data")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = {"sd": build("sd"), "ldm": unconditional(), "dit": of_classes()}
    for name, pipeline in made.items():
        pipeline.save_pretrained(folder / name)
    lines = [f"prompt {number}" for number in range(40)]
    (folder / "prompts.txt").write_text("\n".join(["", *lines, " ", "  prompt 3", ""]))
    return folder


@pytest.fixture(scope="module")
def papers():
    """The settings of paper.yaml."""
    return parse_config(QuestWorkflowConfig, load_config("paper")["quest"], "quest")


def config_of(source="sd", **options):
    return PublishedDenoiser(kind="diffusers", source=source, **options)


KINDS = {
    "sd": ("unet", {"prompts": "prompts.txt"}),
    "ldm": ("unet", {}),
    "dit": ("transformer", {"classes": 10, "scheduler": "ddim"}),
}


# --- pipelines ---------------------------------------------------------------------------------


@pytest.mark.parametrize("source", KINDS)
def test_pipelines_of_every_kind_give_images_that_do_not_depend_on_the_batch(root, source):
    config = config_of(source, **KINDS[source][1])
    pipeline = load_published(config, root)
    prompts = read_published_prompts(config, root, "test", 3, seed=0)
    images = generate(pipeline, Means(), calls(prompts, SAMPLING, seed=0)).pixels
    assert images.shape[:2] == (3, 3)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    whole = SAMPLING.model_copy(update={"batch_size": 3})
    again = generate(pipeline, Means(), calls(prompts, whole, seed=0)).pixels
    torch.testing.assert_close(again, images, atol=1e-5, rtol=0)


def shortened(recipe):
    """Return the same recipe with two iterations of each step."""
    changes = {"iterations": 2, "batch_size": 2}
    rounding = recipe.reconstruction.model_copy(update=changes)
    tuning = recipe.finetuning.model_copy(update=changes)
    return recipe.model_copy(update={"reconstruction": rounding, "finetuning": tuning})


@pytest.mark.parametrize(
    ("problem", "source", "arm"),
    [
        ("lsun_bedrooms", "ldm", "w8a8"),
        ("lsun_churches", "ldm", "w4a4"),
        ("imagenet_dit", "dit", "w4a4"),
        ("sd_v1_4", "sd", "w4a4"),
    ],
)
def test_the_papers_recipes_quantize_denoisers_of_their_kind(root, papers, problem, source, arm):
    given = papers.problems[problem]
    component, asked = KINDS[source]
    assert component == given.component
    pipeline = load_published(config_of(source, **asked), root)
    prompts = read_published_prompts(config_of(source, **asked), root, "pool", 2, seed=0)
    made = [{**call, "output_type": "latent"} for call in calls(prompts, SAMPLING, seed=0)]
    inputs = collect(pipeline, made, component=component)
    assert len(inputs) == 2 * 2
    before = generate(pipeline, Means(), calls(prompts, SAMPLING, seed=0)).pixels
    recipe = shortened(given.arms[arm].grid["published"])
    report = quantize_pipeline_(pipeline, recipe, inputs, component=component)
    assert [stage.name for stage in report.stages] == ["tla", "cma"]
    after = generate(pipeline, Means(), calls(prompts, SAMPLING, seed=0)).pixels
    assert 0 < (after - before).abs().mean() < {"w8a8": 0.02, "w4a4": 0.2}[arm]


def test_classes_are_asked_for_by_their_numbers(root):
    prompts = [LabelledPrompt("", class_label=each) for each in (3, 0, 7)]
    first, last = calls(prompts, SAMPLING, seed=0)
    assert (first["class_labels"], last["class_labels"]) == ([3, 0], [7])
    assert "prompt" not in first
    assert first["guidance_scale"] == SAMPLING.guidance_scale


def test_a_scheduler_is_its_own_or_ddim_with_the_same_noise(root):
    assert isinstance(load_published(config_of("dit"), root).scheduler, DDPMScheduler)
    scheduler = load_published(config_of("dit", scheduler="ddim"), root).scheduler
    assert isinstance(scheduler, DDIMScheduler)
    assert torch.equal(scheduler.alphas_cumprod, DDPMScheduler().alphas_cumprod)


def test_a_missing_folder_is_named_with_what_to_do(root):
    with pytest.raises(FileError, match="ldm_lsun: no such folder; give a folder written by"):
        load_published(config_of("ldm_lsun"), root)


# --- the judge ---------------------------------------------------------------------------------


class ThreeMeans(torch.nn.Module):
    """Features that are means, and a weight that says where they are computed."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(2.0))
        self.sizes = []

    def forward(self, images):
        self.sizes.append(len(images))
        return self.scale * images.mean((2, 3))


def test_a_reading_is_of_features_alone_batch_by_batch(generator):
    images = torch.rand(5, 3, 4, 4, generator=generator)
    network = ThreeMeans()
    reading = FeatureJudge(network, batch_size=2).read(images)
    assert torch.equal(reading.features, 2 * images.mean((2, 3)))
    assert reading.labels == {}
    assert not reading.features.requires_grad
    assert network.sizes == [2, 2, 1]


def test_a_judge_that_cannot_be_had_is_named():
    with pytest.raises(FileError, match="timm cannot load no_such_net"):
        load_published_judge(config_of(features="no_such_net"))


# --- prompts -----------------------------------------------------------------------------------


def texts(root, part, count=10, seed=0):
    config = config_of(prompts="prompts.txt")
    return [each.text for each in read_published_prompts(config, root, part, count, seed)]


def test_parts_are_disjoint_whatever_the_seed_and_together_all_lines(root):
    parts = [set(texts(root, part, seed=seed)) for seed, part in enumerate(PARTS)]
    assert [len(part) for part in parts] == [10] * 4
    assert set.union(*parts) == {f"prompt {number}" for number in range(40)}


def test_the_seed_decides_which_of_a_part_come_first(root):
    first, second = texts(root, "test"), texts(root, "test", seed=1)
    assert first != second
    assert sorted(first) == sorted(second)
    assert texts(root, "test", count=4) == first[:4]


def test_too_few_lines_are_counted(root):
    message = r"prompts\.txt: 11 pool .*the part has 10, a quarter of 40 .*counts\.pool"
    with pytest.raises(FileError, match=message):
        texts(root, "pool", count=11)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xff"])
def test_a_file_that_is_no_text_is_named_with_what_to_put_there(tmp_path, content):
    if content is not None:
        (tmp_path / "prompts.txt").write_bytes(content)
    with pytest.raises(FileError, match=rf"{tmp_path}/prompts\.txt cannot be read.*one prompt a"):
        texts(tmp_path, "test")


def test_no_class_is_more_frequent_than_another_by_more_than_one(root):
    config = config_of("dit", classes=10)
    made = read_published_prompts(config, root, "test", 25, seed=0)
    counts = Counter(prompt.class_label for prompt in made)
    assert set(counts) == set(range(10))
    assert set(counts.values()) == {2, 3}
    assert not any(prompt.text or prompt.labels for prompt in made)
    assert made[:10] == read_published_prompts(config, root, "test", 10, seed=0)
    assert made[:10] != read_published_prompts(config, root, "test", 10, seed=1)


def test_unconditional_networks_are_asked_for_nothing(root):
    assert read_published_prompts(config_of("ldm"), root, "pool", 3, 0) == [LabelledPrompt("")] * 3


def test_the_card_says_that_prompts_come_from_a_file():
    card = load_card("published_prompts")
    assert "one prompt a line" in card.how_to_get
    assert set(card.splits) == {"train", "validation", "test"}

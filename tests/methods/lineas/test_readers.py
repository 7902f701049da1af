from dataclasses import dataclass

import pytest
import timm
import torch
from small_pipelines import clip as text_clip
from small_pipelines import tokenizer
from torch.nn import functional as F
from torch.testing import assert_close
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPVisionConfig

from vismodels.data.prompts import ConceptPrompt, ConceptPrompts
from vismodels.methods.lineas.readers import ClipReader, JudgeReader, load_clip_reader
from vismodels.metrics.steering import CLIP_SCORE, CONCEPT_PRESENCE
from vismodels.nn.timm_features import TimmFeatures

EDGE = 8  # of what the small CLIP sees
PICTURES = torch.zeros(2, 3, 4, 4)


def prompts_about(words, labels, **known):
    """Return prompts about a concept, one for each mapping of labels; {} where none are known."""
    prompts = [ConceptPrompt(f"{n} with it", str(n), each) for n, each in enumerate(labels)]
    validation = [ConceptPrompt("c with it", "c", labels[0])]
    return ConceptPrompts("it", words, ["a with it"], ["b"], validation, prompts, **known)


# --- a judge -----------------------------------------------------------------------------------


@dataclass
class FakeReading:
    labels: dict
    features: torch.Tensor


class FakeJudge:
    """Sees the same whatever it is shown."""

    def __init__(self, labels, features):
        self.reading = FakeReading({k: torch.tensor(v) for k, v in labels.items()}, features)

    def read(self, images):
        self.images = images
        return self.reading


def test_a_judge_gives_presence_and_the_share_of_other_attributes_that_are_right():
    labels = [
        {"star": 1, "color": 2, "shape": 0},
        {"star": 1, "color": 1, "shape": 1},
        {"star": 1, "color": 0, "shape": 0},
    ]
    about = prompts_about("a star", labels, attribute="star", present=1)
    features = torch.arange(6.0).view(3, 2)
    judge = FakeJudge({"star": [1, 0, 1], "color": [2, 1, 3], "shape": [0, 2, 1]}, features)
    shown = torch.zeros(3, 3, 4, 4)
    reading = JudgeReader(judge).read(shown, about.test, about)
    assert judge.images is shown
    assert reading.presence.tolist() == [100, 0, 100]
    assert reading.others.tolist() == [100, 50, 0]
    assert reading.features is features


def test_the_label_that_means_presence_is_the_concepts():
    night = prompts_about("night", [{"style": 2, "color": 0}] * 2, attribute="style", present=2)
    judge = FakeJudge({"style": [1, 2], "color": [0, 0]}, torch.zeros(2, 1))
    reading = JudgeReader(judge).read(PICTURES, night.test, night)
    assert reading.presence.tolist() == [0, 100]
    assert reading.others.tolist() == [100, 100]


def test_a_judge_refuses_prompts_without_labels():
    about = prompts_about("a star", [{}, {}])
    with pytest.raises(ValueError, match="'it' have no labels to judge by; read them with CLIP"):
        JudgeReader(FakeJudge({}, None)).read(PICTURES, about.test, about)


# --- CLIP --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip():
    vision = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=EDGE,
        patch_size=4,
        projection_dim=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CLIPModel(
            CLIPConfig(
                text_config=text_clip().config.to_dict(),
                vision_config=vision.to_dict(),
                projection_dim=8,
            )
        ).eval()


@pytest.fixture(scope="module")
def processor():
    size = {"height": EDGE, "width": EDGE}
    return CLIPProcessor(
        CLIPImageProcessor(size={"shortest_edge": EDGE}, crop_size=size), tokenizer()
    )


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model("test_resnet", num_classes=0).eval()


@pytest.fixture
def reader(clip, processor, network):
    features = TimmFeatures(network, mean=(0.1, 0.2, 0.3), deviation=(0.5, 0.6, 0.7), edge=32)
    return ClipReader(clip, processor, features)


@pytest.fixture(params=[(16, 16), (12, 20), (40, 9)], ids=str)
def images(request, generator):
    return torch.rand(3, 3, *request.param, generator=generator)


def read(reader, images, words="a red star"):
    about = prompts_about(words, [{}] * len(images))
    return reader.read(images, about.test, about)


def test_presence_is_the_cosine_of_the_images_and_the_words(reader, clip, processor, images):
    pictures = [(255 * image).round().byte().permute(1, 2, 0).numpy() for image in images]
    inputs = processor(text=["a red star"], images=pictures, return_tensors="pt")
    with torch.no_grad():
        output = clip(**inputs)  # its logits are cosines times a scale
    expected = (output.logits_per_image / clip.logit_scale.exp())[:, 0]
    reading = read(reader, images)
    assert_close(reading.presence, expected, atol=1e-6, rtol=1e-5)
    assert reading.presence.std() > 0
    assert reading.others is None


def test_the_words_decide_what_is_looked_for(reader, images):
    star, cube = (read(reader, images, words).presence for words in ("a red star", "a blue cube"))
    assert not torch.allclose(star, cube)


def test_features_are_the_networks_of_resized_and_normalized_images(reader, network, images):
    mean, deviation = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    resized = F.interpolate(images, (32, 32), mode="bicubic", antialias=True).clamp(0, 1)
    normalized = ((resized.movedim(1, -1) - mean) / deviation).movedim(-1, 1)
    with torch.no_grad():
        expected = network(normalized)
    assert_close(read(reader, images).features, expected, atol=1e-6, rtol=1e-5)


def test_a_reading_does_not_depend_on_the_batch(reader, images):
    whole = read(reader, images)
    reader.batch_size = 2
    parts = read(reader, images)
    assert_close(parts.presence, whole.presence, atol=1e-6, rtol=1e-5)
    assert_close(parts.features, whole.features, atol=1e-6, rtol=1e-5)


def test_a_reading_has_no_gradient_and_readers_say_what_they_measure(reader, images):
    reading = read(reader, images.requires_grad_())
    assert not reading.presence.requires_grad
    assert not reading.features.requires_grad
    assert (reader.presence_metric, JudgeReader(None).presence_metric) == (
        CLIP_SCORE,
        CONCEPT_PRESENCE,
    )


def test_published_networks_are_prepared_for_as_their_configurations_say(
    clip, processor, images, monkeypatch, tmp_path
):
    clip.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    asked = []

    def create(name, pretrained, **options):
        asked.append((name, pretrained))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return create_model(name, **options)

    create_model = timm.create_model
    monkeypatch.setattr(timm, "create_model", create)
    reader = load_clip_reader(str(tmp_path), "test_resnet")
    assert asked == [("test_resnet", True)]
    assert not any(part.training for part in (reader.clip, reader.features))
    network = create("test_resnet", True, num_classes=0)
    features = TimmFeatures(network, mean=(0.5,) * 3, deviation=(0.5,) * 3, edge=160)
    direct = ClipReader(clip, processor, features)
    assert_close(read(reader, images).presence, read(direct, images).presence)
    assert_close(read(reader, images).features, read(direct, images).features)

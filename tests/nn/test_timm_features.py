import json

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch.nn import functional as F
from torch.testing import assert_close

from vismodels.files import FileError
from vismodels.nn.timm_features import TimmFeatures, load_timm_features

MEAN, DEVIATION, EDGE = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), 32


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model("test_resnet", num_classes=0).eval()


@pytest.fixture
def saved(network, tmp_path):
    """A folder with the network, as timm reads it."""
    data = {"mean": MEAN, "std": DEVIATION, "input_size": (3, EDGE, EDGE), "num_classes": 0}
    config = {"architecture": "test_resnet", "num_classes": 0, "pretrained_cfg": data}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    return tmp_path


@pytest.mark.parametrize("size", [(16, 16), (12, 20), (40, 9)], ids=str)
def test_features_are_the_networks_of_resized_and_normalized_images(network, size, generator):
    images = torch.rand(3, 3, *size, generator=generator)
    resized = F.interpolate(images, (EDGE, EDGE), mode="bicubic", antialias=True).clamp(0, 1)
    normalized = (resized.movedim(1, -1) - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    features = TimmFeatures(network, mean=MEAN, deviation=DEVIATION, edge=EDGE)
    with torch.no_grad():
        expected = network(normalized.movedim(-1, 1))
        assert_close(features(images), expected, atol=1e-6, rtol=1e-5)


def test_images_of_the_right_size_are_not_resized(network, generator):
    images = torch.rand(2, 3, EDGE, EDGE, generator=generator)
    features = TimmFeatures(network, mean=(0.0,) * 3, deviation=(1.0,) * 3, edge=EDGE)
    with torch.no_grad():
        assert_close(features(images), network(images), atol=1e-6, rtol=1e-5)


def test_a_network_is_loaded_with_its_weights_and_what_it_expects(saved, network, generator):
    features = load_timm_features(f"local-dir:{saved}")
    assert features.edge == EDGE
    assert not any(part.training for part in features.modules())
    direct = TimmFeatures(network, mean=MEAN, deviation=DEVIATION, edge=EDGE)
    images = torch.rand(2, 3, 8, 8, generator=generator)
    with torch.no_grad():
        assert torch.equal(features(images), direct(images))


def test_a_network_that_cannot_be_had_is_named_with_what_to_do(saved, monkeypatch):
    with pytest.raises(FileError, match=r"timm cannot load no_such_net .*Unknown model"):
        load_timm_features("no_such_net")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(saved))
    with pytest.raises(FileError, match=r"hf download timm/test_resnet\.r160_in1k.*local-dir:"):
        load_timm_features("test_resnet.r160_in1k")
    (saved / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(FileError, match="timm cannot load local-dir:"):
        load_timm_features(f"local-dir:{saved}")

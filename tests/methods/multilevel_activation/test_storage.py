import json

import pytest
import torch
from small_brains import HEADS, variant

from vismodels.checkpoint import save_weights
from vismodels.files import FileError, write_manifest
from vismodels.methods.multilevel_activation.build import build_head, build_trunk
from vismodels.methods.multilevel_activation.config import MultiLevelConfig, TrunkConfig
from vismodels.methods.multilevel_activation.storage import (
    HEAD,
    load_network,
    load_segmenter,
    read_head,
    save_segmenter,
)
from vismodels.nn.residual_sr import ResidualSR
from vismodels.results import SCORES, Score, write_scores

FLAT = MultiLevelConfig(kind="multilevel", steepness=2.0, spacing=2.5, decode="cumulative")


def write_record(folder):
    write_scores(folder / SCORES, [Score("multilevel_train", "model", [], seed=0)])


def store(folder, head, kind="residual_unet3d"):
    """Write what the stage `train` would, with random weights; return the network."""
    trunk = TrunkConfig(kind=kind, width=4, depth=2)
    network = build_trunk(trunk, build_head(head).channels, seed=0).eval()
    save_segmenter(network, head, folder)
    write_record(folder)
    return network


@pytest.mark.parametrize("kind", ["residual_unet3d", "segresnet"])
def test_a_stored_network_of_either_kind_comes_back(kind, tmp_path, generator):
    network = build_trunk(TrunkConfig(kind=kind, width=4, depth=2), 3, seed=0).eval()
    save_weights(network, tmp_path)
    write_record(tmp_path)
    loaded = load_network(tmp_path)
    volume = torch.randn(1, 4, 8, 8, 8, generator=generator)
    with torch.no_grad():
        assert torch.equal(loaded(volume), network(volume))


def test_a_network_of_another_kind_is_refused(tmp_path):
    save_weights(ResidualSR(), tmp_path)
    write_record(tmp_path)
    with pytest.raises(FileError, match="weights of an unknown class"):
        load_network(tmp_path)


@pytest.mark.parametrize("head", [*(variant(name).head for name in HEADS), FLAT])
def test_a_network_comes_back_with_the_head_it_learned_with(head, tmp_path, generator):
    network = store(tmp_path, head)
    model = load_segmenter(tmp_path)
    assert read_head(tmp_path) == head
    assert not model.training
    volume = torch.randn(1, 4, 8, 8, 8, generator=generator)
    with torch.no_grad():
        logits = network(volume)
        assert torch.equal(model(volume), logits)  # its bias too is that of the training
    assert torch.equal(model.predict(volume), build_head(head).levels(logits))
    assert torch.equal(model.regions(volume), build_head(head).regions(logits))


def test_equal_heads_make_equal_files_that_hold_every_setting(tmp_path):
    for name in ("a", "b"):
        store(tmp_path / name, FLAT)
    first, second = ((tmp_path / name / HEAD).read_bytes() for name in ("a", "b"))
    assert first == second
    assert json.loads(first)["head"] == FLAT.model_dump()


def test_the_head_of_the_configuration_has_to_be_the_one_of_the_training(tmp_path):
    network = store(tmp_path, FLAT)
    loaded = load_network(tmp_path, head=FLAT)
    assert all(map(torch.equal, loaded.state_dict().values(), network.state_dict().values()))
    for other in (variant("softmax").head, FLAT.model_copy(update={"spacing": 0.5})):
        with pytest.raises(FileError, match=r"learned with the head MultiLevelConfig.*spacing=2.5"):
            load_network(tmp_path, head=other)


def test_a_folder_without_a_head_says_what_to_do(tmp_path):
    store(tmp_path, FLAT)
    (tmp_path / HEAD).unlink()
    with pytest.raises(FileError, match=r"head\.json: no such file.*train again"):
        load_segmenter(tmp_path)
    with pytest.raises(FileError, match=r"head\.json: no such file"):
        load_network(tmp_path, head=FLAT)
    assert load_network(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        '{"head": {"kind": "multil',
        "[]",
        "{}",
        '{"head": {"kind": "multi"}}',
        '{"head": {"kind": "multilevel", "steepness": -2.0}}',
        '{"head": {"kind": "softmax", "spacing": 2.5}}',
    ],
)
def test_a_damaged_head_is_named(content, tmp_path):
    store(tmp_path, FLAT)
    (tmp_path / HEAD).write_text(content)
    with pytest.raises(FileError, match=r"head\.json: (holds no head|not valid JSON).* again"):
        load_segmenter(tmp_path)


def test_a_head_that_was_changed_does_not_match_the_manifest(tmp_path):
    store(tmp_path, FLAT)
    write_manifest(tmp_path)
    assert load_segmenter(tmp_path)
    (tmp_path / HEAD).write_text((tmp_path / HEAD).read_text().replace("2.5", "0.5"))
    with pytest.raises(FileError, match=r"changed: head\.json"):
        load_segmenter(tmp_path)

import shutil

import pytest
import torch
from diffusers.pipelines.dit.pipeline_dit import DiTPipeline
from small_scenes import CLASS_MODEL

from vismodels.checkpoint import tensor_digest
from vismodels.files import FileError, atomic_folder, folder_digests, read_json, write_json
from vismodels.synthetic.scene_class_pipeline import (
    build_class_pipeline,
    generate_classes,
    load_class_model,
    save_class_model,
)

CLASSES = [3, 0, 23]


@pytest.fixture(scope="module")
def pipeline():
    return build_class_pipeline(CLASS_MODEL, 0)


@pytest.fixture
def folder(pipeline, tmp_path):
    with atomic_folder(tmp_path / "model") as temporary:
        save_class_model(pipeline, temporary)
    return tmp_path / "model"


def images(pipeline, **options):
    return generate_classes(pipeline, CLASSES, 2, 0, "test", **options)


def test_weights_depend_on_the_seed_and_leave_the_global_generator_alone(pipeline):
    state = torch.get_rng_state()
    same, other = build_class_pipeline(CLASS_MODEL, 0), build_class_pipeline(CLASS_MODEL, 1)
    assert torch.equal(torch.get_rng_state(), state)
    expected = tensor_digest(pipeline.transformer)
    assert tensor_digest(same.transformer) == expected
    assert tensor_digest(other.transformer) != expected


def test_images_are_in_range_and_belong_to_their_class_and_number(pipeline):
    made = images(pipeline)
    assert made.shape == (3, 3, 32, 32)
    assert 0 <= made.min() < made.max() <= 1
    torch.testing.assert_close(images(pipeline, batch_size=2), made)
    other = generate_classes(pipeline, [3, 0, 22], 2, 0, "test")
    torch.testing.assert_close(other[:2], made[:2])
    assert not torch.equal(generate_classes(pipeline, CLASSES, 2, 1, "test"), made)


def test_the_class_matters(pipeline):
    """The blocks of a new one pass everything through; the last layer listens to the class too."""
    network = build_class_pipeline(CLASS_MODEL, 0)
    with torch.no_grad():
        for parameter in network.transformer.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.manual_seed(0)))
    first, second = (generate_classes(network, [each], 1, 0, "x") for each in (0, 1))
    assert (first - second).abs().max() > 1e-3


def test_a_saved_pipeline_paints_the_same_and_is_one_of_diffusers(pipeline, folder):
    expected = images(pipeline)
    loaded = load_class_model(folder)
    assert torch.equal(images(loaded), expected)
    assert torch.equal(images(DiTPipeline.from_pretrained(folder)), expected)
    assert not any(parameter.requires_grad for parameter in loaded.vae.parameters())


def test_the_bytes_depend_on_the_weights_alone(pipeline, folder, tmp_path):
    images(pipeline)
    save_class_model(load_class_model(folder), tmp_path / "again")
    first, second = folder_digests(folder), folder_digests(tmp_path / "again")
    first.pop("manifest.json", None)
    assert first == second


def test_a_folder_of_something_else_is_an_error(folder):
    (folder / "manifest.json").unlink()
    index = read_json(folder / "model_index.json")
    for changes in ({"_class_name": "FluxPipeline"}, {"vae": ["diffusers", "AutoencoderKL"]}):
        write_json(folder / "model_index.json", index | changes)
        with pytest.raises(FileError, match=r"'DiTPipeline' with 'PatchVAE'; .* save_class_model"):
            load_class_model(folder)
    shutil.rmtree(folder)
    with pytest.raises(FileError, match="no such folder"):
        load_class_model(folder)

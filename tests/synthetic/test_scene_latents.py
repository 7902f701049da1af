import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny, AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from sklearn.decomposition import PCA

from vismodels.checkpoint import load_weights, save_weights, tensor_digest
from vismodels.files import folder_digests
from vismodels.synthetic.scene_config import SceneCodeConfig, SceneConfig
from vismodels.synthetic.scene_latents import (
    PatchVAE,
    as_model_input,
    as_unit,
    fit_patch_code,
    reconstructed,
)
from vismodels.synthetic.scenes import make_scenes, render_all


@pytest.fixture(scope="module")
def images():
    return render_all(make_scenes(SceneConfig(), "train", 60, 0))


@pytest.fixture(scope="module")
def others():
    return render_all(make_scenes(SceneConfig(), "test", 40, 0))


def fitted(images, **changes):
    return fit_patch_code(images, SceneCodeConfig(**changes))


def error(code, images):
    return float(((as_model_input(images) - code(as_model_input(images)).sample) ** 2).mean())


def test_all_components_give_the_image_back(images, others):
    code = fitted(images, components=48)
    assert error(code, others) < 1e-10
    assert (reconstructed(code, others) == others).all()


@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_images_are_those_of_a_principal_component_analysis(images, others, whitening):
    """Patches are cut by hand here."""

    def patches(pictures):
        tiles = as_model_input(pictures).numpy().reshape(-1, 3, 8, 4, 8, 4)
        return tiles.transpose(0, 2, 4, 1, 3, 5).reshape(-1, 48)

    oracle = PCA(12, svd_solver="full").fit(patches(images))
    expected = oracle.inverse_transform(oracle.transform(patches(others)))
    code = fitted(images, whitening=whitening)
    found = code(as_model_input(others)).sample.numpy().reshape(-1, 3, 8, 4, 8, 4)
    found = found.transpose(0, 2, 4, 1, 3, 5).reshape(-1, 48)
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_latents_have_mean_zero_and_deviation_one(images):
    for whitening in (0.0, 0.5, 1.0):
        latents = fitted(images, whitening=whitening).encode(as_model_input(images)).latents
        assert latents.shape == (60, 12, 8, 8)
        assert latents.mean(dim=(0, 2, 3)).abs().max() < 1e-4
        assert (latents**2).mean().sqrt() == pytest.approx(1, abs=1e-3)


def test_whitening_evens_the_deviations_of_the_components(images):
    spreads = []
    for whitening in (0.0, 0.5, 1.0):
        latents = fitted(images, whitening=whitening).encode(as_model_input(images)).latents
        deviations = latents.std(dim=(0, 2, 3))
        spreads.append(float(deviations.max() / deviations.min()))
    assert spreads[1] == pytest.approx(spreads[0] ** 0.5, rel=1e-2)
    assert spreads[2] == pytest.approx(1, abs=1e-3)


def test_more_components_and_smaller_patches_lose_less(images, others):
    errors = [error(fitted(images, components=count), others) for count in (4, 8, 12, 16)]
    assert errors == sorted(errors, reverse=True)
    assert error(fitted(images, components=12, patch_size=2), others) < 1e-10
    assert fitted(images, patch_size=2).config.block_out_channels == [12, 12]


def test_it_has_the_interface_of_the_tiny_autoencoder(images):
    code = fitted(images)
    tiny = AutoencoderTiny(
        latent_channels=12,
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    )
    pictures = as_model_input(images[:2])
    for vae in (code, tiny):
        encoded = vae.encode(pictures)
        assert isinstance(encoded, AutoencoderTinyOutput)
        assert encoded.latents.shape == vae.encode(pictures, return_dict=False)[0].shape
        assert encoded.latents.shape == (2, 12, 8, 8)
        decoded = vae.decode(encoded.latents, generator=None)
        assert isinstance(decoded, DecoderOutput)
        assert decoded.sample.shape == vae.decode(encoded.latents, return_dict=False)[0].shape
        assert decoded.sample.shape == pictures.shape
        assert vae.config.scaling_factor == 1
        assert 2 ** (len(vae.config.block_out_channels) - 1) == 4


def test_gradients_pass_through_but_nothing_is_trained(images):
    code = fitted(images)
    latents = torch.zeros(1, 12, 8, 8, requires_grad=True)
    code.decode(latents).sample.sum().backward()
    assert latents.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in code.parameters())


def test_it_is_saved_and_loaded(images, tmp_path):
    code = fitted(images)
    save_weights(code, tmp_path / "a")
    loaded = load_weights(PatchVAE, tmp_path / "a")
    assert tensor_digest(loaded) == tensor_digest(code)
    assert loaded.config.patch_size == 4
    save_weights(loaded, tmp_path / "b")
    assert folder_digests(tmp_path / "a") == folder_digests(tmp_path / "b")
    again = PatchVAE.from_pretrained(tmp_path / "a", low_cpu_mem_usage=False)
    assert tensor_digest(again) == tensor_digest(code)


def test_pictures_become_tensors():
    picture = np.zeros((1, 2, 4, 3), np.uint8)
    picture[0, 1, 2] = (255, 51, 0)
    assert as_unit(picture)[0, :, 1, 2].tolist() == pytest.approx([1, 0.2, 0])
    assert as_model_input(picture)[0, :, 1, 2].tolist() == pytest.approx([1, -0.6, -1])


# --- what is refused ---------------------------------------------------------------------------


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"expected a patch_size of 2\*\*\(blocks - 1\), got 2"):
        PatchVAE(patch_size=2)
    with pytest.raises(ValueError, match="at most 48 latent channels, got 3, 3 and 49"):
        PatchVAE(latent_channels=49)
    with pytest.raises(ValueError, match="as many channels out as in"):
        PatchVAE(out_channels=1)


def test_images_with_too_little_in_them_are_refused():
    with pytest.raises(ValueError, match="differ in fewer than 12 directions"):
        fitted(np.full((4, 32, 32, 3), 7, np.uint8))

"""A latent code of images in closed form: principal components of their patches, both ways.

It takes the place of a trained autoencoder in a latent diffusion pipeline, with the interface of
diffusers' `AutoencoderTiny`. On the scenes it is better than a trained one of their size, and needs
no training.
"""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.synthetic.scene_config import SceneCodeConfig, SceneConfig
from vismodels.synthetic.scenes import make_scenes, render_all


class PatchVAE(ModelMixin, ConfigMixin):  # type: ignore[misc]  # as in diffusers itself
    """A linear map of each patch to a latent pixel, and its transpose back.

    A new one has random weights; `fit_patch_code` sets them.

    Args:
        in_channels: of the images.
        out_channels: the same.
        latent_channels: components of a patch that are kept.
        patch_size: edge in pixels.
        block_out_channels: only its length matters: pipelines take 2**(length - 1) for the factor
            between images and latents.
        scaling_factor: pipelines multiply encoded latents by it; 1, as the weights hold the scale.

    Raises:
        ValueError: if the sizes do not fit one another.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        latent_channels: int = 12,
        patch_size: int = 4,
        block_out_channels: Sequence[int] = (12, 12, 12),
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if 2 ** (len(block_out_channels) - 1) != patch_size:
            raise ValueError(
                f"expected a patch_size of 2**(blocks - 1), got {patch_size} with "
                f"{len(block_out_channels)} block_out_channels"
            )
        values = in_channels * patch_size**2
        if in_channels != out_channels or latent_channels > values:
            raise ValueError(
                f"expected as many channels out as in and at most {values} latent channels, got "
                f"{in_channels}, {out_channels} and {latent_channels}"
            )
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(patch_size), nn.Conv2d(values, latent_channels, 1)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, values, 1), nn.PixelShuffle(patch_size)
        )

    @apply_forward_hook  # type: ignore[untyped-decorator]
    def encode(self, x: Tensor, return_dict: bool = True) -> AutoencoderTinyOutput | tuple[Tensor]:
        """Return the latents, (B, latent_channels, H / patch, W / patch).

        Args:
            x: (B, C, H, W) in [-1, 1]; edges are multiples of the patch.
            return_dict: False for a tuple.
        """
        latents: Tensor = self.encoder(x)
        return AutoencoderTinyOutput(latents=latents) if return_dict else (latents,)

    @apply_forward_hook  # type: ignore[untyped-decorator]
    def decode(
        self, x: Tensor, generator: torch.Generator | None = None, return_dict: bool = True
    ) -> DecoderOutput | tuple[Tensor]:
        """Return the images, (B, C, H, W), in about [-1, 1].

        Args:
            x: latents.
            generator: of the interface; nothing is drawn.
            return_dict: False for a tuple.
        """
        images: Tensor = self.decoder(x)
        return DecoderOutput(sample=images) if return_dict else (images,)

    def forward(self, sample: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """Return images after encoding and decoding; see `decode`."""
        output: DecoderOutput | tuple[Tensor] = self.decode(
            self.encoder(sample), return_dict=return_dict
        )
        return output


def fit_patch_code(images: NDArray[np.uint8], config: SceneCodeConfig) -> PatchVAE:
    """Return the code whose decoder is the best linear one for the patches of `images`.

    Components are divided by a power of their standard deviation, and all by one number, which
    makes the latents' mean 0 and their standard deviation over everything 1.

    Args:
        images: (N, H, W, 3) uint8; edges are multiples of the patch.
        config: sizes.

    Raises:
        ValueError: if the patches differ in fewer directions than there are components.
    """
    from sklearn.decomposition import PCA

    size, count = config.patch_size, config.components
    patches = F.pixel_unshuffle(as_model_input(images), size).movedim(1, -1).flatten(0, -2)
    analysis = PCA(count, svd_solver="covariance_eigh").fit(patches.double().numpy())
    deviations = np.sqrt(analysis.explained_variance_)
    if not deviations[-1] > 1e-6:
        raise ValueError(
            f"the patches differ in fewer than {count} directions; give more images, or keep fewer "
            "components"
        )
    scales = deviations**config.whitening
    scales *= np.sqrt(np.mean((deviations / scales) ** 2))
    with torch.random.fork_rng(devices=[]):  # weights are drawn, and replaced below
        code: PatchVAE = PatchVAE(
            latent_channels=count,
            patch_size=size,
            block_out_channels=[count] * size.bit_length(),
        )
    encoder = torch.from_numpy(analysis.components_ / scales[:, None])
    decoder = torch.from_numpy(analysis.components_.T * scales)
    mean = torch.from_numpy(analysis.mean_)
    weights = {
        "encoder.1.weight": encoder[:, :, None, None],
        "encoder.1.bias": -encoder @ mean,
        "decoder.0.weight": decoder[:, :, None, None],
        "decoder.0.bias": mean,
    }
    code.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    code.requires_grad_(False).eval()
    return code


def fit_scene_code(scenes: SceneConfig, config: SceneCodeConfig, seed: int) -> PatchVAE:
    """Return the code of the first scenes of the training split; see `fit_patch_code`.

    Args:
        scenes: how they are drawn.
        config: sizes, and the number of scenes.
        seed: of the run.
    """
    return fit_patch_code(render_all(make_scenes(scenes, "train", config.scenes, seed)), config)


def as_unit(images: NDArray[np.uint8]) -> Tensor:
    """Return (N, 3, H, W) float32 in [0, 1] of (N, H, W, 3) uint8."""
    return torch.from_numpy(images).movedim(-1, 1).float() / 255


def as_model_input(images: NDArray[np.uint8]) -> Tensor:
    """Return (N, 3, H, W) float32 in [-1, 1] of (N, H, W, 3) uint8."""
    return 2 * as_unit(images) - 1


@torch.no_grad()
def reconstructed(code: PatchVAE, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images after the code, (N, H, W, 3) uint8, on the code's device and back."""
    decoded = code(as_model_input(images).to(code.device), return_dict=False)[0]
    levels = ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    pixels: NDArray[np.uint8] = levels.movedim(1, -1).cpu().numpy()
    return pixels

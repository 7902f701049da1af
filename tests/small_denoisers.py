"""Denoisers of diffusers with a few thousand random weights, and calls of them."""

import torch
from diffusers import DiTTransformer2DModel, PixArtTransformer2DModel
from small_pipelines import unet

from vismodels.methods.quest.calibration_set import CalibrationSet


def build(make, seed, **options):
    """Return `make(**options)` in evaluation mode, its weights drawn from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(**options).eval()


def build_unet(seed=0, **options):
    """Return a UNet with shortcuts, self- and cross-attention; 4x4, 4 channels."""
    return build(unet, seed, **options)


def build_dit(seed=0, in_channels=1):
    """Return a class-conditional DiT; 8x8."""
    return build(
        DiTTransformer2DModel,
        seed,
        num_attention_heads=2,
        attention_head_dim=4,
        in_channels=in_channels,
        out_channels=in_channels,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=10,
        norm_num_groups=1,
    )


def build_pixart(seed=0):
    """Return a transformer with cross-attention and one modulation for all blocks; 8x8."""
    return build(
        PixArtTransformer2DModel,
        seed,
        num_attention_heads=2,
        attention_head_dim=4,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        sample_size=8,
        cross_attention_dim=8,
        caption_channels=16,
        norm_num_groups=1,
    )


def calls_of(model, timesteps=(900, 900, 100, 100), seed=0):
    """Return a calibration set with one sample for each timestep."""
    generator = torch.Generator().manual_seed(seed)
    count, steps = len(timesteps), torch.tensor(timesteps)
    if isinstance(model, DiTTransformer2DModel):
        return CalibrationSet(
            {
                "hidden_states": torch.randn(count, 1, 8, 8, generator=generator),
                "timestep": steps,
                "class_labels": torch.arange(count) % 10,
            }
        )
    if isinstance(model, PixArtTransformer2DModel):
        return CalibrationSet(
            {
                "hidden_states": torch.randn(count, 4, 8, 8, generator=generator),
                "encoder_hidden_states": torch.randn(count, 5, 16, generator=generator),
                "timestep": steps,
            }
        )
    width = model.config.cross_attention_dim
    return CalibrationSet(
        {
            "sample": torch.randn(count, 4, 4, 4, generator=generator),
            "timestep": steps,
            "encoder_hidden_states": torch.randn(count, 5, width, generator=generator),
        }
    )


def output_of(model, calls):
    """Return what a denoiser puts out, without gradient."""
    with torch.no_grad():
        return model(**calls.arguments()).sample

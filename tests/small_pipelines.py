"""Pipelines of diffusers with a few thousand random weights, built from configurations."""

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LuminaNextDiT2DModel,
    LuminaPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    GemmaConfig,
    GemmaModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

WORDS = ("a", "red", "blue", "green", "cube", "ball", "with", "without", "star", "at", "night")
SPECIAL = ("<pad>", "<start>", "<end>", "<unknown>")
LENGTH = 8
WIDTH = 8  # of text and denoiser

SOURCE = ["a red cube with star", "a blue ball with star", "a green cube with star"] * 2
TARGET = ["a red ball", "a blue cube", "a green ball", "a cube at night", "a ball at night"]
FLUX_SIZE = {"height": 8, "width": 8}


def tokenizer():
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        model_max_length=LENGTH,
        pad_token="<pad>",
        bos_token="<start>",
        eos_token="<end>",
        unk_token="<unknown>",
    )


def clip(cls=CLIPTextModel):
    return cls(
        CLIPTextConfig(
            vocab_size=len(SPECIAL) + len(WORDS),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=LENGTH,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def t5():
    return T5EncoderModel(
        T5Config(
            vocab_size=len(SPECIAL) + len(WORDS),
            d_model=WIDTH,
            d_kv=4,
            d_ff=WIDTH,
            num_layers=1,
            num_heads=2,
        )
    )


def vae():
    return AutoencoderKL(
        block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=8,
        shift_factor=0.0,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def unet(**options):
    return UNet2DConditionModel(
        sample_size=4,
        block_out_channels=(4, 8),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=2,
        norm_num_groups=2,
        **{"cross_attention_dim": WIDTH, **options},
    )


def scheduler():
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )


def stable_diffusion():
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip(),
        tokenizer=tokenizer(),
        unet=unet(),
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl():
    return StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=clip(),
        text_encoder_2=clip(CLIPTextModelWithProjection),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        unet=unet(
            cross_attention_dim=2 * WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=6 * 4 + WIDTH,
            use_linear_projection=True,
        ),
        scheduler=scheduler(),
        add_watermarker=False,
    )


def flux():
    return FluxPipeline(
        vae=vae(),
        text_encoder=clip(),
        text_encoder_2=t5(),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=1,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def lumina():
    """Return a pipeline whose guided batches have the conditional half first."""
    return LuminaPipeline(
        vae=vae(),
        text_encoder=GemmaModel(
            GemmaConfig(
                vocab_size=len(SPECIAL) + len(WORDS),
                hidden_size=WIDTH,
                intermediate_size=WIDTH,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=2,
                head_dim=4,
            )
        ),
        tokenizer=tokenizer(),
        transformer=LuminaNextDiT2DModel(
            sample_size=4,
            hidden_size=WIDTH,
            num_layers=2,
            num_attention_heads=1,
            num_kv_heads=1,
            multiple_of=16,
            cross_attention_dim=WIDTH,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


PIPELINES = {"sd": stable_diffusion, "sdxl": stable_diffusion_xl, "flux": flux}
# Normalizations and feed-forward layers of denoiser and text encoders.
NORMS = {
    "sd": ("unet.*norm.*", "text_encoder.*norm.*"),
    "sdxl": ("unet.*norm.*", r"text_encoder(_2)?\..*norm.*"),
    "flux": (r"transformer\..*\.norm\d?(_context)?", r"text_encoder(_2)?\..*norm.*"),
}


def build(name, dtype=torch.float32, seed=0):
    """Return a pipeline in evaluation mode whose weights, those of norms too, are random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = {**PIPELINES, "lumina": lumina}[name]()
    generator = torch.Generator().manual_seed(seed)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
            with torch.no_grad():
                for weight in part.parameters():
                    weight += 0.1 * torch.randn(weight.shape, generator=generator)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline if dtype == torch.float32 else pipeline.to(dtype)


def call_of(name, steps=1, **options):
    """Return the arguments of a call of a small pipeline."""
    size = FLUX_SIZE if name == "flux" else {}
    return {"num_inference_steps": steps, "guidance_scale": 0.0, **size, **options}


def hooks_of(pipeline):
    """Return all hooks on modules of the pipeline."""
    return [
        hook
        for part in pipeline.components.values()
        if isinstance(part, torch.nn.Module)
        for module in part.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        for hook in hooks.values()
    ]

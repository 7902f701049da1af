import pytest
import torch
from small_pipelines import PIPELINES, TARGET, build, call_of, hooks_of
from torch.testing import assert_close

from vismodels.methods.lineas.activations import pooled_activations, record, run_and_record
from vismodels.methods.lineas.layers import component_of, pipeline_modules
from vismodels.methods.lineas.pipelines import seeded
from vismodels.nn.hooks import capture

LAYERS = {
    "sd": ["unet.conv_norm_out", "text_encoder.final_layer_norm"],
    "sdxl": [
        "unet.conv_norm_out",
        "text_encoder.encoder.layers.0",
        "text_encoder_2.text_model.encoder.layers.0",
    ],
    "flux": ["transformer.transformer_blocks.0.norm1", "text_encoder_2.encoder.final_layer_norm"],
}
GUIDED = {
    "sd": {"guidance_scale": 4.0, "negative_prompt": ["star"] * 5},
    "sdxl": {"guidance_scale": 4.0, "negative_prompt": ["star"] * 5},
    "flux": {"true_cfg_scale": 4.0, "negative_prompt": ["star"] * 5},
}


def pooled(pipeline, layers, poolings=("mean",), prompts=TARGET, batch_size=5, **call):
    return pooled_activations(
        pipeline,
        layers,
        prompts,
        poolings,
        seeds=range(len(prompts)),
        batch_size=batch_size,
        call=call,
    )


def test_rows_are_the_means_over_pixels_and_tokens(sd):
    values, units = pooled(sd, LAYERS["sd"], **call_of("sd"))
    with capture(pipeline_modules(sd), LAYERS["sd"], copies=True) as outputs:
        sd(TARGET, generator=seeded(range(5)), output_type="latent", **call_of("sd"))
    image, text = (outputs[layer] for layer in LAYERS["sd"])
    assert list(values["mean"]) == [("text_encoder.final_layer_norm", 0), ("unet.conv_norm_out", 0)]
    assert_close(values["mean"]["unet.conv_norm_out", 0], image.mean((2, 3)))
    assert_close(values["mean"]["text_encoder.final_layer_norm", 0], text.mean(1))
    assert units == {"unet.conv_norm_out": 4, "text_encoder.final_layer_norm": 8}


@pytest.mark.parametrize("name", PIPELINES)
def test_every_denoising_step_is_kept_apart_and_text_belongs_to_the_first(name):
    values, _ = pooled(build(name), LAYERS[name], **call_of(name, 3))
    denoiser, *texts = LAYERS[name]
    assert values["mean"].keys() == {(denoiser, step) for step in range(3)} | {
        (text, 0) for text in texts
    }
    first, second = (values["mean"][denoiser, step] for step in (0, 1))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("name", PIPELINES)
def test_of_a_guided_pass_the_conditional_half_is_kept(name):
    """In the first step both halves see the noise alone, so guidance changes nothing there."""
    pipeline = build(name)
    plain, _ = pooled(pipeline, LAYERS[name], **call_of(name, 2))
    guided, _ = pooled(pipeline, LAYERS[name], **call_of(name, 2, **GUIDED[name]))
    for (layer, step), rows in guided["mean"].items():
        assert rows.shape == plain["mean"][layer, step].shape
        if step == 0:
            assert_close(rows, plain["mean"][layer, step], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(guided["mean"][LAYERS[name][0], 1], plain["mean"][LAYERS[name][0], 1])


def test_the_conditional_half_is_kept_where_it_comes_first():
    """Rows of the negative prompt would be learnt from without a word."""
    lumina = build("lumina")
    layers = ["transformer.layers.1.ffn_norm1", "text_encoder.norm"]
    call = {"num_inference_steps": 2, "height": 16, "width": 16, "clean_caption": False}
    plain, _ = pooled(lumina, layers, guidance_scale=0.0, **call)
    guided, _ = pooled(lumina, layers, guidance_scale=4.0, negative_prompt="star", **call)
    assert guided["mean"].keys() == plain["mean"].keys()
    for key in [(layers[0], 0), (layers[1], 0)]:
        assert_close(guided["mean"][key], plain["mean"][key], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(guided["mean"][layers[0], 1], plain["mean"][layers[0], 1])


def test_rows_do_not_depend_on_the_batches(sd):
    together, _ = pooled(sd, LAYERS["sd"], ["mean", "max"], **call_of("sd", 2))
    apart, _ = pooled(sd, LAYERS["sd"], ["mean", "max"], batch_size=2, **call_of("sd", 2))
    assert list(apart) == ["mean", "max"]
    for pooling in together:
        assert_close(apart[pooling], together[pooling], atol=1e-5, rtol=1e-5)


def test_padding_does_not_count_where_the_text_encoder_masks_it(sd):
    layer = "text_encoder.final_layer_norm"
    prompts = ["a ball", "a red cube with star"]
    sd.text_encoder.config.use_attention_mask = True
    values, _ = pooled(sd, [layer], prompts=prompts, **call_of("sd"))
    with capture(pipeline_modules(sd), layer, copies=True) as outputs:
        sd(prompts, output_type="latent", **call_of("sd"))
    lengths = [4, 7]  # with start and end
    expected = [row[:length].mean(0) for row, length in zip(outputs[layer], lengths, strict=True)]
    assert_close(values["mean"][layer, 0], torch.stack(expected))


def test_half_precision_activations_are_pooled_in_float32():
    values, _ = pooled(build("sd", torch.bfloat16), LAYERS["sd"], **call_of("sd"))
    assert {rows.dtype for rows in values["mean"].values()} == {torch.float32}


def test_an_element_of_a_tuple_is_recorded():
    flux = build("flux")
    layer = "transformer.transformer_blocks.0.norm1"
    values, units = pooled(flux, [layer, f"{layer}:1"], **call_of("flux"))
    with capture(pipeline_modules(flux), layer, copies=True) as outputs:
        flux(TARGET, generator=seeded(range(5)), output_type="latent", **call_of("flux"))
    assert_close(values["mean"][layer, 0], outputs[layer][0].mean(1))
    assert_close(values["mean"][f"{layer}:1", 0], outputs[layer][1])  # a gate, (B, units)
    assert units == {layer: 16, f"{layer}:1": 16}


def test_a_recorded_pass_changes_nothing_and_leaves_nothing(sd):
    def latents():
        return sd(
            TARGET[:2], generator=seeded([0, 1]), output_type="latent", **call_of("sd")
        ).images

    plain, hooks = latents(), hooks_of(sd)
    with record(sd, LAYERS["sd"], 2, ["mean"]) as recording:
        recorded = latents()
    assert torch.equal(recorded, plain)
    assert hooks_of(sd) == hooks
    assert len(recording.values["mean"]) == 2


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("vae.decoder.conv_out", "do not run when latents are generated: vae"),
        ("unet.down_blocks.0.resnets.0.nonlinearity", "more than once in one call of unet"),
        ("text_encoder.embeddings.position_embedding", "1 rows for 5 prompts"),
    ],
)
def test_layers_that_cannot_be_recorded_are_refused(sd, layer, message):
    with pytest.raises(ValueError, match=message):
        pooled(sd, [layer], **call_of("sd"))
    assert not hooks_of(sd)


def test_no_prompts_are_refused(sd):
    with pytest.raises(ValueError, match="expected prompts"):
        pooled(sd, LAYERS["sd"], prompts=[], **call_of("sd"))


def test_a_recording_with_gradients_reaches_the_maps_of_the_block(sd, random_maps):
    from vismodels.methods.lineas.steer import steer

    maps = random_maps({"unet.conv_norm_out": 4})
    maps["unet.conv_norm_out"].shift.requires_grad_()
    with steer(sd, maps):
        recording = run_and_record(
            sd, LAYERS["sd"], TARGET, ["mean"], seeds=range(5), gradient="full", call=call_of("sd")
        )
    recording.values["mean"]["unet.conv_norm_out", 0].sum().backward()
    assert maps["unet.conv_norm_out"].shift.grad.tolist() == [5] * 4


def test_layers_of_any_component_are_named_by_it():
    assert component_of("text_encoder.encoder.layers.0:1") == "text_encoder"

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import (
    PipelineQuantizationConfig,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models import modeling_utils
from diffusers.quantizers import auto
from diffusers.utils import hub_utils
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from small_denoisers import build_dit, build_unet, calls_of, output_of
from small_pipelines import build, call_of
from small_scenes import CODE

from vismodels.config import ConfigError
from vismodels.integrations.diffusers import (
    FORMAT,
    QuestConfig,
    QuestMethod,
    pack_for_diffusers_,
    register,
)
from vismodels.integrations.model_card import IMPORT
from vismodels.methods.quest.calibration import calibrate_
from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.config import (
    PRESETS,
    ActivationQuantConfig,
    QuantizationSettings,
    WeightQuantConfig,
)
from vismodels.methods.quest.execute import execute_int8_
from vismodels.methods.quest.packed import PackedLayer
from vismodels.methods.quest.quantize import enable_, quantize_, quantized_layers
from vismodels.methods.quest.shortcuts import find_splits
from vismodels.methods.quest.storage import file_bytes
from vismodels.quantization.int8 import probe
from vismodels.synthetic.scene_config import SceneModelConfig, SceneNetworkConfig
from vismodels.synthetic.scene_pipeline import build_pipeline

WEIGHTS = "diffusion_pytorch_model.safetensors"
EXTREMES = {  # take a tenth of the time of the search
    "weights": WeightQuantConfig(ranges="minmax"),
    "activations": ActivationQuantConfig(ranges="minmax"),
}
GROUPS = QuantizationSettings(**EXTREMES, time_groups=2)
UNSPLIT = QuantizationSettings(**EXTREMES, split_shortcuts=False)


def quantized(settings=GROUPS, model=None):
    """Return a calibrated network that is ready to be saved, and calls of it."""
    model = build_unet() if model is None else model
    calls = calls_of(model)
    is_unet = isinstance(model, UNet2DConditionModel)
    quantize_(model, settings, find_splits(model, **calls.arguments()) if is_unet else None)
    calibrate_(model, calls)
    pack_for_diffusers_(model)
    return model, calls


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a folder with a quantized UNet, calls of it, and what it puts out."""
    folder = tmp_path_factory.mktemp("quantized")
    model, calls = quantized()
    model.save_pretrained(folder)
    return folder, calls, output_of(model, calls)


@pytest.fixture
def damaged(saved, tmp_path):
    """Return a function that changes the tensors of a copy of the folder, and returns the copy."""

    def damage(change):
        state = load_file(saved[0] / WEIGHTS)
        change(state)
        save_file(state, tmp_path / WEIGHTS, metadata={"format": "pt"})
        (tmp_path / "config.json").write_bytes((saved[0] / "config.json").read_bytes())
        return tmp_path

    return damage


@pytest.fixture(scope="module")
def float_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("float")
    build_unet().save_pretrained(folder)
    return folder


# --- saving and loading --------------------------------------------------------------------------


def test_the_file_of_the_scene_models_denoiser_has_a_sixth_of_the_float_bytes(tmp_path):
    network = SceneNetworkConfig(channels=(48, 64), norm_groups=16)  # of the default run
    model = build_pipeline(SceneModelConfig(code=CODE, network=network), 0).unet
    model.save_pretrained(tmp_path / "float")
    sample = CalibrationSet(
        {
            "sample": torch.zeros(1, 12, 8, 8),
            "timestep": torch.tensor([999]),
            "encoder_hidden_states": torch.zeros(1, 24, 64),
        }
    )
    splits = find_splits(model, **sample.arguments())
    quantize_(model, PRESETS["w4a4"], splits)
    pack_for_diffusers_(model)
    model.save_pretrained(tmp_path / "packed")
    assert file_bytes(tmp_path / "packed") < 0.16 * file_bytes(tmp_path / "float")


def test_a_fresh_process_loads_networks_and_pipelines_bit_for_bit(saved, tmp_path):
    dit, dit_calls = quantized(model=build_dit())
    dit.save_pretrained(tmp_path / "dit")
    pipeline = build("sd")
    pipeline.unet, _ = quantized(model=pipeline.unet)
    pipeline.save_pretrained(tmp_path / "pipeline")
    call = call_of("sd", steps=2, prompt="a red cube", output_type="latent")
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    script = """
import sys
import torch
from diffusers import DiTTransformer2DModel, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
unet, dit, pipeline, calls, output = sys.argv[1:]
torch.set_num_threads(1)
try:
    UNet2DConditionModel.from_pretrained(unet)
except ValueError as error:
    print(error)
import vismodels.integrations.diffusers
calls, outputs = torch.load(calls, weights_only=True), {}
with torch.no_grad():
    outputs["unet"] = UNet2DConditionModel.from_pretrained(unet)(**calls["unet"]).sample
    outputs["dit"] = DiTTransformer2DModel.from_pretrained(dit)(**calls["dit"]).sample
whole = StableDiffusionPipeline.from_pretrained(pipeline)
outputs["pipeline"] = whole(**calls["pipeline"]).images
save_file(outputs, output)
"""
    calls = {
        "unet": saved[1].arguments(),
        "dit": dit_calls.arguments(),
        "pipeline": {**call, "latents": noise},
    }
    torch.save(calls, tmp_path / "calls.pt")
    paths = (
        saved[0],
        tmp_path / "dit",
        tmp_path / "pipeline",
        tmp_path / "calls.pt",
        tmp_path / "o",
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, paths)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert IMPORT in done.stdout  # the error of a load without it
    outputs = load_file(tmp_path / "o")
    assert torch.equal(outputs["unet"], saved[2])
    assert torch.equal(outputs["dit"], output_of(dit, dit_calls))
    assert torch.equal(outputs["pipeline"], pipeline(**calls["pipeline"]).images)


def test_a_folder_holds_packed_weights_the_configuration_and_a_card(saved, float_folder):
    folder = saved[0]
    assert {path.name for path in folder.iterdir()} == {"config.json", "README.md", WEIGHTS}
    assert json.loads((folder / "config.json").read_text())["quantization_config"] == {
        "quant_method": f"quest (first: {IMPORT})",
        "version": FORMAT,
        "calibrated": True,
        "settings": GROUPS.model_dump(mode="json"),
        "splits": {
            "up_blocks.0.resnets.0.conv_shortcut": 8,
            "up_blocks.0.resnets.1.conv_shortcut": 8,
            "up_blocks.1.resnets.0.conv_shortcut": 8,
            "up_blocks.1.resnets.1.conv_shortcut": 4,
        },
    }
    assert IMPORT in (folder / "README.md").read_text()
    state = load_file(folder / WEIGHTS)
    assert all(tensor.ndim == 1 for tensor in state.values())  # no weight of a layer
    assert file_bytes(folder) < 0.6 * file_bytes(float_folder)  # a small network's names take most


def test_what_is_loaded_is_saved_to_the_same_bytes(saved, tmp_path):
    UNet2DConditionModel.from_pretrained(saved[0]).save_pretrained(tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == (saved[0] / WEIGHTS).read_bytes()


def test_shards_are_put_together(saved, tmp_path):
    model = UNet2DConditionModel.from_pretrained(saved[0])
    model.save_pretrained(tmp_path, max_shard_size="6KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert torch.equal(
        output_of(UNet2DConditionModel.from_pretrained(tmp_path), saved[1]), saved[2]
    )


def test_a_loaded_network_is_packed_quantized_and_known_to_diffusers(saved):
    model = UNet2DConditionModel.from_pretrained(saved[0])
    assert all(isinstance(layer, PackedLayer) for layer in quantized_layers(model).values())
    assert model.is_quantized
    assert model.quantization_method is QuestMethod.QUEST
    assert not model.hf_quantizer.is_trainable
    assert not model.training


def test_a_copy_of_a_network_saves_itself(tmp_path):
    model, calls = quantized()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.conv_out.bias += 1
    other.save_pretrained(tmp_path)
    again = output_of(UNet2DConditionModel.from_pretrained(tmp_path), calls)
    assert torch.equal(again, output_of(other, calls))
    assert not torch.equal(again, output_of(model, calls))


def test_an_unpickled_network_saves_itself(saved, tmp_path):
    model, calls = quantized()
    other = pickle.loads(pickle.dumps(model))
    del model
    other.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in saved[0].iterdir()}
    again = UNet2DConditionModel.from_pretrained(tmp_path)
    assert torch.equal(output_of(again, calls), output_of(other, calls))


def test_a_network_is_saved_once_it_is_packed(tmp_path):
    model = build_unet()
    quantize_(model, UNSPLIT)
    with pytest.raises(ValueError, match="not packed"):
        model.save_pretrained(tmp_path)
    pack_for_diffusers_(model)
    model.save_pretrained(tmp_path)
    assert quantized_layers(UNet2DConditionModel.from_pretrained(tmp_path))


def test_a_card_of_the_user_stays_and_says_what_to_import_behind_it(saved, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    model = UNet2DConditionModel.from_pretrained(saved[0])
    model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("mine\n\n")
    assert IMPORT in card
    model.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == card


@pytest.fixture
def hub(monkeypatch):
    """A hub with the card of a user, or with none; yields name -> content of what is uploaded."""
    uploaded, card = {}, SimpleNamespace(text=None)

    def upload(*, folder_path, **where):
        for path in Path(folder_path).rglob("*"):
            uploaded[path.name] = path.read_bytes()
        return where["repo_id"]

    def load_card(*args, **kwargs):
        return ModelCard("An empty card." if card.text is None else card.text)

    for module in (hub_utils, modeling_utils):
        monkeypatch.setattr(module, "create_repo", lambda name, **_: SimpleNamespace(repo_id=name))
        monkeypatch.setattr(module, "load_or_create_model_card", load_card)
    monkeypatch.setattr(hub_utils, "upload_folder", upload)
    return SimpleNamespace(uploaded=uploaded, card=card)


def push(model, folder):
    model.push_to_hub("me/net")


def save_and_push(model, folder):
    model.save_pretrained(str(folder), push_to_hub=True, repo_id="me/net")


@pytest.mark.parametrize("way", [push, save_and_push])
@pytest.mark.parametrize("text", [None, "---\nlicense: mit\n---\n\nPaints cats.\n"])
def test_the_card_on_the_hub_says_what_to_import(text, way, hub, saved, tmp_path):
    hub.card.text = text
    way(UNet2DConditionModel.from_pretrained(saved[0]), tmp_path)
    assert hub.uploaded.keys() >= {WEIGHTS, "config.json", "README.md"}
    assert hub.uploaded[WEIGHTS] == (saved[0] / WEIGHTS).read_bytes()
    card = hub.uploaded["README.md"].decode()
    assert ("An empty card." if text is None else "Paints cats.") in card
    assert ("license: mit" in card) == (text is not None)
    assert card.count(IMPORT) == 1
    hub.card.text = card  # what the next version finds there
    way(UNet2DConditionModel.from_pretrained(saved[0]), tmp_path)
    assert hub.uploaded["README.md"].decode() == card


def test_a_network_in_a_subfolder_of_the_hub_has_a_card_of_its_own(hub, saved):
    UNet2DConditionModel.from_pretrained(saved[0]).push_to_hub("me/net", subfolder="unet")
    assert hub.uploaded["README.md"] == (saved[0] / "README.md").read_bytes()


def test_a_float_network_is_pushed_by_its_class(hub, saved):
    model = UNet2DConditionModel.from_pretrained(saved[0]).dequantize()
    model.push_to_hub("me/net")
    assert IMPORT not in hub.uploaded["README.md"].decode()


def test_a_dequantized_network_is_a_float_one_with_rounded_weights(saved, tmp_path):
    model = UNet2DConditionModel.from_pretrained(saved[0])
    enable_(model, activations=False)
    rounded = output_of(model, saved[1])
    floats = model.dequantize()
    floats.save_pretrained(tmp_path)
    assert not (tmp_path / "README.md").exists()
    again = UNet2DConditionModel.from_pretrained(tmp_path)
    assert "quantization_config" not in again.config
    torch.testing.assert_close(output_of(again, saved[1]), rounded, rtol=1e-4, atol=1e-5)


# --- half precision ------------------------------------------------------------------------------

HALF = [torch.bfloat16, torch.float16]


def cast(calls, dtype):
    inputs = {n: t.to(dtype) if t.is_floating_point() else t for n, t in calls.inputs.items()}
    return CalibrationSet(inputs)


@pytest.mark.parametrize("dtype", HALF)
def test_what_is_not_quantized_is_loaded_in_another_type_and_scales_are_not(dtype, saved):
    model = UNet2DConditionModel.from_pretrained(saved[0], torch_dtype=dtype)
    assert model.dtype == model.conv_in.bias.dtype == model.conv_norm_out.weight.dtype == dtype
    exact = UNet2DConditionModel.from_pretrained(saved[0]).state_dict()
    for name, tensor in model.state_dict().items():
        if name.endswith((".scale", ".zero_point", ".packed")):
            assert torch.equal(tensor, exact[name])
    output = output_of(model, cast(saved[1], dtype))
    assert output.dtype == dtype
    error = (output - saved[2]).square().mean() / saved[2].square().mean()
    assert error < 0.1  # codes of 4 bits that half precision moves by one


def test_a_float_network_is_rounded_in_float32_whatever_its_type_is_then(float_folder):
    config = QuestConfig(UNSPLIT)
    half, full = (
        UNet2DConditionModel.from_pretrained(
            float_folder, quantization_config=config, torch_dtype=dtype
        )
        for dtype in (torch.bfloat16, None)
    )
    assert half.dtype == torch.bfloat16
    assert torch.equal(half.conv_in.quantized_weight(), full.conv_in.quantized_weight())


def test_a_network_that_was_cast_is_saved_and_read_back(saved, tmp_path):
    model = UNet2DConditionModel.from_pretrained(saved[0], torch_dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    again = UNet2DConditionModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    calls = cast(saved[1], torch.bfloat16)
    assert torch.equal(output_of(again, calls), output_of(model, calls))
    floats = UNet2DConditionModel.from_pretrained(tmp_path)
    assert floats.dtype == torch.float32
    assert output_of(floats, saved[1]).isfinite().all()


def test_a_pipeline_is_loaded_in_half_precision(tmp_path):
    pipeline = build("sd")
    pipeline.unet, _ = quantized(model=pipeline.unet)
    pipeline.save_pretrained(tmp_path)
    half = StableDiffusionPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    half.set_progress_bar_config(disable=True)
    assert half.unet.dtype == half.vae.dtype == torch.bfloat16
    call = call_of("sd", prompt="a red cube", output_type="latent")
    assert half(**call).images.isfinite().all()


# --- rounding while loading ----------------------------------------------------------------------


def test_a_float_network_is_rounded_while_it_is_loaded(float_folder, tmp_path):
    config = QuestConfig(UNSPLIT)
    model = UNet2DConditionModel.from_pretrained(float_folder, quantization_config=config)
    by_hand = build_unet()
    quantize_(by_hand, UNSPLIT)
    enable_(by_hand, activations=False)
    calls = calls_of(model)
    before = output_of(model, calls)
    assert torch.equal(before, output_of(by_hand, calls))
    model.save_pretrained(tmp_path)
    assert torch.equal(output_of(UNet2DConditionModel.from_pretrained(tmp_path), calls), before)


def test_it_can_be_calibrated_afterwards(float_folder, tmp_path):
    config = QuestConfig(UNSPLIT)
    model = UNet2DConditionModel.from_pretrained(float_folder, quantization_config=config)
    calls = calls_of(model)
    floats = output_of(model, calls)
    calibrate_(model, calls)
    enable_(model, activations=True)
    model.save_pretrained(tmp_path)
    again = UNet2DConditionModel.from_pretrained(tmp_path)
    assert torch.equal(output_of(again, calls), output_of(model, calls))
    assert not torch.equal(output_of(again, calls), floats)


def test_a_pipeline_quantizes_the_component_that_is_named(tmp_path):
    build("sd").save_pretrained(tmp_path)
    pipeline = StableDiffusionPipeline.from_pretrained(
        tmp_path,
        quantization_config=PipelineQuantizationConfig(
            quant_mapping={"unet": QuestConfig(UNSPLIT)}
        ),
    )
    assert quantized_layers(pipeline.unet)
    assert not quantized_layers(pipeline.vae)
    pipeline.set_progress_bar_config(disable=True)
    call = call_of("sd", prompt="a red cube", output_type="latent")
    assert pipeline.to("cpu")(**call).images.isfinite().all()


def test_shortcuts_are_split_where_the_configuration_says():
    splits = {"up_blocks.0.resnets.0.conv_shortcut": 8}
    assert not QuestConfig().settings.split_shortcuts
    assert QuestConfig(splits=splits).settings.split_shortcuts


# --- configuration -------------------------------------------------------------------------------


def test_registering_twice_does_no_harm():
    before = dict(auto.AUTO_QUANTIZER_MAPPING)
    register()
    assert before == auto.AUTO_QUANTIZER_MAPPING
    assert auto.AUTO_QUANTIZATION_CONFIG_MAPPING[QuestMethod.QUEST.value] is QuestConfig


def test_a_configuration_comes_back_from_its_dictionary():
    config = QuestConfig(GROUPS, {"a": 3}, calibrated=True)
    again = QuestConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again.to_dict() == config.to_dict()
    assert again.settings == GROUPS
    assert '"version"' in repr(config)


def test_an_unknown_setting_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="time_group"):
        QuestConfig({"time_group": 3})


def test_an_unknown_argument_is_refused():
    with pytest.raises(ValueError, match="has no arguments bits"):
        QuestConfig(bits=4)


# --- refusals ------------------------------------------------------------------------------------


def test_another_format_is_refused(saved, damaged):
    folder = damaged(lambda state: None)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["version"] = FORMAT + 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"format {FORMAT + 1} of QuEST, .* reads format {FORMAT}"):
        UNet2DConditionModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("conv_in.weight_quantizers.0.packed", "1 tensors"),
        ("conv_in.bias", "1 tensors"),
        ("quantization.activation_scales", r"\d+ tensors"),
    ],
)
def test_a_file_that_lacks_something_is_refused(name, missing, damaged):
    folder = damaged(lambda state: state.pop(name))
    with pytest.raises(ValueError, match=rf"UNet2DConditionModel lacks {missing}"):
        UNet2DConditionModel.from_pretrained(folder)


@pytest.mark.parametrize(
    "name", ["conv_in.weight_quantizers.0.packed", "quantization.weight_scales"]
)
def test_a_tensor_of_another_shape_is_refused(name, damaged):
    folder = damaged(lambda state: state.update({name: state[name][1:].clone()}))
    with pytest.raises(ValueError, match=r"shape"):
        UNet2DConditionModel.from_pretrained(folder)


def test_scales_that_are_not_finite_are_refused(damaged):
    folder = damaged(lambda state: state["quantization.weight_scales"].fill_(torch.nan))
    with pytest.raises(ValueError, match="scale is not finite; the file is damaged"):
        UNet2DConditionModel.from_pretrained(folder)


def test_a_file_that_ends_early_is_refused(damaged):
    folder = damaged(lambda state: None)
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match="Unable to load weights"):
        UNet2DConditionModel.from_pretrained(folder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float8_e4m3fn])
def test_another_type_is_refused(dtype, saved):
    message = rf"computes in one of torch\.float32, .*, got torch_dtype={dtype}"
    with pytest.raises(ValueError, match=message):
        UNet2DConditionModel.from_pretrained(saved[0], torch_dtype=dtype)


def test_a_float_network_cannot_be_calibrated_while_it_is_loaded(float_folder):
    config = QuestConfig(UNSPLIT, calibrated=True)
    with pytest.raises(ValueError, match="give calibrated=False"):
        UNet2DConditionModel.from_pretrained(float_folder, quantization_config=config)


def test_scales_of_channels_are_not_known_while_a_float_network_is_loaded(float_folder):
    activations = ActivationQuantConfig(ranges="minmax", granularity="channel")
    config = QuestConfig(UNSPLIT.model_copy(update={"activations": activations}))
    with pytest.raises(ValueError, match="granularity: tensor"):
        UNet2DConditionModel.from_pretrained(float_folder, quantization_config=config)


def test_a_network_that_is_not_quantized_cannot_be_packed():
    with pytest.raises(ValueError, match="is not quantized"):
        pack_for_diffusers_(build_unet())


def test_activations_are_all_quantized_or_none(saved, tmp_path):
    model = UNet2DConditionModel.from_pretrained(saved[0])
    model.conv_in.activation_quantizers[0].enabled = False
    with pytest.raises(ValueError, match="enable_ all or none"):
        model.save_pretrained(tmp_path)


def test_pickles_are_not_written(saved, tmp_path):
    model = UNet2DConditionModel.from_pretrained(saved[0])
    with pytest.raises(ValueError, match="safe_serialization=True"):
        model.save_pretrained(tmp_path, safe_serialization=False)


@pytest.mark.skipif(not probe().available, reason="no 8-bit kernels here")
def test_an_executed_network_has_no_codes_to_save(saved, tmp_path):
    model = UNet2DConditionModel.from_pretrained(saved[0])
    execute_int8_(model)
    with pytest.raises(ValueError, match="save it before"):
        model.save_pretrained(tmp_path)

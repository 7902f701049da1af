"""QuEST: float, fake-quantized and 8-bit execution of layers and of a UNet; bytes on disk and held.

    .venv/bin/python benchmarks/quest.py [layers] [network] [bytes]

One thread, random weights, on which speed does not depend. What is compared takes turns in one
process, because machines differ; printed are medians of CPU-seconds, and of ratios of turns. A
ratio says how many times as fast as float a call is, float in the default memory layout; the last
column takes the faster of that and channels last. Fake-quantized weights are quantized at every
call, or once; 8-bit execution includes the codes of the input. Products of attention are of floats
in 8-bit execution too, though quantized ones; a variant leaves them alone. The second UNet is that
of the scene model.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from vismodels.integrations.diffusers import pack_for_diffusers_
from vismodels.methods.quest.calibration import calibrate_
from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.config import PRESETS, QuantizationSettings, WeightQuantConfig
from vismodels.methods.quest.execute import ExecutedLayer, execute_int8_
from vismodels.methods.quest.layers import QuantizedConv2d, QuantizedLinear, kept_weights
from vismodels.methods.quest.packed import PackedConv2d, PackedLinear, pack_
from vismodels.methods.quest.quantize import quantize_
from vismodels.methods.quest.shortcuts import find_splits
from vismodels.methods.quest.storage import file_bytes, resident_bytes
from vismodels.quantization.int8 import probe

Call = Callable[[], object]

# Batch, channels in and out, height and width of 3x3 convolutions; rows, features in and out.
CONVOLUTIONS = ((1, 64, 64, 32), (8, 64, 64, 32), (8, 128, 128, 16), (8, 256, 256, 8))
NARROW = ((8, 16, 16, 32), (8, 32, 32, 32))
LINEARS = (
    (1, 320, 320), (8, 320, 320), (64, 320, 320), (64, 320, 1280), (256, 128, 128),
    (256, 128, 512), (1024, 320, 320), (1024, 1280, 320),
)  # fmt: skip
BATCH, LAYER_ROUNDS, NETWORK_ROUNDS = 8, 15, 7
UNETS = {  # channels, latent channels, height and width
    "64, 128, 128": ((64, 128, 128), 4, 32),
    "48, 64": ((48, 64), 16, 8),
}
FAST = WeightQuantConfig(ranges="minmax")  # speed does not depend on ranges
FLOAT = "float"


# --- what is measured ----------------------------------------------------------------------------


def layer_calls(layer: nn.Conv2d | nn.Linear, x: Tensor) -> dict[str, Call]:
    """Return name -> a call of a layer, in four forms."""
    is_linear = isinstance(layer, nn.Linear)
    quantized_class = QuantizedLinear if is_linear else QuantizedConv2d
    settings = PRESETS["w4a8"].activations
    quantized = quantized_class.from_float(layer, FAST, settings)  # type: ignore[arg-type]
    quantizer = quantized.activation_quantizers[0]
    quantizer.set_range_(*quantizer.rows(x).aminmax(dim=1))  # type: ignore[operator]
    packed = (PackedLinear if is_linear else PackedConv2d).of(quantized)
    executed = ExecutedLayer(packed, probe())
    calls: dict[str, Call] = {FLOAT: lambda: layer(x)}
    fast = x
    if not is_linear:
        last = copy.deepcopy(layer).to(memory_format=torch.channels_last)
        fast = x.contiguous(memory_format=torch.channels_last)
        calls["channels last"] = lambda: last(fast)
    # The layer before an executed one puts out channels last.
    return calls | {"fake-quantized": lambda: quantized(x), "8-bit": lambda: executed(fast)}


def unet(name: str) -> tuple[Any, CalibrationSet]:
    """Return one of `UNETS`, with cross-attention but at the first of three levels, and inputs."""
    channels, latent_channels, size = UNETS[name]
    kinds = ["CrossAttn"] * len(channels)
    if len(channels) > 2:
        kinds[0] = ""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = UNet2DConditionModel(  # type: ignore[no-untyped-call]
            sample_size=size,
            in_channels=latent_channels,
            out_channels=latent_channels,
            block_out_channels=channels,
            layers_per_block=1,
            down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
            up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
            cross_attention_dim=64,
            attention_head_dim=4,  # in this class the number of heads
            norm_num_groups=16,
        )
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "sample": torch.randn(BATCH, latent_channels, size, size, generator=generator),
        "timestep": torch.full((BATCH,), 500),
        "encoder_hidden_states": torch.randn(BATCH, 24, 64, generator=generator),
    }
    return model.eval(), CalibrationSet(inputs)


def quantized(model: Any, calls: CalibrationSet, settings: QuantizationSettings) -> Any:
    """Return a quantized and calibrated copy of a network."""
    made = copy.deepcopy(model)
    quantize_(made, settings, find_splits(made, **calls.arguments()))
    calibrate_(made, calls)
    return made


def variants() -> dict[str, QuantizationSettings]:
    """Return name -> settings, all with ranges from extremes."""
    made = {}
    for name, preset in PRESETS.items():
        made[name] = preset.model_copy(
            update={
                "weights": preset.weights.model_copy(update={"ranges": "minmax"}),
                "activations": preset.activations.model_copy(update={"ranges": "minmax"}),
            }
        )
    made["w4a8, attention float"] = made["w4a8"].model_copy(update={"softmax_bits": None})
    return made


# --- measuring -----------------------------------------------------------------------------------


@torch.no_grad()
def take_turns(functions: Mapping[str, Call], rounds: int) -> dict[str, list[float]]:
    """Return the CPU-seconds of each function, called in turn after two calls for warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 2):
        for name, function in functions.items():
            before = time.process_time()
            function()
            if number > 1:
                seconds[name].append(time.process_time() - before)
    return seconds


def speedup(seconds: Mapping[str, list[float]], name: str, *floats: str) -> float:
    """Return the median, over turns, of the fastest of `floats` by `name`."""
    fastest = [min(times) for times in zip(*(seconds[each] for each in floats), strict=True)]
    return float(statistics.median(a / b for a, b in zip(fastest, seconds[name], strict=True)))


def report(name: str, *columns: str) -> None:
    """Print a row."""
    print(f"{name:38}" + "".join(f"{column:>16}" for column in columns), flush=True)


def measure_layers() -> None:
    """Print how fast layers are, as multiples of float."""
    generator = torch.Generator().manual_seed(0)
    title = "3x3 convolution: batch, in, out, size"
    report(title, "float, ms", "channels last", "fake-quantized", "8-bit", "8-bit/fastest")
    for batch, inputs, outputs, size in (*CONVOLUTIONS, *NARROW):
        x = torch.randn(batch, inputs, size, size, generator=generator)
        seconds = take_turns(layer_calls(nn.Conv2d(inputs, outputs, 3, padding=1), x), LAYER_ROUNDS)
        names = ("channels last", "fake-quantized", "8-bit")
        report(
            f"  {batch}, {inputs}, {outputs}, {size}",
            f"{1000 * statistics.median(seconds[FLOAT]):.2f}",
            *(f"{speedup(seconds, name, FLOAT):.2f} x" for name in names),
            f"{speedup(seconds, '8-bit', FLOAT, 'channels last'):.2f} x",
        )
    report("linear: rows, in, out", "float, ms", "", "fake-quantized", "8-bit")
    for rows, inputs, outputs in LINEARS:
        x = torch.randn(rows, inputs, generator=generator)
        seconds = take_turns(layer_calls(nn.Linear(inputs, outputs), x), 3 * LAYER_ROUNDS)
        report(
            f"  {rows}, {inputs}, {outputs}",
            f"{1000 * statistics.median(seconds[FLOAT]):.3f}",
            "",
            *(f"{speedup(seconds, name, FLOAT):.2f} x" for name in ("fake-quantized", "8-bit")),
        )


def measure_network() -> None:
    """Print how fast UNets are, in all forms and variants."""
    for name, (_, _, size) in UNETS.items():
        model, inputs = unet(name)
        arguments = inputs.arguments()
        last = copy.deepcopy(model).to(memory_format=torch.channels_last)
        floats = {FLOAT: partial(model, **arguments), "channels last": partial(last, **arguments)}
        report(
            f"UNet {name}; batch {BATCH}, {size}x{size}", "CPU s", "of float", "of fastest", "bar"
        )
        seconds = take_turns(floats, NETWORK_ROUNDS)
        for form in floats:
            report_speed(form, seconds, form)
        for variant, settings in variants().items():
            fake = quantized(model, inputs, settings)
            packed, executed = copy.deepcopy(fake), copy.deepcopy(fake)
            pack_(packed)
            done = execute_int8_(executed)
            forms = {"fake-quantized": fake, "packed": packed, "8-bit": executed}
            calls = {form: partial(network, **arguments) for form, network in forms.items()}
            seconds = take_turns(floats | calls, NETWORK_ROUNDS)
            bars = {"fake-quantized": ">= 0.63 x", "8-bit": ">= 1.40 x" if size == 32 else ""}
            for form in forms:
                report_speed(f"{variant}, {form}", seconds, form, bars.get(form, ""))
            with kept_weights(fake):
                seconds = take_turns(floats | {"once": calls["fake-quantized"]}, NETWORK_ROUNDS)
            report_speed(f"{variant}, weights once", seconds, "once")
            if done.limited:
                bits = ", ".join(map(str, sorted(set(done.limited.values()))))
                report(f"    {len(done.limited)} layers run with weights of {bits} bits")


def report_speed(name: str, seconds: Mapping[str, list[float]], form: str, bar: str = "") -> None:
    """Print the row of one form."""
    report(
        f"  {name}",
        f"{statistics.median(seconds[form]):.3f}",
        f"{speedup(seconds, form, FLOAT):.2f} x",
        f"{speedup(seconds, form, FLOAT, 'channels last'):.2f} x",
        bar,
    )


def measure_bytes() -> None:
    """Print what networks take on disk and in memory."""
    for title in UNETS:
        model, inputs = unet(title)
        report(f"UNet {title}", "file, bytes", "of float", "held, bytes", "of float", "bar")
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            sizes = file_bytes(Path(folder)), resident_bytes(model)
        report("  float", f"{sizes[0]:,}", "", f"{sizes[1]:,}")
        for variant in PRESETS:
            network = quantized(model, inputs, variants()[variant])
            pack_for_diffusers_(network)
            with tempfile.TemporaryDirectory() as folder:
                network.save_pretrained(folder)
                disk, held = file_bytes(Path(folder)), resident_bytes(network)
            execute_int8_(network)
            report(
                f"  {variant}",
                f"{disk:,}",
                f"{disk / sizes[0]:.1%}",
                f"{held:,}",
                f"{held / sizes[1]:.1%}",
                "file <= 16 %" if variant.startswith("w4") else "",
            )
            held = resident_bytes(network)
            report(f"  {variant}, 8-bit", "", "", f"{held:,}", f"{held / sizes[1]:.1%}")


def main() -> None:
    """Measure and print tables."""
    parts = {"layers": measure_layers, "network": measure_network, "bytes": measure_bytes}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(parts)}; all by default")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    torch.set_num_threads(1)
    support = probe()
    saturates = (
        "saturate: weights have 7 bits beside 8-bit inputs" if support.saturates else "exact"
    )
    print(f"8-bit kernels: {saturates if support.available else support.reason}")
    for name, measure in parts.items():
        if not options.parts or name in options.parts:
            measure()


if __name__ == "__main__":
    main()

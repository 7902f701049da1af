"""NAF-DPM on a dense page of 2 megapixels: speed against naive tiles, few steps, memory.

    .venv/bin/python benchmarks/nafdpm.py [results/default/nafdpm/.../pipeline]

At the published sizes (three channels, 32 wide, four levels, tiles of 128 pixels), one thread.
Both sides of a ratio take turns in one process, because machines differ; printed are medians of
CPU-seconds. Speed does not depend on the weights, which are random; how far few steps come does:
give the folder of a trained pipeline for that row. Peak memory is that of a process of its own.
"""

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vismodels.data.blur import BlurConfig, degrade_blur
from vismodels.diffusion.sampling import sample
from vismodels.methods.nafdpm.config import DiffusionConfig, NetworkConfig
from vismodels.methods.nafdpm.model import PredictAndRefine
from vismodels.methods.nafdpm.pipeline import NAFDPMPipeline
from vismodels.methods.nafdpm.restoration import Tiling, blank_tiles
from vismodels.methods.nafdpm.storage import load_pipeline
from vismodels.nn.naf_blocks import NAFBlock
from vismodels.nn.nafnet import ConditionalNAFNet
from vismodels.nn.nafnet_inference import FoldedNAFNet
from vismodels.synthetic.faces import find_face
from vismodels.synthetic.pages import render_page
from vismodels.synthetic.typesetting import PageStyle

HEIGHT, WIDTH, TILE, STEPS, ROUNDS, CALLS = 1680, 1200, 128, 2, 3, 15


def dense_page() -> tuple[Tensor, Tensor]:
    """Return the page with most ink of a few, blurred and clean, (1, 3, H, W) in [0, 1]."""
    style = PageStyle(
        height=HEIGHT,
        width=WIDTH,
        x_height=(8, 9),
        leading=(2.2, 2.4),
        margin=(12, 16),
        columns=(1, 2),
        sentences=(8, 16),
        headings=0,
        ragged=0,
        ink=(0, 0.1),
        paper=(0.95, 1),
        tint=0,
    )
    faces = [find_face("DejaVuSerif"), find_face("cmr10")]
    rendered = [
        render_page(style, faces, "test", np.random.default_rng(seed)).image for seed in range(4)
    ]
    clean = min(rendered, key=np.mean)
    blur = BlurConfig(
        kind="blur",
        defocus_radius=(2.5, 2.5),
        shake_size=(5, 5),
        light=(0.1, 0.1),
        noise=(2, 2),
        jpeg_quality=(85, 85),
    )
    degraded = degrade_blur(clean, blur, np.random.default_rng(0))
    return tuple(  # type: ignore[return-value]
        torch.from_numpy(image).permute(2, 0, 1)[None] / 255 for image in (degraded, clean)
    )


def published_pipeline() -> NAFDPMPipeline:
    """Return untrained networks of the published sizes, all of whose parameters take part."""
    model = PredictAndRefine(3, NetworkConfig(), DiffusionConfig())
    model.initialize_(0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("beta", "gamma")):
                parameter.normal_(0, 0.3, generator=generator)
    return NAFDPMPipeline.from_model(model, "deblurring", TILE)


# --- what it is compared with ------------------------------------------------------------------


@torch.no_grad()
def restore_naively(pipeline: NAFDPMPipeline, page: Tensor, num_steps: int) -> Tensor:
    """Return a page from tiles without overlap, one at a time through the plain modules."""
    height, width = page.shape[2:]
    padded = F.pad(page, (0, -width % TILE, 0, -height % TILE), value=1.0)
    result = torch.empty_like(padded)
    noise = torch.randn(padded.shape, generator=torch.Generator().manual_seed(0))
    for top in range(0, padded.shape[2], TILE):
        for left in range(0, padded.shape[3], TILE):
            window = (..., slice(top, top + TILE), slice(left, left + TILE))
            first = pipeline.predictor(padded[window].contiguous())

            def denoise(noisy: Tensor, timestep: Tensor, first: Tensor = first) -> Tensor:
                estimate: Tensor = pipeline.denoiser(noisy, timestep, first)
                return estimate

            residual = sample(denoise, pipeline.scheduler, noise[window], num_steps, clip=1.0)
            result[window] = (first + residual).clamp(0, 1)
    return result[:, :, :height, :width]


def transcribed_block(block: NAFBlock, x: Tensor, embedding: Tensor) -> Tensor:
    """Return a block's output, computed as its description reads."""

    def normalize(value: Tensor, gain: Tensor) -> Tensor:
        mean = value.mean(dim=1, keepdim=True)
        variance = value.var(dim=1, unbiased=False, keepdim=True)
        return (value - mean) / (variance + 1e-5).sqrt() * gain.view(1, -1, 1, 1)

    def gate(value: Tensor) -> Tensor:
        one, other = value.chunk(2, dim=1)
        return one * other

    assert block.time is not None  # a denoiser's block
    mixed = block.time(gate(embedding))[:, :, None, None]
    shift_attention, scale_attention, shift_feed, scale_feed = mixed.chunk(4, dim=1)
    y = normalize(x, block.norm1.gain) * (scale_attention + 1) + shift_attention
    y = gate(block.conv2(block.conv1(y)))
    y = y * block.attention.mix(F.adaptive_avg_pool2d(y, 1))
    x = x + block.conv3(y) * block.beta
    y = normalize(x, block.norm2.gain) * (scale_feed + 1) + shift_feed
    return x + block.conv5(gate(block.conv4(y))) * block.gamma


@torch.no_grad()
def transcribed(network: ConditionalNAFNet, noisy: Tensor, time: Tensor, first: Tensor) -> Tensor:
    """Return the denoiser's output, computed as its description reads, from the same weights."""
    half = network.time_embedding.channels // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half) / (half - 1))
    angles = time[:, None] * rates
    hidden = network.time_embedding.linear1(torch.cat([angles.sin(), angles.cos()], dim=1))
    one, other = hidden.chunk(2, dim=1)
    embedding = network.time_embedding.linear2(one * other)
    x = network.intro(torch.cat([noisy, first], dim=1))
    skips = []
    for blocks, down in zip(network.encoders, network.downs, strict=True):
        for block in blocks.children():
            x = transcribed_block(block, x, embedding)  # type: ignore[arg-type]
        skips.append(x)
        x = down(x)
    for block in network.middle:
        x = transcribed_block(block, x, embedding)  # type: ignore[arg-type]
    for blocks, up in zip(network.decoders, network.ups, strict=True):
        x = up(x) + skips.pop()
        for block in blocks.children():
            x = transcribed_block(block, x, embedding)  # type: ignore[arg-type]
    result: Tensor = network.ending(x)
    return result


# --- measuring ---------------------------------------------------------------------------------


def take_turns(functions: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Return the median CPU-seconds of each function, called in turn after one call for warm-up."""
    seconds: list[list[float]] = [[] for _ in functions]
    for number in range(rounds + 1):
        for measured, function in zip(seconds, functions, strict=True):
            before = time.process_time()
            function()
            if number:
                measured.append(time.process_time() - before)
    return [statistics.median(measured) for measured in seconds]


def psnr(image: Tensor, clean: Tensor) -> float:
    """Return the PSNR in dB of images in [0, 1]."""
    return -10 * math.log10((image - clean).square().mean().item())


def report(name: str, ours: str, other: str, result: str, bar: str) -> None:
    """Print a row."""
    print(f"{name:44}{ours:>12}{other:>12}{result:>12}   {bar}", flush=True)


def peak_memory() -> float:
    """Return the peak memory of restoring the page in a process of its own, in MB."""
    printed = subprocess.run(
        [sys.executable, __file__, "--memory"], check=True, capture_output=True, text=True
    )
    return float(printed.stdout)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trained", nargs="?", type=Path, help="folder of a trained pipeline")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    degraded, clean = dense_page()
    pipeline = published_pipeline()
    if options.memory:
        pipeline(degraded, num_steps=1)
        status = Path("/proc/self/status").read_text()  # ru_maxrss would be the parent's too
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
        return
    tiling = Tiling(TILE)
    blank = blank_tiles(degraded, tiling.grid(degraded, 16), tiling.blank_tolerance, "deblurring")
    print(f"page of {HEIGHT}x{WIDTH} pixels, {100 * blank.float().mean():.1f} % of tiles blank")
    report("", "ours", "other", "", "bar")
    ours, naive = take_turns(
        [
            lambda: pipeline(degraded, num_steps=STEPS),
            lambda: restore_naively(pipeline, degraded, STEPS),
        ],
        ROUNDS,
    )
    name = f"page, {STEPS} steps, against naive tiles, CPU s"
    report(name, f"{ours:.2f}", f"{naive:.2f}", f"{naive / ours:.2f} x", ">= 1.4")
    noisy = torch.randn(4, 3, TILE, TILE, generator=torch.Generator().manual_seed(1))
    first, moment = degraded[:, :, :TILE, :TILE].expand_as(noisy).contiguous(), torch.tensor([49.0])
    ours, direct = take_turns(
        [
            lambda: FoldedNAFNet(pipeline.denoiser, moment)(noisy, first),
            lambda: transcribed(pipeline.denoiser, noisy, moment, first),
        ],
        CALLS,
    )
    name = "denoiser, 4 tiles, against transcription"
    report(name, f"{ours:.3f}", f"{direct:.3f}", f"{direct / ours:.2f} x", ">= 1.15")
    folded = FoldedNAFNet(pipeline.denoiser, moment)(noisy, first)
    difference = (folded - transcribed(pipeline.denoiser, noisy, moment, first)).abs().max().item()
    report("  largest difference", "", "", f"{difference:.1e}", "<= 1e-5")
    report("peak memory, MB", "", "", f"{peak_memory():.0f}", "< 2000")
    if options.trained is None:
        print("5 against 20 steps: skipped, give the folder of a trained pipeline")
        return
    trained = load_pipeline(options.trained)
    page = degraded if trained.predictor.image_channels == 3 else degraded.mean(1, keepdim=True)
    target = clean if trained.predictor.image_channels == 3 else clean.mean(1, keepdim=True)
    few, many = (psnr(trained(page, num_steps=steps).images, target) for steps in (5, 20))
    report("5 steps, 20 steps, dB", f"{few:.2f}", f"{many:.2f}", f"{few - many:+.2f}", "within 0.1")


if __name__ == "__main__":
    main()

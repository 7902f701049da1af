"""Multi-level activation: the trunk's memory layout, one logit against four, SegResNet beside it.

    .venv/bin/python benchmarks/multilevel_activation.py

The residual U-Net at the size of the default run (6 channels wide, 4 levels) with random weights,
on which speed does not depend; one thread. Both sides of a ratio take turns in one process, because
machines differ; printed are medians of CPU-seconds, and of the ratios of pairs. Peak memory is that
of a process of its own.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vismodels.methods.multilevel_activation.heads import Head, MultiLevelHead, SoftmaxHead
from vismodels.methods.multilevel_activation.inference import predict_logits
from vismodels.methods.multilevel_activation.segresnet import SegResNet3D
from vismodels.nn.residual_unet3d import ResidualUNet3D

MODALITIES, WIDTH, DEPTH = 4, 6, 4
PATCH, BATCH, PAIRS = 32, 2, 20
VOLUME, ROUNDS = 128, 5
HEADS: dict[str, Callable[[], Head]] = {"multi-level": MultiLevelHead, "softmax": SoftmaxHead}


def residual_unet(head: Head) -> nn.Module:
    """Return the trunk with as many logits as the head takes."""
    network = ResidualUNet3D(MODALITIES, head.channels, WIDTH, DEPTH)
    network.initialize_(torch.Generator().manual_seed(0))
    network.set_output_bias_(head.bias().tolist())
    return network


def segresnet(head: Head) -> nn.Module:
    """Return MONAI's network with four filters: the nearest it comes to the trunk's parameters."""
    return SegResNet3D(MODALITIES, head.channels, width=4, dropout=0.0)


# --- what is measured --------------------------------------------------------------------------


def training_step(
    network: nn.Module, head: Head, layout: torch.memory_format
) -> Callable[[], None]:
    """Return a call that does one step on a fixed batch, network and images in `layout`."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(BATCH, MODALITIES, PATCH, PATCH, PATCH, generator=generator)
    levels = torch.randint(4, (BATCH, PATCH, PATCH, PATCH), generator=generator)
    network = network.train().to(memory_format=layout)
    images = images.to(memory_format=layout)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        head.loss(network(images), levels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def segmentation(network: nn.Module, head: Head) -> Callable[[], Tensor]:
    """Return a call that segments a volume in one window, the network laid out as in `segment`."""
    network.to(memory_format=torch.channels_last_3d)
    generator = torch.Generator().manual_seed(2)
    image = torch.randn(MODALITIES, VOLUME, VOLUME, VOLUME, generator=generator)
    return lambda: head.levels(predict_logits(network, image, window=VOLUME)[None])


# --- measuring ---------------------------------------------------------------------------------


def take_turns(functions: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Return the CPU-seconds of each function, called in turn after one call for warm-up."""
    seconds: list[list[float]] = [[] for _ in functions]
    for number in range(rounds + 1):
        for measured, function in zip(seconds, functions, strict=True):
            before = time.process_time()
            function()
            if number:
                measured.append(time.process_time() - before)
    return seconds


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Return the median over pairs of what was measured one after the other."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def peak_memory(name: str) -> float:
    """Return the peak memory of segmenting the volume in a process of its own, in MB."""
    printed = subprocess.run(
        [sys.executable, __file__, "--memory", name], check=True, capture_output=True, text=True
    )
    return float(printed.stdout)


def report(name: str, ours: str, other: str, ratio: float | None = None, bar: float = 0.0) -> None:
    """Print a row; where there is a bar, whether the ratio reaches it."""
    result = "" if ratio is None else f"{ratio:.2f} x"
    verdict = f"{'reaches' if (ratio or 0.0) >= bar else 'MISSES'} {bar:g}" if bar else ""
    print(f"{name:52}{ours:>12}{other:>12}{result:>12}   {verdict}", flush=True)


def compare_layouts() -> None:
    """Print the training step in both memory layouts, of the trunk and of SegResNet."""
    head = MultiLevelHead()
    layouts = (torch.channels_last_3d, torch.contiguous_format)
    trunk = [training_step(residual_unet(head), head, layout) for layout in layouts]
    other = [training_step(segresnet(head), head, layout) for layout in layouts]
    last, default, seg_last, seg_default = take_turns([*trunk, *other], PAIRS)
    report("training step, CPU s", "ch. last", "default")
    for name, one, two, bar in (
        ("  residual U-Net", last, default, 1.15),
        ("  SegResNet", seg_last, seg_default, 0.0),
    ):
        fast, slow = (f"{statistics.median(seconds):.3f}" for seconds in (one, two))
        report(name, fast, slow, median_ratio(two, one), bar)


def compare_heads() -> None:
    """Print the segmentation of a volume with one logit and with four, and of SegResNet."""
    heads = [make() for make in HEADS.values()]
    networks = [residual_unet(head) for head in heads]
    networks.append(segresnet(heads[0]))
    calls = [segmentation(n, h) for n, h in zip(networks, [*heads, heads[0]], strict=True)]
    one, four, seg = take_turns(calls, ROUNDS)
    report(f"volume of {VOLUME}^3 with decoding", "one logit", "softmax")
    times = [f"{statistics.median(seconds):.2f}" for seconds in (one, four, seg)]
    memory = [f"{peak_memory(name):.0f}" for name in (*HEADS, "segresnet")]
    report("  residual U-Net, CPU s", times[0], times[1], median_ratio(four, one), 1.0)
    report("  residual U-Net, peak memory, MB", memory[0], memory[1])
    report("  SegResNet, CPU s", times[2], "")
    report("  SegResNet, peak memory, MB", memory[2], "")
    counts = [sum(p.numel() for p in network.parameters()) for network in networks]
    report("parameters of the residual U-Net", f"{counts[0]:,}", f"{counts[1]:,}")
    report("parameters of SegResNet", f"{counts[2]:,}", "")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", choices=[*HEADS, "segresnet"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory is not None:
        head = HEADS.get(options.memory, MultiLevelHead)()
        build = segresnet if options.memory == "segresnet" else residual_unet
        segmentation(build(head), head)()
        status = Path("/proc/self/status").read_text()  # ru_maxrss would be the parent's too
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
        return
    compare_layouts()
    compare_heads()


if __name__ == "__main__":
    main()

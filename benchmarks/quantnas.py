"""CPU-seconds of a step of the QuantNAS supernet: merged against per operation, noise and direct.

    .venv/bin/python benchmarks/quantnas.py

At the published configuration: 36 channels, 3 cells, bits 8 and 4, batch 4, LR crop 24, one thread.
A step is forward, backward and Adam on all weights. Forms take turns in one process; printed are
the medians and their ratios, because machines differ. Peak memory is that of a process of its own.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from vismodels.methods.quantnas.mixing import Mixing
from vismodels.methods.quantnas.space import BasicSkeleton, SpaceConfig
from vismodels.methods.quantnas.supernet import Supernet

ROUNDS, BATCH, CROP = 9, 4, 24
CASES = {
    "noise, per operation": ("noise", "per_operation"),
    "noise, merged": ("noise", "merged"),
    "direct, per operation": ("direct", "per_operation"),
    "direct, merged": ("direct", "merged"),
}


def make_step(mode: str, form: str) -> Callable[[], None]:
    """Return a function that does one step."""
    mixing = Mixing(mode, torch.Generator().manual_seed(0))
    supernet = Supernet(SpaceConfig(skeleton=BasicSkeleton()), mixing, form)
    supernet.initialize_(torch.Generator().manual_seed(1))
    optimizer = torch.optim.Adam(supernet.network.parameters(), lr=1e-3)
    draw = torch.Generator().manual_seed(2)
    small = torch.rand(BATCH, 3, CROP, CROP, generator=draw)
    large = torch.rand(BATCH, 3, 4 * CROP, 4 * CROP, generator=draw)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.l1_loss(supernet(small), large).backward()
        optimizer.step()

    return step


def peak_memory(case: str) -> float:
    """Return the peak memory of a few steps in a process of their own, in MB."""
    printed = subprocess.run(
        [sys.executable, __file__, "--memory", case], check=True, capture_output=True, text=True
    )
    return float(printed.stdout)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        step = make_step(*CASES[options.memory])
        for _ in range(3):
            step()
        status = Path("/proc/self/status").read_text()  # ru_maxrss would be the parent's too
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
        return
    steps = {name: make_step(*case) for name, case in CASES.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(ROUNDS):
        for name, step in steps.items():
            before = time.process_time()
            step()
            seconds[name].append(time.process_time() - before)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{'':24}{'CPU s / step':>14}{'ratio':>8}{'peak MB':>10}")
    for name, median in medians.items():
        ratio = medians["noise, per operation"] / median
        print(f"{name:24}{median:14.3f}{ratio:8.2f}{peak_memory(name):10.0f}")
    print("ratio: how many times faster than noise, per operation")


if __name__ == "__main__":
    main()

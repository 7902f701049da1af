"""LinEAS: a learning step beside a forward pass, and plain, hooked and folded inference.

    .venv/bin/python benchmarks/lineas.py [--pipeline FOLDER]

The scene model at the size of the default run with random weights, on which speed does not depend,
or any pipeline of diffusers with a UNet in a local folder. Maps follow every normalization layer of
the UNet. One thread; what is compared takes turns in one process, because machines differ; printed
are medians of CPU-seconds, and of the ratios of pairs. Peak memory is that of a process of its own,
counted anew after the same with four prompts, and `added` what it rose by since; of Linux only.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers.utils import logging as transformers_logging

from vismodels.methods.lineas.config import CallConfig, FitConfig, Pooling
from vismodels.methods.lineas.fit import fit
from vismodels.methods.lineas.folding import fold_
from vismodels.methods.lineas.generation import generate
from vismodels.methods.lineas.layers import pipeline_modules
from vismodels.methods.lineas.maps import AffineMap, Maps
from vismodels.methods.lineas.pipelines import latents_of, seeded
from vismodels.methods.lineas.steer import steer
from vismodels.synthetic.scene_captions import list_attributes
from vismodels.synthetic.scene_config import SceneModelConfig
from vismodels.synthetic.scene_pipeline import build_pipeline
from vismodels.training.log import ScalarLog

PROMPTS = [attributes.caption for attributes in list_attributes()]
SOURCE, TARGET = PROMPTS[:32], PROMPTS[-32:]
STEPS, PAIRS = 12, 30
LEARNT: tuple[tuple[int, Pooling], ...] = ((32, "mean"), (32, "mean_std"), (4, "mean"))
CALL = CallConfig().arguments()
CLEAR = Path("/proc/self/clear_refs")  # 5 sets the peak of this process to what it holds now


# --- what is measured ----------------------------------------------------------------------------


def load(folder: str | None) -> Any:
    """Return the pipeline to measure, the same one at every call."""
    if folder is None:
        return build_pipeline(SceneModelConfig(), seed=0)
    return DiffusionPipeline.from_pretrained(folder, local_files_only=True)


def forward(pipeline: Any, batch_size: int) -> Tensor:
    """Return latents of a batch, without gradients."""
    seeds = range(batch_size)
    return latents_of(
        pipeline, SOURCE[:batch_size], gradient=None, generators=seeded(seeds), call=CALL
    )


def images(pipeline: Any, batch_size: int) -> Tensor:
    """Return images of a batch."""
    return generate(
        pipeline, SOURCE[:batch_size], seeds=range(batch_size), batch_size=batch_size, call=CALL
    )


def learn(
    pipeline: Any, batch_size: int, pooling: Pooling, iterations: int, log: ScalarLog | None = None
) -> Maps:
    """Return maps after some learning steps."""
    config = FitConfig(iterations=iterations, batch_size=batch_size, pooling=pooling)
    return fit(pipeline, SOURCE, TARGET, config, log=log)


class Turns(ScalarLog):
    """A log that has a forward pass take its turn after every learning step, and times both.

    Args:
        forward: the pass.
    """

    def __init__(self, forward: Callable[[], object]) -> None:
        super().__init__()
        self.forward = forward
        self.steps: list[float] = []
        self.forwards: list[float] = []
        self._since: float | None = None  # the first step comes with the preparations

    def append(self, iteration: int, scalars: Mapping[str, float]) -> None:
        """Take the time since the last forward pass, then that of another one."""
        now = time.process_time()
        if self._since is not None:
            self.steps.append(now - self._since)
        super().append(iteration, scalars)
        before = time.process_time()
        self.forward()
        self._since = time.process_time()
        if self.steps:
            self.forwards.append(self._since - before)


def near_identity(maps: Maps) -> Maps:
    """Return random maps of the same layers."""
    generator = torch.Generator().manual_seed(0)

    def draw(units: int) -> Tensor:
        return 0.3 * torch.randn(units, generator=generator)

    drawn = {
        layer: AffineMap(1 + draw(each.units), draw(each.units)) for layer, each in maps.items()
    }
    return Maps(drawn, maps.mode)


# --- measuring -----------------------------------------------------------------------------------


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


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> str:
    """Return the median over pairs of what was measured one after the other."""
    return f"{statistics.median(a / b for a, b in zip(slow, fast, strict=True)):.2f} x"


def seconds(measured: Sequence[float]) -> str:
    """Return the median."""
    return f"{statistics.median(measured):.4f}"


def peak_memory(folder: str | None, case: str) -> list[str]:
    """Return the peak memory of a case in a process of its own, and what it added, in MB."""
    if not CLEAR.exists():
        return ["Linux only", ""]
    command = [sys.executable, __file__, "--memory", case]
    command += [] if folder is None else ["--pipeline", folder]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def memory(field: str) -> float:
    """Return a size of this process in MB; `ru_maxrss` would be the parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


def report(name: str, *columns: str) -> None:
    """Print a row."""
    print(f"{name:44}" + "".join(f"{column:>14}" for column in columns), flush=True)


def measure_learning(folder: str | None) -> None:
    """Print what a learning step costs, beside a forward pass of the same batch."""
    pipeline = load(folder)
    report("learning step", "CPU s", "forward", "ratio", "bar")
    for size, pooling in LEARNT:
        turns = Turns(partial(forward, pipeline, size))
        learn(pipeline, size, pooling, STEPS + 1, turns)
        ratio = median_ratio(turns.steps, turns.forwards)
        columns = (seconds(turns.steps), seconds(turns.forwards), ratio, "<= 3.5")
        report(f"  {size} prompts, pooled by {pooling}", *columns)
    report("memory", "peak MB", "added")
    for name in ("forward", "learn"):
        report(f"  {name}, 32 prompts", *peak_memory(folder, f"{name} 32"))


def measure_inference(folder: str | None) -> None:
    """Print what maps cost as hooks and in the weights, and whether both give the same images."""
    plain, folded = load(folder), load(folder)
    maps = near_identity(learn(plain, 4, "mean", 1))
    created = fold_(folded, maps)

    def hooked(size: int) -> Tensor:
        with steer(plain, maps):
            return images(plain, size)

    report("images", "CPU s", "of plain", "bar")
    for size in (1, 32):
        calls = {
            "plain": partial(images, plain, size),
            "hooked": partial(hooked, size),
            "folded": partial(images, folded, size),
        }
        times = dict(zip(calls, take_turns([*calls.values()], PAIRS), strict=True))
        for name, measured in times.items():
            columns = (seconds(measured), median_ratio(measured, times["plain"]))
            report(f"  {name}, {size} at a time", *columns, "1" if name == "folded" else "")
    gap = (hooked(32) - images(folded, 32)).abs().max().item()
    moved = (hooked(32) - images(plain, 32)).abs().max().item()
    report("difference of images, RGB in [0, 1]", "largest", "", "bar")
    report("  folded and hooked", f"{gap:.1e}", "", "< 1e-5")
    report("  hooked and plain", f"{moved:.1e}")
    report("networks", "plain", "folded", "bar")
    counts = [parameters(pipeline) for pipeline in (plain, folded)]
    report("  parameters", *(f"{count:,}" for count in counts), f"+ {len(created)} new")
    report("  GFLOPs of 32 images", *(f"{flops(p):.3f}" for p in (plain, folded)), "equal")
    same = "yes" if types(plain) == types(folded) else "no"
    report("  modules of equal names and types", "", same, "yes")
    report("  hooks of maps", "", str(hooks(folded) - hooks(plain)), "0")


def types(pipeline: Any) -> dict[str, type[nn.Module]]:
    """Return name -> class of all modules."""
    return {name: type(module) for name, module in pipeline_modules(pipeline).named_modules()}


def parameters(pipeline: Any) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in pipeline_modules(pipeline).parameters())


def hooks(pipeline: Any) -> int:
    """Return the number of hooks on outputs; text encoders have some of their own."""
    return sum(len(module._forward_hooks) for module in pipeline_modules(pipeline).modules())


def flops(pipeline: Any) -> float:
    """Return the operations of 32 images as PyTorch counts them, in 10^9."""
    with FlopCounterMode(display=False) as counter:
        images(pipeline, 32)
    return int(counter.get_total_flops()) / 1e9


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pipeline", help="folder of a pipeline; the scene model by default")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()  # prompts longer than a tiny text encoder takes are cut
        logging.disable_progress_bar()
    if options.memory:
        case, size = options.memory.split()
        pipeline = load(options.pipeline)
        run: Callable[..., object] = {
            "forward": partial(forward, pipeline),
            "learn": partial(learn, pipeline, pooling="mean", iterations=2),
        }[case]
        run(batch_size=4)  # what is imported and built once
        CLEAR.write_text("5")
        before = memory("VmRSS")
        run(batch_size=int(size))
        print(f"{memory('VmHWM'):.0f} {memory('VmHWM') - before:.0f}")
        return
    measure_learning(options.pipeline)
    measure_inference(options.pipeline)


if __name__ == "__main__":
    main()

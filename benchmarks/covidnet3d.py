"""CovidNet3D: a step of the search, networks beside MONAI's DenseNet121-3D, a planted problem.

    .venv/bin/python benchmarks/covidnet3d.py [search] [networks] [planted]

Plan and settings are those of the problem `phantom` in workflows/config/default.yaml; the search
has all 8 operations in every block. One thread; what is compared takes turns in one process,
because machines differ, and medians of CPU-seconds are printed. Peak memory is that of a process of
its own; `added` is what it rose by once libraries and network were there. A step of the search
updates the architecture on one batch and the weights on another; one of training sees one batch.
DenseNet121 enlarges the smaller scans to the 32 slices it needs.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random

import torch
import yaml
from torch import Tensor, nn

from vismodels.config import parse_config
from vismodels.data.volumes import VolumeSet, volume_batches
from vismodels.files import project_root
from vismodels.methods.covidnet3d.baselines import Baseline
from vismodels.methods.covidnet3d.config import (
    CovidNet3DConfig,
    CTInput,
    DataConfig,
    Estimator,
    ProblemConfig,
    SearchConfig,
    SearchVariant,
    TrainingSettings,
)
from vismodels.methods.covidnet3d.network import CovidNet3D
from vismodels.methods.covidnet3d.search_run import SearchRun
from vismodels.methods.covidnet3d.space import OPERATIONS, SpaceConfig
from vismodels.methods.covidnet3d.supernet import MixedBlock
from vismodels.methods.covidnet3d.train import channels_last
from vismodels.nas.search import paired

Shape = tuple[int, int, int]
Call = Callable[[], object]

SMALL, LARGE = (24, 48, 48), (32, 128, 128)  # the phantom's scans, the published CC-CCII input
BATCH, PAIRS, CALLS = 8, 4, 3
SEEDS, BLOCK, NOISE = 10, "stage1_block0", 30.0  # of the planted problem
PLANTED: tuple[tuple[Estimator, dict[str, float]], ...] = (  # estimator, what is not as configured
    ("policy", {"iterations": 120}),
    ("all_paths", {"iterations": 60}),
    ("one_path", {"iterations": 120}),
    ("one_path", {"entropy_weight": 0.0}),
)


# --- what is measured ----------------------------------------------------------------------------


def problem() -> ProblemConfig:
    """Return the phantom's configuration."""
    content = yaml.safe_load((project_root() / "workflows/config/default.yaml").read_text())
    return parse_config(CovidNet3DConfig, content["covidnet3d"], "covidnet3d").problems["phantom"]


def batch() -> tuple[Tensor, Tensor]:
    """Return volumes and labels."""
    volumes = torch.randn(BATCH, 1, *SMALL, generator=torch.Generator().manual_seed(0))
    return volumes.contiguous(memory_format=torch.channels_last_3d), torch.arange(BATCH) % 3


def search_step(estimator: Estimator) -> Call:
    """Return a function that does one step of the search, architecture and weights."""
    config = problem()
    run = SearchRun(
        SearchConfig(
            data=config.data,
            space=config.space.model_copy(update={"largest_kernel": ()}),  # 8 operations everywhere
            variant=SearchVariant(estimator=estimator),
            settings=config.search,
            training=config.training,
        ),
        SMALL,
        torch.ones(config.space.classes),
        seed=0,
        device="cpu",
    )
    run.state.iteration = run.warm_iterations  # from there on the architecture moves
    both = (batch(), batch())
    return lambda: run.step(both)


def training_step(make: Callable[[], nn.Module]) -> Call:
    """Return a function that does one step of training."""
    network = channels_last(make())
    optimizer = torch.optim.Adam(network.parameters())
    volumes, labels = batch()

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(volumes), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def inference(make: Callable[[], nn.Module], shape: Shape) -> Call:
    """Return a function that classifies one scan."""
    network = channels_last(make()).eval()
    scan = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(0))
    scan = scan.contiguous(memory_format=torch.channels_last_3d)
    return torch.no_grad()(lambda: network(scan))


def networks() -> Mapping[str, Callable[[], nn.Module]]:
    """Return name -> untrained network: two of the space, and DenseNet121."""
    space = problem().space
    return {
        "hand 3x3x3": lambda: CovidNet3D.of(space, space.uniform("mbconv_3_3")),
        "random": lambda: CovidNet3D.of(space, space.draw(Random(0))),
        "DenseNet121": lambda: Baseline("monai_densenet121", 1, space.classes),
    }


def cases() -> dict[str, Callable[[], Call]]:
    """Return name -> what makes the function to measure."""
    made: dict[str, Callable[[], Call]] = {}
    for estimator in ("one_path", "policy", "all_paths"):
        made[f"search {estimator}"] = partial(search_step, estimator)
    for name, network in networks().items():
        made[f"train {name}"] = partial(training_step, network)
        for shape in (SMALL, LARGE):
            made[f"infer {name} {shape}"] = partial(inference, network, shape)
    return made


# --- measuring -----------------------------------------------------------------------------------


def take_turns(functions: Mapping[str, Call], rounds: int) -> dict[str, list[float]]:
    """Return the CPU-seconds of each function, called in turn after one call for warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            before = time.process_time()
            function()
            if number:
                seconds[name].append(time.process_time() - before)
    return seconds


def peak_memory(case: str) -> list[str]:
    """Return the peak memory of two calls in a process of their own, and what they added, in MB."""
    printed = subprocess.run(
        [sys.executable, __file__, "--memory", case], check=True, capture_output=True, text=True
    )
    return printed.stdout.split()


def memory(field: str) -> float:
    """Return a size of this process in MB; `ru_maxrss` would be the parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


def report(name: str, *columns: str) -> None:
    """Print a row."""
    print(f"{name:44}" + "".join(f"{column:>14}" for column in columns), flush=True)


def measure_search() -> None:
    """Print what steps of the estimators cost, beside that of all paths."""
    chosen = ("search one_path", "search policy", "search all_paths")
    seconds = take_turns({name: cases()[name]() for name in chosen}, PAIRS)
    whole = seconds["search all_paths"]
    report(f"step, {BATCH} volumes of {SMALL}", "CPU s", "of all paths", "peak MB", "added", "bar")
    for name in chosen:
        ratios = [one / other for one, other in zip(seconds[name], whole, strict=True)]
        report(
            name,
            f"{statistics.median(seconds[name]):.3f}",
            f"{statistics.median(ratios):.2f} x",
            *peak_memory(name),
            "<= 0.2" if name == "search one_path" else "",
        )


def measure_networks() -> None:
    """Print what steps of training and scans cost, beside DenseNet121."""
    for title, part in (
        (f"training step, {BATCH} volumes of {SMALL}", "train {}"),
        (f"one scan of {SMALL}", f"infer {{}} {SMALL}"),
        (f"one scan of {LARGE}", f"infer {{}} {LARGE}"),
    ):
        report(title, "CPU s", "of DenseNet", "peak MB", "added")
        names = {name: part.format(name) for name in networks()}
        made = {name: cases()[case]() for name, case in names.items()}
        seconds = take_turns(made, CALLS)
        for name, case in names.items():
            ratios = [
                one / other
                for one, other in zip(seconds[name], seconds["DenseNet121"], strict=True)
            ]
            report(
                f"  {name}",
                f"{statistics.median(seconds[name]):.3f}",
                f"{statistics.median(ratios):.2f} x",
                *peak_memory(case),
            )


# --- the planted problem -------------------------------------------------------------------------


def cubes(seed: int, count: int = 36) -> VolumeSet:
    """Return noise with a bright cube in the middle, a dark one, or none."""
    images = 0.3 * torch.randn(count, 1, 6, 8, 8, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) % 3
    images[labels == 0, :, 2:4, 2:6, 2:6] += 2
    images[labels == 1, :, 2:4, 2:6, 2:6] -= 2
    names = tuple(map(str, range(count)))
    return VolumeSet(images, labels, names, names, ("bright", "dark", "none"))


def spoil_(block: MixedBlock, useful: str, generator: torch.Generator) -> None:
    """Have all operations of a block but one drown its features, of size 1 to 2, in noise."""

    def add_noise(module: MixedBlock, arguments: tuple[Tensor, Tensor], output: Tensor) -> Tensor:
        for name, weight in zip(module.candidates, arguments[1], strict=True):
            if name != useful and weight.item():
                output = output + weight * NOISE * torch.randn(output.shape, generator=generator)
        return output

    block.register_forward_hook(add_noise)


def solves(estimator: Estimator, changes: Mapping[str, float], seed: int) -> bool:
    """Return whether a search ends with the one useful operation; which it is depends on the seed.

    The weights are drawn by the seed too, and the noise that operations add is new in every pass.
    """
    config = SearchConfig(
        data=DataConfig(
            card="cubes", input=CTInput(), classes=("bright", "dark", "none"), positive="bright"
        ),
        space=SpaceConfig(
            stem_channels=4,
            first_channels=4,
            widths=(6, 8),
            blocks=(1, 1),
            strides=(2, 1),
            head_channels=10,
            dropout=0.1,
        ),
        variant=SearchVariant(estimator=estimator),
        settings=problem().search.model_copy(update={"batch_size": 9, **changes}),
        training=TrainingSettings(iterations=1, validate_every=1),
    )
    parts = [cubes(2 * seed), cubes(2 * seed + 1)]
    run = SearchRun(config, parts[0].shape, parts[0].class_weights(), seed, "cpu")
    useful = OPERATIONS[seed % len(OPERATIONS)]
    block = run.supernet.network.blocks[BLOCK]
    assert isinstance(block, MixedBlock)
    spoil_(block, useful, torch.Generator().manual_seed(seed))
    streams = [
        volume_batches(part, draws, batch_size=config.settings.batch_size)
        for part, draws in zip(parts, run.draws, strict=True)
    ]
    for both in islice(paired(*streams), config.settings.iterations):
        run.step(both)
        run.state.iteration += 1
    return run.supernet.best().choices[BLOCK] == useful


def measure_planted() -> None:
    """Print how many seeds of a planted problem each estimator solves.

    What drowns everything is normalized away behind the block, so that the loss hardly depends on
    its scale, and the straight-through gradient of one path is a gradient of that scale: it is
    small until the weights have learned the useful path, and the entropy term decides before.
    """
    report("planted problem, settings as configured", "iterations", "solved", "CPU s", "bar")
    configured = problem().search
    for estimator, changes in PLANTED:
        before = time.process_time()
        solved = sum(solves(estimator, changes, seed) for seed in range(SEEDS))
        report(
            f"{estimator}{', no entropy term' if changes.get('entropy_weight') == 0 else ''}",
            str(changes.get("iterations", configured.iterations)),
            f"{solved} of {SEEDS}",
            f"{time.process_time() - before:.0f}",
            f">= {SEEDS - 1}",
        )


def main() -> None:
    """Measure and print tables."""
    parts = {"search": measure_search, "networks": measure_networks, "planted": measure_planted}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(parts)}; all by default")
    parser.add_argument("--memory", choices=cases(), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    torch.set_num_threads(1)
    if options.memory:
        call = cases()[options.memory]()
        before = memory("VmRSS")
        for _ in range(2):
            call()
        print(f"{memory('VmHWM'):.0f} {memory('VmHWM') - before:.0f}")
        return
    for name, measure in parts.items():
        if not options.parts or name in options.parts:
            measure()


if __name__ == "__main__":
    main()

"""CPU-seconds of what a user waits for first: importing, planning, finding nothing to do.

    .venv/bin/python benchmarks/start.py [--directory DIR]

Prints the median of five runs, and the ratio to importing torch in the same run, because machines
differ. `--directory` names a working directory with a finished default run, for the last row.
"""

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
RUNS = 5


def cpu_seconds(command: list[str]) -> float:
    """Return the median CPU time of a command and its children over five runs."""
    values = []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        values.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(values)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    python = sys.executable
    plan = ["-m", "snakemake", "-n", "--snakefile", f"{PROJECT}/Snakefile"]
    plan += ["--workflow-profile", f"{PROJECT}/profiles/default"]
    commands = {
        "import torch": [python, "-c", "import torch"],
        "import vismodels": [python, "-c", "import vismodels"],
        "plan the default run": [python, *plan, "--directory", str(PROJECT)],
    }
    if options.directory:
        again = ["-m", "vismodels.cli", "reproduce", "--directory", str(options.directory)]
        commands["reproduce again, nothing to do"] = [python, *again]
    reference = None
    print(f"{'':34}{'CPU s':>8}{'/ torch':>9}")
    for name, command in commands.items():
        seconds = cpu_seconds(command)
        reference = reference or seconds
        print(f"{name:34}{seconds:8.2f}{seconds / reference:9.2f}")


if __name__ == "__main__":
    main()

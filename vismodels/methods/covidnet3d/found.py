"""What a search leaves: its network, and the random ones it scored beside it. Torch-free."""

from pathlib import Path
from typing import Any

from vismodels.config import ConfigError
from vismodels.files import FileError, read_json
from vismodels.methods.covidnet3d.config import ComparedNetwork, NetworkVariant
from vismodels.nas.genotype import Genotype, read_genotype

GENOTYPE, CANDIDATES = "genotype.json", "candidates.json"


def read_found(variant: NetworkVariant, folder: Path) -> Genotype:
    """Return the genotype that a network takes from a search.

    Args:
        variant: of the network.
        folder: of the stage `search`.

    Raises:
        FileError: if a file is missing or damaged.
        ConfigError: if the search compared fewer networks than the number asks for.
    """
    genotype = read_genotype(folder / GENOTYPE)
    if isinstance(variant.network, ComparedNetwork):
        record = read_compared(folder, variant.network.number)
        return Genotype(genotype.space, record["choices"])
    return genotype


def read_compared(folder: Path, number: int) -> dict[str, Any]:
    """Return the record of one evenly random network that a search scored.

    Args:
        folder: of the stage `search`.
        number: which one, from 0.

    Raises:
        FileError: if the file is missing or damaged.
        ConfigError: if there are fewer.
    """
    path = folder / CANDIDATES
    records: Any = read_json(path)
    try:
        evenly = [dict(record) for record in records if record["origin"] == "random"]
    except (KeyError, TypeError) as error:
        raise FileError(f"{path}: damaged ({error}); run the search again") from error
    if number >= len(evenly):
        raise ConfigError(
            f"network {number} of a search that compared {len(evenly)} random ones; numbers start "
            "at 0, `compared` of the search says how many there are"
        )
    return evenly[number]

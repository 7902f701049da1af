"""Named arms of a comparison, each run on the first of the seeds. Torch-free."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, NonNegativeInt
from pydantic_core import CoreSchema, core_schema


class WithoutNulls:
    """Marks a mapping whose entries may be null, which leaves them out.

    Overlays merge mappings key by key: null is how one takes away what the default lists.
    """

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema of a mapping with nullable values, without its nulls."""
        key, value = get_args(source)
        return core_schema.no_info_after_validator_function(
            lambda arms: {name: arm for name, arm in arms.items() if arm is not None},
            handler.generate_schema(dict[key, value | None]),  # type: ignore[valid-type]
        )


def _differ(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must differ, got {list(seeds)}")
    return seeds


# Of a method: an arm of n runs has the first n of them, so that arms can be compared in pairs.
Seeds = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1), AfterValidator(_differ)]


def check_runs(seeds: Sequence[int], runs: Mapping[str, int]) -> None:
    """Raise an error unless there are seeds enough.

    Args:
        seeds: of the method.
        runs: where an arm stands in the settings -> on how many seeds it runs.

    Raises:
        ValueError: for the first arm with too many runs.
    """
    for where, count in runs.items():
        if count > len(seeds):
            raise ValueError(f"{where} runs on {count} seeds, but there are {len(seeds)}")

"""Named arms of a comparison, of which an overlay can leave some out. Torch-free."""

from typing import Any, get_args

from pydantic import GetCoreSchemaHandler
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

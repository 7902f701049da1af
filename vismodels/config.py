"""Base of all configurations: strict, frozen, with errors that name the key and the nearest name.

Torch-free: the workflow parses every configuration each time it plans.
"""

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class ConfigError(ValueError):
    """A configuration that does not fit its schema; the message names key, value and remedy."""


class Config(BaseModel):
    """Base class of stage configurations: immutable, no unknown keys, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


ConfigType = TypeVar("ConfigType", bound=BaseModel)


def parse_config(model: type[ConfigType], section: Any, key: str) -> ConfigType:
    """Return `section` as a validated `model`.

    Validation is strict JSON: lists become tuples, but '1e-3' is not a number and 'no' not a
    boolean.

    Args:
        model: the configuration class.
        section: the mapping read from YAML.
        key: dotted path of the section, for messages (`super_resolution.training`).

    Raises:
        ConfigError: for unknown or missing keys and wrong types or values, one line for each.
    """
    if not isinstance(section, Mapping):
        raise ConfigError(f"{key}: expected a mapping of settings, got {_shown(section)}")
    try:
        text = json.dumps(section)
    except TypeError as error:
        raise ConfigError(f"{key}: holds a value that JSON cannot express ({error})") from error
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        lines = [_explain(model, key, detail) for detail in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from None


def config_digest(config: Any) -> str:
    """Return 16 hex digits that identify the values of `config`, whatever the order of its keys."""
    if isinstance(config, BaseModel):
        config = config.model_dump(mode="json")
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest known name, else the list of known names."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    if nearest:
        return f"; did you mean {nearest[0]!r}?"
    return f"; known: {', '.join(names)}" if names else "; none are known"


def merged(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `overlay` on top: mappings merge key by key, all else is replaced."""
    result = dict(base)
    for key, value in overlay.items():
        below = result.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def lookup(config: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted `key`.

    Raises:
        ConfigError: if a part of the key is missing, with the nearest name at that level.
    """
    value: Any = config
    for depth, part in enumerate(key.split(".")):
        if not isinstance(value, Mapping) or part not in value:
            place = ".".join(key.split(".")[:depth]) or "the configuration"
            known = map(str, value) if isinstance(value, Mapping) else ()
            raise ConfigError(f"{place} has no key {part!r}{suggestion(part, known)}")
        value = value[part]
    return value


def compose(config: Mapping[str, Any], keys: Mapping[str, str]) -> Any:
    """Return the configuration of a stage, put together from sections of `config`.

    A part `variant` is of a stage that makes one seed of an arm: on how many others the arm `runs`
    is left out, so that more seeds do not make those stale that are there.

    Args:
        config: the whole configuration.
        keys: part -> dotted key, or `{"": key}` for a stage whose section is one piece.

    Raises:
        ConfigError: if a key does not exist.
    """
    if set(keys) == {""}:
        return lookup(config, keys[""])
    parts = {part: lookup(config, key) for part, key in keys.items()}
    if isinstance(variant := parts.get("variant"), Mapping):
        parts["variant"] = {name: value for name, value in variant.items() if name != "runs"}
    return parts


def _explain(model: type[BaseModel], key: str, detail: Any) -> str:
    parts, known = _resolve(model, [str(part) for part in detail["loc"]])
    path = ".".join([key, *parts])
    if detail["type"] == "extra_forbidden":
        return f"{path}: unknown key{suggestion(parts[-1], known)}"
    if detail["type"] == "missing":
        return f"{path}: this key is required and missing"
    message = f"{path}: {detail['msg']}, got {_shown(detail['input'])}"
    if isinstance(detail["input"], str) and _looks_numeric(detail["input"]):
        message += "; YAML reads this as text: write 1.0e-3, not 1e-3 or '0.001'"
    return message


def _resolve(model: type[BaseModel], location: list[str]) -> tuple[list[str], list[str]]:
    """Return the keys of an error's location as they stand in YAML, and the names known there."""
    models, keys = [model], []
    for depth, part in enumerate(location, start=1):
        fields = [m.model_fields[part] for m in models if part in m.model_fields]
        if not fields and len(models) > 1 and depth < len(location):
            continue  # the tag of a union, which pydantic adds to the location
        keys.append(part)
        nested = [m for field in fields for m in _models_in(field.annotation)]
        models = nested or models  # a key of a mapping or an index of a list: as before
    return keys, [name for m in models for name in m.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]


def _looks_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text[:77]}..." if len(text) > 80 else f"{text} ({type(value).__name__})"

"""Settings by path: {"train.sampling.view_angle": 40} applied to nested frozen dataclasses, checked against what is there."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import InputError

T = TypeVar("T")


def with_settings(config: T, settings: Mapping[str, Any]) -> T:
    """`config` with every value of `settings` in its place; numbers in a path count the entries of a tuple, -1 is the last.

    Raises InputError for a path that leads nowhere, and for a value of another kind than the field's.
    """
    for path, value in settings.items():
        config = _with(config, path.split("."), value, path)
    return config


def _with(config: Any, names: list[str], value: Any, path: str) -> Any:
    name, rest = names[0], names[1:]
    if isinstance(config, tuple):
        if not name.lstrip("-").isdigit() or not -len(config) <= int(name) < len(config):
            raise InputError(f"{path!r} asks for entry {name} of {len(config)}; count from 0, or from the end with -1.")
        entries = list(config)
        entries[int(name)] = _with(entries[int(name)], rest, value, path) if rest else value
        return tuple(entries)
    if not is_dataclass(config) or name not in (known := [field.name for field in fields(config)]):
        there = f"; there is {', '.join(known)}" if is_dataclass(config) else ""
        raise InputError(f"{path!r} is no setting: nothing is called {name!r}{there}.")
    if rest:
        return replace(config, **{name: _with(getattr(config, name), rest, value, path)})
    wanted = get_type_hints(type(config))[name]
    return replace(config, **{name: _fitting(value, wanted, path)})


def _fitting(value: Any, wanted: Any, path: str) -> Any:
    """`value` as YAML or JSON gives it, as a value of the annotated type."""
    options = get_args(wanted) if get_origin(wanted) in (Union, types.UnionType) else (wanted,)
    for option in options:
        kind = get_origin(option) or option
        if kind is tuple and isinstance(value, list | tuple):
            return _tuple(value)
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
        if not isinstance(kind, type) and value in get_args(option):  # Literal
            return value
    readable = str(wanted).replace("typing.", "").replace("<class '", "").replace("'>", "")
    raise InputError(f"{path} = {value!r} is no {readable}; give a value of that kind.")


def _tuple(value: Any) -> Any:
    return tuple(_tuple(item) for item in value) if isinstance(value, list | tuple) else value

"""Paths into JSON values that somebody sent as text: names of an object, numbers of a list's items, `*` for all of them."""

from collections.abc import Iterable
from typing import Any

from store.model.nesting import NotJson, read_json
from store.model.rules import Path


def read_whole(value: Any) -> Any:
    """A JSON text as what it says, also one that is a mere string; anything else as it is."""
    if isinstance(value, str) and value[:1] in ("{", "[", '"'):
        try:
            return read_json(value)
        except NotJson:
            return value
    return value


def at(value: Any, path: Path) -> Any:
    """What stands at a path, None where it leads nowhere. Behind `*` a list of what was found, None where nothing was."""
    for index, name in enumerate(path):
        if name == "*":
            if not isinstance(value, list):
                return None
            found = [inner for item in value if (inner := at(item, path[index + 1 :])) is not None]
            return found or None
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def first_at(value: Any, paths: Iterable[Path]) -> Any:
    """What stands at the first path that leads somewhere; None where none does."""
    return next((found for path in paths if (found := at(value, path)) is not None), None)

"""On which line of a TOML file something stands: the standard parser does not tell."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

Path = Sequence[str | int]
"""The keys, and places in arrays, that lead to a value."""


def line_of(text: str, path: Path) -> int:
    """The line, from 1, on which the statement begins that gives `path`, or the innermost of its parents
    that the file has. The text must be valid TOML.

    It is the first line after the longest beginning of the file that is valid without it, so that strings
    and arrays of several lines, dotted keys and inline tables need no second parser."""
    while path and not _has(tomllib.loads(text), path):
        path = path[:-1]
    if not path:
        return 1
    lines = text.split("\n")
    without, with_it = 0, len(lines)
    while (end := _statement_end(lines, without, with_it)) is not None:
        if _has(tomllib.loads("\n".join(lines[:end])), path):
            with_it = end
        else:
            without = end
    return without + 1


def _statement_end(lines: Sequence[str], low: int, high: int) -> int | None:
    """A place between the two, near their middle, at which a statement ends; None when there is none."""
    middle = (low + high) // 2
    places = [*range(middle, low, -1), *range(middle + 1, high)]
    return next((place for place in places if _valid(lines[:place])), None)


def _valid(lines: Sequence[str]) -> bool:
    try:
        tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return False
    return True


def _has(document: Any, path: Path) -> bool:
    for key in path:
        if isinstance(document, list):
            document = dict(enumerate(document))
        if not isinstance(document, dict) or key not in document:
            return False
        document = document[key]
    return True

"""What a target keeps of each table of a stream."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass

import orjson

from ..words import State
from .position import Position
from .rows import Key
from .schema import Schema, TableName
from .span import Span


@dataclass(frozen=True, slots=True)
class TableState:
    """A table of a stream: its schema at the source, its state, and from where to where it is replayed.

    A table without a floor is still to begin: its copy was found to be wanted anew.

    `created`: Syncline made the target's table, and so builds its indexes and foreign keys.
    `aside`: rows go to a table beside the one they will replace when the stream's tables are live.
    """

    schema: Schema
    state: State
    floor: Position | None = None
    goal: Position | None = None
    created: bool = False
    aside: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Parked:
    """A key whose row at the target is not the source's, why, and the position since when.

    `asked`: somebody wants it to be tried again now.
    """

    table: TableName
    key: Key
    reason: str
    since: Position
    asked: bool = False

    def dump_key(self) -> str:
        """The persisted form of the key: a JSON array. What JSON, or a store's own kind of it, has not is an
        object: of the base64 text of bytes, and of text with a zero in it; of the name of a float that is no
        finite number."""
        return orjson.dumps([_dump_cell(cell) for cell in self.key]).decode()

    @staticmethod
    def load_key(text: str) -> Key:
        """The key that `dump_key` wrote."""
        return tuple(_load_cell(cell) for cell in orjson.loads(text))


def _dump_cell(cell: object) -> object:
    match cell:
        case bytes():
            return {"base64": base64.b64encode(cell).decode()}
        case str() if "\0" in cell:
            return {"text": base64.b64encode(cell.encode()).decode()}
        case float() if not math.isfinite(cell):
            return {"float": str(cell)}
    return cell


def _load_cell(cell: object) -> object:
    match cell:
        case {"base64": text}:
            return base64.b64decode(text)
        case {"text": text}:
            return base64.b64decode(text).decode()
        case {"float": text}:
            return math.nan if text == "nan" else float(text)
    return cell


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """A span of the ledger; `rows` is None until its rows are in the target."""

    span: Span
    rows: int | None = None

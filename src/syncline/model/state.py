"""What a target keeps of each table of a stream."""

from __future__ import annotations

import base64
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
        """The persisted form of the key: a JSON array; bytes are objects that hold their base64 text."""
        return orjson.dumps(self.key, default=_dump_cell).decode()

    @staticmethod
    def load_key(text: str) -> Key:
        """The key that `dump_key` wrote."""
        return tuple(
            base64.b64decode(cell["base64"]) if isinstance(cell, dict) else cell
            for cell in orjson.loads(text)
        )


def _dump_cell(cell: object) -> dict[str, str]:
    if isinstance(cell, bytes):
        return {"base64": base64.b64encode(cell).decode()}
    raise TypeError


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """A span of the ledger; `rows` is None until its rows are in the target."""

    span: Span
    rows: int | None = None

"""What a log tells: changes in segments, segments in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from .position import Position
from .rows import Rows
from .schema import Schema, TableName

Path = tuple[str, ...]
"""The ids of the stores that rows came by, the first their origin, the last the store whose log told them."""

INSERT, UPDATE, DELETE = b"IUD"


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of one table in the order of the log.

    `kinds` has one of b'I', b'U', b'D' a row. `after` has every carried column; for a delete all its cells
    are unsent. `before` has at least the key's columns: for a delete, and for an update that changed the
    key, its cells are the old key; for all others they are unsent (the key is that of `after`).
    """

    table: TableName
    kinds: bytes
    before: Rows
    after: Rows
    path: Path

    @property
    def count(self) -> int:
        """How many changes."""
        return len(self.kinds)

    @property
    def nbytes(self) -> int:
        """The bytes they take."""
        return self.before.nbytes + self.after.nbytes + len(self.kinds)


@dataclass(frozen=True, slots=True)
class Truncate:
    """All rows of these tables went away at once."""

    tables: tuple[TableName, ...]
    path: Path

    nbytes = 64


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """From here on the log tells this table in another shape than the stream knows (Promise 4).

    `schema` is the new shape, None where what becomes of the rows cannot be known: they must be copied anew.
    `renamed` has the new names of columns by their old ones. `fill` is one row: the cells that the rows which
    are there have in the added columns. `lasting`: the stream cannot have the table as it is now;
    `dropped`: there is none any more, under no name.
    """

    table: TableName
    description: str
    schema: Schema | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    fill: Rows | None = None
    lasting: bool = False
    dropped: bool = False

    nbytes = 64


Segment = Changes | Truncate | SchemaChange


@dataclass(frozen=True, slots=True)
class Sighting:
    """A table whose fingerprint in the catalog is not the one that the stream knows (Promise 4, Race 7).

    `description` says in one clause what may have changed rows without the log telling it; '' when nothing
    of what changed can have.
    """

    table: TableName
    fingerprint: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole source transactions from `after` (exclusive) to `upto` (inclusive); may be empty.

    A transaction (or a run that cannot be told apart) larger than the reader's bound comes in pieces:
    all but the last have `complete=False`, and the target applies all of them in one transaction. Within
    a batch all changes of one table have one path. `log_bytes` is the log between `after` and `upto`,
    `canary` the number of the last message of `Source.canary` in it.
    """

    after: Position
    upto: Position
    segments: Sequence[Segment] = ()
    complete: bool = True
    transactions: int = 0
    log_bytes: int = 0
    canary: int | None = None

    @property
    def count(self) -> int:
        """How many changes."""
        return sum(segment.count for segment in self.segments if isinstance(segment, Changes))

    @property
    def nbytes(self) -> int:
        """The bytes its segments take, for bounding queues."""
        return sum(segment.nbytes for segment in self.segments)

    def paths(self) -> dict[TableName, Path]:
        """The path of each table that the batch writes."""
        paths: dict[TableName, Path] = {}
        for segment in self.segments:
            if isinstance(segment, Changes):
                paths[segment.table] = segment.path
            elif isinstance(segment, Truncate):
                paths.update(dict.fromkeys(segment.tables, segment.path))
        return paths


@dataclass(frozen=True, slots=True)
class Mark:
    """What a target's own log carries in every transaction that a stream writes there.

    `paths` gives, by the target's own table name, the path its rows came by. A log reader drops a
    transaction's rows of a table when the store it feeds is in that table's path; rows of tables that the
    mark does not name were added there (by a trigger, say) and are that store's own.
    """

    stream: str
    paths: Mapping[str, Path]

    def dumps(self) -> str:
        """The persisted form."""
        return orjson.dumps({"v": 1, "stream": self.stream, "paths": self.paths}).decode()

    @classmethod
    def loads(cls, text: str | bytes) -> Mark:
        """The mark that `dumps` wrote."""
        members: dict[str, Any] = orjson.loads(text)
        return cls(members["stream"], {table: tuple(path) for table, path in members["paths"].items()})

    def path(self, table: TableName, store: str) -> Path:
        """The path of this table's rows once the log of `store` tells them."""
        return (*self.paths.get(str(table), ()), store)

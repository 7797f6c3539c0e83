"""Two files and short ways to follow one and write to the other."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from syncline.connectors.sqlite import SqliteSource, SqliteTarget, connector
from syncline.model import Batch, Changes, Mark, Position, Schema, State, TableState

STREAM = "syncline_test"


def quiet(_: str) -> None:
    """A notice that nobody reads."""


def plain(path: Path) -> sqlite3.Connection:
    """The application's connection, in autocommit."""
    return sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)


def source_of(path: Path) -> SqliteSource:
    return connector.source(f"sqlite:///{path}")


def target_of(path: Path) -> SqliteTarget:
    return connector.target(f"sqlite:///{path}")


def schema_of(store: SqliteSource | SqliteTarget, name: str) -> Schema:
    return next(schema for schema in store.discover() if schema.table.name == name)


def attach(source: SqliteSource, *names: str, stream: str = STREAM) -> tuple[list[Schema], Position]:
    schemas = [schema_of(source, name) for name in names]
    source.attach(stream, schemas, quiet)
    return schemas, source.floor(quiet)


def told(
    source: SqliteSource,
    schemas: Sequence[Schema],
    after: Position,
    *,
    skip: str = "",
    max_bytes: int = 1 << 20,
    stream: str = STREAM,
) -> list[Batch]:
    """The batches up to now."""
    until = source.ceiling()
    return list(
        source.changes(stream, schemas, after, skip=skip, max_bytes=max_bytes, max_wait=0.1, until=until)
    )


def changes(batches: Sequence[Batch]) -> list[tuple[str, Any, Any]]:
    """Kind, old key or None, row or None, of every change."""
    found = []
    for batch in batches:
        for segment in batch.segments:
            if not isinstance(segment, Changes):
                continue
            before, after = segment.before, segment.after
            hidden = before.unsent[0].to_pylist() if before.unsent[0] is not None else [False] * before.count
            for kind, old, unsent, row in zip(
                segment.kinds, before.tuples(), hidden, after.tuples(), strict=True
            ):
                found.append((chr(kind), None if unsent else old, None if kind == ord("D") else row))
    return found


def replayed(schema: Schema, batches: Sequence[Batch]) -> dict[Any, Any]:
    """The rows that changes lead to, by key, whatever stood there before."""
    at = [schema.names.index(name) for name in schema.key]
    rows: dict[Any, Any] = {}
    for kind, old, row in changes(batches):
        if old is not None:
            rows.pop(old, None)
        if kind != "D":
            rows[tuple(row[place] for place in at)] = row
    return rows


def held(db: sqlite3.Connection, schema: Schema) -> dict[Any, Any]:
    """The rows of a table, by key, as the driver gives them."""
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in schema.names)
    table = '"' + schema.table.name.replace('"', '""') + '"'
    at = [schema.names.index(name) for name in schema.key]
    return {tuple(row[place] for place in at): row for row in db.execute(f"SELECT {names} FROM {table}")}


def live(schema: Schema, **members: Any) -> TableState:
    return TableState(schema, State.LIVE, **members)


def mark(schema: Schema, *path: str) -> Mark:
    return Mark(STREAM, {str(schema.table): path})

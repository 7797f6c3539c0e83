"""SQLite through the suite that every connector passes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from syncline.connectors.sqlite import connector
from syncline.model import Column, Kind, Schema
from syncline.testing import conformance
from syncline.testing.conformance import Driver, SqlDatabase


class PlainSqlite(SqlDatabase):
    """A file in the hands of the standard library's driver."""

    placeholder = "?"
    types: ClassVar = {
        Kind.BOOL: "BOOLEAN",
        Kind.INT32: "INT4",
        Kind.INT64: "BIGINT",
        Kind.FLOAT64: "DOUBLE",
        Kind.TEXT: "TEXT",
        Kind.BYTES: "BLOB",
        Kind.UUID: "UUID_TEXT",
    }

    def __init__(self, path: Path) -> None:
        super().__init__()
        path.touch()
        self.url = f"sqlite:///{path}"
        self._path = path

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=30, check_same_thread=False)

    def define(self, column: Column, table: Schema) -> str:
        if self.is_key_defined_with(column):
            return f"{self.quoted(column.name)} INTEGER PRIMARY KEY AUTOINCREMENT"
        return super().define(column, table)

    def is_key_defined_with(self, column: Column) -> bool:
        return column.identity

    def cell_out(self, column: Column, cell: Any) -> Any:
        return bool(cell) if column.type.kind is Kind.BOOL and cell is not None else cell

    def leftovers(self) -> list[str]:
        sql = "SELECT name FROM sqlite_schema WHERE name LIKE '\\_syncline\\_%' ESCAPE '\\'"
        names = [str(row[0]) for row in self.connection.execute(sql)]
        self.connection.commit()
        return names


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    with PlainSqlite(tmp_path / "source.db") as source, PlainSqlite(tmp_path / "target.db") as target:
        yield Driver(
            connector,
            source,
            target,
            missing_url=f"sqlite:///{tmp_path / 'missing' / 'a.db'}",
            makes_targets=True,
            tells_transactions=False,
            has_truncate=False,
            has_unsent=False,
            ends_others=False,
        )


class TestSource(conformance.SourceSuite):
    """Everything that a source promises."""


class TestTarget(conformance.TargetSuite):
    """Everything that a target promises."""


class TestStream(conformance.StreamSuite):
    """Both together."""

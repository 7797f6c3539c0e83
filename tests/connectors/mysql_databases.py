"""MariaDB and MySQL databases in the hands of PyMySQL, for the suite that every connector passes."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

from syncline.connector import Store, Target
from syncline.connectors.mysql import connector
from syncline.connectors.mysql.store import MysqlStore
from syncline.model import Column, Kind, Schema
from syncline.testing.conformance import SqlDatabase
from tests import mysql_family
from tests.conftest import Databases


class Halves:
    """The target, and the store that it is in both roles."""

    def source(self, url: str) -> Store:
        return MysqlStore(url)

    def target(self, url: str) -> Target:
        return connector.target(url)


class PlainMysql(SqlDatabase):
    """A database, made when it is first needed. Texts are told apart byte by byte."""

    collation = "utf8mb4_nopad_bin"
    types: ClassVar = {
        Kind.BOOL: "TINYINT(1)",
        Kind.INT32: "INT",
        Kind.INT64: "BIGINT",
        Kind.FLOAT64: "DOUBLE",
        Kind.TEXT: "LONGTEXT",
        Kind.BYTES: "LONGBLOB",
        Kind.UUID: "CHAR(36)",
    }

    def __init__(self, make: Databases) -> None:
        super().__init__()
        self._make = make

    @cached_property
    def url(self) -> str:
        return self._make()

    def connect(self) -> Any:
        mode = "SET sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'"
        return mysql_family.connect(self.url, autocommit=False, init_command=mode)

    def quoted(self, *names: str) -> str:
        return ", ".join("`" + name.replace("`", "``") + "`" for name in names)

    def define(self, column: Column, table: Schema) -> str:
        kind = column.type.kind
        parts = [self.quoted(column.name), self.types[kind]]
        if kind is Kind.TEXT:
            indexed = {name for index in table.indexes for name in index.columns} | {*table.key}
            word = "VARCHAR(200)" if column.name in indexed else "LONGTEXT"
            parts = [self.quoted(column.name), f"{word} CHARACTER SET utf8mb4 COLLATE {self.collation}"]
        elif kind is Kind.UUID:
            parts.append("CHARACTER SET ascii COLLATE ascii_bin")
        parts += [] if column.nullable else ["NOT NULL"]
        if column.identity:
            parts.append("AUTO_INCREMENT")
        elif column.default is not None:
            parts.append(f"DEFAULT ({column.default})" if kind is Kind.TEXT else f"DEFAULT {column.default}")
        if kind is Kind.UUID:
            parts.append('COMMENT \'syncline:{"kind":"uuid"}\'')
        return " ".join(parts)

    def cell_out(self, column: Column, cell: Any) -> Any:
        return bool(cell) if column.type.kind is Kind.BOOL and cell is not None else cell

    def leftovers(self) -> list[str]:
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = database()"
                " AND table_name LIKE '!_syncline!_%' ESCAPE '!'"
            )
            names = [str(row[0]) for row in cursor.fetchall()]
        self.connection.commit()
        return names


class PlainMysql9(PlainMysql):
    """The same on MySQL, which has no collation of that name."""

    collation = "utf8mb4_0900_bin"


def rows_of(url: str, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query in a session of its own."""
    return mysql_family.run(url, query)

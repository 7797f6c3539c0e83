"""Most of a plain database for a system with SQL and a DB-API driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from ...model import Column, ForeignKey, Index, Kind, Schema
from .driver import Delete, Empty, Insert, Row, Write


class SqlDatabase:
    """One database over connections of a DB-API driver that do not commit by themselves.

    A subclass gives `url`, `types`, `placeholder`, `connect`, `leftovers`, and what its system does in
    another way than the SQL here: `cell_in` and `cell_out` for the driver's values, `define` for a column.
    """

    types: Mapping[Kind, str]
    placeholder = "%s"

    def __init__(self) -> None:
        self._connection: Any = None
        self._held: list[Any] = []

    def connect(self) -> Any:
        """A new connection, usable from any thread."""
        raise NotImplementedError

    @property
    def connection(self) -> Any:
        """The connection of everything that ends with its call."""
        if self._connection is None:
            self._connection = self.connect()
        return self._connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in (*self._held, self._connection):
            if connection is not None:
                connection.close()

    def create(self, table: Schema) -> None:
        """CREATE TABLE and its indexes."""
        parts = [self.define(column, table) for column in table.columns]
        if table.key and not any(self.is_key_defined_with(column) for column in table.columns):
            parts.append(f"PRIMARY KEY ({self.quoted(*table.key)})")
        parts += [self._define_reference(reference) for reference in table.foreign_keys]
        statements = [f"CREATE TABLE {self.quoted(table.table.name)} ({', '.join(parts)})"]
        statements += [self._define_index(table, index) for index in table.indexes]
        self._run([(statement, ()) for statement in statements])

    def add_column(self, table: Schema, column: Column) -> None:
        """ALTER TABLE."""
        name = self.quoted(table.table.name)
        self._run([(f"ALTER TABLE {name} ADD COLUMN {self.define(column, table)}", ())])

    def execute(self, writes: Sequence[Write]) -> None:
        """One transaction."""
        self._run([self._statement(write) for write in writes])

    def hold(self, writes: Sequence[Write]) -> Any:
        """One transaction of a connection of its own; the connection is its handle."""
        connection = self.connect()
        self._held.append(connection)
        for write in writes:
            self._execute(connection, *self._statement(write))
        return connection

    def rows(self, table: Schema) -> list[Row]:
        """SELECT."""
        cursor = self.connection.cursor()
        cursor.execute(f"SELECT {self.quoted(*table.names)} FROM {self.quoted(table.table.name)}")
        rows = cursor.fetchall()
        self.connection.commit()
        return [
            tuple(self.cell_out(column, cell) for column, cell in zip(table.stored, row, strict=True))
            for row in rows
        ]

    def quoted(self, *names: str) -> str:
        """Names as SQL."""
        return ", ".join('"' + name.replace('"', '""') + '"' for name in names)

    def named(self, *names: str) -> str:
        """Names in a statement with parameters, where a driver with `%s` wants each per cent twice."""
        text = self.quoted(*names)
        return text.replace("%", "%%") if self.placeholder == "%s" else text

    def define(self, column: Column, table: Schema) -> str:
        """A column as SQL."""
        parts = [self.quoted(column.name), self.types[column.type.kind]]
        parts += [] if column.nullable else ["NOT NULL"]
        parts += [] if column.default is None else [f"DEFAULT {column.default}"]
        return " ".join(parts)

    def is_key_defined_with(self, column: Column) -> bool:
        """Whether `define` says that this column is the key."""
        return False

    def cell_in(self, column: Column, cell: Any) -> Any:
        """A cell as the driver takes it."""
        return cell

    def cell_out(self, column: Column, cell: Any) -> Any:
        """A cell that the driver gave."""
        return cell

    def _define_reference(self, reference: ForeignKey) -> str:
        parent = f"{self.quoted(reference.parent.name)} ({self.quoted(*reference.parent_columns)})"
        name = self.quoted(reference.name)
        return f"CONSTRAINT {name} FOREIGN KEY ({self.quoted(*reference.columns)}) REFERENCES {parent}"

    def _define_index(self, table: Schema, index: Index) -> str:
        unique = "UNIQUE " if index.unique else ""
        on = f"{self.quoted(table.table.name)} ({self.quoted(*index.columns)})"
        return f"CREATE {unique}INDEX {self.quoted(index.name)} ON {on}"

    def _statement(self, write: Write) -> tuple[str, Sequence[Any]]:
        if isinstance(write, Empty):
            return f"TRUNCATE {self.quoted(*(table.table.name for table in write.tables))}", ()
        name = self.named(write.table.table.name)
        if isinstance(write, Insert):
            marks = ", ".join(self.placeholder for _ in write.cells)
            names = self.named(*write.cells)
            return f"INSERT INTO {name} ({names}) VALUES ({marks})", self._cells(write.table, write.cells)
        key = self._cells(write.table, dict(zip(write.table.key, write.key, strict=True)))
        where = " AND ".join(f"{self.named(column)} = {self.placeholder}" for column in write.table.key)
        if isinstance(write, Delete):
            return f"DELETE FROM {name} WHERE {where}", key
        sets = ", ".join(f"{self.named(column)} = {self.placeholder}" for column in write.cells)
        return f"UPDATE {name} SET {sets} WHERE {where}", [*self._cells(write.table, write.cells), *key]

    def _cells(self, table: Schema, cells: Mapping[str, Any]) -> list[Any]:
        return [self.cell_in(table.column(name), cell) for name, cell in cells.items()]

    def _run(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        try:
            for statement, cells in statements:
                self._execute(self.connection, statement, cells)
        except BaseException:
            self.connection.rollback()
            raise
        self.connection.commit()

    def _execute(self, connection: Any, statement: str, cells: Sequence[Any]) -> None:
        if cells:
            connection.cursor().execute(statement, cells)
        else:
            connection.cursor().execute(statement)

"""Tables and their schemas."""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from .types import Type

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def lowered(name: str) -> str:
    """A name with its ASCII letters in lower case: the same for two that differ in their case only."""
    return name.translate(_LOWER)


@dataclass(frozen=True, slots=True)
class TableName:
    """A table's name; `schema` is None in the store's default schema (PostgreSQL's current_schema()). Sorted
    by name, and among those of one name the default schema's first."""

    name: str
    schema: str | None = None

    def __lt__(self, other: TableName) -> bool:
        return (self.name, self.schema or "") < (other.name, other.schema or "")

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name

    def matches(self, pattern: str) -> bool:
        """Whether a glob such as `orders`, `sales.*` or `*_log` means this table."""
        return fnmatchcase(str(self), pattern)

    def to_json(self) -> list[str | None]:
        """The persisted form."""
        return [self.schema, self.name]

    @classmethod
    def from_json(cls, parts: Iterable[Any]) -> TableName:
        """The name that `to_json` wrote."""
        schema, name = parts
        return cls(name, schema)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    `default` is the expression in the source system's own SQL. `generated`: computed by the system and
    never written. `identity`: numbered by the system (identity, serial, AUTOINCREMENT, rowid alias).
    """

    name: str
    type: Type
    nullable: bool = True
    default: str | None = None
    generated: bool = False
    identity: bool = False

    def to_json(self) -> dict[str, Any]:
        """The persisted form."""
        return {
            "name": self.name,
            "type": self.type.to_json(),
            "nullable": self.nullable,
            "default": self.default,
            "generated": self.generated,
            "identity": self.identity,
        }

    @classmethod
    def from_json(cls, members: dict[str, Any]) -> Column:
        """The column that `to_json` wrote."""
        return cls(**{**members, "type": Type.from_json(members["type"])})


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index over plain columns. `definition` is the source system's own CREATE INDEX, used
    where both ends are one system; elsewhere the index is made from `columns` when `portable`."""

    name: str
    columns: tuple[str, ...]
    unique: bool = False
    portable: bool = True
    constraint: bool = False
    definition: str = ""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A reference of `columns` to `parent_columns` of `parent`; actions in SQL's words."""

    name: str
    columns: tuple[str, ...]
    parent: TableName
    parent_columns: tuple[str, ...]
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"
    deferrable: bool = False


class Deletes(StrEnum):
    """What a delete at the source does at the target: the row goes, is marked, or stays as it was."""

    APPLY = "apply"
    MARK = "mark"
    IGNORE = "ignore"


@dataclass(frozen=True)
class Transformed:
    """How a table came to another shape than it has at its source.

    `origin` is the source's own schema, `rules` what was asked for, as text: rows written under another text
    may have another shape. `filtered`: rows of the source may be left out. `deleted_at` and `synced_at` name
    columns in which the target keeps times of its own ('' for none): written, never compared.
    """

    origin: Schema
    rules: str
    filtered: bool = False
    deletes: Deletes = Deletes.APPLY
    deleted_at: str = ""
    synced_at: str = ""

    def to_json(self) -> dict[str, Any]:
        """The persisted form."""
        return {
            "origin": self.origin.to_json(),
            "rules": self.rules,
            "filtered": self.filtered,
            "deletes": str(self.deletes),
            "deleted_at": self.deleted_at,
            "synced_at": self.synced_at,
        }

    @classmethod
    def from_json(cls, members: dict[str, Any]) -> Transformed:
        """What `to_json` wrote."""
        changed = {"origin": Schema.from_json(members["origin"]), "deletes": Deletes(members["deletes"])}
        return cls(**{**members, **changed})


@dataclass(frozen=True)
class Schema:
    """A table's columns in their order, and its key.

    `key` is the primary key, or else a unique key without NULLs that the log identifies rows by; empty
    when the table has none, and then `problem` says what to do. `system` names the connector that the
    schema was discovered by: defaults and definitions are in that system's SQL. `problem` is also set
    for anything else that keeps the table from being synced (a view, an unlogged table, …).
    `transformed` is set where rules stand between the source's table and this one.

    `fingerprint` is of what the log does not tell of the table; only the connector that made it reads it.
    It is '' where the log tells everything, and in what a program that knew of none has persisted.
    """

    table: TableName
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    system: str
    indexes: tuple[Index, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    problem: str = ""
    estimated_rows: int | None = field(default=None, compare=False)
    fingerprint: str = field(default="", compare=False)
    transformed: Transformed | None = None

    @cached_property
    def stored(self) -> tuple[Column, ...]:
        """The columns that are carried: all but the generated ones."""
        return tuple(column for column in self.columns if not column.generated)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the carried columns, in order."""
        return tuple(column.name for column in self.stored)

    def column(self, name: str) -> Column:
        """The column of that name; KeyError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @cached_property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns of the key, in the key's order."""
        return tuple(self.column(name) for name in self.key)

    @property
    def source_table(self) -> TableName:
        """The table's name at its source."""
        return self.transformed.origin.table if self.transformed else self.table

    @property
    def deletes(self) -> Deletes:
        """What a delete at the source does at the target."""
        return self.transformed.deletes if self.transformed else Deletes.APPLY

    @property
    def filtered(self) -> bool:
        """Whether rows of the source may be left out."""
        return self.transformed is not None and self.transformed.filtered

    @cached_property
    def compared(self) -> Schema:
        """The schema without the columns in which the target keeps times of its own."""
        if self.transformed is None:
            return self
        own = {self.transformed.deleted_at, self.transformed.synced_at}
        return replace(self, columns=tuple(column for column in self.columns if column.name not in own))

    def to_json(self) -> dict[str, Any]:
        """The persisted form: what is needed to go on streaming and to finish the table."""
        transformed = {"transformed": self.transformed.to_json()} if self.transformed else {}
        return {
            **transformed,
            "table": self.table.to_json(),
            "columns": [column.to_json() for column in self.columns],
            "key": list(self.key),
            "system": self.system,
            "indexes": [
                {
                    "name": index.name,
                    "columns": list(index.columns),
                    "unique": index.unique,
                    "portable": index.portable,
                    "constraint": index.constraint,
                    "definition": index.definition,
                }
                for index in self.indexes
            ],
            "foreign_keys": [
                {
                    "name": foreign.name,
                    "columns": list(foreign.columns),
                    "parent": foreign.parent.to_json(),
                    "parent_columns": list(foreign.parent_columns),
                    "on_delete": foreign.on_delete,
                    "on_update": foreign.on_update,
                    "deferrable": foreign.deferrable,
                }
                for foreign in self.foreign_keys
            ],
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_json(cls, members: dict[str, Any]) -> Schema:
        """The schema that `to_json` wrote."""
        return cls(
            table=TableName.from_json(members["table"]),
            columns=tuple(Column.from_json(column) for column in members["columns"]),
            key=tuple(members["key"]),
            system=members["system"],
            indexes=tuple(
                Index(**{**index, "columns": tuple(index["columns"])}) for index in members["indexes"]
            ),
            foreign_keys=tuple(
                ForeignKey(
                    **{
                        **foreign,
                        "columns": tuple(foreign["columns"]),
                        "parent": TableName.from_json(foreign["parent"]),
                        "parent_columns": tuple(foreign["parent_columns"]),
                    }
                )
                for foreign in members["foreign_keys"]
            ),
            fingerprint=members.get("fingerprint", ""),
            transformed=Transformed.from_json(members["transformed"]) if "transformed" in members else None,
        )

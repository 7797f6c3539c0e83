"""What a connector hands to the suite: itself, and two databases in the hands of plain drivers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...connector import Connector
from ...model import Column, Schema

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Insert:
    """Add a row; cells that are not named are left to the database."""

    table: Schema
    cells: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Update:
    """Change cells of the row with that key, the key's own among them if they are named."""

    table: Schema
    key: Row
    cells: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delete:
    """Take the row with that key away."""

    table: Schema
    key: Row


@dataclass(frozen=True, slots=True)
class Empty:
    """Take all rows of these tables away in one statement (TRUNCATE)."""

    tables: Sequence[Schema]


Write = Insert | Update | Delete | Empty


class Held(Protocol):
    """A transaction that is still open."""

    def commit(self) -> None:
        """End it."""


class PlainDatabase(Protocol):
    """A fresh, empty database of one test, reached by plain drivers only.

    Cells are as Rows.tuples() gives them: int, float, bool, str, bytes or None, UUIDs as text. The suite
    names tables by schemas of its own, whose `system` is empty and whose defaults are plain literals.
    """

    @property
    def url(self) -> str:
        """What the connector opens it by."""

    def create(self, table: Schema) -> None:
        """Make the table with its key, NOT NULL, defaults, identity, indexes and foreign keys; without
        a key where the schema has none."""

    def execute(self, writes: Sequence[Write]) -> None:
        """Run the writes in one transaction and commit it."""

    def hold(self, writes: Sequence[Write]) -> Held:
        """Run the writes in one transaction and leave it open."""

    def rows(self, table: Schema) -> Sequence[Row]:
        """All rows in the order of the schema's columns, in any order."""

    def add_column(self, table: Schema, column: Column) -> None:
        """Add a column to a table."""

    def leftovers(self) -> Sequence[str]:
        """By name, everything that Syncline has made in this database and that is still there: slots,
        publications, triggers, tables, schemas. Empty means that it is as if Syncline had never come."""


@dataclass(frozen=True, slots=True)
class Driver:
    """A connector and the two databases of one test, of the same system.

    `missing_url`: a database that does not exist ('' where every URL opens). `makes_targets`: a target makes
    its database where there is none. `tells_transactions`: the log tells transactions apart; else what is
    read at once is one run. `has_truncate`: the system has
    a truncate of its own that the log tells. `has_unsent`: the log leaves out large cells that did not
    change. `ends_others`: `claim` ends another worker's open transaction; without it, it waits or fails.
    """

    connector: Connector
    source: PlainDatabase
    target: PlainDatabase
    missing_url: str = ""
    makes_targets: bool = False
    tells_transactions: bool = True
    has_truncate: bool = True
    has_unsent: bool = True
    ends_others: bool = True

"""What the target must hold where rules stand between the stores, in plain Python.

The first store is seen through its rules, the second without the rows that are only marked as deleted; what
is left must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .stores import Column, Store, Table

Cell = Any


@dataclass(frozen=True)
class Form:
    """What becomes of a column's cells that are not NULL, and the type that they have then."""

    type: str
    make: Callable[[Cell], Cell]


@dataclass(frozen=True)
class Rules:
    """The rules of one table. Columns have the first store's names, but for `constants` and `mark`, the
    column that says when a row was deleted."""

    where: Callable[[Mapping[str, Cell]], bool] = lambda row: True
    without: frozenset[str] = frozenset()
    forms: Mapping[str, Form] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, tuple[str, Cell]] = field(default_factory=dict)
    mark: str = ""


class Ruled:
    """The first store, as its rules make it."""

    def __init__(self, store: Store, rules: Mapping[str, Rules]) -> None:
        self._store, self._rules = store, rules
        self._originals: dict[str, Table] = {}
        self.system = store.system

    def tables(self) -> list[Table]:
        """The tables with the columns that they must have."""
        found = self._store.tables()
        self._originals = {table.name: table for table in found}
        return [self._seen(table) for table in found]

    def _seen(self, table: Table) -> Table:
        rules = self._rules.get(table.name, Rules())
        columns = [
            Column(
                rules.names.get(column.name, column.name),
                rules.forms[column.name].type if column.name in rules.forms else column.type,
                column.generated,
            )
            for column in table.columns
            if column.name not in rules.without
        ]
        columns += [Column(name, type, False) for name, (type, _) in rules.constants.items()]
        key = tuple(rules.names.get(name, name) for name in table.key)
        return Table(table.name, table.where, tuple(columns), key)

    def rows(self, table: Table, columns: list[str]) -> Iterator[tuple[Cell, ...]]:
        """The rows that pass, in the form that they must have."""
        rules, original = self._rules.get(table.name), self._originals[table.name]
        if rules is None:
            yield from self._store.rows(original, columns)
            return
        old = [column.name for column in original.columns]
        for cells in self._store.rows(original, old):
            row = dict(zip(old, cells, strict=True))
            if not rules.where(row):
                continue
            made = {rules.names.get(name, name): _formed(rules, name, row[name]) for name in old}
            made |= {name: cell for name, (_, cell) in rules.constants.items()}
            yield tuple(made[name] for name in columns)


class Unmarked:
    """The second store without the rows that are marked as deleted."""

    def __init__(self, store: Store, marks: Mapping[str, str]) -> None:
        self._store, self._marks, self.system = store, marks, store.system

    def tables(self) -> list[Table]:
        """The tables without the columns for marks."""
        return [
            Table(
                table.name,
                table.where,
                tuple(column for column in table.columns if column.name != self._marks.get(table.name)),
                table.key,
            )
            for table in self._store.tables()
        ]

    def rows(self, table: Table, columns: list[str]) -> Iterator[tuple[Cell, ...]]:
        """The rows without a mark."""
        if table.name not in self._marks:
            yield from self._store.rows(table, columns)
            return
        for *row, mark in self._store.rows(table, [*columns, self._marks[table.name]]):
            if mark is None:
                yield tuple(row)


def _formed(rules: Rules, name: str, cell: Cell) -> Cell:
    form = rules.forms.get(name)
    return cell if cell is None or form is None else form.make(cell)

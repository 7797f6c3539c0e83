"""What every case stands on: opened stores, tables, and what a log told as plain Python."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pyarrow as pa
import pytest

from ...connector import Claim, Source, Store, Target
from ...model import (
    Batch,
    Changes,
    Column,
    Identity,
    Kind,
    Mark,
    Position,
    Rows,
    Schema,
    SchemaChange,
    Span,
    State,
    TableName,
    TableState,
    Truncate,
    Type,
)
from ...model.batch import DELETE, Path
from .driver import Driver, Insert, PlainDatabase, Row

AnyStore = TypeVar("AnyStore", bound=Store)

ORIGIN = Identity("conformance", "origin", "")
"""The source that a target is told where there is no real one."""

P1, P2, P3 = (Position(text) for text in ("p1", "p2", "p3"))
"""Positions of that source: a target takes any text."""

BIG = 20_000
"""Characters of a cell that a log with unsent cells leaves out when it did not change."""


def table(
    name: str,
    *columns: Column,
    key: Sequence[str] = ("id",),
    indexes: Sequence[Any] = (),
    foreign_keys: Sequence[Any] = (),
) -> Schema:
    """A table for the plain drivers."""
    return Schema(TableName(name), columns, tuple(key), "", tuple(indexes), tuple(foreign_keys))


def column(name: str, kind: Kind, nullable: bool = True, **members: Any) -> Column:
    """A column of a kind."""
    return Column(name, Type(kind), nullable, **members)


def identifier(name: str = "id", kind: Kind = Kind.INT64) -> Column:
    """A column for a key."""
    return column(name, kind, nullable=False)


ITEMS = table(
    "items",
    identifier(),
    column("name", Kind.TEXT),
    column("amount", Kind.INT32, nullable=False),
    column("ratio", Kind.FLOAT64),
    column("flag", Kind.BOOL),
    column("raw", Kind.BYTES),
)

PARTS = table(
    "parts",
    identifier("item", Kind.INT32),
    identifier("label", Kind.TEXT),
    column("size", Kind.INT64),
    key=("item", "label"),
)


def item(number: int, **cells: Any) -> Insert:
    """An insert into `items`; `ratio` is NULL unless given."""
    members = {
        "name": f"item {number}",
        "amount": number * 10,
        "ratio": None,
        "flag": number % 2 == 0,
        "raw": bytes([number % 256, 0, 255]),
    }
    return Insert(ITEMS, {"id": number, **members, **cells})


def item_row(number: int, **cells: Any) -> Row:
    """The row that `item` inserts."""
    written = item(number, **cells).cells
    return tuple(written[name] for name in ITEMS.names)


def part(number: int, label: str, size: int | None = None) -> Insert:
    """An insert into `parts`."""
    return Insert(PARTS, {"item": number, "label": label, "size": size})


@dataclass(frozen=True, slots=True)
class Told:
    """One change as a log told it: `kind` is I, U, D or T; `cells` has only what was sent."""

    kind: str
    old: Row | None
    cells: dict[str, Any]
    path: Path


def tell(schema: Schema, batches: Iterable[Batch]) -> list[Told]:
    """All that batches tell of one table, in order."""
    told: list[Told] = []
    for batch in batches:
        for segment in batch.segments:
            if isinstance(segment, Truncate) and schema.table in segment.tables:
                told.append(Told("T", None, {}, segment.path))
            elif isinstance(segment, Changes) and segment.table == schema.table:
                told += _tell_changes(schema, segment)
            elif isinstance(segment, SchemaChange):
                assert segment.table != schema.table, segment.description
    return told


def _tell_changes(schema: Schema, changes: Changes) -> Iterator[Told]:
    assert changes.count == changes.before.count == changes.after.count
    assert changes.after.columns == schema.names
    before, after = sent_cells(changes.before), sent_cells(changes.after)
    for kind, was, cells in zip(changes.kinds, before, after, strict=True):
        held = [name in was for name in schema.key]
        assert all(held) or not any(held), "a key is sent as a whole"
        old = tuple(was[name] for name in schema.key) if all(held) else None
        if kind == DELETE:
            assert old is not None, "a delete tells the key"
            assert not cells, "all cells after a delete are unsent"
        else:
            assert all(name in cells for name in schema.key), "the key of a row that is there is sent"
        yield Told(chr(kind), old, cells, changes.path)


def sent_cells(rows: Rows) -> list[dict[str, Any]]:
    """Rows as dictionaries that leave unsent cells out."""
    found: list[dict[str, Any]] = [{} for _ in range(rows.count)]
    for name in rows.columns:
        mask = rows.mask(name)
        unsent = [False] * rows.count if mask is None else mask.to_pylist()
        for cells, value, hidden in zip(found, rows.array(name).to_pylist(), unsent, strict=True):
            if hidden:
                assert value is None, "under an unsent cell the array holds NULL"
            else:
                cells[name] = value
    return found


def replay(schema: Schema, batches: Iterable[Batch], rows: Iterable[Row] = ()) -> list[Row]:
    """The rows that changes lead to; each must fit exactly the rows it meets."""
    key_at = [schema.names.index(name) for name in schema.key]
    held = {tuple(row[at] for at in key_at): dict(zip(schema.names, row, strict=True)) for row in rows}
    for told in tell(schema, batches):
        if told.kind == "T":
            held.clear()
            continue
        if told.kind == "D":
            assert told.old in held, f"{told} finds its row"
            del held[told.old]
            continue
        key = tuple(told.cells[name] for name in schema.key)
        if told.kind == "I":
            assert key not in held, f"{told} is new"
            assert set(told.cells) == set(schema.names), f"{told} is whole"
            held[key] = dict(told.cells)
            continue
        old = told.old or key
        assert old in held, f"{told} finds its row"
        cells = {**held.pop(old), **told.cells}
        assert key not in held, f"{told} is alone with its key"
        held[key] = cells
    return in_order(tuple(cells[name] for name in schema.names) for cells in held.values())


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Rows in an order of their own, for comparing."""
    return sorted(rows, key=repr)


def rows_from(schema: Schema, tuples: Sequence[Sequence[Any]], unsent: Sequence[str] = ()) -> Rows:
    """Tuples in the schema's order as Rows; the columns of `unsent` are unsent in every row."""
    arrays = [
        pa.array([None if made.name in unsent else row[at] for row in tuples], made.type.arrow)
        for at, made in enumerate(schema.stored)
    ]
    masks = [pa.array([made.name in unsent] * len(tuples), pa.bool_()) for made in schema.stored]
    return Rows.of(schema.names, arrays, masks)


def keys_from(schema: Schema, keys: Sequence[Row]) -> Rows:
    """Keys as Rows."""
    arrays = [
        pa.array([key[at] for key in keys], made.type.arrow) for at, made in enumerate(schema.key_columns)
    ]
    return Rows.of(schema.key, arrays)


def quiet(_: str) -> None:
    """A notice that nobody reads."""


def live(schema: Schema, **members: Any) -> TableState:
    """A table's state while rows are applied."""
    return replace(TableState(schema, State.LIVE), **members)


def everything(store: Store, schema: Schema) -> list[Row]:
    """All rows of a table as the connector reads them."""
    return in_order(row for rows in store.read(schema, Span()) for row in rows.tuples())


class Suite:
    """A case's stage. Stores that it opens are closed after it."""

    driver: Driver
    stream: str
    _opened: list[Store]

    @pytest.fixture(autouse=True)
    def _set_stage(self, driver: Driver) -> Iterator[None]:
        self.driver = driver
        self.stream = f"syncline_{uuid.uuid4().hex[:12]}"
        self._opened = []
        yield
        for store in self._opened:
            store.close()

    def source(self, database: PlainDatabase | None = None) -> Source:
        """The source, or another database in that role, opened anew."""
        return self._keep(self.driver.connector.source((database or self.driver.source).url))

    def target(self, database: PlainDatabase | None = None) -> Target:
        """The target, or another database in that role, opened anew."""
        return self._keep(self.driver.connector.target((database or self.driver.target).url))

    def _keep(self, store: AnyStore) -> AnyStore:
        self._opened.append(store)
        return store

    def need(self, has: bool, reason: str) -> None:
        """Skip a case that this system cannot have."""
        if not has:
            pytest.skip(reason)

    def discovered(self, store: Store, made: Schema) -> Schema:
        """A table as the store tells it."""
        return next(schema for schema in store.discover() if schema.table == made.table)

    def attach(self, *made: Schema, source: Source | None = None) -> tuple[Source, list[Schema], Position]:
        """Make tables at the source, attach them to the log, and take a floor."""
        for schema in made:
            self.driver.source.create(schema)
        source = source or self.source()
        schemas = [self.discovered(source, schema) for schema in made]
        source.attach(self.stream, schemas, quiet)
        return source, schemas, source.floor(quiet)

    def told(
        self,
        source: Source,
        tables: Sequence[Schema],
        after: Position,
        until: Position | None = None,
        *,
        skip: str = "",
        max_bytes: int = 1 << 20,
        stream: str = "",
    ) -> list[Batch]:
        """All batches after a position, up to another or to now; they are a chain of whole transactions."""
        until = until or source.ceiling()
        batches = list(
            source.changes(
                stream or self.stream,
                tables,
                after,
                skip=skip,
                max_bytes=max_bytes,
                max_wait=0.2,
                until=until,
            )
        )
        assert batches, "at least one batch says that the end is reached"
        check_chain(batches, after)
        assert source.compare(batches[-1].upto, until) >= 0
        return batches

    def prepared(self, made: Schema) -> tuple[Target, TableState, Claim]:
        """A stream with a table that a target made, live from the first position on."""
        target = self.target()
        claim = target.claim(self.stream)
        schema = self.translated(made)
        state = live(schema, created=target.prepare(schema, aside=False))
        return target, state, self.started(target, claim, [state])

    def translated(self, made: Schema) -> Schema:
        """A table as this system's source tells it."""
        self.driver.source.create(made)
        return self.discovered(self.source(), made)

    def started(self, target: Target, claim: Claim, states: Sequence[TableState]) -> Claim:
        """Store the stream's first position and its tables."""
        with target.begin(claim, Mark(claim.stream, {})) as apply:
            apply.start(ORIGIN, P1)
            apply.record(states)
            apply.commit()
        tables = {state.schema.table: state for state in states}
        return replace(claim, position=P1, source=ORIGIN, tables=tables)

    def mark(self, target: Target, *schemas: Schema, path: Path = (ORIGIN.id,)) -> Mark:
        """The mark of a transaction that writes these tables."""
        return Mark(self.stream, {str(target.place(schema.table)): path for schema in schemas})

    def write(self, target: Target, claim: Claim, state: TableState, rows: Rows) -> Rows:
        """Upsert rows in a transaction that leaves the position alone; returns what was missing."""
        with target.begin(claim, self.mark(target, state.schema)) as apply:
            missing = apply.upsert(state, rows)
            apply.commit()
        return missing


def check_chain(batches: Sequence[Batch], after: Position) -> None:
    """Each batch begins where the one before ended, and none ends within a transaction."""
    for batch in batches:
        assert batch.after == after
        after = batch.upto
    if batches:
        assert batches[-1].complete


def first_where(batches: Iterator[Batch], wanted: Callable[[Batch], bool], limit: int = 1000) -> Batch:
    """The first batch of that kind."""
    for _, batch in zip(range(limit), batches, strict=False):
        if wanted(batch):
            return batch
    raise AssertionError(f"no such batch among {limit}")

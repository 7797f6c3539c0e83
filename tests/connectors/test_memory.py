"""The memory connector against the conformance suite, and what only it can show."""

from __future__ import annotations

import ast
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from syncline.connectors import memory
from syncline.errors import NeedsOperator, Refused
from syncline.model import Column, Index, Position, Schema
from syncline.testing import conformance
from syncline.testing.conformance import Delete, Driver, Empty, Insert, Update, Write
from syncline.testing.conformance.driver import Row
from syncline.testing.conformance.stage import ITEMS, P2, PARTS, item, part, quiet, tell

LARGE = 2000


@dataclass(frozen=True)
class MemoryDatabase:
    """A database of this process; like PostgreSQL's TOAST, its log leaves out large cells that stay."""

    name: str

    @property
    def url(self) -> str:
        return f"memory://{self.name}"

    @property
    def database(self) -> memory.Database:
        return memory.database(self.name)

    def create(self, table: Schema) -> None:
        columns = tuple(replace(column, default=literal(column.default)) for column in table.columns)
        self.database.create(replace(table, columns=columns))

    def execute(self, writes: Sequence[Write]) -> None:
        self.hold(writes).commit()

    def hold(self, writes: Sequence[Write]) -> memory.Transaction:
        transaction = self.database.transaction()
        for write in writes:
            self._write(transaction, write)
        return transaction

    def rows(self, table: Schema) -> Sequence[Row]:
        return self.database.rows(table.table)

    def add_column(self, table: Schema, column: Column) -> None:
        self.database.add_column(table.table, column)

    def leftovers(self) -> Sequence[str]:
        database = self.database
        return [*database.slots, *database.streams, *(str(table) for table in database.aside)]

    def _write(self, transaction: memory.Transaction, write: Write) -> None:
        if isinstance(write, Insert):
            transaction.insert(write.table.table, write.cells)
        elif isinstance(write, Update):
            unsent = [
                column.name for column in write.table.stored if self._is_large(write.table, write.key, column)
            ]
            transaction.update(write.table.table, write.key, write.cells, unsent)
        elif isinstance(write, Delete):
            transaction.delete(write.table.table, write.key)
        elif isinstance(write, Empty):
            transaction.truncate(*(table.table for table in write.tables))

    def _is_large(self, table: Schema, key: Row, column: Column) -> bool:
        row = self.database.table(table.table).rows.get(key)
        cell = row[table.names.index(column.name)] if row else None
        return isinstance(cell, str | bytes) and len(cell) > LARGE


def literal(default: str | None) -> str | None:
    """SQL's text literal as Python's."""
    return default and repr(ast.literal_eval(default.replace("''", "\\'")))


@pytest.fixture
def driver() -> Iterator[Driver]:
    names = [uuid.uuid4().hex for _ in range(2)]
    for name in names:
        memory.database(name)
    yield Driver(
        memory.connector,
        *(MemoryDatabase(name) for name in names),
        missing_url="memory://nowhere",
    )
    for name in names:
        memory.drop(name)


class TestSource(conformance.SourceSuite):
    """Everything that a source promises."""

    def test_race_01_the_floor_waits_until_commits_are_visible(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        database = self.driver.source.database  # type: ignore[attr-defined]
        database.hold()
        self.database.execute([item(1)])
        assert self.database.rows(ITEMS) == []
        assert [told.cells["id"] for told in tell(schema, self.told(source, [schema], floor))] == [1]
        assert source.compare(source.ceiling(), floor) > 0
        waiting = threading.Event()
        found: list[Position] = []
        work = threading.Thread(target=lambda: found.append(source.floor(lambda _: waiting.set())))
        work.start()
        assert waiting.wait(60)
        assert found == []
        database.show()
        work.join(60)
        assert found == [source.ceiling()]

    def test_a_lost_log_is_told(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        database = self.driver.source.database  # type: ignore[attr-defined]
        self.database.execute([item(1)])
        source.check_log(self.stream, floor)
        database.prune()
        for position in (floor, Position("99")):
            with pytest.raises(NeedsOperator):
                source.check_log(self.stream, position)
        self.database.execute([item(2)])
        assert tell(schema, self.told(source, [schema], Position("1")))[0].cells["id"] == 2

    def test_a_table_is_told_from_its_attaching_on(self) -> None:
        source, (items,), floor = self.attach(ITEMS)
        self.database.create(PARTS)
        parts = self.discovered(source, PARTS)
        self.database.execute([part(1, "a")])
        source.attach(self.stream, [parts], quiet)
        self.database.execute([part(2, "b")])
        told = tell(parts, self.told(source, [items, parts], floor))
        assert [change.cells["item"] for change in told] == [2]

    def test_the_log_is_dropped_once_nobody_needs_it(self) -> None:
        source, (schema,), _ = self.attach(ITEMS)
        database = self.driver.source.database  # type: ignore[attr-defined]
        source.attach("other", [schema], quiet)
        for number in range(4):
            self.database.execute([item(number)])
        source.release(self.stream, Position("3"))
        assert [logged.number for logged in database.log] == [1, 2, 3, 4]
        source.release("other", Position("2"))
        assert [logged.number for logged in database.log] == [3, 4]
        source.detach("other")
        assert [logged.number for logged in database.log] == [4]
        source.detach(self.stream)
        assert list(database.log) == []

    def test_a_transaction_that_fails_leaves_nothing(self) -> None:
        source, _, floor = self.attach(ITEMS, PARTS)
        self.database.execute([item(1)])
        for bad in (item(1), item(3, amount=None), Update(ITEMS, (9,), {"amount": 1})):
            with pytest.raises(NeedsOperator):
                self.database.execute([item(2), Update(ITEMS, (1,), {"amount": 5}), Delete(ITEMS, (2,)), bad])
        assert [row[0] for row in self.database.rows(ITEMS)] == [1]
        assert source.compare(source.ceiling(), floor) == 1


class TestTarget(conformance.TargetSuite):
    """Everything that a target promises."""

    def test_a_position_alone_is_not_in_the_log(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        onward = self.source(self.driver.target)
        ceiling = onward.ceiling()
        with target.begin(claim, self.mark(target, state.schema)) as apply:
            apply.commit(P2)
        assert onward.ceiling() == ceiling

    def test_a_unique_index_refuses(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        assert target.mismatch(replace(state.schema, key=("name",)))
        self.driver.target.execute([item(1), item(2)])
        index = Index("u", ("flag", "name"), unique=True)
        state = replace(state, schema=replace(state.schema, indexes=(index,)))
        target.finish(claim, [state])
        with pytest.raises(NeedsOperator):
            self.driver.target.execute([Update(ITEMS, (2,), {"name": "item 1", "flag": False})])
        assert len({row[1] for row in self.driver.target.rows(ITEMS)}) == 2
        self.driver.target.execute([item(3, name=None, flag=True), item(4, name=None, flag=True)])


class TestStream(conformance.StreamSuite):
    """Both together."""


@pytest.mark.parametrize("url", ["memory://", "postgresql://x", "memory:x"])
def test_a_url_that_makes_no_sense_is_refused(url: str) -> None:
    for opening in (memory.connector.source, memory.connector.target):
        with pytest.raises(Refused):
            opening(url)

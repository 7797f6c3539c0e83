"""Following a source's log: attach, floor and ceiling, changes, release."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from ...connector import Source, Store
from ...errors import NeedsOperator, Transient
from ...model import Batch, Changes, Kind, Position, Schema, SchemaChange, Truncate
from .checking import SourceChecks
from .driver import Delete, Empty, PlainDatabase, Update, Write
from .reading import ReadingSuite
from .stage import (
    BIG,
    ITEMS,
    PARTS,
    check_chain,
    column,
    everything,
    first_where,
    in_order,
    item,
    item_row,
    part,
    quiet,
    replay,
    tell,
)


class SourceSuite(SourceChecks, ReadingSuite):
    """What a Source promises."""

    def open_store(self) -> Store:
        """A source."""
        return self.source()

    @property
    def database(self) -> PlainDatabase:
        """The source's plain driver."""
        return self.driver.source

    def test_attach_begins_the_log_once(self) -> None:
        self.database.create(ITEMS)
        source = self.source()
        schema = self.discovered(source, ITEMS)
        assert not source.attached(self.stream)
        assert source.attach(self.stream, [schema], quiet) is True
        assert source.attached(self.stream)
        assert source.attach(self.stream, [schema], quiet) is False
        assert self.source().attach(self.stream, [schema], quiet) is False

    def test_detach_leaves_nothing(self) -> None:
        self.database.create(PARTS)
        source, _, _ = self.attach(ITEMS)
        self.database.execute([item(1)])
        assert self.database.leftovers(), "the driver sees what attach makes"
        tables = source.discover()
        assert {schema.table for schema in tables} == {ITEMS.table, PARTS.table}
        source.detach(self.stream)
        assert list(self.database.leftovers()) == []
        assert not source.attached(self.stream)

    def test_detach_of_what_is_not_there_is_no_error(self) -> None:
        source = self.source()
        source.detach(self.stream)
        source.detach(self.stream)
        assert list(self.database.leftovers()) == []

    def test_detach_leaves_other_streams_alone(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        other = f"{self.stream}_side"
        source.attach(other, [schema], quiet)
        source.detach(other)
        self.database.execute([item(1)])
        assert replay(schema, self.told(source, [schema], floor)) == [item_row(1)]
        source.detach(self.stream)
        assert list(self.database.leftovers()) == []

    def test_a_log_that_was_taken_away_is_told(self) -> None:
        source, _, floor = self.attach(ITEMS)
        source.check_log(self.stream, floor)
        source.detach(self.stream)
        with pytest.raises(NeedsOperator):
            self.source().check_log(self.stream, floor)

    def test_floor_is_not_after_ceiling(self) -> None:
        source, _, floor = self.attach(ITEMS)
        for number in range(5):
            self.database.execute([item(number)])
            after, ceiling = source.floor(quiet), source.ceiling()
            assert source.compare(floor, after) <= 0
            assert source.compare(after, ceiling) <= 0
            floor = after

    def test_what_was_read_is_not_after_the_ceiling(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        for number in range(5):
            self.database.execute([item(number)])
            seen = everything(source, schema)
            batches = self.told(source, [schema], floor, source.ceiling())
            assert replay(schema, batches) == seen

    def test_what_is_after_the_floor_is_told(self) -> None:
        source, (schema,), _ = self.attach(ITEMS)
        self.database.execute([item(1)])
        floor = source.floor(quiet)
        assert everything(source, schema) == [item_row(1)]
        self.database.execute([item(2)])
        told = tell(schema, self.told(source, [schema], floor))
        assert [change.cells["id"] for change in told][-1:] == [2]

    def test_race_02_a_transaction_open_since_before_attach(self) -> None:
        self.database.create(ITEMS)
        schema = self.discovered(self.source(), ITEMS)
        held = self.database.hold([item(1)])
        noticed = threading.Event()
        found: list[Any] = []

        def join() -> None:
            source = self.source()
            source.attach(self.stream, [schema], lambda _: noticed.set())
            floor = source.floor(lambda _: noticed.set())
            found.extend([source, floor, everything(source, schema)])

        work = threading.Thread(target=join)
        work.start()
        noticed.wait(2)
        held.commit()
        work.join(60)
        source, floor, copied = found
        self.database.execute([item(2)])
        told = {change.cells["id"] for change in tell(schema, self.told(source, [schema], floor))}
        assert {row[0] for row in copied} | told == {1, 2}

    def test_a_table_that_joins_later_is_told(self) -> None:
        source, (items,), floor = self.attach(ITEMS)
        self.database.create(PARTS)
        parts = self.discovered(source, PARTS)
        self.database.execute([item(1), part(1, "before")])
        assert source.attach(self.stream, [items, parts], quiet) is False
        joined = source.floor(quiet)
        self.database.execute([item(2), part(2, "after")])
        batches = self.told(source, [items, parts], floor)
        assert {told.cells["id"] for told in tell(items, batches)} == {1, 2}
        later = self.told(source, [items, parts], joined)
        assert [told.cells["item"] for told in tell(parts, later)][-1:] == [2]

    def test_positions_are_ordered(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        for number in range(6):
            self.database.execute([item(number)])
        batches = self.told(source, [schema], floor, max_bytes=1)
        positions = [floor, *(batch.upto for batch in batches if batch.complete)]
        for at, one in enumerate(positions):
            assert source.compare(one, one) == 0
            for other in positions[at + 1 :]:
                if one != other:
                    assert source.compare(one, other) < 0 < source.compare(other, one)

    def test_tells_inserts_updates_and_deletes(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        self.database.execute([item(1), item(2)])
        self.database.execute([Update(ITEMS, (1,), {"name": None, "amount": 7})])
        self.database.execute([Delete(ITEMS, (2,))])
        told = tell(schema, self.told(source, [schema], floor))
        assert [change.kind for change in told] == ["I", "I", "U", "D"]
        assert told[0].cells == dict(zip(schema.names, item_row(1), strict=True))
        assert told[0].old is None
        assert told[2].cells == dict(zip(schema.names, item_row(1, name=None, amount=7), strict=True))
        assert told[2].old is None, "an update that keeps the key tells no old key"
        assert told[3].old == (2,)

    def test_tells_values_as_the_database_has_them(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        inserts = [
            item(1, name=None, ratio=0.1, flag=None, raw=None),
            item(2, name="", ratio=-0.5, flag=False, raw=b""),
            item(3, name="line\nbreak\ttab \\ back 'quote' \"double\"", ratio=1e300, flag=True),
            item(4, name="ünïcödé 中文 🚀", amount=-(2**31), raw=bytes(range(256))),
            item(-(2**63), name="\\N", amount=2**31 - 1),
        ]
        for insert in inserts:
            self.database.execute([insert])
        batches = self.told(source, [schema], floor)
        assert replay(schema, batches) == in_order(self.database.rows(ITEMS))
        assert replay(schema, batches) == everything(source, schema)
        for batch in batches:
            for segment in batch.segments:
                assert isinstance(segment, Changes)
                assert [array.type for array in segment.after.arrays] == [
                    made.type.arrow for made in schema.stored
                ]

    def test_tells_key_changes_with_the_old_key(self) -> None:
        source, (schema,), floor = self.attach(PARTS)
        self.database.execute([part(1, "a", 5), part(2, "b", 6)])
        self.database.execute([Update(PARTS, (1, "a"), {"label": "z"})])
        self.database.execute([Update(PARTS, (2, "b"), {"item": -2, "size": 60})])
        batches = self.told(source, [schema], floor)
        told = [change for change in tell(schema, batches) if change.kind == "U"]
        if told:  # a log may tell a key change as a delete and an insert
            assert [change.old for change in told] == [(1, "a"), (2, "b")]
        assert replay(schema, batches) == in_order([(1, "z", 5), (-2, "b", 60)])

    def test_tells_a_chain_and_a_swap_of_keys(self) -> None:
        source, (schema,), floor = self.attach(PARTS)
        self.database.execute([part(1, "a", 1), part(2, "a", 2)])
        self.database.execute(
            [
                Update(PARTS, (1, "a"), {"item": 3}),
                Update(PARTS, (2, "a"), {"item": 1}),
                Update(PARTS, (3, "a"), {"item": 2}),
                Update(PARTS, (1, "a"), {"item": 9}),
            ]
        )
        batches = self.told(source, [schema], floor)
        assert replay(schema, batches) == in_order([(9, "a", 2), (2, "a", 1)])

    def test_tells_a_delete_and_a_new_row_of_the_same_key(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        self.database.execute([item(1), Delete(ITEMS, (1,)), item(1, name="again")])
        assert replay(schema, self.told(source, [schema], floor)) == [item_row(1, name="again")]

    def test_tells_truncate(self) -> None:
        self.need(self.driver.has_truncate, "this system has no truncate of its own")
        source, (items, parts), floor = self.attach(ITEMS, PARTS)
        self.database.execute([item(1), part(1, "a")])
        self.database.execute([Empty([ITEMS, PARTS])])
        self.database.execute([item(2)])
        batches = self.told(source, [items, parts], floor)
        assert [change.kind for change in tell(items, batches)] == ["I", "T", "I"]
        assert [change.kind for change in tell(parts, batches)] == ["I", "T"]
        only = self.told(source, [parts], floor)
        emptied = [s for batch in only for s in batch.segments if isinstance(s, Truncate)]
        assert [segment.tables for segment in emptied] == [(parts.table,)]

    def test_tells_truncate_between_changes_of_one_transaction(self) -> None:
        self.need(self.driver.has_truncate, "this system has no truncate of its own")
        source, (schema,), floor = self.attach(ITEMS)
        self.database.execute([item(1), item(2), Empty([ITEMS]), item(2, name="new"), item(3)])
        batches = self.told(source, [schema], floor)
        assert replay(schema, batches) == in_order([item_row(2, name="new"), item_row(3)])

    def test_an_unchanged_large_cell_is_unsent_or_sent_but_never_null(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        large = noise(BIG)
        self.database.execute([item(1, name=large), item(2, name=None)])
        self.database.execute([Update(ITEMS, (1,), {"amount": 5}), Update(ITEMS, (2,), {"amount": 6})])
        self.database.execute([Update(ITEMS, (1,), {"id": 7})])
        self.database.execute([Update(ITEMS, (7,), {"name": None})])
        told = tell(schema, self.told(source, [schema], floor))
        updates = [change.cells for change in told if change.kind == "U"]
        assert "name" in updates[1], "NULL is told"
        assert updates[1]["name"] is None
        assert updates[0].get("name", large) == large
        assert updates[-1]["name"] is None
        if self.driver.has_unsent:
            assert "name" not in updates[0], "this log leaves out a large cell that did not change"
            assert "amount" in updates[0]
        assert [*told[0].cells] == [*schema.names], "an insert is whole"
        replayed = replay(schema, self.told(source, [schema], floor))
        assert replayed == in_order(self.database.rows(ITEMS))

    def test_tells_only_the_tables_asked_for(self) -> None:
        source, (items, parts), floor = self.attach(ITEMS, PARTS)
        self.database.execute([item(1), part(1, "a"), item(2)])
        batches = self.told(source, [parts], floor)
        assert tell(items, batches) == []
        assert replay(parts, batches) == [(1, "a", None)]

    def test_tells_a_transaction_over_several_tables_in_one_piece(self) -> None:
        source, (items, parts), floor = self.attach(ITEMS, PARTS)
        for number in range(30):
            self.database.execute([item(number), part(number, "a"), part(number, "b")])
        batches = self.told(source, [items, parts], floor, max_bytes=400)
        counts = [0, 0]
        for batch in batches:
            counts[0] += len(tell(items, [batch]))
            counts[1] += len(tell(parts, [batch]))
            if batch.complete:
                assert counts[1] == 2 * counts[0]
        assert counts == [30, 60]

    def test_resumes_from_every_position(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        batches: list[Batch] = []
        writes: list[list[Write]] = [[item(number), item(number + 100)] for number in range(8)]
        writes += [[Update(ITEMS, (100,), {"id": 500})], [Delete(ITEMS, (3,)), item(100)]]
        for transaction in writes:
            self.database.execute(transaction)
            batches += self.told(source, [schema], batches[-1].upto if batches else floor, max_bytes=1)
        check_chain(batches, floor)
        until, changes = batches[-1].upto, tell(schema, batches)
        assert len(changes) == 19
        assert tell(schema, self.told(source, [schema], floor, until)) == changes
        done = 0
        for batch in batches:
            done += len(tell(schema, [batch]))
            if batch.complete:
                source = self.source()
                assert tell(schema, self.told(source, [schema], batch.upto, until)) == changes[done:]
                source.close()

    def test_many_transactions_come_in_few_batches(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        for number in range(200):
            self.database.execute([item(number)])
        batches = self.told(source, [schema], floor, max_bytes=8 << 20)
        assert len(batches) < 100
        if self.driver.tells_transactions:
            assert sum(batch.transactions for batch in batches) >= 200
        assert replay(schema, batches) == in_order(self.database.rows(ITEMS))
        small = self.told(source, [schema], floor, max_bytes=1000)
        assert len(small) > len(batches)
        assert tell(schema, small) == tell(schema, batches)

    def test_a_transaction_larger_than_a_batch_comes_in_pieces(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        self.database.execute([item(-1)])
        self.database.execute([item(number, name=noise(1000, number)) for number in range(300)])
        self.database.execute([item(-2)])
        until = source.ceiling()
        batches = self.told(source, [schema], floor, until, max_bytes=20_000)
        pieces = [batch for batch in batches if not batch.complete]
        assert len(pieces) >= 5, "300 kB in pieces of 20 kB"
        assert all(batch.nbytes < 200_000 for batch in batches)
        assert replay(schema, batches) == in_order(self.database.rows(ITEMS))
        large = next(at for at, batch in enumerate(batches) if not batch.complete)
        before = batches[large].after
        again = self.told(self.source(), [schema], before, until)
        assert len(tell(schema, again)) >= 301, "a place within a transaction is no position"

    def test_until_is_never_passed(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        self.database.execute([item(1)])
        until = source.ceiling()
        for number in range(2, 20):
            self.database.execute([item(number)])
        batches = self.told(source, [schema], floor, until)
        assert replay(schema, batches) == [item_row(1)]
        rest = self.told(source, [schema], batches[-1].upto)
        assert [change.cells["id"] for change in tell(schema, rest)] == list(range(2, 20))

    def test_until_may_be_where_the_reader_stands(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        self.database.execute([item(1)])
        upto = self.told(source, [schema], floor)[-1].upto
        self.database.execute([item(2)])
        assert tell(schema, self.told(source, [schema], upto, upto)) == []
        assert tell(schema, self.told(source, [schema], upto, floor)) == []

    def test_two_readers_that_stop_at_one_place_have_one_position(self) -> None:
        source, (items, parts), floor = self.attach(ITEMS, PARTS)
        self.database.execute([item(1), part(1, "a")])
        self.database.execute([item(2)])
        until = source.ceiling()
        self.database.execute([part(3, "b")])
        one = self.told(source, [items], floor, until)[-1].upto
        other = self.told(self.source(), [parts], floor, until)[-1].upto
        positions = {one, other, until}
        for position in positions:
            assert source.compare(position, until) == 0

    def test_an_idle_log_yields_empty_batches(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        self.database.execute([item(1)])
        batches = source.changes(
            self.stream, [schema], floor, skip="", max_bytes=1 << 20, max_wait=0.05, until=None
        )
        first_where(batches, lambda batch: bool(batch.segments))
        idle = [first_where(batches, lambda batch: not batch.segments) for _ in range(3)]
        assert all(batch.complete for batch in idle)
        self.database.execute([item(2)])
        told = first_where(batches, lambda batch: bool(batch.segments))
        check_chain([told], told.after)
        assert tell(schema, [told])[0].cells["id"] == 2

    def test_a_log_follows_what_is_written_meanwhile(self) -> None:
        _, (schema,), floor = self.attach(ITEMS)
        found: list[Batch] = []

        def follow() -> None:
            reader = self.source()
            for batch in reader.changes(
                self.stream, [schema], floor, skip="", max_bytes=1 << 20, max_wait=0.2
            ):
                found.append(batch)
                if len(tell(schema, found)) == 50:
                    return

        work = threading.Thread(target=follow)
        work.start()
        for number in range(50):
            self.database.execute([item(number)])
        work.join(60)
        assert not work.is_alive()
        check_chain(found, floor)
        assert replay(schema, found) == in_order(self.database.rows(ITEMS))

    def test_interrupt_ends_a_blocked_reader(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        position = self.told(source, [schema], floor)[-1].upto
        reader = self.source()
        reader.identity()
        raised: list[BaseException] = []

        def follow() -> None:
            try:
                for _ in reader.changes(
                    self.stream, [schema], position, skip="", max_bytes=1 << 20, max_wait=600
                ):
                    pass
            except Transient as error:
                raised.append(error)

        work = threading.Thread(target=follow, daemon=True)
        work.start()
        interrupt_until(reader, lambda: not work.is_alive(), work)
        assert raised, "the call that ran raises Transient"
        self.database.execute([item(1)])
        again = self.told(self.source(), [schema], position)
        assert replay(schema, again) == [item_row(1)]

    def test_a_table_of_another_shape_is_a_schema_change(self) -> None:
        source, (items, parts), floor = self.attach(ITEMS, PARTS)
        self.database.execute([item(1), part(1, "a")])
        self.database.add_column(ITEMS, column("extra", Kind.TEXT))
        self.database.execute([item(2), part(2, "b")])
        batches = self.told(source, [items, parts], floor)
        changed = [s for batch in batches for s in batch.segments if isinstance(s, SchemaChange)]
        assert [segment.table for segment in changed][:1] == [items.table]
        assert "\n" not in changed[0].description
        segments = [s for batch in batches for s in batch.segments]
        later = [
            s
            for s in segments[segments.index(changed[0]) :]
            if isinstance(s, Changes) and s.table == items.table
        ]
        new = changed[0].schema
        if new is None:
            assert not later, "nothing is told in a shape that nobody knows"
        else:
            assert "extra" in new.names
            assert [(s.after.columns, s.count) for s in later] == [(new.names, 1)]
        assert [told.cells["item"] for told in tell(parts, batches)] == [1, 2]

    def test_what_was_told_before_a_schema_change_is_not_lost(self) -> None:
        source, (items,), floor = self.attach(ITEMS)
        self.database.execute([item(1)])
        first = self.told(source, [items], floor)
        assert replay(items, first) == [item_row(1)]
        self.database.add_column(ITEMS, column("extra", Kind.TEXT))
        self.database.execute([item(2)])
        rest = self.told(self.source(), [items], first[-1].upto)
        kinds = [type(segment) for batch in rest for segment in batch.segments]
        assert SchemaChange in kinds

    def test_the_log_is_kept_until_it_is_released(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        for number in range(5):
            self.database.execute([item(number)])
        batches = self.told(source, [schema], floor)
        source.close()
        again = self.source()
        again.check_log(self.stream, floor)
        assert tell(schema, self.told(again, [schema], floor)) == tell(schema, batches)

    def release(self, stream: str, upto: Position, before: Position) -> Source:
        """Release the log, as often as it takes: a reader that has just ended may be in the way."""
        for _ in range(300):
            source = self.source()
            source.release(stream, upto)
            try:
                source.check_log(stream, before)
            except NeedsOperator:
                return source
            source.close()
            time.sleep(0.05)
        raise AssertionError("the log before a released position is gone")

    def test_released_log_is_told_to_be_gone(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        self.database.execute([item(1)])
        upto = self.told(source, [schema], floor)[-1].upto
        self.database.execute([item(2)])
        again = self.release(self.stream, upto, floor)
        again.check_log(self.stream, upto)
        assert tell(schema, self.told(again, [schema], upto))[0].cells["id"] == 2
        with pytest.raises(NeedsOperator):
            read_some(self.source(), self.stream, schema, floor)

    def test_released_log_does_not_come_back(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        self.database.execute([item(1)])
        upto = self.told(source, [schema], floor)[-1].upto
        again = self.release(self.stream, upto, floor)
        again.release(self.stream, floor)
        with pytest.raises(NeedsOperator):
            again.check_log(self.stream, floor)
        again.check_log(self.stream, upto)

    def two_streams(self) -> tuple[Source, Schema, str, Position]:
        """Two streams of one table, and a position from which both have the log."""
        source, (schema,), _ = self.attach(ITEMS)
        other = f"{self.stream}_side"
        source.attach(other, [schema], quiet)
        return source, schema, other, source.floor(quiet)

    def test_one_stream_releases_nothing_of_another(self) -> None:
        source, schema, other, floor = self.two_streams()
        self.database.execute([item(1)])
        upto = self.told(source, [schema], floor)[-1].upto
        again = self.release(self.stream, upto, floor)
        again.check_log(other, floor)
        assert replay(schema, self.told(again, [schema], floor, upto, stream=other)) == [item_row(1)]

    def test_release_while_a_reader_is_suspended(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        batches = source.changes(
            self.stream, [schema], floor, skip="", max_bytes=1 << 20, max_wait=0.1, until=None
        )
        for number in range(5):
            self.database.execute([item(number)])
            batch = first_where(batches, lambda batch: bool(batch.segments))
            assert batch.complete
            assert tell(schema, [batch])[-1].cells["id"] == number
            source.release(self.stream, batch.upto)
        del batches
        source.close()
        self.source().check_log(self.stream, batch.upto)

    def test_a_canary_comes_with_the_batch_that_reaches_it(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        end = source.ceiling()
        if not source.canary(self.stream, 7):
            assert source.ceiling() == end
            pytest.skip("the log is read directly")
        source.canary("another_stream", 8)
        self.database.execute([item(1)])
        batches = self.told(source, [schema], floor)
        assert [batch.canary for batch in batches if batch.canary is not None] == [7]
        first = next(batch for batch in batches if batch.canary is not None)
        assert source.compare(first.upto, end) > 0

    def test_lag_grows_and_goes(self) -> None:
        source, (schema,), floor = self.attach(ITEMS)
        self.database.execute([item(number, name=noise(1000, number)) for number in range(50)])
        lag = source.lag(self.stream, floor)
        assert lag.amount > 0
        assert lag.retained > 0
        upto = self.told(source, [schema], floor)[-1].upto
        assert source.lag(self.stream, upto).amount < lag.amount


def noise(length: int, seed: int = 0) -> str:
    """Text that no compression makes small."""
    return random.Random(seed).randbytes(length).hex()[:length]


def read_some(source: Source, stream: str, schema: Schema, after: Position) -> None:
    """Read until something is told."""
    batches = source.changes(stream, [schema], after, skip="", max_bytes=1 << 20, max_wait=0.2)
    first_where(batches, lambda batch: bool(batch.segments), limit=50)


def interrupt_until(store: Store, done: Callable[[], bool], work: threading.Thread) -> None:
    """Interrupt, again and again, as the call may not have begun to wait yet."""
    for _ in range(300):
        store.interrupt()
        work.join(0.1)
        if done():
            return
    raise AssertionError("interrupt ends a call that waits")

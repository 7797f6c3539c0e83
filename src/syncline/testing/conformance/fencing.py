"""What makes a Target safe: fences, the position's comparison, the ledger, whole transactions."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from ...connector import Apply, Claim, Target
from ...errors import Corruption, Superseded, SynclineError
from ...model import Identity, Index, Kind, Mark, Parked, Position, Span, SpanRecord, State, TableState
from .driver import Row
from .stage import (
    ITEMS,
    ORIGIN,
    P1,
    P2,
    P3,
    PARTS,
    Suite,
    column,
    identifier,
    in_order,
    item_row,
    live,
    rows_from,
    table,
)

INDEXED = table("indexed", identifier(), column("name", Kind.TEXT), indexes=[Index("named", ("name",))])

SPANS = [Span(None, ("5",)), Span(("5",), ("9", "x y")), Span(("9", "x y"), None)]


class FencingSuite(Suite):
    """Promises 1 and 2 of a Target."""

    def items(self) -> list[Row]:
        """The rows of `items` at the target."""
        return in_order(self.driver.target.rows(ITEMS))

    def stored(self, target: Target, stream: str | None = None) -> Claim:
        """The stream as the target has it."""
        claim = target.peek(stream or self.stream)
        assert claim is not None
        return claim

    def test_peek_of_an_unknown_stream_makes_nothing(self) -> None:
        target = self.target()
        assert target.peek(self.stream) is None
        assert list(self.driver.target.leftovers()) == []

    def test_a_first_claim_knows_nothing(self) -> None:
        target = self.target()
        claim = target.claim(self.stream)
        assert claim == Claim(self.stream, claim.fence)
        assert self.stored(target) == claim
        assert list(target.discover()) == []

    def test_a_claim_reads_what_was_stored(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        with target.begin(claim, self.mark(target, state.schema)) as apply:
            apply.commit(P2)
        again = self.target().claim(self.stream)
        assert again.fence > claim.fence
        assert again.position == P2
        assert again.source == ORIGIN
        assert again.tables == {state.schema.table: state}
        assert not again.removing

    def test_what_is_asked_for_anew_is_kept_until_it_is_answered(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        name = state.schema.table
        assert list(target.asked_anew("unknown")) == []
        self.target().ask_anew(self.stream, [name, name])
        with target.begin_copy(claim, self.mark(target, state.schema)) as apply:
            apply.answer([name])  # and rolled back
        assert list(target.asked_anew(self.stream)) == [name]
        with target.begin_copy(claim, self.mark(target, state.schema)) as apply:
            apply.answer([name])
            apply.commit()
        assert list(target.asked_anew(self.stream)) == []

    def test_a_table_leaves_with_all_that_is_kept_of_it(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        name = state.schema.table
        with target.begin_copy(claim, self.mark(target, state.schema)) as apply:
            apply.load(state, rows_from(state.schema, [item_row(1)]))
            apply.plan_spans(state, SPANS)
            apply.park([Parked(name, ("7",), "unfit", P1)])
            apply.commit()
        target.ask_anew(self.stream, [name])
        with pytest.raises(Superseded):
            target.leave(replace(claim, fence=claim.fence - 1), [name])
        target.leave(claim, [name])
        assert self.stored(target).tables == {}
        assert [
            *target.spans(claim, name),
            *target.parked(self.stream),
            *target.asked_anew(self.stream),
        ] == []
        assert self.items() == [item_row(1)]

    def test_claim_holding_the_fence(self) -> None:
        target = self.target()
        first = target.claim(self.stream)
        second = target.claim(self.stream, first.fence)
        assert second.fence > first.fence
        with pytest.raises(Superseded):
            self.target().claim(self.stream, first.fence)
        assert self.stored(target).fence == second.fence
        assert target.claim(self.stream, second.fence).fence > second.fence

    def test_race_12_a_stale_fence_writes_nothing(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        mark = self.mark(target, state.schema)
        other = self.target()
        newer = other.claim(self.stream)
        for begin in (target.begin, target.begin_copy):
            with pytest.raises(Superseded):
                commit_item(begin, claim, mark, state)
        with pytest.raises(Superseded):
            target.swap(claim, [])
        with pytest.raises(Superseded):
            target.mark_removing(claim)
        assert self.items() == []
        assert self.stored(other) == newer

    def test_race_12_a_stale_fence_builds_nothing(self) -> None:
        target, state, claim = self.prepared(INDEXED)
        other = self.target()
        newer = other.claim(self.stream)
        with pytest.raises(Superseded):
            target.finish(claim, [state])
        assert [made.indexes for made in other.discover()] == [()]
        other.finish(newer, [state])
        assert [made.indexes[0].columns for made in other.discover()] == [("name",)]

    def test_race_12_a_claim_ends_what_is_open(self) -> None:
        self.need(self.driver.ends_others, "a claim here waits for an open transaction")
        target, state, claim = self.prepared(ITEMS)
        with target.begin(claim, self.mark(target, state.schema)) as apply:
            apply.upsert(state, rows_from(state.schema, [item_row(1)]))
            newer = self.target().claim(self.stream)
            with pytest.raises(SynclineError):
                apply.commit(P2)
        assert self.items() == []
        assert self.stored(self.target()) == newer
        assert newer.position == P1

    def test_the_position_is_compared_and_swapped(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        mark = self.mark(target, state.schema)
        with target.begin(claim, mark) as apply:
            apply.commit(P2)
        with pytest.raises(Corruption):
            commit_item(target.begin, claim, mark, state, P3)
        assert self.items() == []
        assert self.stored(target).position == P2
        moved = claim.moved(P2)
        with target.begin(moved, mark) as apply:
            apply.upsert(state, rows_from(state.schema, [item_row(1)]))
            apply.commit(P3)
        assert self.stored(target) == replace(moved, position=P3)
        assert self.items() == [item_row(1)]

    def test_a_commit_without_a_position_leaves_it(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        mark = self.mark(target, state.schema)
        for begin in (target.begin, target.begin_copy):
            with begin(claim, mark) as apply:
                apply.upsert(state, rows_from(state.schema, [item_row(1)]))
                apply.commit()
            assert self.stored(target).position == P1

    def test_race_05_a_copy_does_not_mind_the_position(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        mark = self.mark(target, state.schema)
        with target.begin(claim, mark) as apply:
            apply.commit(P2)
        with target.begin_copy(claim, mark) as apply:
            apply.load(state, rows_from(state.schema, [item_row(1)]))
            apply.commit()
        assert self.items() == [item_row(1)]
        assert self.stored(target).position == P2

    def test_rollback_leaves_nothing(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        mark = self.mark(target, state.schema)
        with target.begin_copy(claim, mark) as apply:
            apply.load(state, rows_from(state.schema, [item_row(1)]))
            apply.plan_spans(state, SPANS)
            apply.commit()
        before = self.stored(target), target.spans(claim, state.schema.table)

        def write(apply: Apply) -> None:
            apply.truncate([state])
            apply.load(state, rows_from(state.schema, [item_row(2)]))
            apply.upsert(state, rows_from(state.schema, [item_row(3)]))
            apply.record([replace(state, state=State.FAILED, detail="never")])
            apply.record_span(state, 1, 7)
            apply.start(Identity("other", "other", "other"), P3)

        with target.begin(claim, mark) as apply:
            write(apply)
        for begin in (target.begin, target.begin_copy):
            with suppress(ZeroDivisionError), begin(claim, mark) as apply:
                write(apply)
                raise ZeroDivisionError
        assert self.items() == [item_row(1)]
        other = self.target()
        assert (self.stored(other), other.spans(claim, state.schema.table)) == before
        with target.begin(claim, mark) as apply:
            apply.upsert(state, rows_from(state.schema, [item_row(5)]))
            apply.commit(P2)
        assert self.items() == in_order([item_row(1), item_row(5)])

    def test_states_keep_everything(self) -> None:
        target = self.target()
        schemas = [self.translated(made) for made in (ITEMS, PARTS)]
        claim = self.started(target, target.claim(self.stream), [])
        states = [
            TableState(schemas[0], State.COPYING, P1, None, True, True, "a 'quoted' \"detail\"\nü"),
            TableState(schemas[1], State.CATCHING_UP, P1, P2),
        ]
        with target.begin(claim, self.mark(target)) as apply:
            apply.record(states)
            apply.commit()
        wanted = {state.schema.table: state for state in states}
        assert self.stored(self.target()).tables == wanted
        gone = replace(states[0], state=State.GAP, goal=P3, detail="")
        with target.begin_copy(claim, self.mark(target)) as apply:
            apply.record([gone])
            apply.commit()
        wanted[gone.schema.table] = gone
        assert self.target().claim(self.stream).tables == wanted

    def test_the_ledger_keeps_spans_in_order(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        name, mark = state.schema.table, self.mark(target, state.schema)
        assert list(target.spans(claim, name)) == []
        with target.begin_copy(claim, mark) as apply:
            apply.plan_spans(state, [Span()])
            apply.commit()
        with target.begin_copy(claim, mark) as apply:
            apply.plan_spans(state, SPANS)
            apply.commit()
        assert list(target.spans(claim, name)) == [SpanRecord(span) for span in SPANS]
        for number, rows in ((2, 0), (0, 12)):
            with target.begin_copy(claim, mark) as apply:
                apply.record_span(state, number, rows)
                apply.commit()
        wanted = [SpanRecord(SPANS[0], 12), SpanRecord(SPANS[1]), SpanRecord(SPANS[2], 0)]
        again = self.target()
        assert list(again.spans(again.claim(self.stream), name)) == wanted

    def test_many_spans_keep_their_numbers(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        bounds = [None, *((str(number),) for number in range(1, 30)), None]
        spans = [Span(lower, upper) for lower, upper in itertools.pairwise(bounds)]
        with target.begin_copy(claim, self.mark(target)) as apply:
            apply.plan_spans(state, spans)
            apply.record_span(state, 11, 5)
            apply.commit()
        records = target.spans(claim, state.schema.table)
        assert [record.span for record in records] == spans
        assert [at for at, record in enumerate(records) if record.rows is not None] == [11]

    def test_several_copies_at_once(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        with target.begin_copy(claim, self.mark(target, state.schema)) as apply:
            apply.plan_spans(state, SPANS)
            apply.commit()
        writers = target.capabilities.writers
        assert writers >= 1
        failures: list[BaseException] = []

        def copy(number: int) -> None:
            try:
                store = self.target()
                with store.begin_copy(claim, self.mark(store, state.schema)) as apply:
                    apply.load(state, rows_from(state.schema, [item_row(n * 3 + number) for n in range(100)]))
                    apply.record_span(state, number, 100)
                    apply.commit()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=copy, args=(number,)) for number in range(min(writers, 3))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(self.items()) == 100 * len(threads)
        records = target.spans(claim, state.schema.table)
        assert [record.rows for record in records[: len(threads)]] == [100] * len(threads)

    def test_removing_is_remembered(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        target.mark_removing(claim)
        assert self.stored(self.target()).removing
        again = self.target().claim(self.stream)
        assert again.removing
        assert again.tables == {state.schema.table: state}

    def test_forget_leaves_rows_and_nothing_else(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        with target.begin_copy(claim, self.mark(target, state.schema)) as apply:
            apply.load(state, rows_from(state.schema, [item_row(1)]))
            apply.plan_spans(state, SPANS)
            apply.commit()
        assert self.driver.target.leftovers(), "the driver sees the bookkeeping"
        assert [found.table for found in target.discover()] == [target.place(state.schema.table)]
        assert list(target.streams()) == [self.stream]
        target.forget(self.stream)
        assert target.peek(self.stream) is None
        assert list(target.streams()) == []
        assert list(self.driver.target.leftovers()) == []
        assert self.items() == [item_row(1)]
        target.forget(self.stream)
        assert target.claim(self.stream).position is None

    def test_forget_takes_half_built_tables_along(self) -> None:
        schema = self.translated(ITEMS)
        self.driver.target.create(ITEMS)
        target = self.target()
        claim = target.claim(self.stream)
        state = live(schema, created=True, aside=True)
        target.prepare(schema, aside=True)
        claim = self.started(target, claim, [state])
        self.write(target, claim, state, rows_from(schema, [item_row(1)]))
        target.forget(self.stream)
        assert list(self.driver.target.leftovers()) == []
        assert self.items() == []

    def test_forget_leaves_other_streams(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        other = f"{self.stream}_side"
        beside = self.started(target, target.claim(other), [])
        with target.begin_copy(claim, self.mark(target, state.schema)) as apply:
            apply.plan_spans(state, SPANS)
            apply.commit()
        assert set(target.streams()) == {self.stream, other}
        target.forget(other)
        assert target.peek(other) is None
        assert self.stored(target) == claim
        assert len(target.spans(claim, state.schema.table)) == len(SPANS)
        with pytest.raises(Superseded):
            target.mark_removing(beside)

    def test_two_streams_have_two_fences(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        target.claim(f"{self.stream}_side")
        self.write(target, claim, state, rows_from(state.schema, [item_row(1)]))
        assert self.items() == [item_row(1)]

    def joining(self) -> tuple[Target, Claim, Claim, TableState, TableState]:
        """A main stream with `items`, a side stream with `parts`, both at the first position."""
        target, items, main = self.prepared(ITEMS)
        schema = self.translated(PARTS)
        side = target.claim(f"{self.stream}_side")
        parts = live(schema, created=target.prepare(schema, aside=False))
        side = self.started(target, side, [parts])
        with target.begin_copy(side, self.mark(target, schema)) as apply:
            apply.plan_spans(parts, SPANS[:2])
            apply.record_span(parts, 0, 4)
            apply.commit()
        return target, main, side, items, parts

    def test_race_04_a_side_stream_joins(self) -> None:
        target, main, side, items, parts = self.joining()
        joined = replace(parts, detail="joined")
        target.join(side, main, [joined])
        assert target.peek(side.stream) is None
        wanted = {items.schema.table: items, joined.schema.table: joined}
        assert self.stored(target) == replace(main, tables=wanted)
        ledger = target.spans(main, parts.schema.table)
        assert list(ledger) == [SpanRecord(SPANS[0], 4), SpanRecord(SPANS[1])]
        with pytest.raises(Superseded):
            target.mark_removing(side)
        mark = self.mark(target, items.schema, parts.schema)
        with target.begin(main, mark) as apply:
            apply.upsert(parts, rows_from(parts.schema, [(1, "a", 1)]))
            apply.commit(P2)
        assert list(self.driver.target.rows(PARTS)) == [(1, "a", 1)]

    def test_a_table_that_was_copied_anew_joins_in_the_place_of_what_it_was(self) -> None:
        target, main, side, items, parts = self.joining()
        key = (1,) * len(parts.schema.key)
        with target.begin_copy(main, self.mark(target, parts.schema)) as apply:
            apply.record([replace(parts, state=State.COPYING, floor=None)])
            apply.plan_spans(parts, SPANS)
            apply.park([Parked(parts.schema.table, key, "of an earlier copy", P1)])
            apply.commit()
        with target.begin_copy(side, self.mark(target, parts.schema)) as apply:
            apply.park([Parked(parts.schema.table, key, "of this copy", P1)])
            apply.commit()
        target.join(side, main, [parts])
        assert self.stored(target).tables == {items.schema.table: items, parts.schema.table: parts}
        assert [entry.reason for entry in target.parked(main.stream)] == ["of this copy"]
        assert list(target.spans(main, parts.schema.table)) == [SpanRecord(SPANS[0], 4), SpanRecord(SPANS[1])]

    def test_race_04_streams_at_two_positions_do_not_join(self) -> None:
        target, main, side, _, parts = self.joining()
        with target.begin(side, self.mark(target)) as apply:
            apply.commit(P2)
        before = self.stored(target), self.stored(target, side.stream)
        with pytest.raises(Corruption):
            target.join(side.moved(P2), main, [parts])
        assert (self.stored(target), self.stored(target, side.stream)) == before

    def test_a_superseded_stream_does_not_join(self) -> None:
        for taken in (0, 1):
            self.stream = f"{self.stream[:20]}_{taken}"
            target = self.target()
            main = self.started(target, target.claim(self.stream), [])
            side = self.started(target, target.claim(f"{self.stream}_side"), [])
            self.target().claim((main, side)[taken].stream)
            with pytest.raises(Superseded):
                target.join(side, main, [])
            assert target.peek(side.stream) is not None


def commit_item(
    begin: Callable[[Claim, Mark], Apply],
    claim: Claim,
    mark: Mark,
    state: TableState,
    upto: Position | None = None,
) -> None:
    """Write the first item in a transaction."""
    with begin(claim, mark) as apply:
        apply.upsert(state, rows_from(state.schema, [item_row(1)]))
        apply.commit(upto)

"""From a source's log into a target of the same system, and what the target's own log then tells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from ...connector import Apply, Claim, Source, Target
from ...model import Batch, Changes, Mark, Position, Rows, Schema, Span, TableState, Truncate
from .driver import Delete, Empty, PlainDatabase, Row, Update
from .stage import (
    BIG,
    ITEMS,
    PARTS,
    Suite,
    in_order,
    item,
    item_row,
    keys_from,
    live,
    part,
    quiet,
    replay,
    rows_from,
    tell,
)
from .workload import Workload, seed


@dataclass(slots=True)
class Applier:
    """The least that brings batches into a target: the last change of a key wins."""

    source: Source
    target: Target
    claim: Claim
    states: dict[Any, TableState]

    def apply(self, batches: Iterable[Batch], *, move: bool = True) -> None:
        """Apply batches, each run up to a complete one as one transaction."""
        unit: list[Batch] = []
        for batch in batches:
            unit.append(batch)
            if batch.complete:
                self._apply_unit(unit, move)
                unit = []
        assert unit == []

    def _apply_unit(self, unit: Sequence[Batch], move: bool) -> None:
        paths = {
            str(self.target.place(table)): path for batch in unit for table, path in batch.paths().items()
        }
        with self.target.begin(self.claim, Mark(self.claim.stream, paths)) as apply:
            for state in self.states.values():
                self._apply_table(apply, state, unit)
            apply.commit(unit[-1].upto if move else None)
        if move:
            self.claim = self.claim.moved(unit[-1].upto)

    def _apply_table(self, apply: Apply, state: TableState, unit: Sequence[Batch]) -> None:
        gone: set[Row] = set()
        rows: dict[Row, dict[str, Any]] = {}
        again: set[Row] = set()
        for told in tell(state.schema, unit):
            if told.kind == "T":
                apply.truncate([state])
                gone, rows, again = set(), {}, set()
                continue
            key = told.old if told.kind == "D" else tuple(told.cells[name] for name in state.schema.key)
            assert key is not None
            origin = told.old or key
            cells = rows.pop(origin, {})
            if origin in again or origin != key or (key in gone and not cells):
                again.discard(origin)
                if told.kind == "U" and len({**cells, **told.cells}) < len(state.schema.names):
                    again.add(key)
            gone.add(origin)
            if told.kind != "D":
                gone.discard(key)
                rows[key] = {**cells, **told.cells}
        apply.delete(state, keys_from(state.schema, in_order(gone)))
        missing = self._upsert(apply, state, [rows[key] for key in rows if key not in again])
        wanted = in_order({*missing, *again})
        if wanted:
            apply.upsert(state, self.source.read_keys(state.schema, keys_from(state.schema, wanted)))

    def _upsert(self, apply: Apply, state: TableState, rows: Sequence[dict[str, Any]]) -> list[Row]:
        arrays, masks = [], []
        for made in state.schema.stored:
            arrays.append(pa.array([cells.get(made.name) for cells in rows], made.type.arrow))
            masks.append(pa.array([made.name not in cells for cells in rows], pa.bool_()))
        return apply.upsert(state, Rows.of(state.schema.names, arrays, masks)).tuples() if rows else []


class StreamSuite(Suite):
    """A Source and a Target of one system together; the target's database is a source as well."""

    def joined(self, *tables: Schema) -> Applier:
        """A stream between the two databases, attached, claimed and at its floor, nothing copied."""
        source, schemas, floor = self.attach(*tables)
        target = self.target()
        claim = target.claim(self.stream)
        states = {
            schema.table: live(schema, created=target.prepare(schema, aside=False)) for schema in schemas
        }
        with target.begin(claim, Mark(self.stream, {})) as apply:
            apply.start(source.identity(), floor)
            apply.record(list(states.values()))
            apply.commit()
        claim = replace(claim, position=floor, source=source.identity())
        return Applier(source, target, claim, states)

    def arrived(
        self, applier: Applier, after: Position | None = None, max_bytes: int = 1 << 20
    ) -> list[Batch]:
        """What the source's log tells after a position, or the applier's own, until now."""
        after = after or applier.claim.position
        assert after is not None
        schemas = [state.schema for state in applier.states.values()]
        return self.told(applier.source, schemas, after, max_bytes=max_bytes)

    def check_equal(self, applier: Applier, *tables: Schema) -> None:
        """Both databases hold the same rows, by plain drivers and by every digest they share."""
        for made in tables:
            wanted = in_order(self.driver.source.rows(made))
            assert in_order(self.driver.target.rows(made)) == wanted
            schema = applier.states[made.table].schema
            for scheme in applier.source.capabilities.digests:
                if scheme in applier.target.capabilities.digests:
                    there = applier.target.digest(schema, Span(), scheme)
                    assert applier.source.digest(schema, Span(), scheme) == there
                    assert there.count == len(wanted)

    def test_1000_random_transactions(self) -> None:
        workload = Workload(seed(), truncates=self.driver.has_truncate)
        applier = self.joined(*workload.tables)
        for number, writes in enumerate(workload.transactions(1000)):
            self.driver.source.execute(writes)
            if number % 333 == 332:
                applier.apply(self.arrived(applier, max_bytes=50_000))
        applier.apply(self.arrived(applier, max_bytes=50_000))
        self.check_equal(applier, *workload.tables)
        assert applier.target.claim(self.stream).position == applier.claim.position

    def test_random_transactions_replay_exactly(self) -> None:
        workload = Workload(seed(), truncates=self.driver.has_truncate)
        source, schemas, floor = self.attach(*workload.tables)
        for writes in workload.transactions(200):
            self.driver.source.execute(writes)
        for max_bytes in (1, 3000, 8 << 20):
            batches = self.told(source, schemas, floor, max_bytes=max_bytes)
            for schema, made in zip(schemas, workload.tables, strict=True):
                assert replay(schema, batches) == in_order(self.driver.source.rows(made))

    def test_a_worker_that_died_is_followed_by_another(self) -> None:
        workload = Workload(seed(), truncates=self.driver.has_truncate)
        applier = self.joined(*workload.tables)
        batches: list[Batch] = []
        for number, writes in enumerate(workload.transactions(100)):
            self.driver.source.execute(writes)
            if number % 10 == 9:
                after = batches[-1].upto if batches else applier.claim.position
                batches += self.arrived(applier, after=after, max_bytes=2000)
        upto = [at for at, batch in enumerate(batches) if batch.complete]
        assert len(upto) >= 10
        applier.apply(batches[: upto[len(upto) // 2] + 1])
        target = self.target()
        later = Applier(self.source(), target, target.claim(self.stream), applier.states)
        later.apply(self.arrived(later))
        self.check_equal(later, *workload.tables)

    def test_duplicates_are_harmless(self) -> None:
        applier = self.joined(ITEMS, PARTS)
        large = "large" * (BIG // 5)
        self.driver.source.execute([item(1), item(2, name=large), part(1, "a")])
        self.driver.source.execute([Update(ITEMS, (2,), {"amount": 5}), Update(PARTS, (1, "a"), {"item": 2})])
        self.driver.source.execute([Delete(ITEMS, (1,)), item(3)])
        batches = self.arrived(applier, max_bytes=1)
        applier.apply(batches, move=False)
        self.check_equal(applier, ITEMS, PARTS)
        applier.apply(batches, move=False)
        self.check_equal(applier, ITEMS, PARTS)
        applier.apply(batches)
        self.check_equal(applier, ITEMS, PARTS)

    def test_a_large_transaction_is_applied_as_one(self) -> None:
        applier = self.joined(ITEMS)
        self.driver.source.execute([item(number, name=str(number) * 200) for number in range(500)])
        batches = self.arrived(applier, max_bytes=20_000)
        assert not all(batch.complete for batch in batches)
        applier.apply(batches)
        self.check_equal(applier, ITEMS)

    def test_race_03_an_unsent_cell_of_a_row_that_is_not_there(self) -> None:
        applier = self.joined(ITEMS)
        large = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(BIG))
        self.driver.source.execute([item(1, name=large), item(2, name=large), item(3, name=None)])
        applier.claim = applier.claim.moved(self.skipped(applier))
        self.driver.source.execute([Update(ITEMS, (n,), {"amount": 7}) for n in (1, 2, 3)])
        self.driver.source.execute([Update(ITEMS, (2,), {"id": 20})])
        applier.apply(self.arrived(applier))
        self.check_equal(applier, ITEMS)

    def skipped(self, applier: Applier) -> Position:
        """Move the stream's position over what is in the log now, without its rows."""
        upto = self.arrived(applier)[-1].upto
        with applier.target.begin(applier.claim, Mark(self.stream, {})) as apply:
            apply.commit(upto)
        return upto

    @property
    def onward(self) -> str:
        """The stream that leads on from the target."""
        return f"{self.stream}_onward"

    def told_onward(
        self, onward: Source, tables: Sequence[Schema], after: Position, skip: str = ""
    ) -> list[Batch]:
        """What the target's log tells."""
        return self.told(onward, tables, after, skip=skip, stream=self.onward)

    def follow_target(self, applier: Applier) -> tuple[Source, list[Schema], Position]:
        """The target's database as a source of a stream of its own, attached."""
        onward = self.source(self.driver.target)
        placed = {applier.target.place(table) for table in applier.states}
        schemas = [schema for schema in onward.discover() if schema.table in placed]
        onward.attach(self.onward, schemas, quiet)
        return onward, sorted(schemas, key=lambda schema: schema.table), onward.floor(quiet)

    def test_race_16_rows_do_not_go_back_where_they_came_from(self) -> None:
        applier = self.joined(ITEMS)
        onward, (schema,), floor = self.follow_target(applier)
        here, there = applier.source.identity().id, onward.identity().id
        self.driver.source.execute([item(1), item(2)])
        self.driver.source.execute([Update(ITEMS, (1,), {"amount": 5}), Delete(ITEMS, (2,))])
        applier.apply(self.arrived(applier))
        back = self.told_onward(onward, [schema], floor, skip=here)
        assert tell(schema, back) == []
        forth = self.told_onward(onward, [schema], floor, skip="elsewhere")
        assert replay(schema, forth) == in_order(self.driver.source.rows(ITEMS))
        assert {told.path for told in tell(schema, forth)} == {(here, there)}
        assert tell(schema, self.told_onward(onward, [schema], floor, skip=there)) == []

    def test_race_16_own_rows_among_marked_ones_pass(self) -> None:
        applier = self.joined(ITEMS)
        onward, (schema,), floor = self.follow_target(applier)
        here, there = applier.source.identity().id, onward.identity().id
        for number in range(6):
            self.driver.source.execute([item(number)])
            applier.apply(self.arrived(applier))
            self.driver.target.execute([item(number + 100)])
        back = self.told_onward(onward, [schema], floor, skip=here)
        told = tell(schema, back)
        assert [change.cells["id"] for change in told] == [100, 101, 102, 103, 104, 105]
        assert {change.path for change in told} == {(there,)}
        forth = self.told_onward(onward, [schema], floor, skip="")
        check_paths(forth)
        assert [change.path for change in tell(schema, forth)] == [(here, there), (there,)] * 6

    def test_race_16_rows_of_tables_that_the_mark_does_not_name_pass(self) -> None:
        applier = self.joined(ITEMS, PARTS)
        onward, (items, parts), floor = self.follow_target(applier)
        here, there = applier.source.identity().id, onward.identity().id
        states = [applier.states[made.table] for made in (ITEMS, PARTS)]
        with applier.target.begin(applier.claim, self.mark(applier.target, items, path=(here,))) as apply:
            apply.upsert(states[0], rows_from(states[0].schema, [item_row(1)]))
            apply.upsert(states[1], rows_from(states[1].schema, [(1, "a", None)]))
            apply.commit()
        back = self.told_onward(onward, [items, parts], floor, skip=here)
        assert tell(items, back) == []
        assert [told.path for told in tell(parts, back)] == [(there,)]

    def test_race_16_a_longer_path_is_kept(self) -> None:
        applier = self.joined(ITEMS)
        onward, (schema,), floor = self.follow_target(applier)
        there = onward.identity().id
        state = applier.states[ITEMS.table]
        mark = self.mark(applier.target, state.schema, path=("first", "second"))
        with applier.target.begin_copy(applier.claim, mark) as apply:
            apply.load(state, rows_from(state.schema, [item_row(1)]))
            apply.commit()
        with applier.target.begin(applier.claim, mark) as apply:
            apply.delete(state, keys_from(state.schema, [(1,)]))
            apply.commit()
        told = tell(schema, self.told_onward(onward, [schema], floor, skip="third"))
        assert [change.path for change in told] == [("first", "second", there)] * 2
        for store in ("first", "second"):
            assert tell(schema, self.told_onward(onward, [schema], floor, skip=store)) == []

    def test_race_16_a_truncate_has_a_path(self) -> None:
        self.need(self.driver.has_truncate, "this system has no truncate of its own")
        applier = self.joined(ITEMS)
        self.driver.source.execute([item(1)])
        applier.apply(self.arrived(applier))
        onward, (schema,), floor = self.follow_target(applier)
        here = applier.source.identity().id
        self.driver.source.execute([Empty([ITEMS])])
        applier.apply(self.arrived(applier))
        self.check_equal(applier, ITEMS)
        assert tell(schema, self.told_onward(onward, [schema], floor, skip=here)) == []
        assert replay(schema, self.told_onward(onward, [schema], floor), [item_row(1)]) == []

    def test_a_position_alone_is_nobodys_change(self) -> None:
        applier = self.joined(ITEMS)
        onward, (schema,), floor = self.follow_target(applier)
        self.skipped(applier)
        self.driver.target.execute([item(5)])
        told = tell(schema, self.told_onward(onward, [schema], floor))
        assert [change.cells["id"] for change in told] == [5]

    def test_both_roles_of_one_database_leave_nothing(self) -> None:
        applier = self.joined(ITEMS)
        onward, _, _ = self.follow_target(applier)
        self.driver.source.execute([item(1)])
        applier.apply(self.arrived(applier))
        applier.source.detach(self.stream)
        applier.target.forget(self.stream)
        assert onward.attached(self.onward)
        onward.detach(self.onward)
        for database in (self.driver.source, self.driver.target):
            leave_nothing(database)


def leave_nothing(database: PlainDatabase) -> None:
    """It is as if Syncline had never come."""
    assert list(database.leftovers()) == []


def check_paths(batches: Sequence[Batch]) -> None:
    """Within a batch all changes of one table have one path."""
    for batch in batches:
        paths: dict[Any, Any] = {}
        for segment in batch.segments:
            if isinstance(segment, Changes):
                assert paths.setdefault(segment.table, segment.path) == segment.path
            elif isinstance(segment, Truncate):
                for table in segment.tables:
                    assert paths.setdefault(table, segment.path) == segment.path

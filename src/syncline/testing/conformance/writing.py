"""What a Target does with tables and rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ...connector import Apply, Store
from ...errors import NeedsOperator, SynclineError
from ...model import ForeignKey, Index, Kind, Schema, Span, TableName, TableState
from .checking import TargetChecks
from .driver import Insert, PlainDatabase, Row
from .fencing import FencingSuite
from .reading import KEYED, ReadingSuite, identifier_column, keyed
from .stage import (
    ITEMS,
    PARTS,
    column,
    everything,
    identifier,
    in_order,
    item,
    item_row,
    keys_from,
    live,
    rows_from,
    table,
)

PEOPLE = table(
    "people",
    identifier(),
    column("email", Kind.TEXT),
    column("team", Kind.INT64),
    indexes=[Index("people_email", ("email",), unique=True), Index("people_team", ("team",))],
    foreign_keys=[ForeignKey("people_team_fk", ("team",), TableName("teams"), ("id",))],
)
TEAMS = table("teams", identifier(), column("title", Kind.TEXT))


class TargetSuite(TargetChecks, FencingSuite, ReadingSuite):
    """What a Target promises."""

    def open_store(self) -> Store:
        """A target."""
        return self.target()

    @property
    def database(self) -> PlainDatabase:
        """The target's plain driver."""
        return self.driver.target

    def there(self, made: Schema) -> list[Row]:
        """What the plain driver finds at the target."""
        return in_order(self.driver.target.rows(made))

    def test_place_is_the_same_for_every_opening(self) -> None:
        first, second = self.target(), self.target()
        for name in (ITEMS.table, TableName("with space"), TableName("t", "other"), TableName("UPPER")):
            assert first.place(name) == second.place(name)
        assert first.place(ITEMS.table) != first.place(PARTS.table)

    def test_prepare_makes_a_table_once(self) -> None:
        schema, target = self.translated(ITEMS), self.target()
        assert not target.refusals(schema)
        assert target.mismatch(schema) == ""
        assert not target.holds_rows(schema)
        target.claim(self.stream)
        assert target.prepare(schema, aside=False) is True
        assert target.prepare(schema, aside=False) is False
        assert target.mismatch(schema) == ""
        assert not target.holds_rows(schema)
        self.driver.target.execute([item(1)])
        assert target.holds_rows(schema)
        assert self.there(ITEMS) == [item_row(1)]

    @pytest.mark.parametrize("kind", KEYED)
    def test_a_prepared_table_is_like_its_source(self, kind: str) -> None:
        made, keys, _ = KEYED[kind]
        schema, target = self.translated(made), self.target()
        target.claim(self.stream)
        target.prepare(schema, aside=False)
        found = next(found for found in target.discover() if found.table == target.place(schema.table))
        assert found.names == schema.names
        assert found.key == schema.key
        assert [made.type for made in found.stored] == [made.type for made in schema.stored]
        assert [made.nullable for made in found.stored] == [made.nullable for made in schema.stored]
        self.driver.target.execute(keyed(made, keys))
        assert everything(target, schema) == self.there(made)

    def test_a_prepared_table_has_defaults(self) -> None:
        made = table(
            "defaults",
            identifier(),
            column("number", Kind.INT64, nullable=False, default="7"),
            column("text", Kind.TEXT, default="'it''s'"),
        )
        schema, target = self.translated(made), self.target()
        assert not target.omissions(schema, [schema.table])
        target.claim(self.stream)
        target.prepare(schema, aside=False)
        assert not target.omissions(schema)
        self.driver.target.execute([Insert(made, {"id": 1})])
        assert self.there(made) == [(1, 7, "it's")]

    def test_a_prepared_table_refuses_null_and_a_second_row_of_a_key(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        self.write(target, claim, state, rows_from(state.schema, [item_row(1)]))
        for cells in (item(1).cells, {**item(2).cells, "amount": None}):
            with pytest.raises(Exception):  # noqa: B017, PT011 (the plain driver's own class)
                self.driver.target.execute([Insert(ITEMS, cells)])
        assert self.there(ITEMS) == [item_row(1)]

    def test_mismatch_tells_what_differs(self) -> None:
        schema, target = self.translated(ITEMS), self.target()
        less = table("items", *(made for made in ITEMS.columns if made.name != "ratio"))
        self.driver.target.create(less)
        assert "ratio" in target.mismatch(schema)
        assert "\n" not in target.mismatch(schema)

    def test_mismatch_tells_another_key(self) -> None:
        schema, target = self.translated(PARTS), self.target()
        self.driver.target.create(replace(PARTS, key=("item",)))
        assert target.mismatch(schema)

    def test_writes_odd_names(self) -> None:
        made = table('Quo"ted na%me', identifier("UPPER"), column("se'lect %s", Kind.TEXT), key=("UPPER",))
        target, state, claim = self.prepared(made)
        rows = rows_from(state.schema, [(1, "a"), (2, "b"), (3, "c")])
        self.write(target, claim, state, rows)
        with target.begin(claim, self.mark(target, state.schema)) as apply:
            apply.upsert(state, rows_from(state.schema, [(2, "B")]))
            apply.delete(state, keys_from(state.schema, [(3,)]))
            apply.commit()
        assert self.there(made) == [(1, "a"), (2, "B")]

    def test_loads_and_writes_values_as_they_are(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        rows = [
            item_row(1, name=None, ratio=0.1, flag=None, raw=None),
            item_row(2, name="", ratio=-0.5, raw=b""),
            item_row(3, name="line\nbreak\r\n\ttab \\ back 'quote' \"double\" \\.", ratio=1e300),
            item_row(4, name="ünïcödé 中文 🚀", amount=-(2**31), raw=bytes(range(256))),
            item_row(-(2**63), name="\\N", amount=2**31 - 1),
        ]
        with target.begin_copy(claim, self.mark(target, state.schema)) as apply:
            apply.load(state, rows_from(state.schema, rows[:3]))
            apply.load(state, rows_from(state.schema, rows[3:]))
            apply.commit()
        assert self.there(ITEMS) == in_order(rows)
        turned = [(row[0], *item_row(row[0] % 7)[1:]) for row in rows]
        self.write(target, claim, state, rows_from(state.schema, turned))
        assert self.there(ITEMS) == in_order(turned)
        self.write(target, claim, state, rows_from(state.schema, rows))
        assert self.there(ITEMS) == in_order(rows)

    def test_loads_every_format_a_source_reads(self) -> None:
        schema, target = self.translated(ITEMS), self.target()
        claim = target.claim(self.stream)
        state = live(schema, created=target.prepare(schema, aside=False))
        claim = self.started(target, claim, [state])
        self.driver.source.execute([item(number, name=None if number % 3 else "ü\n") for number in range(50)])
        source = self.source()
        for wire in source.capabilities.formats:
            if wire not in target.capabilities.formats:
                continue
            with target.begin(claim, self.mark(target, schema)) as apply:
                apply.truncate([state])
                for rows in source.read(schema, Span(), format=wire, max_bytes=500):
                    apply.load(state, rows)
                apply.commit()
            assert self.there(ITEMS) == in_order(self.driver.source.rows(ITEMS)), wire

    def test_the_digest_is_that_of_the_source(self) -> None:
        schema, target = self.translated(ITEMS), self.target()
        claim = target.claim(self.stream)
        state = live(schema, created=target.prepare(schema, aside=False))
        claim = self.started(target, claim, [state])
        self.driver.source.execute([item(number, ratio=number / 7) for number in range(20)])
        source = self.source()
        self.write(target, claim, state, rows_from(schema, self.driver.source.rows(ITEMS)))
        for scheme in source.capabilities.digests:
            if scheme in target.capabilities.digests:
                assert source.digest(schema, Span(), scheme) == target.digest(schema, Span(), scheme)

    def test_upserts_by_key(self) -> None:
        target, state, claim = self.prepared(PARTS)
        self.write(target, claim, state, rows_from(state.schema, [(1, "a", 1), (1, "b", 2), (2, "a", 3)]))
        self.write(target, claim, state, rows_from(state.schema, [(1, "b", None), (3, "c", 4)]))
        assert self.there(PARTS) == in_order([(1, "a", 1), (1, "b", None), (2, "a", 3), (3, "c", 4)])

    def test_upserts_rows_that_are_all_key(self) -> None:
        target, state, claim = self.prepared(KEYED["three"][0])
        rows = list(KEYED["three"][1])
        for _ in range(2):
            self.write(target, claim, state, rows_from(state.schema, rows))
        assert self.there(KEYED["three"][0]) == in_order(rows)

    @pytest.mark.parametrize("kind", KEYED)
    def test_deletes_by_key(self, kind: str) -> None:
        made, keys, absent = KEYED[kind]
        target, state, claim = self.prepared(made)
        self.driver.target.execute(keyed(made, keys))
        rows = self.there(made)
        with target.begin(claim, self.mark(target, state.schema)) as apply:
            apply.delete(state, keys_from(state.schema, [keys[2], absent[0], keys[-1]]))
            apply.commit()
        at = [made.names.index(name) for name in made.key]
        gone = {keys[2], keys[-1]}
        assert self.there(made) == [row for row in rows if tuple(row[i] for i in at) not in gone]

    def test_the_same_writes_again_change_nothing(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        for _ in range(3):
            with target.begin(claim, self.mark(target, state.schema)) as apply:
                apply.delete(state, keys_from(state.schema, [(1,), (4,)]))
                apply.upsert(state, rows_from(state.schema, [item_row(2), item_row(3, name=None)]))
                apply.commit()
            assert self.there(ITEMS) == in_order([item_row(2), item_row(3, name=None)])

    def test_several_writes_in_one_transaction_see_one_another(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        with target.begin(claim, self.mark(target, state.schema)) as apply:
            apply.upsert(state, rows_from(state.schema, [item_row(1), item_row(2)]))
            apply.delete(state, keys_from(state.schema, [(1,)]))
            missing = apply.upsert(state, rows_from(state.schema, [item_row(1), item_row(2)], ["name"]))
            assert missing.tuples() == [(1,)]
            apply.upsert(state, rows_from(state.schema, [item_row(1, name="again")]))
            assert apply.upsert(state, rows_from(state.schema, [item_row(1)], ["name"])).count == 0
            apply.commit()
        assert self.there(ITEMS) == in_order([item_row(1, name="again"), item_row(2)])

    def test_an_unsent_cell_stays_as_it_is(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        self.write(
            target, claim, state, rows_from(state.schema, [item_row(1, name="kept"), item_row(2, name=None)])
        )
        changed = [item_row(1, amount=1), item_row(2, amount=2), item_row(3)]
        missing = self.write(target, claim, state, rows_from(state.schema, changed, ["name", "raw"]))
        assert missing.columns == state.schema.key
        assert missing.tuples() == [(3,)], "nothing is written for a row that is not there"
        assert self.there(ITEMS) == in_order(
            [item_row(1, name="kept", amount=1), item_row(2, name=None, amount=2)]
        )

    def test_unsent_null_and_value_in_one_upsert(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        self.write(
            target, claim, state, rows_from(state.schema, [item_row(n, name="old") for n in (1, 2, 3)])
        )
        whole = rows_from(state.schema, [item_row(n, name=None if n == 2 else "new") for n in (1, 2, 3, 4)])
        partly = rows_from(state.schema, [item_row(3), item_row(5)], ["name"])
        missing = self.write(target, claim, state, type(whole).concat([whole.take([0, 1, 3]), partly]))
        assert missing.tuples() == [(5,)]
        names = {row[0]: row[1] for row in self.there(ITEMS)}
        assert names == {1: "new", 2: None, 3: "old", 4: "new"}

    def test_an_unsent_not_null_cell_of_a_missing_row(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        rows = rows_from(state.schema, [item_row(1)], ["amount"])
        assert self.write(target, claim, state, rows).tuples() == [(1,)]
        assert self.there(ITEMS) == []

    def test_truncates(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        self.write(target, claim, state, rows_from(state.schema, [item_row(1), item_row(2)]))
        with target.begin(claim, self.mark(target, state.schema)) as apply:
            apply.truncate([state])
            missing = apply.upsert(state, rows_from(state.schema, [item_row(1)], ["name"]))
            assert missing.tuples() == [(1,)], "its row went away in this transaction"
            apply.upsert(state, rows_from(state.schema, [item_row(2, name="new")]))
            apply.commit()
        assert self.there(ITEMS) == [item_row(2, name="new")]

    def test_a_refused_value_names_its_column(self) -> None:
        schema = self.translated(
            replace(ITEMS, columns=tuple(replace(c, nullable=c.name != "id") for c in ITEMS.columns))
        )
        self.driver.target.create(ITEMS)
        target = self.target()
        state = live(schema)
        claim = self.started(target, target.claim(self.stream), [state])
        with pytest.raises(NeedsOperator) as refusal:
            self.write(target, claim, state, rows_from(schema, [item_row(1), item_row(2, amount=None)]))
        assert "items" in str(refusal.value)
        assert "amount" in str(refusal.value)
        assert "\n" not in str(refusal.value)
        assert self.there(ITEMS) == []

    def test_writes_many_rows(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        rows = [item_row(number) for number in range(5000)]
        self.write(target, claim, state, rows_from(state.schema, rows))
        later = [item_row(number, name="changed") for number in range(2500, 7500)]
        self.write(target, claim, state, rows_from(state.schema, later))
        with target.begin(claim, self.mark(target, state.schema)) as apply:
            apply.delete(state, keys_from(state.schema, [(number,) for number in range(0, 10_000, 2)]))
            apply.commit()
        wanted = {row[0]: row for row in (*rows, *later) if row[0] % 2}
        assert self.there(ITEMS) == in_order(wanted.values())

    def people(self) -> tuple[Schema, Schema]:
        """Two tables, one with a foreign key to the other, as the source tells them."""
        teams = self.translated(TEAMS)
        return teams, self.translated(PEOPLE)

    def test_finish_makes_indexes_and_foreign_keys(self) -> None:
        teams, people = self.people()
        assert [(index.columns, index.unique) for index in ordered(people.indexes)] == [
            (("email",), True),
            (("team",), False),
        ]
        target = self.target()
        claim = target.claim(self.stream)
        states = [live(schema, created=target.prepare(schema, aside=False)) for schema in (people, teams)]
        claim = self.started(target, claim, states)
        bare = next(found for found in target.discover() if found.table == people.table)
        assert not any(index.unique for index in bare.indexes), "unique values may still collide"
        for _ in range(2):
            target.finish(claim, states)
        assert not any(target.omissions(schema) for schema in (people, teams))
        found = next(found for found in target.discover() if found.table == people.table)
        indexes = [(index.columns, index.unique) for index in ordered(found.indexes)]
        assert indexes == [(("email",), True), (("team",), False)]
        assert [(key.columns, key.parent, key.parent_columns) for key in found.foreign_keys] == [
            (("team",), teams.table, ("id",))
        ]

    def test_finish_leaves_out_a_foreign_key_whose_parent_is_not_there(self) -> None:
        _, people = self.people()
        target = self.target()
        claim = target.claim(self.stream)
        state = live(people, created=target.prepare(people, aside=False))
        claim = self.started(target, claim, [state])
        target.finish(claim, [state])
        self.write(target, claim, state, rows_from(people, [(1, "a@b", 99)]))
        assert self.there(PEOPLE) == [(1, "a@b", 99)]

    def test_finish_leaves_a_table_alone_that_was_there(self) -> None:
        _, people = self.people()
        self.driver.target.create(TEAMS)
        self.driver.target.create(replace(PEOPLE, indexes=(), foreign_keys=()))
        target = self.target()
        state = live(people)
        claim = self.started(target, target.claim(self.stream), [state])
        target.finish(claim, [state])
        found = next(found for found in target.discover() if found.table == people.table)
        assert found.indexes == ()
        assert found.foreign_keys == ()

    def test_race_06_unique_values_change_places(self) -> None:
        teams, people = self.people()
        target = self.target()
        claim = target.claim(self.stream)
        states = [live(schema, created=target.prepare(schema, aside=False)) for schema in (teams, people)]
        claim = self.started(target, claim, states)
        target.finish(claim, states)
        state = states[1]
        self.write(target, claim, state, rows_from(people, [(1, "a", None), (2, "b", None), (3, "c", None)]))
        turned = [(1, "b", None), (2, "c", None), (3, "a", None), (4, "d", None)]
        self.write(target, claim, state, rows_from(people, turned))
        assert self.there(PEOPLE) == in_order(turned)
        with target.begin(claim, self.mark(target, people)) as apply:
            apply.delete(state, keys_from(people, [(4,)]))
            apply.upsert(state, rows_from(people, [(5, "d", None), (1, None, None)]))
            apply.commit()
        assert self.there(PEOPLE) == in_order(
            [(1, None, None), (2, "c", None), (3, "a", None), (5, "d", None)]
        )

    def test_advances_sequences_and_never_back(self) -> None:
        made = table("numbered", identifier_column(), column("note", Kind.TEXT))
        target, state, claim = self.prepared(made)
        self.write(target, claim, state, rows_from(state.schema, [(5, "a"), (40, "b")]))
        target.advance_sequences(state.schema, {"id": 100})
        target.advance_sequences(state.schema, {"id": 50})
        target.advance_sequences(state.schema, {})
        self.driver.target.execute([Insert(made, {"note": "c"})])
        assert max(row[0] for row in self.there(made)) == 101
        assert target.sequences(state.schema) == {"id": 101}

    def test_a_table_built_aside_is_swapped_in(self) -> None:
        schema = self.translated(ITEMS)
        self.driver.target.create(ITEMS)
        self.driver.target.execute([item(1), item(2)])
        target = self.target()
        claim = target.claim(self.stream)
        assert target.replaceable(schema) == ""
        target.prepare(schema, aside=True)
        state = live(schema, created=True, aside=True)
        claim = self.started(target, claim, [state])
        self.write(target, claim, state, rows_from(schema, [item_row(2, name="new"), item_row(3)]))
        assert self.write(target, claim, state, rows_from(schema, [item_row(1)], ["name"])).tuples() == [(1,)]
        assert self.there(ITEMS) == in_order([item_row(1), item_row(2)]), "the old rows stand until then"
        assert [found.table for found in target.discover()] == [target.place(schema.table)]
        target.finish(claim, [state])
        target.swap(claim, [replace(state, aside=False)])
        assert self.there(ITEMS) == in_order([item_row(2, name="new"), item_row(3)])
        peeked = target.peek(self.stream)
        assert peeked is not None
        assert peeked.tables[schema.table].aside is False
        state = peeked.tables[schema.table]
        self.write(target, claim, state, rows_from(schema, [item_row(4)]))
        assert len(self.there(ITEMS)) == 3
        assert [found.table for found in target.discover()] == [target.place(schema.table)]
        target.forget(self.stream)
        assert list(self.driver.target.leftovers()) == []
        assert len(self.there(ITEMS)) == 3

    def test_a_table_built_aside_begins_empty(self) -> None:
        schema = self.translated(ITEMS)
        self.driver.target.create(ITEMS)
        target = self.target()
        claim = target.claim(self.stream)
        state = live(schema, created=True, aside=True)
        target.prepare(schema, aside=True)
        claim = self.started(target, claim, [state])
        self.write(target, claim, state, rows_from(schema, [item_row(1)]))
        target.prepare(schema, aside=True)
        with target.begin_copy(claim, self.mark(target, schema)) as apply:
            apply.load(state, rows_from(schema, [item_row(1)]))
            apply.commit()
        target.swap(claim, [replace(state, aside=False)])
        assert self.there(ITEMS) == [item_row(1)]

    def test_a_foreign_key_is_met_in_order(self) -> None:
        teams, people = self.people()
        target = self.target()
        claim = target.claim(self.stream)
        states = [live(schema, created=target.prepare(schema, aside=False)) for schema in (teams, people)]
        claim = self.started(target, claim, states)
        target.finish(claim, states)
        with target.begin(claim, self.mark(target, teams, people)) as apply:
            apply.upsert(states[0], rows_from(teams, [(1, "t")]))
            apply.upsert(states[1], rows_from(people, [(1, "a", 1)]))
            apply.commit()
        with target.begin(claim, self.mark(target, teams, people)) as apply:
            apply.delete(states[1], keys_from(people, [(1,)]))
            apply.delete(states[0], keys_from(teams, [(1,)]))
            apply.commit()
        assert self.there(TEAMS) == self.there(PEOPLE) == []

    def test_errors_are_those_of_the_contract(self) -> None:
        target, state, claim = self.prepared(ITEMS)
        self.driver.target.execute([item(1)])
        with pytest.raises(SynclineError) as error:
            load_item(target.begin_copy(claim, self.mark(target, state.schema)), state)
        assert str(error.value).startswith("cannot ")
        assert "\n" not in str(error.value)
        assert self.there(ITEMS) == [item_row(1)]


def load_item(apply: Apply, state: TableState) -> None:
    """Load the first item."""
    with apply:
        apply.load(state, rows_from(state.schema, [item_row(1)]))
        apply.commit()


def ordered(indexes: Sequence[Index]) -> list[Index]:
    """Secondary indexes by their columns."""
    return sorted(indexes, key=lambda index: index.columns)

"""Discover, split, read, read_keys, digest: what Source and Target both do."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pytest

from ...connector import Store
from ...errors import Refused, Transient
from ...model import ARROW, CANONICAL, Column, Digest, Kind, Rows, Schema, Span, digest_rows
from .driver import Delete, Insert, PlainDatabase, Row, Update
from .stage import (
    ITEMS,
    PARTS,
    Suite,
    column,
    everything,
    identifier,
    in_order,
    item,
    item_row,
    keys_from,
    part,
    table,
)

UUIDS = [str(uuid.uuid5(uuid.NAMESPACE_DNS, str(number))) for number in range(12)]

KEYED: dict[str, tuple[Schema, Sequence[Row], Sequence[Row]]] = {
    "negative": (
        table("negative", identifier(), column("note", Kind.TEXT)),
        [(number,) for number in (-(2**63), -1000, -10, -9, -1, 0, 1, 5, 9, 10, 11, 2**63 - 1)],
        [(-(2**63) + 1,), (-2,), (7,), (2**63 - 2,)],
    ),
    "text": (
        table("text_keys", identifier("id", Kind.TEXT), column("note", Kind.TEXT)),
        [(text,) for text in ("", " ", "A", "a", "a ", "B", "b", "é", "z'z", 'q"q', "%_\\", "中", "10", "9")],
        [("!",), ("a b",), ("Z",), ("zz",)],
    ),
    "uuid": (
        table("uuid_keys", identifier("id", Kind.UUID), column("note", Kind.TEXT)),
        [(text,) for text in UUIDS[:9]],
        [(text,) for text in UUIDS[9:]],
    ),
    "composite": (
        table(
            "composite",
            identifier("label", Kind.TEXT),
            identifier("number", Kind.INT64),
            column("note", Kind.TEXT),
            key=("number", "label"),
        ),
        [(number, label) for number in (-5, 0, 5) for label in ("", "a", "B", "é")],
        [(-6, "z"), (-5, "aa"), (0, "zz"), (6, "")],
    ),
    "three": (
        table(
            "three",
            identifier("a", Kind.INT32),
            identifier("b", Kind.UUID),
            identifier("c", Kind.TEXT),
            key=("a", "b", "c"),
        ),
        [(number, text, label) for number in (-1, 1) for text in UUIDS[:3] for label in ("x", "y")],
        [(-1, UUIDS[4], "x"), (0, UUIDS[0], ""), (2, UUIDS[1], "y")],
    ),
}


def keyed(made: Schema, keys: Sequence[Row]) -> list[Insert]:
    """Inserts of rows with these keys."""
    inserts = []
    for key in keys:
        cells = dict(zip(made.key, key, strict=True))
        if "note" in made.names:
            cells["note"] = f"note of {key}"
        inserts.append(Insert(made, cells))
    return inserts


class ReadingSuite(Suite):
    """Cases for every store; `open_store` and `database` say in which role."""

    def open_store(self) -> Store:
        """The store under test."""
        raise NotImplementedError

    @property
    def database(self) -> PlainDatabase:
        """The plain driver's side of it."""
        raise NotImplementedError

    def filled(self, made: Schema, inserts: Sequence[Insert]) -> tuple[Store, Schema]:
        """A table with rows, as the store tells it."""
        self.database.create(made)
        if inserts:
            self.database.execute(inserts)
        store = self.open_store()
        return store, self.discovered(store, made)

    def test_identity_is_the_same_for_every_opening(self) -> None:
        first, second = self.open_store(), self.open_store()
        assert first.identity() == second.identity() == first.identity()
        assert first.identity().id == second.identity().id

    def test_two_databases_have_two_identities(self) -> None:
        assert self.source().identity().id != self.target().identity().id

    def test_missing_database_is_refused_in_one_line(self) -> None:
        self.need(bool(self.driver.missing_url), "every URL opens a database of this system")
        connector = self.driver.connector
        stores: list[Store] = [connector.source(self.driver.missing_url)]
        if not self.driver.makes_targets:
            stores.append(connector.target(self.driver.missing_url))
        for store in stores:
            with pytest.raises(Refused) as refusal:
                store.identity()
            store.close()
            assert "\n" not in str(refusal.value)
            assert str(refusal.value).startswith("cannot ")

    def test_closes_twice(self) -> None:
        store = self.open_store()
        store.identity()
        store.close()
        store.close()

    def test_interrupt_of_an_idle_store_harms_nothing(self) -> None:
        store, schema = self.filled(ITEMS, [item(1)])
        store.interrupt()
        with suppress(Transient):  # a store may let the next call feel it
            assert everything(store, schema) == [item_row(1)]
        assert everything(store, schema) == [item_row(1)]

    def test_discovers_columns_and_key(self) -> None:
        self.database.create(ITEMS)
        self.database.create(PARTS)
        store = self.open_store()
        found = {schema.table: schema for schema in store.discover()}
        assert set(found) == {ITEMS.table, PARTS.table}
        for made in (ITEMS, PARTS):
            schema = found[made.table]
            assert schema.problem == ""
            assert schema.system, "a schema names the system that it was discovered by"
            assert schema.names == made.names
            assert schema.key == made.key
            assert [found.nullable for found in schema.stored] == [told.nullable for told in made.stored]
            for told, wanted in zip(schema.stored, made.stored, strict=True):
                assert told.type.arrow == wanted.type.arrow, told

    def test_discovers_the_key_in_the_keys_order(self) -> None:
        made = KEYED["composite"][0]
        _, schema = self.filled(made, [])
        assert schema.key == ("number", "label")
        assert schema.names == ("label", "number", "note")

    def test_a_table_without_a_key_has_a_problem(self) -> None:
        made = table("keyless", column("a", Kind.INT64), column("b", Kind.TEXT), key=())
        _, schema = self.filled(made, [])
        assert schema.key == ()
        assert schema.problem
        assert "\n" not in schema.problem

    @pytest.mark.parametrize(
        "name", ["with space", 'quo"ted', "UPPER", "select", "ümlaut", "per%cent", "a.b"]
    )
    def test_odd_names(self, name: str) -> None:
        made = table(name, identifier(name), column(f"{name}'s", Kind.TEXT), key=(name,))
        cells = [{name: number, f"{name}'s": f"note {number}"} for number in range(4)]
        store, schema = self.filled(made, [Insert(made, row) for row in cells])
        assert schema.names == made.names
        rows = [tuple(row.values()) for row in cells]
        assert everything(store, schema) == in_order(rows)
        spans = store.split(schema, 2)
        assert in_order(row for span in spans for row in read(store, schema, span)) == in_order(rows)
        assert store.read_keys(schema, keys_from(schema, [(2,)])).tuples() == [rows[2]]
        assert store.digest(schema, Span(), CANONICAL).count == 4

    def test_an_empty_table_is_one_open_span(self) -> None:
        store, schema = self.filled(ITEMS, [])
        assert list(store.split(schema, 10)) == [Span()]
        assert everything(store, schema) == []
        assert store.digest(schema, Span(), CANONICAL) == Digest()

    @pytest.mark.parametrize("rows", [1, 2, 3, 7, 1000])
    @pytest.mark.parametrize("kind", KEYED)
    def test_spans_are_disjoint_and_complete(self, kind: str, rows: int) -> None:
        made, keys, later = KEYED[kind]
        store, schema = self.filled(made, keyed(made, keys))
        spans = store.split(schema, rows)
        check_spans(spans)
        assert [Span.from_json(span.to_json()) for span in spans] == list(spans)
        if rows < len(keys):
            assert len(spans) > 1
        assert whole(store, schema, spans) == in_order(self.database.rows(made))
        self.database.execute([*keyed(made, later), Delete(made, keys[3])])
        assert whole(store, schema, spans) == in_order(self.database.rows(made))

    def test_a_span_holds_its_lower_end_and_not_its_upper(self) -> None:
        made, keys, _ = KEYED["negative"]
        store, schema = self.filled(made, keyed(made, keys))
        spans = store.split(schema, 4)
        first, second = (read(store, schema, span) for span in spans[:2])
        assert max(row[0] for row in first) < min(row[0] for row in second)
        self.database.execute([Update(made, (row[0],), {"note": "changed"}) for row in [min(second)]])
        assert read(store, schema, spans[0]) == first
        assert ("changed") in [row[1] for row in read(store, schema, spans[1])]

    def test_reads_values_as_the_database_has_them(self) -> None:
        inserts = [
            item(1, name=None, ratio=0.1, flag=None, raw=None),
            item(2, name="", ratio=-0.5, raw=b""),
            item(3, name="line\nbreak\ttab \\ back 'quote' \"double\"", ratio=1e300),
            item(4, name="ünïcödé 中文 🚀", amount=-(2**31), raw=bytes(range(256))),
            item(-(2**63), name="\\N", amount=2**31 - 1),
        ]
        store, schema = self.filled(ITEMS, inserts)
        rows = everything(store, schema)
        assert rows == in_order(self.database.rows(ITEMS))
        assert rows == in_order(tuple(insert.cells[name] for name in ITEMS.names) for insert in inserts)
        for rows_read in store.read(schema, Span()):
            for at, made in enumerate(schema.stored):
                assert rows_read.arrays[at].type == made.type.arrow
                assert rows_read.unsent[at] is None

    def test_reads_in_pieces(self) -> None:
        inserts = [item(number, name=f"{number:04d}" * 500) for number in range(100)]
        store, schema = self.filled(ITEMS, inserts)
        parts = list(store.read(schema, Span(), max_bytes=20_000))
        assert len(parts) >= 5
        assert all(0 < rows.count <= 50 for rows in parts)
        assert in_order(row for rows in parts for row in rows.tuples()) == in_order(self.database.rows(ITEMS))

    def test_a_reading_can_be_left_in_the_middle(self) -> None:
        inserts = [item(number, name="x" * 2000) for number in range(50)]
        store, schema = self.filled(ITEMS, inserts)
        pieces = store.read(schema, Span(), max_bytes=5_000)
        assert next(iter(pieces)).count < 50
        del pieces
        assert len(everything(store, schema)) == 50

    def test_reads_every_format_it_offers(self) -> None:
        store, schema = self.filled(ITEMS, [item(number) for number in range(20)])
        assert store.capabilities.formats[-1] == ARROW
        assert store.capabilities.digests[-1] == CANONICAL
        for wire in store.capabilities.formats:
            parts = list(store.read(schema, Span(), format=wire, max_bytes=500))
            assert {rows.format for rows in parts} == {wire}
            assert sum(rows.count for rows in parts) == 20

    def test_reads_rows_by_key(self) -> None:
        store, schema = self.filled(ITEMS, [item(number) for number in range(10)])
        rows = store.read_keys(schema, keys_from(schema, [(7,), (3,), (99,), (-1,)]))
        assert rows.columns == schema.names
        assert in_order(rows.tuples()) == in_order([item_row(3), item_row(7)])
        assert store.read_keys(schema, keys_from(schema, [(99,)])).count == 0

    def test_reads_rows_by_composite_key(self) -> None:
        store, schema = self.filled(PARTS, [part(n, label, n) for n in (1, 2) for label in ("a", "b")])
        rows = store.read_keys(schema, keys_from(schema, [(1, "b"), (2, "a"), (2, "c"), (3, "a")]))
        assert in_order(rows.tuples()) == in_order([(1, "b", 1), (2, "a", 2)])

    def test_reads_many_rows_by_key(self) -> None:
        store, schema = self.filled(PARTS, [part(number, "x") for number in range(3000)])
        rows = store.read_keys(schema, keys_from(schema, [(number, "x") for number in range(1, 5000, 2)]))
        assert sorted(row[0] for row in rows.tuples()) == list(range(1, 3000, 2))

    def test_digests_of_spans_add_up(self) -> None:
        made, keys, _ = KEYED["composite"]
        store, schema = self.filled(made, keyed(made, keys))
        for scheme in store.capabilities.digests:
            wanted = store.digest(schema, Span(), scheme)
            assert wanted.count == len(keys)
            parts = [store.digest(schema, span, scheme) for span in store.split(schema, 3)]
            assert sum(parts, Digest()) == wanted

    def test_a_digest_tells_one_changed_cell(self) -> None:
        store, schema = self.filled(ITEMS, [item(number) for number in range(5)])
        seen = {scheme: {store.digest(schema, Span(), scheme)} for scheme in store.capabilities.digests}
        changes: list[dict[str, Any]] = [
            {"name": ""},
            {"name": None},
            {"name": "null"},
            {"name": "-"},
            {"amount": -1},
            {"ratio": 0.0},
            {"ratio": 0.1},
            {"flag": None},
            {"flag": True},
            {"raw": None},
            {"raw": b""},
            {"raw": b"-"},
            {"id": 99},
        ]
        for count, cells in enumerate(changes, start=2):
            self.database.execute([Update(ITEMS, (3,), cells)])
            for scheme, digests in seen.items():
                digests.add(store.digest(schema, Span(), scheme))
                assert len(digests) == count, f"{scheme} does not tell {cells}"

    def test_a_digest_tells_cells_that_changed_places(self) -> None:
        made = table("pair", identifier(), column("a", Kind.TEXT), column("b", Kind.TEXT))
        store, schema = self.filled(made, [Insert(made, {"id": 1, "a": "x", "b": "yz"})])
        for scheme in store.capabilities.digests:
            seen = {store.digest(schema, Span(), scheme)}
            for cells in ({"a": "yz", "b": "x"}, {"a": "xy", "b": "z"}, {"a": "", "b": "xyz"}):
                self.database.execute([Update(made, (1,), cells)])
                seen.add(store.digest(schema, Span(), scheme))
            assert len(seen) == 4, scheme
            self.database.execute([Update(made, (1,), {"a": "x", "b": "yz"})])

    def test_a_digest_does_not_depend_on_the_order_of_rows(self) -> None:
        store, schema = self.filled(ITEMS, [item(number) for number in range(20)])
        wanted = {scheme: store.digest(schema, Span(), scheme) for scheme in store.capabilities.digests}
        self.database.execute([Delete(ITEMS, (number,)) for number in range(20)])
        for number in reversed(range(20)):
            self.database.execute([item(number)])
        for scheme, digest in wanted.items():
            assert store.digest(schema, Span(), scheme) == digest

    def test_the_canonical_digest_is_that_of_the_rows(self) -> None:
        store, schema = self.filled(ITEMS, [item(number) for number in range(20)])
        rows = Rows.of(
            schema.names,
            [
                pa.array(cells, made.type.arrow)
                for made, cells in zip(
                    schema.stored, zip(*self.database.rows(ITEMS), strict=True), strict=True
                )
            ],
        )
        assert store.digest(schema, Span(), CANONICAL) == digest_rows(schema, [rows])

    def test_sequences_tell_the_last_number_given(self) -> None:
        made = table("numbered", identifier_column(), column("note", Kind.TEXT))
        store, schema = self.filled(made, [])
        assert schema.column("id").identity
        assert all(isinstance(number, int) for number in store.sequences(schema).values())
        self.database.execute([Insert(made, {"note": "x"}) for _ in range(3)])
        highest = max(row[0] for row in self.database.rows(made))
        assert store.sequences(schema) == {"id": highest}

    def test_a_table_without_identity_has_no_sequences(self) -> None:
        store, schema = self.filled(PARTS, [part(1, "a")])
        assert store.sequences(schema) == {}


def identifier_column() -> Column:
    """A key that the database numbers."""
    return column("id", Kind.INT64, nullable=False, identity=True)


def read(store: Store, schema: Schema, span: Span) -> list[Row]:
    """The rows of a span."""
    return in_order(row for rows in store.read(schema, span) for row in rows.tuples())


def whole(store: Store, schema: Schema, spans: Sequence[Span]) -> list[Row]:
    """The rows of all spans, each as often as it is read."""
    return in_order(row for span in spans for row in read(store, schema, span))


def check_spans(spans: Sequence[Span]) -> None:
    """Spans follow on one another and are open at both ends."""
    assert spans[0].lower is None
    assert spans[-1].upper is None
    for one, next_one in itertools.pairwise(spans):
        assert one.upper == next_one.lower
        assert one.upper is not None

"""Values of every canonical type into MariaDB and MySQL and back, found and shrunk by hypothesis: by LOAD
DATA and by literals; equal, or Unfit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services import Server
from syncline.connector import Claim
from syncline.connectors.mysql.target import MysqlTarget
from syncline.errors import Unfit
from syncline.model import (
    Column,
    Identity,
    Kind,
    Mark,
    Position,
    Rows,
    Schema,
    Span,
    State,
    TableName,
    TableState,
    Type,
)
from syncline.testing.conformance.stage import keys_from, rows_from
from tests import mysql_family

STREAM = "syncline_types"
texts = st.text(st.characters(exclude_categories=["Cs"]))
digits = st.decimals(allow_nan=False, allow_infinity=False).map(lambda value: format(value, "f"))


def plain_floats(width: int) -> st.SearchStrategy[float]:
    """Finite floats, of the zeros only the plain one."""
    finite = st.floats(width=width, allow_nan=False, allow_infinity=False)
    return finite.map(lambda value: value + 0.0)


clocks = st.times().map(lambda value: _short(value.isoformat()))
moments = st.datetimes().map(lambda value: _short(value.isoformat(" ")))


def _short(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def whole(bits: int, low: int) -> st.SearchStrategy[int]:
    """Integers of so many bits, with the ends."""
    return st.integers(low, low + (1 << bits) - 1)


VALUES: dict[str, tuple[Type, st.SearchStrategy[Any]]] = {
    "bool": (Type(Kind.BOOL), st.booleans()),
    **{f"int{n}": (Type(Kind(f"int{n}")), whole(n, -(1 << n - 1))) for n in (8, 16, 32, 64)},
    **{f"uint{n}": (Type(Kind(f"uint{n}")), whole(n, 0)) for n in (8, 16, 32, 64)},
    "decimal": (
        Type(Kind.DECIMAL),
        digits | st.sampled_from(("NaN", "Infinity", "-Infinity", "1.10", "0.00")),
    ),
    "decimal_65": (
        Type(Kind.DECIMAL, precision=65, scale=30),
        st.decimals(places=30, min_value=-(10**34), max_value=10**34, allow_nan=False).map(
            lambda value: format(value if value else value.copy_abs(), "f")
        ),
    ),
    "float32": (Type(Kind.FLOAT32), plain_floats(32)),
    "float64": (Type(Kind.FLOAT64), plain_floats(64)),
    "text": (Type(Kind.TEXT), texts),
    "text_20": (Type(Kind.TEXT, length=20), st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
    "bytes": (Type(Kind.BYTES), st.binary()),
    "bytes_9": (Type(Kind.BYTES, length=9), st.binary(max_size=9)),
    "date": (Type(Kind.DATE), st.dates().map(str)),
    "time": (Type(Kind.TIME), clocks | st.just("24:00:00")),
    "timestamp": (Type(Kind.TIMESTAMP), moments),
    "timestamptz": (Type(Kind.TIMESTAMPTZ), moments.map(lambda text: text + "+00")),
    "interval": (Type(Kind.INTERVAL), st.sampled_from(("P1M-1DT-0.5S", "PT0S", "-P1Y"))),
    "uuid": (Type(Kind.UUID), st.uuids().map(str)),
    "json": (Type(Kind.JSON), st.sampled_from(('{"b": 1.10, "a": [null]}', "[1,  1.0, 1e400]", '"\\u0000"'))),
    "enum": (Type(Kind.ENUM, labels=("a", "A ", "é"), system="postgres", name="m"), st.sampled_from("aAé")),
    "array": (Type(Kind.ARRAY, element=Type(Kind.TEXT)), texts),
    "opaque": (Type(Kind.OPAQUE, system="postgres", name="int4range"), texts),
    "point": (
        Type(Kind.OPAQUE, system="mysql", name="point"),
        st.tuples(st.binary(min_size=8, max_size=8), st.sampled_from(("00000000", "e6100000"))).map(
            lambda drawn: f"{drawn[1]}0101000000{bytes(8).hex()}0000000000{drawn[0][:1].hex()}f03f"[:50]
        ),
    ),
    "set": (Type(Kind.TEXT, system="mysql", name="set('a','b')"), st.sampled_from(("", "a", "b", "a,b"))),
    "year": (Type(Kind.INT16, system="mysql", name="year"), st.sampled_from((0, 1901, 2155))),
    "bits": (Type(Kind.UINT64, system="mysql", name="bit(64)"), whole(64, 0)),
    "hours": (
        Type(Kind.OPAQUE, system="mysql", name="time(6)"),
        st.sampled_from(("838:59:59.000000", "-838:59:59.000000", "-00:00:00.500000")),
    ),
    "zeros": (
        Type(Kind.OPAQUE, system="mysql", name="datetime"),
        st.sampled_from(("0000-00-00 00:00:00", "2024-00-00 00:00:00", "2024-02-00 01:00:00")),
    ),
}
KEYED = [name for name in VALUES if name not in ("point", "json", "set", "decimal")]


class Stage:
    """A stream into a database of its own, with a table a type."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.target = MysqlTarget(url)
        self._claim = self.target.claim(STREAM)
        with self.target.begin(self._claim, Mark(STREAM, {})) as apply:
            apply.start(Identity("test", "test", "test"), Position("p"))
            apply.commit()
        self._claim = replace(self._claim, position=Position("p"))

    def made(self, name: str, *, keyed: bool) -> TableState:
        """The type's table, as the value beside a number or as the key."""
        value = Column("v", VALUES[name][0], nullable=not keyed)
        columns = (Column("id", Type(Kind.INT64), nullable=False), value)
        system = VALUES[name][0].system or "postgres"
        table = TableName(f"{'k' if keyed else 'v'}_{name}")
        schema = Schema(table, columns, ("v",) if keyed else ("id",), system)
        assert not self.target.refusals(schema)
        self.target.prepare(schema, aside=False)
        assert self.target.mismatch(schema) == ""
        return TableState(schema, State.LIVE, created=True)

    def write(self, state: TableState, how: str, rows: Rows) -> None:
        """All rows in the place of those that were there."""
        with self.target.begin(self._claim, Mark(STREAM, {})) as apply:
            apply.truncate([state])
            (apply.load if how == "load" else apply.upsert)(state, rows)
            apply.commit()

    @property
    def claim(self) -> Claim:
        """The stream's claim."""
        return self._claim

    def read(self, state: TableState) -> list[tuple[Any, ...]]:
        """All rows in the order of their ids."""
        parts = self.target.read(state.schema, Span())
        return sorted((row for rows in parts for row in rows.tuples()), key=lambda row: row[0])


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """One database a system for all types."""
    server: Server = request.getfixturevalue(f"{request.param}_server")
    server.start()
    name = f"types{os.getpid()}"
    mysql_family.run(server.url, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
    made = Stage(f"{server.url.rpartition('/')[0]}/{name}")
    yield made
    made.target.close()
    mysql_family.run(server.url, f"DROP DATABASE {name}")


examples = settings(
    max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True
)


@pytest.mark.parametrize("name", VALUES)
def test_values_come_back_as_they_were(stage: Stage, name: str) -> None:
    state = stage.made(name, keyed=False)

    @examples
    @given(st.lists(st.none() | VALUES[name][1], min_size=1, max_size=40))
    def check(values: Sequence[Any]) -> None:
        rows = list(enumerate(values))
        for how in ("load", "upsert"):
            stage.write(state, how, rows_from(state.schema, rows))
            assert repr(stage.read(state)) == repr(rows)

    check()


@pytest.mark.parametrize("name", KEYED)
def test_keys_are_told_apart_and_found(stage: Stage, name: str) -> None:
    state = stage.made(name, keyed=True)

    @examples
    @given(st.lists(VALUES[name][1], min_size=2, max_size=30, unique=True))
    def check(values: Sequence[Any]) -> None:
        rows = list(enumerate(values))
        stage.write(state, "upsert", rows_from(state.schema, rows))
        assert repr(stage.read(state)) == repr(rows)
        keys = keys_from(state.schema, [(value,) for value in values[::2]])
        assert len(stage.target.read_keys(state.schema, keys).tuples()) == len(keys.tuples())
        for span in stage.target.split(state.schema, 7):
            assert sum(part.count for part in stage.target.read(state.schema, span)) <= 7
        with stage.target.begin(stage.claim, Mark(STREAM, {})) as apply:
            apply.delete(state, keys)
            apply.commit()
        assert repr(stage.read(state)) == repr(rows[1::2])

    check()


UNFIT: list[tuple[str, Any]] = [
    ("float32", float("nan")),
    ("float64", float("inf")),
    ("decimal_65", "NaN"),
    ("decimal_65", "0.1234567890123456789012345678901"),
    ("decimal_65", "1" + "0" * 36),
    ("date", "infinity"),
    ("date", "0044-03-15 BC"),
    ("date", "10000-01-01"),
    ("date", "2023-02-29"),
    ("time", "23:59:59.1234567"),
    ("timestamp", "2024-02-30 00:00:00"),
    ("timestamptz", "-infinity"),
    ("text_20", "x" * 21),
    ("text_20", "x" * 19 + "  "),
    ("bytes_9", b"1234567890"),
    ("set", "c"),
    ("year", 1900),
    ("point", "00"),
]


@pytest.mark.parametrize(("name", "value"), UNFIT, ids=[f"{name}-{value!r:.12}" for name, value in UNFIT])
@pytest.mark.parametrize("how", ["load", "upsert"])
def test_what_would_be_changed_is_unfit(stage: Stage, name: str, value: Any, how: str) -> None:
    state = stage.made(name, keyed=False)
    before = stage.read(state)
    with pytest.raises(Unfit) as refusal:
        stage.write(state, how, rows_from(state.schema, [(1, None), (2, value)]))
    assert "\n" not in str(refusal.value)
    assert repr(stage.read(state)) == repr(before)


@pytest.mark.parametrize("how", ["load", "upsert"])
@pytest.mark.parametrize("name", ["float32", "float64"])
def test_a_zero_keeps_its_sign_or_is_unfit(stage: Stage, name: str, how: str) -> None:
    state = stage.made(name, keyed=False)
    rows = rows_from(state.schema, [(1, -0.0)])
    if stage.url.startswith("mariadb"):
        with pytest.raises(Unfit, match=r"-0\.0, which MariaDB stores as 0\.0"):
            stage.write(state, how, rows)
    else:
        stage.write(state, how, rows)
        assert repr(stage.read(state)) == "[(1, -0.0)]"

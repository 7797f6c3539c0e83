"""Casts: exact, or the row is refused; text of every type means the value that it was."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from syncline.engine.transform.cast import find_cast, parse_type
from syncline.engine.transform.mask import find_mask
from syncline.engine.transform.rules import Fixed, Hash, Mask, Null, Partial, Rules
from syncline.errors import Refused
from syncline.model import Column, Kind, Type
from tests.conftest import Databases
from tests.runs import sync
from tests.values import drawn_seed
from tests.values.filled import FilledPostgres
from tests.values.sorts import ARRAYS, OWN, SCALARS, Sort

LOST = object()
BIG = 18446744073709551615


def kind(name: str) -> Type:
    return Type(Kind(name), system="postgres", name="point") if name == "opaque" else Type(Kind(name))


CASES: list[tuple[str, str, list[Any], list[Any]]] = [
    ("decimal", "text", ["1.10", "NaN", None], ["1.10", "NaN", None]),
    ("float64", "text", [1.5, -0.0, float("nan"), float("-inf")], ["1.5", "-0", "NaN", "-Infinity"]),
    ("bytes", "text", [b"hi", b"", None], ["\\x6869", "\\x", None]),
    ("bool", "text", [True, False, None], ["true", "false", None]),
    ("uint64", "text", [BIG], [str(BIG)]),
    ("opaque", "text", ["(1,2)"], ["(1,2)"]),
    ("decimal", "decimal(10,2)", ["1.1", "1.100", "1.101", "NaN"], ["1.10", "1.10", LOST, "NaN"]),
    ("decimal", "decimal(10,2)", ["Infinity", "99999999.99"], [LOST, "99999999.99"]),
    ("decimal", "decimal(10,2)", ["100000000", "-0.5"], [LOST, "-0.50"]),
    ("decimal", "int8", ["1.00", "1.5", "127", "128", "-128", "-129"], [1, LOST, 127, LOST, -128, LOST]),
    ("decimal", "uint64", [str(BIG), str(BIG + 1), "-1"], [BIG, LOST, LOST]),
    ("text", "int64", ["1", "01", "x", str(BIG), "-0", None], [1, LOST, LOST, LOST, LOST, None]),
    ("int64", "int16", [32767, 32768, -32769], [32767, LOST, LOST]),
    ("int64", "float64", [1, 2**53, 2**53 + 1], [1.0, 2.0**53, LOST]),
    ("uint64", "float64", [BIG, 5], [LOST, 5.0]),
    ("int32", "float32", [1 << 24, (1 << 24) + 1], [float(1 << 24), LOST]),
    ("float64", "float32", [1.5, 0.1, 1e300], [1.5, LOST, LOST]),
    ("int16", "bool", [0, 1, 2, None], [False, True, LOST, None]),
    ("text", "bool", ["true", "yes"], [True, LOST]),
    ("bool", "int64", [True, None], [1, None]),
    ("text", "decimal", ["1.10", "1e5", "NaN", ""], ["1.10", LOST, "NaN", LOST]),
    ("date", "timestamp", ["2024-01-01", "infinity"], ["2024-01-01 00:00:00", "infinity"]),
    ("date", "timestamp", ["0044-03-15 BC"], ["0044-03-15 00:00:00 BC"]),
    ("text", "date", ["2024-01-01", "2024-1-1", "infinity"], ["2024-01-01", LOST, "infinity"]),
    ("text", "timestamptz", ["2024-01-01 00:00:00+00"], ["2024-01-01 00:00:00+00"]),
    ("text", "timestamptz", ["2024-01-01 00:00:00", "yesterday"], [LOST, LOST]),
    ("text", "uuid", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"], ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("text", "uuid", ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "x"], [LOST, LOST]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "wanted", "cells", "made"), CASES)
def test_a_cell_is_exact_or_refused(source: str, wanted: str, cells: list[Any], made: list[Any]) -> None:
    cast = find_cast(kind(source), parse_type(wanted))
    assert cast is not None
    found, bad = cast(pa.array(cells, kind(source).arrow))
    assert found.type == parse_type(wanted).arrow
    assert [
        LOST if lost else cell for cell, lost in zip(found.to_pylist(), bad.to_pylist(), strict=True)
    ] == made


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("decimal", "float64"),
        ("text", "float64"),
        ("float64", "int64"),
        ("timestamp", "date"),
        ("json", "date"),
    ],
)
def test_what_would_round_or_guess_is_no_cast(source: str, wanted: str) -> None:
    assert find_cast(kind(source), parse_type(wanted)) is None


@pytest.mark.parametrize("text", ["txt", "text(5)", "", "json", "array", "decimal(10,2", "int"])
def test_an_unknown_form_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(Refused, match="cannot read the type"):
        parse_type(text)


@pytest.mark.parametrize(
    ("mask", "name", "cells", "made"),
    [
        (Partial(last=2), "text", ["5551234", "ab", None, ""], ["*****34", "**", None, ""]),
        (Partial(1, 1), "text", ["äöüß", "ä"], ["ä**ß", "*"]),
        (Null(), "int64", [1, None], [None, None]),
        (Fixed("x"), "text", ["a", None], ["x", None]),
        (Fixed(5), "int32", [1, None], [5, None]),
        (Fixed(True), "bool", [False], [True]),
        (Fixed("1.50"), "decimal", ["7"], ["1.50"]),
        (Fixed("2024-01-01"), "date", ["1999-01-01"], ["2024-01-01"]),
    ],
)
def test_masks(mask: Mask, name: str, cells: list[Any], made: list[Any]) -> None:
    found = find_mask(mask, Column("c", kind(name)))
    assert not isinstance(found, str)
    column, masking = found
    assert masking(pa.array(cells, kind(name).arrow)).to_pylist() == made
    assert column.type.arrow == pa.array(made, column.type.arrow).type


def test_a_hash_is_one_to_one_and_of_its_key() -> None:
    """RFC 4231, test case 2."""
    found = find_mask(Hash(b"Jefe"), Column("c", Type(Kind.TEXT)))
    assert not isinstance(found, str)
    (digest, nothing, other) = found[1](pa.array(["what do ya want for nothing?", None, "x"])).to_pylist()
    assert digest == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert nothing is None
    assert len(other) == 64
    assert other != digest
    assert "Jefe" not in repr(Rules(mask={"c": Hash(b"Jefe")})) + Rules(mask={"c": Hash(b"Jefe")}).told()
    assert Rules(mask={"c": Hash(b"Jefe")}).told() != Rules(mask={"c": Hash(b"other")}).told()


@pytest.mark.parametrize(
    ("mask", "name"), [(Partial(1), "int64"), (Fixed("x"), "int64"), (Fixed(1), "text"), (Fixed(1), "bool")]
)
def test_a_mask_that_does_not_fit_its_column_says_so(mask: Mask, name: str) -> None:
    assert isinstance(find_mask(mask, Column("c", kind(name))), str)


SORTS = (*SCALARS, *ARRAYS, *OWN)
AS_TEXT = {"v_*": Rules(cast={"v": "text"})}


def test_text_of_every_type_means_its_value(
    postgres_database: Databases, postgres_b_database: Databases, tmp_path: Path
) -> None:
    """Copied and streamed as text, each value is read by its own type again, and is the one that it was."""
    rng = Random(drawn_seed())
    source = FilledPostgres(postgres_database(), SORTS, 60, rng, keyed=False, plain=False)
    target, file = postgres_b_database(), tmp_path / "t.db"
    for url in (target, f"sqlite:///{file}"):
        report = sync(source.url, url, rules=AS_TEXT, exclude=["held.*"], after={"read": source.release})
        assert {str(t.table): str(t.verdict) for t in report.tables if t.verdict != "equal"} == {}
    with (
        psycopg.connect(source.url) as here,
        psycopg.connect(target) as there,
        sqlite3.connect(file) as sqlite,
    ):
        for sort in SORTS:
            query = f'SELECT n, v FROM "{source.table(sort)}"'
            for found in (there.execute(query.encode()).fetchall(), sqlite.execute(query).fetchall()):
                assert differing(here, source.table(sort), sort, found) == [], sort.name


def differing(here: psycopg.Connection[Any], table: str, sort: Sort, found: list[Any]) -> list[Any]:
    """The rows whose text does not mean the source's value."""
    here.execute("CREATE TEMP TABLE IF NOT EXISTS came (n bigint PRIMARY KEY, v text)")
    here.execute("TRUNCATE came")
    with here.cursor().copy("COPY came FROM STDIN") as copy:
        for row in found:
            copy.write_row(row)
    query = sql.SQL(
        "SELECT n, came.v, t.v::text FROM came FULL JOIN {} AS t USING (n)"
        " WHERE came.n IS NULL OR t.n IS NULL OR came.v::{}::text IS DISTINCT FROM t.v::text"
    )
    return here.execute(query.format(sql.Identifier(table), sql.SQL(sort.type))).fetchall()

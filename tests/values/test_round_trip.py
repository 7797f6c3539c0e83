"""Every type's values there and back by the real pipeline: equal by the oracle, or refused by name.

Half of the rows are in the tables when the copy begins; the others are written once a table's first span is
read and before its goal, so that they come by the stream alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from random import Random

import psycopg
import pytest

from syncline.engine.report import Report, Verdict
from tests.oracle import compare
from tests.runs import connector, sync

from . import drawn_seed
from .filled import FilledPostgres, FilledSqlite
from .sorts import ALL, ARRAYS, MADE_BY_HAND, OWN, SYSTEM

ROWS = 240
DEEP_ROWS = 10_000

Databases = Callable[[], str]


def prepared(url: str) -> str:
    """A target with the types that Syncline does not make."""
    with psycopg.connect(url) as connection:
        connection.execute(MADE_BY_HAND.encode())
    return url


def check_verdicts(report: Report, refused: frozenset[str] = frozenset()) -> None:
    """Every table is equal by the run's own comparison, but for those that are refused by name."""
    others = [f"{table.table}: {table.verdict} {table.detail}" for table in report.tables]
    skipped = {str(table.table) for table in report.tables if table.verdict is Verdict.SKIPPED}
    assert [other for other in others if not re.search(": (equal|skipped)", other)] == []
    assert skipped == refused


def judge(a: str, b: str, tables: int, without: Iterable[str] = ()) -> None:
    """Equal by the oracle, which has seen rows of every table."""
    counted: dict[str, int] = {}
    assert [str(found) for found in compare(a, b, exclude=["held*", *without], counted=counted)] == []
    assert len(counted) == tables
    assert all(counted.values())


@pytest.fixture(
    params=[pytest.param(ROWS, id="few"), pytest.param(DEEP_ROWS, marks=pytest.mark.deep, id="many")]
)
def rows(request: pytest.FixtureRequest) -> int:
    """How many values a type has."""
    return int(request.param)


@pytest.mark.parametrize("keyed", [False, True], ids=["values", "keys"])
def test_postgres_to_postgres(
    keyed: bool, rows: int, postgres_database: Databases, postgres_b_database: Databases
) -> None:
    sorts = [sort for sort in ALL if sort.key or not keyed]
    source, target = postgres_database(), prepared(postgres_b_database())
    filled = FilledPostgres(source, sorts, rows, Random(drawn_seed()), keyed=keyed, plain=False)
    report = sync(
        source,
        target,
        exclude=("held.*",),
        after={"read": filled.release},
        span_rows=rows // 4 if keyed else 1 << 20,
    )
    check_verdicts(report)
    judge(source, target, len(sorts))


@pytest.mark.parametrize("keyed", [False, True], ids=["values", "keys"])
def test_postgres_to_sqlite_to_postgres(
    keyed: bool, rows: int, postgres_database: Databases, postgres_b_database: Databases, tmp_path: Path
) -> None:
    sorts = [sort for sort in ALL if sort.key or not keyed]
    source, back = postgres_database(), prepared(postgres_b_database())
    between = f"sqlite:///{tmp_path}/between.db"
    filled = FilledPostgres(source, sorts, rows, Random(drawn_seed()), keyed=keyed, plain=True)
    there = sync(source, between, exclude=("held.*",), after={"read": filled.release})
    check_verdicts(there)
    judge(source, between, len(sorts))
    again = FilledSqlite(f"{tmp_path}/between.db")
    report = sync(between, back, after={"read": again.release})
    # SQLite's JSON is PostgreSQL's json, which keeps the text and knows no order.
    refused = frozenset({"k_jsonb", "k_docs"} if keyed else ())
    check_verdicts(report, refused)
    judge(between, back, len(sorts) - len(refused), refused)
    judge(source, back, len(sorts) - len(refused), refused)
    if not keyed:
        check_types(source, back)


@pytest.mark.parametrize(
    ("system", "keyed"),
    [
        pytest.param("mariadb", False, id="mariadb-values"),
        pytest.param("mysql", True, id="mysql-keys"),
        pytest.param("mariadb", True, id="mariadb-keys", marks=pytest.mark.deep),
        pytest.param("mysql", False, id="mysql-values", marks=pytest.mark.deep),
    ],
)
def test_postgres_to_mysql(
    system: str, keyed: bool, rows: int, postgres_database: Databases, request: pytest.FixtureRequest
) -> None:
    """What differs is parked, row by row: days before Christ, infinities, keys that are too long."""
    sorts = [sort for sort in ALL if sort.key or not keyed]
    make: Databases = request.getfixturevalue(f"{system}_database")
    source, target = postgres_database(), make()
    filled = FilledPostgres(source, sorts, rows, Random(drawn_seed()), keyed=keyed, plain=True)
    report = sync(source, target, exclude=("held.*",), after={"read": filled.release})
    verdicts = {str(table.table): table.verdict for table in report.tables}
    assert set(verdicts.values()) <= {Verdict.EQUAL, Verdict.PARKED}
    with closing(connector(target).target(target)) as ours:
        parked = Counter(entry.table.name for entry in ours.parked(report.stream))
    counted: dict[str, int] = {}
    different: Counter[str] = Counter()
    for found in compare(source, target, exclude=["held*"], counted=counted):
        more = re.search(r"and ([\d,]+) more", found.detail) if found.what == "more" else None
        different[found.table] += int(more[1].replace(",", "")) if more else 1
    assert different == parked
    assert len(counted) == len(sorts)


def check_types(source: str, back: str) -> None:
    """Arrays and opaque types come back as the types they were; an element whose canonical kind says less
    than PostgreSQL's name of it comes back as that kind's type."""
    before, after = types_of(source), types_of(back)
    same = {f"v_{sort.name}" for sort in OPAQUE_OR_ARRAY} - COARSER.keys()
    assert {table: after[table] for table in same} == {table: before[table] for table in same}
    assert {table: after[table] for table in COARSER} == COARSER


OPAQUE_OR_ARRAY = (
    *ARRAYS,
    *SYSTEM,
    *(sort for sort in OWN if sort.name in ("pair", "nest", "hstore", "words")),
)
COARSER = {
    "v_tags": "text[]",
    "v_chars": "character varying(6)[]",
    "v_numerics": "numeric[]",
    "v_moods": "text[]",
    "v_odds": "text[]",
    "v_feelings": "text[]",
    "v_smalls": "integer[]",
    "v_docs": "json[]",
}


def types_of(url: str) -> dict[str, str]:
    """The type of `v` in every table, as PostgreSQL says it."""
    query = """SELECT attrelid::regclass::text, format_type(atttypid, atttypmod) FROM pg_attribute
               WHERE attname = 'v' AND attrelid::regclass::text LIKE 'v\\_%'"""
    with psycopg.connect(url) as connection:
        return dict(connection.execute(query.encode()).fetchall())

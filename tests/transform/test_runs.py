"""Whole runs through rules, between real servers: copied, followed, killed, compared."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from syncline import failpoints
from syncline.connectors.postgres import connection
from syncline.engine import awake
from syncline.engine.check import Check
from syncline.engine.report import Options
from syncline.engine.transform.rules import Fixed, Hash, Null, Partial, Rules
from syncline.errors import Refused
from syncline.model import Deletes
from tests.conftest import Databases
from tests.runs import Following, Notices, connector, execute, pipeline, sync, value, verdicts, wait_for

ORDERS = """CREATE TABLE orders (
    id bigint PRIMARY KEY, status text NOT NULL, total numeric(10,2), ratio double precision,
    placed timestamptz, big text);
    ALTER TABLE orders ALTER big SET STORAGE EXTERNAL"""
FILL = """INSERT INTO orders SELECT n, CASE n % 3 WHEN 0 THEN 'draft' ELSE 'open' END, n * 1.10,
    CASE WHEN n % 7 = 0 THEN 'NaN' WHEN n % 5 = 0 THEN '-0' ELSE n::float8 / 8 END,
    timestamptz '2024-01-01' + n * interval '1 second', repeat(md5(n::text), 200)
    FROM generate_series(1, 40) n"""
FILTER = "status <> 'draft' AND total > 5"
ALL = "SELECT id, status, total, big FROM orders ORDER BY id"
PASSING = f"SELECT id, status, total, big FROM orders WHERE {FILTER} ORDER BY id"
FUNCTIONS = "tests.transform.functions"


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    failpoints.arm("")


@pytest.fixture
def pair(postgres_database: Databases, postgres_b_database: Databases) -> tuple[str, str]:
    return postgres_database(), postgres_b_database()


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def live(target: str) -> bool:
    try:
        return value(target, "SELECT bool_and(state = 'live') FROM syncline.tables") is True
    except psycopg.errors.UndefinedTable:
        return False


def test_a_float_kept_as_text_survives_in_sqlite(postgres_database: Databases, tmp_path: Path) -> None:
    source, target = postgres_database(), f"sqlite:///{tmp_path}/t.db"
    execute(source, ORDERS, FILL)
    report = sync(source, target, rules={"orders": Rules(cast={"ratio": "text"})})
    assert verdicts(report) == {"orders": "equal"}
    with closing(sqlite3.connect(tmp_path / "t.db")) as file:
        found = dict(file.execute("SELECT id, ratio FROM orders").fetchall())
    assert (found[7], found[5], found[1]) == ("NaN", "-0", "0.125")


def test_rows_enter_and_leave_a_filter(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, ORDERS, FILL)
    rules = {"orders": Rules(where=FILTER)}
    with Following(source, target, rules=rules) as run:
        wait_for(lambda: live(target), "the copy")
        change(source)
        wait_for(lambda: rows(source, PASSING) == rows(target, ALL), "every change")
        assert run.error is None
    assert verdicts(sync(source, target, rules=rules)) == {"orders": "equal"}
    assert rows(source, PASSING) == rows(target, ALL)


def change(source: str) -> None:
    """Into the filter and out of it, in every way; `big` is unsent wherever it stays as it was."""
    execute(source, "UPDATE orders SET status = 'draft' WHERE id IN (7, 8)")
    execute(source, "UPDATE orders SET status = 'open' WHERE id IN (6, 9)")
    execute(source, "UPDATE orders SET total = 1 WHERE id = 10", "DELETE FROM orders WHERE id = 11")
    execute(source, "UPDATE orders SET total = NULL WHERE id = 16")
    execute(source, "UPDATE orders SET id = 113 WHERE id = 13")
    execute(source, "UPDATE orders SET id = 114, status = 'draft' WHERE id = 14")
    execute(source, "UPDATE orders SET id = 112, status = 'open' WHERE id = 12")
    execute(
        source, "DELETE FROM orders WHERE id = 17", "UPDATE orders SET id = 17, status = 'open' WHERE id = 18"
    )
    execute(
        source, "INSERT INTO orders VALUES (200, 'open', 6, 1, now(), 'x'), (201, 'draft', 6, 1, now(), 'x')"
    )


def test_an_unsent_cell_of_a_filter_is_read_again(pair: tuple[str, str]) -> None:
    """PostgreSQL does not send a big value that stays as it was, and the filter asks for it (Race 3)."""
    source, target = pair
    execute(source, ORDERS, FILL)
    rules = {"orders": Rules(where="big LIKE '%a%' AND status <> 'draft'")}
    passing = PASSING.replace(FILTER, rules["orders"].where)
    with Following(source, target, rules=rules):
        wait_for(lambda: live(target), "the copy")
        assert len(rows(target, ALL)) > 20
        change(source)
        execute(source, "UPDATE orders SET big = 'bbb' WHERE id IN (19, 20)")
        wait_for(lambda: rows(source, passing) == rows(target, ALL), "every change")
        execute(source, "TRUNCATE orders")
        wait_for(lambda: rows(target, ALL) == [], "the truncate")
    assert verdicts(sync(source, target, rules=rules)) == {"orders": "equal"}


SHOP = """CREATE TABLE customers (
    id int PRIMARY KEY, email text NOT NULL UNIQUE, phone text, city text NOT NULL, note text, secret bytea);
    CREATE TABLE orders (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, customer int NOT NULL REFERENCES customers,
    total numeric(10,2) NOT NULL DEFAULT 0, note text,
    doubled numeric GENERATED ALWAYS AS (total * 2) STORED);
    CREATE INDEX by_total ON orders (total);
    CREATE INDEX by_note ON orders (lower(note));
    INSERT INTO customers SELECT n, n || '@x', '555' || n, 'Bonn', 'n', 'x' FROM generate_series(1, 20) n;
    INSERT INTO orders (customer, total) SELECT n, n FROM generate_series(1, 20) n"""
MASKED = {
    "customers": Rules(
        rename="crm.people",
        exclude_columns=("secret",),
        rename_columns={"id": "person"},
        mask={"email": Hash(b"key"), "phone": Partial(last=2), "city": Fixed("x"), "note": Null()},
        constants={"origin": "shop", "version": 3},
        synced_at="_synced_at",
    ),
    "orders": Rules(rename_columns={"total": "amount", "customer": "person"}),
}


def test_a_row_is_read_again_once_a_batch(pair: tuple[str, str]) -> None:
    """However often the log tells it within one."""
    source, target = pair
    execute(source, ORDERS, FILL)
    rules = {"orders": Rules(where="big LIKE '%a%'")}
    with Following(source, target, rules=rules):
        wait_for(lambda: live(target), "the copy")
    for total in (1, 2):
        execute(source, f"UPDATE orders SET total = {total} WHERE id < 5")
    assert verdicts(sync(source, target, rules=rules)) == {"orders": "equal"}
    assert rows(source, PASSING.replace(FILTER, rules["orders"].where)) == rows(target, ALL)


def test_masks_names_and_constants(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, SHOP)
    with Following(source, target, rules=MASKED) as run:
        wait_for(lambda: live(target), "the copy")
        execute(
            source, "UPDATE customers SET phone = '1234' WHERE id = 1", "INSERT INTO orders VALUES (99, 2, 7)"
        )
        wait_for(
            lambda: value(target, "SELECT phone FROM crm.people WHERE person = 1") == "**34", "the change"
        )
    copied = run.pipeline.report
    report = sync(source, target, rules=MASKED, tables=["customers", "orders"])
    assert {str(t.source): (str(t.target), str(t.verdict)) for t in report.tables} == {
        "customers": ("crm.people", "equal"),
        "orders": ("orders", "equal"),
    }
    assert "orders: index by_note is not made under its rules at the target" in copied.notes
    (person,) = rows(target, "SELECT * FROM crm.people WHERE person = 2")
    assert person[2:-1] == ("**52", "x", None, "shop", 3)
    assert len(person[1]) == 64
    assert person[-1] is not None
    columns = """SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute
                 WHERE attrelid = '{}'::regclass AND attnum > 0"""
    assert (
        value(target, columns.format("crm.people"))
        == "person email phone city note origin version _synced_at"
    )
    assert value(target, columns.format("orders")) == "id person amount note"
    keys = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f'"
    assert value(target, keys) == "FOREIGN KEY (person) REFERENCES crm.people(person)"
    indexes = """SELECT string_agg(indexdef, ' ' ORDER BY indexname) FROM pg_indexes
                 WHERE tablename IN ('orders', 'people')"""
    defined = str(value(target, indexes))
    assert "(amount)" in defined
    assert "lower" not in defined
    assert "UNIQUE INDEX customers_email_key ON crm.people USING btree (email)" in defined


@pytest.mark.parametrize("mode", [Deletes.MARK, Deletes.IGNORE])
def test_deleted_rows_stay(pair: tuple[str, str], mode: Deletes) -> None:
    source, target = pair
    execute(source, ORDERS, FILL)
    rules = {"orders": Rules(deletes=mode, where="status <> 'gone'")}
    with Following(source, target, rules=rules, span_rows=7):
        wait_for(lambda: live(target), "the copy")
        execute(source, "DELETE FROM orders WHERE id = 1", "UPDATE orders SET status = 'gone' WHERE id = 2")
        execute(source, "UPDATE orders SET id = 103 WHERE id = 3", "DELETE FROM orders WHERE id = 4")
        execute(source, "INSERT INTO orders VALUES (4, 'again', 1, 1, now(), 'x')")
        wait_for(lambda: value(target, "SELECT status FROM orders WHERE id = 4") == "again", "the changes")
        assert value(target, "SELECT count(*) FROM orders") == 41
        if mode is Deletes.MARK:
            marked = "SELECT array_agg(id ORDER BY id) FROM orders WHERE _deleted_at IS NOT NULL"
            assert value(target, marked) == [1, 2, 3]
            assert value(target, "SELECT length(big) FROM orders WHERE id = 1") == 6400
    report = sync(source, target, rules=rules)
    assert verdicts(report) == {"orders": "equal"}
    assert ("may be at the target" in report.tables[0].detail) is (mode is Deletes.IGNORE)


@pytest.mark.parametrize("mode", [Deletes.MARK, Deletes.IGNORE])
def test_truncated_rows_stay(pair: tuple[str, str], mode: Deletes) -> None:
    source, target = pair
    execute(source, ORDERS, FILL)
    rules = {"orders": Rules(deletes=mode)}
    with Following(source, target, rules=rules, span_rows=7):
        wait_for(lambda: live(target), "the copy")
        execute(
            source,
            "INSERT INTO orders VALUES (50, 'a', 1, 1, now(), 'x')",
            "TRUNCATE orders",
            "INSERT INTO orders VALUES (60, 'b', 1, 1, now(), 'x')",
        )
        wait_for(lambda: value(target, "SELECT count(*) FROM orders") == 42, "the changes")
        if mode is Deletes.MARK:
            assert value(target, "SELECT count(*) FROM orders WHERE _deleted_at IS NULL") == 1
    assert verdicts(sync(source, target, rules=rules)) == {"orders": "equal"}


@pytest.mark.parametrize("mode", [Deletes.APPLY, Deletes.MARK, Deletes.IGNORE])
def test_a_changed_row_of_the_target_is_found(pair: tuple[str, str], mode: Deletes) -> None:
    source, target = pair
    execute(source, ORDERS, FILL)
    rules = {"orders": Rules(deletes=mode, where=FILTER)}
    with Following(source, target, rules=rules):
        wait_for(lambda: live(target), "the copy")
    execute(target, "UPDATE orders SET total = total + 1 WHERE id = 20")
    assert verdicts(sync(source, target, rules=rules)) == {"orders": "different"}


def test_a_function_over_dataframes(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, ORDERS, FILL)
    rules = {"orders": Rules(function=f"{FUNCTIONS}:taxed")}
    with Following(source, target, rules=rules) as run:
        wait_for(lambda: live(target), "the copy")
        change(source)
        taxed = "SELECT id, total * 2 FROM orders WHERE status <> 'draft' ORDER BY id"
        ours = "SELECT id, with_tax FROM orders ORDER BY id"
        wait_for(lambda: rows(source, taxed) == rows(target, ours), "every change")
        assert run.error is None
    assert verdicts(sync(source, target, rules=rules)) == {"orders": "equal"}
    kind = """SELECT format_type(atttypid, atttypmod) FROM pg_attribute
              WHERE attrelid = 'orders'::regclass AND attname = 'with_tax'"""
    assert str(value(target, kind)).startswith("numeric(")


def test_a_slow_function_does_not_cost_the_target_its_transaction(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends one in which nothing happens."""
    monkeypatch.setitem(connection.SETTINGS, "idle_in_transaction_session_timeout", "1s")
    monkeypatch.setattr(awake, "LINGER_SECONDS", 0.2)
    source, target = pair
    execute(source, ORDERS, FILL)
    notices = Notices()
    rules = {"orders": Rules(function=f"{FUNCTIONS}:slow")}
    assert verdicts(sync(source, target, rules=rules, observer=notices)) == {"orders": "equal"}
    assert not [text for text in notices.texts if "trying again" in text]


def test_rows_that_a_function_fails_on_are_parked(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, ORDERS, FILL)
    rules = {"orders": Rules(function=f"{FUNCTIONS}:picky")}
    with Following(source, target, rules=rules) as run:
        wait_for(lambda: live(target), "the copy")
        execute(
            source,
            "UPDATE orders SET total = 7.70 WHERE id = 21",
            "UPDATE orders SET total = 1 WHERE id = 22",
        )
        wait_for(
            lambda: value(target, "SELECT total::text FROM orders WHERE id = 22") == "1.00", "the other one"
        )
        assert run.error is None
    report = sync(source, target, rules=rules)
    assert verdicts(report) == {"orders": "parked"}
    assert "tests.transform.functions:picky: ValueError: seven is too many" in report.tables[0].detail
    assert rows(target, "SELECT key FROM syncline.parked ORDER BY key") == [([7],), ([21],)]
    execute(source, "UPDATE orders SET total = 8 WHERE id IN (7, 21)")
    assert verdicts(sync(source, target, rules=rules)) == {"orders": "equal"}


def test_rows_without_an_exact_form_are_parked(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, ORDERS, FILL)
    rules = {"orders": Rules(cast={"total": "int32"})}
    report = sync(source, target, rules=rules)
    assert verdicts(report) == {"orders": "parked"}
    assert "0', which is no exact int32" in report.tables[0].detail
    assert rows(target, "SELECT id, total FROM orders ORDER BY id") == [
        (10, 11),
        (20, 22),
        (30, 33),
        (40, 44),
    ]
    execute(source, "UPDATE orders SET total = id")
    assert verdicts(sync(source, target, rules=rules)) == {"orders": "equal"}


def test_other_rules_for_rows_that_are_there_are_refused(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, ORDERS, FILL)
    with Following(source, target, rules={"orders": Rules(where=FILTER)}):
        wait_for(lambda: live(target), "the copy")
    for rules in ({}, {"orders": Rules(where="total > 5")}):
        with pytest.raises(Refused, match="made by other rules"):
            sync(source, target, rules=rules)
    with pytest.raises(Refused, match="the stream has it as orders"):
        sync(source, target, rules={"orders": Rules(where=FILTER, rename="sales")})
    report = sync(source, target, rules={"orders": Rules(where="total > 5")}, replace=True)
    assert verdicts(report) == {"orders": "equal"}


REFUSED: list[tuple[Rules, str]] = [
    (Rules(columns=("status",)), "column id is of the key and is left out"),
    (Rules(mask={"id": Hash(b"k")}), "column id is of the key and is masked"),
    (Rules(cast={"id": "text"}), "column id is of the key and is cast"),
    (Rules(cast={"totl": "text"}), "did you mean total?"),
    (Rules(cast={"total": "float64"}), "no exact cast to float64"),
    (Rules(cast={"total": "text"}, mask={"total": Null()}), "has a mask and a cast"),
    (Rules(mask={"total": Partial(1)}), "only text keeps"),
    (Rules(rename_columns={"total": "status"}), "two columns would be status"),
    (Rules(constants={"status": "x"}), "two columns would be status"),
    (Rules(where="totl > 1"), "did you mean total?"),
    (Rules(function=f"{FUNCTIONS}:nothing"), "has no attribute 'nothing'"),
    (Rules(function=f"{FUNCTIONS}:keyless"), "it loses the key's column id"),
    (Rules(function=f"{FUNCTIONS}:untyped"), "its column x is of type null"),
    (Rules(function=f"{FUNCTIONS}:broken"), "it fails over no rows: RuntimeError: no"),
    (Rules(function=f"{FUNCTIONS}:silent"), "it does not say what it takes"),
]


@pytest.mark.parametrize(("rules", "words"), REFUSED)
def test_what_cannot_be_is_refused_before_anything_runs(
    postgres_database: Databases, tmp_path: Path, rules: Rules, words: str
) -> None:
    source = postgres_database()
    execute(source, ORDERS)
    with pytest.raises(Refused) as refused:
        sync(source, f"sqlite:///{tmp_path}/t.db", rules={"orders": rules})
    assert words in str(refused.value)
    assert not (tmp_path / "t.db").exists()
    assert value(source, "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == 0


def test_a_check_sees_the_tables_through_their_rules(postgres_database: Databases, tmp_path: Path) -> None:
    source, target = postgres_database(), f"sqlite:///{tmp_path}/t.db"
    execute(source, ORDERS, FILL)

    def check(rules: Rules) -> list[str]:
        options = Options(rules={"orders": rules})
        stores = connector(source), connector(target)
        look = Check(lambda: stores[0].source(source), lambda: stores[1].target(target), options, deep=True)
        return [str(found.problem) for found in look.run().problems]

    assert any("did you mean total?" in problem for problem in check(Rules(cast={"totl": "text"})))
    assert any("36 rows would be parked" in problem for problem in check(Rules(cast={"total": "int32"})))
    assert not any("parked" in problem for problem in check(Rules(cast={"total": "text"})))


def test_two_tables_of_one_name_are_refused(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, "CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE b (id int PRIMARY KEY)")
    with pytest.raises(Refused, match="tables a and b: both would be b"):
        sync(source, target, rules={"a": Rules(rename="b")})
    assert verdicts(sync(source, target, rules={"a": Rules(rename="b")}, exclude=["b"])) == {"b": "equal"}


def test_a_function_that_changes_keys_parks_them(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, ORDERS, FILL)
    report = sync(source, target, rules={"orders": Rules(function=f"{FUNCTIONS}:rekeyed")})
    assert verdicts(report) == {"orders": "parked"}
    assert "it changed or doubled a key" in report.tables[0].detail
    assert value(target, "SELECT count(*) FROM orders") == 0


def test_sqlite_to_postgresql_and_sqlite(postgres_database: Databases, tmp_path: Path) -> None:
    source = tmp_path / "s.db"
    with closing(sqlite3.connect(source)) as file, file:
        file.executescript(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT, total DECIMAL(10,2), at DATETIME);"
            "CREATE TABLE items (id INTEGER PRIMARY KEY, orders INTEGER REFERENCES orders, n INTEGER);"
        )
        for n in range(30):
            cells = (
                n,
                "draft" if n % 3 == 0 else "open",
                n * 1.1,
                f"2024-01-{n % 28 + 1:02} 10:00:00.000000",
            )
            file.execute("INSERT INTO orders VALUES (?, ?, ?, ?)", cells)
            file.execute("INSERT INTO items VALUES (?, ?, ?)", (n, n, n))
    rules = {
        "orders": Rules(
            where="status = 'open' AND at >= '2024-01-05'", rename="sales", synced_at="_synced_at"
        ),
        "items": Rules(cast={"n": "text"}, deletes=Deletes.MARK),
    }
    target = postgres_database()
    for url in (target, f"sqlite:///{tmp_path}/t.db"):
        with Following(f"sqlite:///{source}", url, rules=rules) as run:
            wait_for(lambda url=url: _count(url, "sales") > 0, "the copy")  # type: ignore[misc]
            with closing(sqlite3.connect(source, timeout=30)) as file, file:
                file.execute("UPDATE orders SET status = 'draft' WHERE id = 7")
                file.execute("UPDATE orders SET status = 'open' WHERE id IN (6, 9)")
                file.execute("DELETE FROM items WHERE id > 20")
            assert run.error is None
        report = sync(f"sqlite:///{source}", url, rules=rules)
        assert verdicts(report) == {"sales": "equal", "items": "equal"}
        with closing(sqlite3.connect(source, timeout=30)) as file, file:
            left = file.execute(
                "SELECT count(*) FROM orders WHERE status = 'open' AND at >= '2024-01-05'"
            ).fetchone()
            file.execute("UPDATE orders SET status = 'draft' WHERE id IN (6, 9)")
            file.execute("UPDATE orders SET status = 'open' WHERE id = 7")
        assert _count(url, "sales") == left[0]


def _count(url: str, table: str) -> int:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            try:
                return int(file.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
            except sqlite3.OperationalError:
                return 0
    return int(str(value(url, f"SELECT CASE WHEN to_regclass('{table}') IS NULL THEN 0 ELSE 1 END"))) and int(
        str(value(url, f"SELECT count(*) FROM {table}"))
    )


PLACES = [
    "copy.before_commit",
    "copy.after_commit",
    "goal.recorded",
    "apply.before_commit",
    "apply.after_commit",
]


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_run_goes_on_under_the_same_rules(pair: tuple[str, str], place: str) -> None:
    source, target = pair
    execute(source, ORDERS, FILL)
    command = [
        *(
            sys.executable,
            "-c",
            "from syncline.cli import main; raise SystemExit(main())",
            "sync",
            source,
            target,
        ),
        *("--quiet", "--where", f"orders={FILTER}", "--store", "orders.ratio=text"),
    ]
    killed = subprocess.run(command, env=os.environ | {"SYNCLINE_FAILPOINTS": f"{place}=kill"}, check=False)
    change(source)
    assert killed.returncode == -signal.SIGKILL
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 table equal" in done.stdout
    assert rows(source, PASSING) == rows(target, ALL)


def test_a_table_without_rules_keeps_its_wire_format(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, SHOP)
    formats: list[str] = []

    def spy(schema: Any, *_: Any, **more: Any) -> None:
        formats.append(f"{schema.table} {more.get('format')}")

    pipeline(source, target, before={"read": spy}, rules={"orders": Rules(where="total > 5")}).run()
    assert "customers postgres-copy-text" in formats
    assert "orders postgres-copy-text" not in formats

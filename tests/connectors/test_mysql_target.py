"""What the target does beside what every target does."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from services import Server, find
from syncline.connector import Claim
from syncline.connectors.mysql import connector, swap
from syncline.connectors.mysql.session import Address
from syncline.connectors.mysql.target import MysqlTarget
from syncline.errors import Corruption, NeedsOperator, Refused, Transient, Unfit
from syncline.model import (
    Column,
    ForeignKey,
    Identity,
    Index,
    Kind,
    Mark,
    Position,
    Schema,
    Severity,
    State,
    TableName,
    TableState,
    Type,
)
from syncline.testing.conformance.stage import keys_from, rows_from
from tests import mysql_family
from tests.conftest import Databases
from tests.runs import wait_for

STREAM = "syncline_0123456789ab"
ID = Column("id", Type(Kind.INT64), nullable=False)
ITEMS = Schema(TableName("items"), (ID, Column("name", Type(Kind.TEXT))), ("id",), "postgres")


@pytest.fixture(params=["mariadb", "mysql"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database of each system."""
    made: Databases = request.getfixturevalue(f"{request.param}_database")
    return made()


@pytest.fixture
def open_target() -> Iterator[Callable[[str], MysqlTarget]]:
    """Opens targets that are closed after the test."""
    with contextlib.ExitStack() as stack:

        def opened(at: str) -> MysqlTarget:
            target = MysqlTarget(at)
            stack.callback(target.close)
            return target

        yield opened


@pytest.fixture
def target(url: str, open_target: Callable[[str], MysqlTarget]) -> MysqlTarget:
    """A target."""
    return open_target(url)


def live(schema: Schema, **members: Any) -> TableState:
    """A table whose rows are written."""
    return replace(TableState(schema, State.LIVE, created=True), **members)


def begun(target: MysqlTarget, *states: TableState) -> Claim:
    """A stream with these tables, made where they are missing."""
    claim = target.claim(STREAM)
    for state in states:
        target.prepare(state.schema, aside=state.aside)
    with target.begin(claim, Mark(STREAM, {})) as apply:
        apply.start(Identity("test", "test", "test"), Position("p"))
        apply.record(states)
        apply.commit()
    return replace(claim, position=Position("p"))


def write(target: MysqlTarget, claim: Claim, state: TableState, rows: list[Any], how: str = "upsert") -> None:
    """Rows in a transaction of their own."""
    with target.begin(claim, Mark(STREAM, {})) as apply:
        getattr(apply, how)(state, rows_from(state.schema, rows))
        apply.commit()


def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Plain statements."""
    return mysql_family.run(url, *statements)


def server_of(url: str) -> Server:
    """The server of a database."""
    return find(url.partition(":")[0])


@pytest.fixture
def without_local_infile(url: str) -> Iterator[None]:
    """The server takes no LOAD DATA LOCAL."""
    run(url, "SET GLOBAL local_infile = OFF")
    yield
    run(url, "SET GLOBAL local_infile = ON")


@pytest.mark.usefixtures("without_local_infile")
def test_without_load_data_rows_come_by_statements_and_it_is_said(url: str, target: MysqlTarget) -> None:
    (note,) = (problem for problem in target.check(STREAM, [ITEMS], nbytes=None))
    assert note.severity is Severity.NOTE
    assert "run SET GLOBAL local_infile = ON" in note.remedy
    state = live(ITEMS)
    claim = begun(target, state)
    write(target, claim, state, [(n, f"'{n}\\") for n in range(2500)], "load")
    assert run(url, "SELECT count(*), min(name) FROM items") == [(2500, "'0\\")]


def test_the_server_gets_no_file_that_it_asks_for(url: str, target: MysqlTarget) -> None:
    run(url, "CREATE TABLE t (line TEXT)")
    with pytest.raises(Corruption, match="asked for a file"), target._mapped("use", "it") as session:
        session.run("LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t (line)")
    assert run(url, "SELECT count(*) FROM t") == [(0,)]


def test_a_table_without_transactions_is_refused(url: str, target: MysqlTarget) -> None:
    run(url, "CREATE TABLE items (id BIGINT PRIMARY KEY, name LONGTEXT) ENGINE=MyISAM")
    assert "its engine is MyISAM, which has no transactions" in target.mismatch(ITEMS)
    assert "run ALTER TABLE items ENGINE=InnoDB" in target.mismatch(ITEMS)
    state = live(ITEMS, created=False)
    claim = begun(target, state)
    with pytest.raises(Refused, match="MyISAM"):
        write(target, claim, state, [(1, "a")])


def test_a_key_that_is_one_for_two_of_the_source_is_refused(url: str, target: MysqlTarget) -> None:
    schema = Schema(TableName("t"), (Column("k", Type(Kind.TEXT), nullable=False),), ("k",), "postgres")
    for collation in ("utf8mb4_general_ci", "utf8mb4_bin"):
        run(url, "DROP TABLE IF EXISTS t", f"CREATE TABLE t (k VARCHAR(50) COLLATE {collation} PRIMARY KEY)")
        assert f"collation {collation}" in target.mismatch(schema)
    run(url, "DROP TABLE t")
    state = live(schema)
    claim = begun(target, state)
    keys = [(text,) for text in ("a", "A", "a ", "á", "", " ", "ß", "ss")]
    write(target, claim, state, keys)
    with target.begin(claim, Mark(STREAM, {})) as apply:
        apply.delete(state, keys_from(schema, [("a",), ("ss",)]))
        apply.commit()
    assert {row[0] for row in run(url, "SELECT k FROM t")} == {key[0] for key in keys} - {"a", "ss"}


USERS = Schema(
    TableName("users"),
    (
        ID,
        Column("email", Type(Kind.TEXT), nullable=False),
        Column("badge", Type(Kind.UINT32), nullable=False),
        Column("raw", Type(Kind.BYTES), nullable=False),
    ),
    ("id",),
    "postgres",
    indexes=(
        Index("users_email", ("email",), unique=True),
        Index("users_badge", ("badge",), unique=True),
        Index("users_raw", ("raw",), unique=True),
    ),
)


def test_unique_values_that_move_take_no_other_row_along(url: str, target: MysqlTarget) -> None:
    state = live(USERS)
    claim = begun(target, state)
    target.finish(claim, [state])
    write(target, claim, state, [(n, f"e{n}", n, bytes([n])) for n in (1, 2, 3)])
    turned = [(1, "e2", 3, b"\2"), (2, "e3", 1, b"\3"), (3, "e1", 2, b"\1"), (4, "e4", 4, b"\4")]
    write(target, claim, state, turned)
    assert run(url, "SELECT * FROM users ORDER BY id") == turned
    with pytest.raises(Unfit, match="Duplicate entry 'e1' for key"):
        write(target, claim, state, [(9, "e1", 9, b"\x09")])
    assert run(url, "SELECT * FROM users ORDER BY id") == turned, "row 3, which has e1, is as it was"


def test_unique_values_that_cannot_stand_aside_are_named(url: str, target: MysqlTarget) -> None:
    run(url, "CREATE TABLE d (id BIGINT PRIMARY KEY, day DATE NOT NULL, UNIQUE KEY days (day))")
    day = Column("day", Type(Kind.DATE), nullable=False)
    state = live(Schema(TableName("d"), (ID, day), ("id",), "postgres"), created=False)
    claim = begun(target, state)
    write(target, claim, state, [(1, "2024-01-01"), (2, "2024-01-02")])
    with pytest.raises(NeedsOperator, match="unique index days"):
        write(target, claim, state, [(1, "2024-01-02"), (2, "2024-01-01")])


def test_texts_of_another_character_set_are_converted_or_unfit(url: str, target: MysqlTarget) -> None:
    run(url, "CREATE TABLE items (id BIGINT PRIMARY KEY, name VARCHAR(50) CHARACTER SET latin1)")
    state = live(ITEMS, created=False)
    assert target.mismatch(ITEMS) == ""
    claim = begun(target, state)
    for how, number in (("load", 1), ("upsert", 2)):
        write(target, claim, state, [(number, "é ß €")], how)
        with pytest.raises(Unfit, match=r"[Ii]ncorrect string value|[Cc]annot convert"):
            write(target, claim, state, [(number + 10, "漢")], how)
    assert run(url, "SELECT id, name FROM items ORDER BY id") == [(1, "é ß €"), (2, "é ß €")]


def test_a_row_larger_than_a_statement_may_be_is_unfit(url: str, target: MysqlTarget) -> None:
    state = live(ITEMS)
    claim = begun(target, state)
    run(url, "SET GLOBAL max_allowed_packet = 1048576")
    try:
        target.close()
        with pytest.raises(Unfit, match="raise max_allowed_packet"):
            write(target, claim, state, [(1, "x" * 1_100_000)])
        write(target, claim, state, [(n, "x" * 500_000) for n in range(8)])
    finally:
        run(url, "SET GLOBAL max_allowed_packet = 1073741824")
    assert run(url, "SELECT count(*), sum(length(name)) FROM items") == [(8, 4_000_000)]


TEAMS = Schema(TableName("teams"), (ID, Column("title", Type(Kind.TEXT, length=20))), ("id",), "postgres")


def test_foreign_keys_are_not_in_the_way_and_none_cascades(url: str, target: MysqlTarget) -> None:
    reference = ForeignKey("to_team", ("team",), TableName("teams"), ("id",), on_delete="CASCADE")
    column = Column("team", Type(Kind.INT64))
    members = Schema(TableName("members"), (ID, column), ("id",), "postgres", foreign_keys=(reference,))
    states = live(members), live(TEAMS)
    claim = begun(target, *states)
    target.finish(claim, states)
    write(target, claim, states[0], [(1, 7), (2, 7)])
    write(target, claim, states[1], [(7, "seven")])
    with target.begin(claim, Mark(STREAM, {})) as apply:
        apply.delete(states[1], keys_from(TEAMS, [(7,)]))
        apply.commit()
    assert run(url, "SELECT id FROM members ORDER BY id") == [(1,), (2,)]
    assert target.discover()[0].foreign_keys[0].on_delete == "CASCADE"


def swapping(target: MysqlTarget, url: str) -> tuple[Claim, TableState]:
    """A table of an application's, which others refer to, and a new one built aside."""
    run(
        url,
        "CREATE TABLE items (id BIGINT PRIMARY KEY, name LONGTEXT)",
        "INSERT INTO items VALUES (1, 'old')",
        "CREATE TABLE others (id INT PRIMARY KEY, item BIGINT, CONSTRAINT other_item FOREIGN KEY (item)"
        " REFERENCES items (id) ON DELETE SET NULL)",
    )
    state = live(ITEMS, aside=True)
    claim = begun(target, state)
    write(target, claim, state, [(1, "new"), (2, "new")])
    return claim, state


def check_swapped(url: str, target: MysqlTarget) -> None:
    """The new table is there, the old one gone, and what referred to it refers to the new one."""
    assert run(url, "SELECT id, name FROM items ORDER BY id") == [(1, "new"), (2, "new")]
    run(url, "INSERT INTO others VALUES (1, 2)")
    with pytest.raises(Exception, match="foreign key constraint fails"):
        run(url, "INSERT INTO others VALUES (2, 9)")
    assert [schema.table.name for schema in target.discover()] == ["items", "others"]
    assert run(url, "SHOW TABLES LIKE '%old%'") == run(url, "SHOW TABLES LIKE '%new%'") == []


def test_references_of_others_are_carried_over_in_a_swap(url: str, target: MysqlTarget) -> None:
    claim, state = swapping(target, url)
    assert target.replaceable(ITEMS) == ""
    target.swap(claim, [replace(state, aside=False)])
    check_swapped(url, target)


@pytest.mark.parametrize("renamed", [False, True])
def test_race_14_a_killed_swap_is_gone_on_with(
    url: str,
    target: MysqlTarget,
    open_target: Callable[[str], MysqlTarget],
    monkeypatch: pytest.MonkeyPatch,
    renamed: bool,
) -> None:
    claim, state = swapping(target, url)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(swap, "finish" if renamed else "swap", die)
        with pytest.raises(KeyboardInterrupt):
            target.swap(claim, [replace(state, aside=False)])
    again = open_target(url)
    taken = again.claim(STREAM)
    assert taken.tables[ITEMS.table].aside is not renamed
    if not renamed:
        again.swap(taken, [replace(state, aside=False)])
    check_swapped(url, again)


def test_a_table_with_triggers_is_not_swapped(url: str, target: MysqlTarget) -> None:
    run(
        url,
        "CREATE TABLE items (id BIGINT PRIMARY KEY, name LONGTEXT)",
        "CREATE TRIGGER audit BEFORE INSERT ON items FOR EACH ROW SET NEW.name = 'x'",
    )
    assert "trigger audit" in target.replaceable(ITEMS)
    assert any("trigger audit" in str(problem) for problem in target.check(STREAM, [ITEMS], nbytes=None))


def test_a_commit_is_not_lost_and_a_position_not_kept_when_the_server_dies(
    url: str, target: MysqlTarget
) -> None:
    state = live(ITEMS)
    claim = begun(target, state)
    write(target, claim, state, [(1, "kept")])
    with target.begin(claim, Mark(STREAM, {})) as apply:
        apply.truncate([state])
        apply.upsert(state, rows_from(ITEMS, [(2, "lost")]))
        server_of(url).kill()
        with pytest.raises(Transient):
            apply.commit(Position("q"))
    server_of(url).start()
    assert run(url, "SELECT id, name FROM items") == [(1, "kept")]
    again = target.claim(STREAM)
    assert again.position == Position("p")
    write(target, again, state, [(3, "after")])


def test_an_interrupt_ends_what_waits_on_the_server_too(url: str, target: MysqlTarget) -> None:
    state = live(ITEMS)
    claim = begun(target, state)
    write(target, claim, state, [(1, "a")])
    holder = mysql_family.connect(url, autocommit=False)
    mysql_family.ask(holder, "SELECT * FROM items WHERE id = 1 FOR UPDATE")
    failures: list[BaseException] = []

    def work() -> None:
        try:
            write(target, claim, state, [(1, "b")])
        except BaseException as error:
            failures.append(error)

    waiting = "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'INSERT INTO `items`%'"
    thread = threading.Thread(target=work)
    thread.start()
    wait_for(lambda: run(url, waiting) == [(1,)], "the wait")
    target.interrupt()
    thread.join(10)
    assert not thread.is_alive()
    assert [type(error) for error in failures] == [Transient]
    assert run(url, waiting) == [(0,)]
    holder.close()
    write(target, claim, state, [(1, "c")])
    assert run(url, "SELECT name FROM items") == [("c",)]


WORKER = """
import sys, time
from dataclasses import replace
from syncline.connectors.mysql.target import MysqlTarget
from syncline.model import Mark
target = MysqlTarget(sys.argv[1])
claim = target.claim(sys.argv[2])
with target.begin(claim, Mark(sys.argv[2], {})) as apply:
    print("open", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_race_12_a_worker_that_hangs_or_died_is_taken_over(
    url: str, target: MysqlTarget, number: signal.Signals
) -> None:
    begun(target)
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, url, STREAM], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "open\n"
        worker.send_signal(number)
        claim = target.claim(STREAM)
        state = live(ITEMS)
        target.prepare(ITEMS, aside=False)
        write(target, claim, state, [(1, "mine")])
    finally:
        worker.kill()
        worker.communicate()
    assert run(url, "SELECT name FROM items") == [("mine",)]


def test_a_user_without_rights_is_told_the_grant(url: str) -> None:
    database = url.rpartition("/")[2]
    run(url, "CREATE USER IF NOT EXISTS poor@'127.0.0.1' IDENTIFIED BY 'secret word'")
    run(url, f"GRANT SELECT, INSERT ON {database}.* TO poor@'127.0.0.1'")
    poor = url.partition("://")[0] + "://poor:secret%20word@" + url.rpartition("@")[2]
    target = MysqlTarget(poor)
    try:
        (problem,) = (p for p in target.check(STREAM, [ITEMS], nbytes=None) if p.severity is Severity.REFUSE)
        assert f"ON {database}.* TO 'poor'@'127.0.0.1'" in problem.remedy
        with pytest.raises(Refused, match="denied") as refusal:
            target.claim(STREAM)
        assert "secret" not in str(refusal.value) + repr(target) + repr(refusal.value)
        run(url, problem.remedy.removeprefix("run ").removesuffix(" as an administrator"))
        target.close()
        assert [p for p in target.check(STREAM, [ITEMS], nbytes=None) if p.severity is Severity.REFUSE] == []
        target.forget(target.claim(STREAM).stream)
    finally:
        target.close()
        run(url, "DROP USER poor@'127.0.0.1'")


def test_a_wrong_password_is_one_line_without_it(url: str) -> None:
    wrong = url.replace(url.split("@")[0].rpartition(":")[2], "wr0ng")
    with pytest.raises(Refused, match="check user, password and database") as refusal:
        MysqlTarget(wrong).identity()
    assert "wr0ng" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_server_that_is_away_is_transient() -> None:
    with pytest.raises(Transient):
        MysqlTarget("mysql://a:b@127.0.0.1:1/d").identity()


@pytest.mark.parametrize(
    ("url", "verified"),
    [
        ("mysql://u@db.example.com/d", True),
        ("mariadb+pymysql://u@10.0.0.1/d?ssl_ca=", True),
        ("mysql://u@db.example.com/d?ssl_mode=required", False),
    ],
)
def test_tls_to_a_server_elsewhere_is_verified_unless_the_url_says_otherwise(
    url: str, verified: bool
) -> None:
    context = Address(url.removesuffix("?ssl_ca=")).options()["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname is verified
    assert (context.verify_mode is ssl.CERT_REQUIRED) is verified
    assert bool(Address(url.removesuffix("?ssl_ca=")).tls_fault) is not verified


@pytest.mark.parametrize(
    "url", ["mysql://u@h", "mysql://u@h:port/d", "mysql://u@h/d?unknown=1", "mysql://u:p@h/d?ssl_mode=none"]
)
def test_a_url_that_makes_no_sense_is_refused(url: str) -> None:
    with pytest.raises(Refused) as refusal:
        connector.target(url)
    assert ":p@" not in str(refusal.value)


def test_a_session_means_the_same_whatever_the_server_is_set_to(
    url: str, open_target: Callable[[str], MysqlTarget]
) -> None:
    before = run(url, "SELECT @@global.sql_mode, @@global.time_zone")[0]
    odd = "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,NO_ZERO_DATE,PAD_CHAR_TO_FULL_LENGTH"
    run(url, f"SET GLOBAL sql_mode = '{odd}', GLOBAL time_zone = '+05:45'")
    try:
        target = open_target(url)
        when = Column("at", Type(Kind.TIMESTAMPTZ, system="mysql", name="timestamp(6)"))
        schema = replace(ITEMS, columns=(*ITEMS.columns, when), system="mysql")
        state = live(schema)
        claim = begun(target, state)
        rows = [(0, 'it\'s \\ "x"', "2024-02-29 23:59:59.5+00"), (5, None, None)]
        write(target, claim, state, rows)
        assert target.read_keys(schema, keys_from(schema, [(0,), (5,)])).tuples() == rows
    finally:
        run(url, f"SET GLOBAL sql_mode = '{before[0]}', GLOBAL time_zone = '{before[1]}'")


def test_grants_for_many_databases_count(url: str) -> None:
    database = url.rpartition("/")[2]
    rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, CREATE TEMPORARY TABLES"
    pattern = database[:2].replace("_", "\\_") + "%"
    run(url, "CREATE USER IF NOT EXISTS some@'127.0.0.1' IDENTIFIED BY 'x'")
    run(url, f"GRANT {rights} ON `{pattern}`.* TO some@'127.0.0.1'")
    target = MysqlTarget(url.partition("://")[0] + "://some:x@" + url.rpartition("@")[2])
    try:
        assert list(target.check(STREAM, [ITEMS], nbytes=None)) == []
        target.claim(STREAM)
        target.forget(STREAM)
    finally:
        target.close()
        run(url, "DROP USER some@'127.0.0.1'")


def test_a_uuid_fits_into_texts_that_are_long_enough(url: str, target: MysqlTarget) -> None:
    column = Column("u", Type(Kind.UUID), nullable=False)
    schema = Schema(TableName("t"), (column,), ("u",), "postgres")
    for sort, fits in (("CHAR(36)", True), ("VARCHAR(40)", True), ("CHAR(32)", False)):
        run(url, "DROP TABLE IF EXISTS t", f"CREATE TABLE t (u {sort} PRIMARY KEY)")
        assert (target.mismatch(schema) == "") is fits


def test_defaults_of_another_system_mean_the_same(url: str, target: MysqlTarget) -> None:
    columns = (
        ID,
        Column("at", Type(Kind.TIMESTAMPTZ), default="now()"),
        Column("word", Type(Kind.TEXT), default="'it''s \\'::text"),
        Column("price", Type(Kind.DECIMAL), default="1.10"),
        Column("flag", Type(Kind.BOOL), default="true"),
        Column("token", Type(Kind.UUID), default="gen_random_uuid()"),
    )
    schema = Schema(TableName("d"), columns, ("id",), "postgres")
    assert target.omissions(schema, []) == ["the default of column token (gen_random_uuid()) is not made"]
    target.prepare(schema, aside=False)
    zone = "SET time_zone = '+05:45'"
    row = "SELECT abs(timestampdiff(MINUTE, at, utc_timestamp())), word, price, flag, token FROM d"
    assert run(url, zone, "INSERT INTO d (id) VALUES (1)", row) == [(0, "it's \\", "1.10", 1, None)]

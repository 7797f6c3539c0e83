"""Bad input: one line, exit 2, and both databases as they were."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from services.postgres import Postgres

from .command import Outcome, picture, syncline
from .pairs import PASSWORD, TABLES, Pair, as_role

GRANT_SELECT = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}"


def refused(outcome: Outcome, *parts: str) -> None:
    """That the answer is one line with these parts, and 2."""
    assert outcome.err.startswith("syncline: cannot "), outcome
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    for part in parts:
        assert part in outcome.err
    for secret in (PASSWORD, "wrong-password"):
        assert secret not in outcome.err


def check(pair: Pair, source: str, target: str, *parts: str, options: tuple[str, ...] = ()) -> None:
    """That a run is refused, that `check` finds it in the same words, and that neither touched anything."""
    before = picture(pair.source), picture(pair.target)
    outcome = syncline("sync", source, target, "--quiet", *options)
    refused(outcome, *parts)
    assert (picture(pair.source), picture(pair.target)) == before
    checked = syncline("check", source, target, "--json", *options)
    assert checked.code == checked.document["exit"] == 2, checked
    assert outcome.err in lines(checked), checked
    assert (picture(pair.source), picture(pair.target)) == before


def lines(checked: Outcome) -> list[str]:
    """What `check` found, each as the line that a refused run would be answered with."""
    if checked.document["error"]:
        return [checked.err]
    found = [
        f"syncline: cannot {problem['operation']} {problem['subject']}: {problem['reason']}"
        + (f"; {problem['remedy']}" if problem["remedy"] else "")
        for problem in checked.document["problems"]
        if problem["severity"] == "refuse"
    ]
    return [f"{line}\n" for line in found]


def test_the_control_run_is_not_refused(files: Pair) -> None:
    assert syncline("sync", files.source, files.target, "--quiet").code == 0


# SQLite


def test_a_missing_source_file(files: Pair, tmp_path: Path) -> None:
    check(files, f"sqlite:///{tmp_path}/no.db", files.target, "no.db", "no such file")
    assert not (tmp_path / "no.db").exists()


def test_a_missing_folder_of_the_target(files: Pair, tmp_path: Path) -> None:
    check(files, files.source, f"sqlite:///{tmp_path}/no/copy.db", "folder does not exist")


def test_a_file_that_is_no_database(files: Pair, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database\n" * 100)
    check(files, f"sqlite:///{tmp_path}/text.db", files.target, "text.db", "not a")
    check(files, files.source, f"sqlite:///{tmp_path}/text.db", "text.db", "not a")


def test_a_url_that_names_no_file(files: Pair) -> None:
    check(files, "sqlite://", files.target, "names no file")
    check(files, "sqlite:///:memory:", files.target, "names no file")


def test_one_database_on_both_sides(files: Pair) -> None:
    check(files, files.source, files.source, "it is the target as well")


def test_an_unknown_scheme(files: Pair) -> None:
    check(files, files.source, "sqlit:///copy.db", "did you mean sqlite?")


def test_a_missing_variable(files: Pair) -> None:
    check(files, "env:NO_SUCH_VARIABLE", files.target, "NO_SUCH_VARIABLE is not set")


def test_a_missing_table(files: Pair) -> None:
    options = ("--tables", "order")
    check(files, files.source, files.target, "no such table", "did you mean orders?", options=options)


def test_a_glob_that_means_nothing(files: Pair) -> None:
    check(files, files.source, files.target, "no table matches", options=("--tables", "x*"))


def test_a_table_without_a_key_by_its_name(files: Pair) -> None:
    with closing(sqlite3.connect(files.source.removeprefix("sqlite:///"))) as file, file:
        file.execute("CREATE TABLE log (what TEXT)")
    options = ("--tables", "log")
    check(files, files.source, files.target, "table log", "no primary key", options=options)


def test_a_table_without_a_key_met_by_default_is_skipped(files: Pair) -> None:
    with closing(sqlite3.connect(files.source.removeprefix("sqlite:///"))) as file, file:
        file.execute("CREATE TABLE log (what TEXT)")
    outcome = syncline("sync", files.source, files.target, "--quiet", "--json")
    assert outcome.code == outcome.document["exit"] == 1
    verdicts = {table["table"]: table["verdict"] for table in outcome.document["tables"]}
    assert verdicts == {"customers": "equal", "log": "skipped", "orders": "equal"}


def test_a_target_that_holds_other_rows(files: Pair) -> None:
    with closing(sqlite3.connect(files.target.removeprefix("sqlite:///"))) as file, file:
        file.execute("CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL)")
        file.execute("INSERT INTO customers VALUES (1, 'Someone')")
    check(files, files.source, files.target, "holds other rows", "--replace")


def test_a_target_table_of_another_shape(files: Pair) -> None:
    with closing(sqlite3.connect(files.target.removeprefix("sqlite:///"))) as file, file:
        file.execute("CREATE TABLE customers (id bigint PRIMARY KEY)")
    check(files, files.source, files.target, "column name is missing", "--replace")


# PostgreSQL


def test_the_control_run_between_servers_is_not_refused(servers: Pair) -> None:
    assert syncline("sync", servers.source, servers.target, "--quiet").code == 0


def test_a_wrong_password(servers: Pair) -> None:
    wrong = as_role(servers.source, "syncline", "wrong-password")
    check(servers, wrong, servers.target, "password authentication failed")
    wrong = as_role(servers.target, "syncline", "wrong-password")
    check(servers, servers.source, wrong, "password authentication failed")


def test_a_wrong_password_is_json_too(servers: Pair) -> None:
    wrong = as_role(servers.source, "syncline", "wrong-password")
    outcome = syncline("sync", wrong, servers.target, "--json", "--quiet")
    assert outcome.code == outcome.document["exit"] == 2
    assert outcome.document["error"]["code"] == "refused"
    assert "wrong-password" not in outcome.out + outcome.err


def test_an_unknown_host(servers: Pair) -> None:
    check(servers, "postgresql://me@no-such-host.invalid/shop", servers.target, "no-such-host.invalid")
    check(servers, servers.source, "postgresql://me@no-such-host.invalid/shop", "no-such-host.invalid")


def test_an_unknown_database(servers: Pair) -> None:
    check(servers, servers.source + "_no", servers.target, "does not exist")


def test_an_unknown_user(servers: Pair) -> None:
    check(servers, as_role(servers.source, "nobody_here"), servers.target, "nobody_here")


def test_a_missing_table_of_a_server(servers: Pair) -> None:
    options = ("--tables", "order")
    check(servers, servers.source, servers.target, "did you mean orders?", options=options)


def test_a_role_without_the_right_to_read_the_log(servers: Pair, role: str) -> None:
    with psycopg.connect(servers.source) as server:
        server.execute(
            sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(sql.Identifier(role))
        )
    check(servers, as_role(servers.source, role), servers.target, f'ALTER ROLE "{role}" REPLICATION')


def test_a_role_without_the_right_to_publish(servers: Pair, role: str) -> None:
    with psycopg.connect(servers.source) as server:
        server.execute(
            sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(sql.Identifier(role))
        )
        server.execute(sql.SQL("ALTER ROLE {} REPLICATION").format(sql.Identifier(role)))
    check(servers, as_role(servers.source, role), servers.target, "CREATE PUBLICATION")


def test_a_role_without_the_right_to_read_a_table(servers: Pair, role: str) -> None:
    statement = f"run GRANT SELECT ON public.customers TO {role}"
    check(servers, as_role(servers.source, role), servers.target, statement)


def test_the_least_rights_that_the_docs_name_are_enough_at_a_source(servers: Pair, role: str) -> None:
    """What an administrator published for it is used, and left."""
    with psycopg.connect(servers.source) as server:
        server.execute(sql.SQL("ALTER ROLE {} REPLICATION").format(sql.Identifier(role)))
        server.execute(sql.SQL(GRANT_SELECT).format(sql.Identifier(role)))
    source = as_role(servers.source, role)
    message = syncline("sync", source, servers.target, "--quiet").err
    statement = message[message.index("CREATE PUBLICATION") : message.index(" as their owner")]
    with psycopg.connect(servers.source) as server:
        server.execute(statement.encode())
    before = picture(servers.source)
    outcome = syncline("sync", source, servers.target, "--quiet")
    assert outcome.code == 0, outcome
    assert picture(servers.source) == before


def test_a_role_without_the_right_to_write(servers: Pair, role: str) -> None:
    check(servers, servers.source, as_role(servers.target, role), "GRANT")


def test_a_server_that_holds_other_rows(servers: Pair) -> None:
    with psycopg.connect(servers.target) as server:
        server.execute("CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL)")
        server.execute("INSERT INTO customers VALUES (1, 'Someone')")
    check(servers, servers.source, servers.target, "holds other rows", "--replace")


def test_the_least_rights_that_the_docs_name_are_enough_at_a_target(servers: Pair, role: str) -> None:
    database = urlsplit(servers.target).path[1:]
    with psycopg.connect(servers.target) as server:
        for grant in ("CREATE, TEMP ON DATABASE {0} TO {1}", "USAGE, CREATE ON SCHEMA public TO {1}"):
            statement = sql.SQL("GRANT " + grant)
            server.execute(statement.format(sql.Identifier(database), sql.Identifier(role)))
    outcome = syncline("sync", servers.source, as_role(servers.target, role), "--quiet")
    assert outcome.code == 0, outcome


def test_the_least_rights_are_enough_where_the_tables_are_there(servers: Pair, role: str) -> None:
    database = urlsplit(servers.target).path[1:]
    with psycopg.connect(servers.target) as server:
        server.execute(TABLES.partition("INSERT")[0])
        for grant in (
            "CREATE, TEMP ON DATABASE {0} TO {1}",
            "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {1}",
        ):
            statement = sql.SQL("GRANT " + grant)
            server.execute(statement.format(sql.Identifier(database), sql.Identifier(role)))
    outcome = syncline("sync", servers.source, as_role(servers.target, role), "--quiet")
    assert outcome.code == 0, outcome


@pytest.fixture(scope="module")
def replica_level() -> Iterator[str]:
    """The URL of a server whose wal_level is not logical."""
    server = Postgres("postgres-replica-level")
    with server.in_use():
        with psycopg.connect(server.url, autocommit=True) as session:
            session.execute("ALTER SYSTEM SET wal_level = 'replica'")
        server.stop()
        server.start()
        yield server.url


def test_a_server_whose_wal_level_is_not_logical(files: Pair, replica_level: str) -> None:
    with psycopg.connect(replica_level) as server:
        server.execute("CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL)")
    pair = Pair(replica_level, files.target)
    check(pair, replica_level, files.target, "wal_level is replica", "ALTER SYSTEM SET wal_level = 'logical'")

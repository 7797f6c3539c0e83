"""Databases in other encodings than UTF-8, and text that is of none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from syncline.errors import Unfit
from tests.cli.checks import check
from tests.conftest import Databases
from tests.runs import Following, execute, sync, value, verdicts, wait_for

from .stores import rows

Encoded = Callable[[str, str], str]


@pytest.fixture
def encoded() -> Iterator[Encoded]:
    """Makes a database of an encoding on the server of a URL."""
    made: list[tuple[str, str]] = []

    def make(url: str, encoding: str) -> str:
        name = f"t{os.getpid()}_{encoding.lower()}"
        with psycopg.connect(url, autocommit=True) as server:
            statement = f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
            server.execute(f"{statement} TEMPLATE template0".encode())
        made.append((url, name))
        return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))

    yield make
    for url, name in made:
        with psycopg.connect(url, autocommit=True) as server:
            slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s"
            server.execute(slots.encode(), [name])
            server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.mark.parametrize("file", [False, True], ids=["to-a-server", "to-a-file"])
def test_rows_of_another_encoding_are_equal(
    encoded: Encoded, postgres_url: str, postgres_b_database: Databases, tmp_path: Path, file: bool
) -> None:
    source = encoded(postgres_url, "LATIN1")
    target = f"sqlite:///{tmp_path}/copy.db" if file else postgres_b_database()
    execute(
        source, "CREATE TABLE t (id text PRIMARY KEY, v text)", "INSERT INTO t VALUES ('é', 'ü'), ('e', 'u')"
    )
    with Following(source, target):
        wait_for(lambda: rows(target, "t") == 2, "the copy")
        execute(source, "INSERT INTO t VALUES ('ß', '£')", "UPDATE t SET v = 'ä' WHERE id = 'é'")
        wait_for(lambda: rows(target, "t WHERE v IN ('£', 'ä')") == 2, "the changes")
    assert verdicts(sync(source, target)) == {"t": "equal"}


def test_letters_that_the_target_has_not_are_parked(
    encoded: Encoded, postgres_database: Databases, postgres_b_url: str
) -> None:
    source, target = postgres_database(), encoded(postgres_b_url, "LATIN1")
    execute(source, "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'é'), (2, '日')")
    with Following(source, target):
        wait_for(lambda: rows(target, "t") == 1, "the copy")
        execute(source, "INSERT INTO t VALUES (3, '本'), (4, 'ü')")
        wait_for(lambda: rows(target, "t") == 2, "the row that fits")
        wait_for(lambda: value(target, "SELECT count(*) FROM syncline.parked") == 2, "the parked keys")
    assert verdicts(sync(source, target)) == {"t": "parked"}
    execute(source, "UPDATE t SET v = 'fits'")
    assert verdicts(sync(source, target)) == {"t": "equal"}


def test_bytes_that_are_no_text_are_named_and_never_guessed(
    encoded: Encoded, postgres_url: str, postgres_b_database: Databases
) -> None:
    source, target = encoded(postgres_url, "SQL_ASCII"), postgres_b_database()
    execute(source, "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'fine')")
    with Following(source, target):
        wait_for(lambda: rows(target, "t") == 1, "the copy")
    execute(source, r"INSERT INTO t VALUES (2, convert_from('\xff41', 'SQL_ASCII'))")
    findings = check(source, target)
    assert any("SQL_ASCII" in found.problem.reason for found in findings.problems)
    with pytest.raises(Unfit, match=r"invalid byte sequence.*change the value at the source"):
        sync(source, target)
    assert rows(target, "t") == 1

"""The database fixtures: fresh each, gone afterwards with whatever a test left in them."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from services import find
from tests import conftest


def test_databases_are_fresh_and_of_two_installations(
    postgres_database: Callable[[], str], postgres_b_database: Callable[[], str]
) -> None:
    urls = [postgres_database(), postgres_database(), postgres_b_database()]
    systems = []
    for url in urls:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE t (n int)")
            question = "SELECT system_identifier::text FROM pg_control_system()"
            systems.append(connection.execute(question).fetchone())
    assert systems[0] == systems[1] != systems[2]


@pytest.mark.parametrize("left", ["slot", "prepared", "session"])
def test_a_database_goes_with_what_would_keep_it(postgres_url: str, left: str) -> None:
    database = conftest._databases(find("postgres"))
    url = next(database)()
    name = url.rpartition("/")[2]
    connection = psycopg.connect(url, autocommit=True)
    if left == "slot":
        connection.execute("SELECT pg_create_logical_replication_slot('left_behind', 'pgoutput')")
    elif left == "prepared":
        connection.execute("CREATE TABLE t (n int)")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.execute("PREPARE TRANSACTION 'left behind'")
    if left != "session":
        connection.close()
    next(database, None)
    connection.close()
    with psycopg.connect(postgres_url) as maintenance:
        there = maintenance.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchall()
        query = "SELECT slot_name FROM pg_replication_slots WHERE slot_name = 'left_behind'"
        slots = maintenance.execute(query).fetchall()
    assert (there, slots) == ([], [])

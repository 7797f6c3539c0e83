"""Pairs of stores for every test of the command that asks for them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from .pairs import PASSWORD, TABLES, Pair

Databases = Callable[[], str]


@pytest.fixture
def files(tmp_path: Path) -> Pair:
    source, target = tmp_path / "shop.db", tmp_path / "copy.db"
    for path in (source, target):
        with closing(sqlite3.connect(path)) as file:
            file.executescript(TABLES if path == source else "CREATE TABLE other (id INTEGER PRIMARY KEY)")
    return Pair(f"sqlite:///{source}", f"sqlite:///{target}")


@pytest.fixture
def servers(postgres_database: Databases, postgres_b_database: Databases) -> Pair:
    pair = Pair(postgres_database(), postgres_b_database())
    with psycopg.connect(pair.source) as server:
        server.execute(TABLES)
    with psycopg.connect(pair.target) as server:
        server.execute("CREATE TABLE other (id bigint PRIMARY KEY)")
    return pair


@pytest.fixture
def role(servers: Pair) -> Iterator[str]:
    """A role on both servers that may log in and nothing else."""
    name = "syncline_test_role"
    drop = sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name))
    for url in (servers.source, servers.target):
        with psycopg.connect(url) as server:
            if server.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone():
                server.execute(drop)
            create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), PASSWORD)
            server.execute(create)
    yield name
    for url in (servers.source, servers.target):
        with psycopg.connect(url) as server:
            server.execute(drop)

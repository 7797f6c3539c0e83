"""Real servers and fresh databases for every test that asks for them."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql

from services import Server, find
from services.debian import Unavailable
from services.server import VARIABLE

from . import mysql_family

# Tests stop and break servers: each of several pytest processes has its own.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    mine = Path(os.environ.get(VARIABLE, Path(__file__).parents[1] / ".services")) / worker
    os.environ[VARIABLE] = str(mine)

# A shell's background jobs ignore Ctrl-C, and hand that on to what they start; tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on what else the machine does.
settings.register_profile("syncline", deadline=None)
settings.load_profile("syncline")

Databases = Callable[[], str]
"""Makes a fresh, empty database and gives its URL."""

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The first PostgreSQL server: `url`, `kill()`, `start()`, `stop()`."""
    server = find("postgres")
    with server.in_use():
        yield server


@pytest.fixture(scope="session")
def postgres_b_server() -> Iterator[Server]:
    """A second PostgreSQL server, another installation than the first."""
    server = find("postgres-b")
    with server.in_use():
        yield server


@pytest.fixture
def postgres_url(postgres_server: Server) -> str:
    """The URL of the maintenance database of `postgres_server`, which runs."""
    postgres_server.start()
    return postgres_server.url


@pytest.fixture
def postgres_b_url(postgres_b_server: Server) -> str:
    """The URL of the maintenance database of `postgres_b_server`, which runs."""
    postgres_b_server.start()
    return postgres_b_server.url


@pytest.fixture
def postgres_database(postgres_server: Server) -> Iterator[Databases]:
    """A factory of fresh databases on `postgres_server`; they go with the test, slots and all."""
    yield from _databases(postgres_server)


@pytest.fixture
def postgres_b_database(postgres_b_server: Server) -> Iterator[Databases]:
    """A factory of fresh databases on `postgres_b_server`; they go with the test, slots and all."""
    yield from _databases(postgres_b_server)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Server]:
    """The MariaDB server."""
    server = find("mariadb")
    with server.in_use():
        yield server


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[Server]:
    """The MySQL server."""
    server = find("mysql")
    try:
        server.install()
    except Unavailable as error:
        pytest.skip(str(error))
    with server.in_use():
        yield server


@pytest.fixture
def mariadb_database(mariadb_server: Server) -> Iterator[Databases]:
    """A factory of fresh databases on `mariadb_server`; they go with the test."""
    yield from _mysql_databases(mariadb_server)


@pytest.fixture
def mysql_database(mysql_server: Server) -> Iterator[Databases]:
    """A factory of fresh databases on `mysql_server`; they go with the test."""
    yield from _mysql_databases(mysql_server)


def _mysql_databases(server: Server) -> Iterator[Databases]:
    made: list[str] = []

    def database() -> str:
        server.start()
        name = f"t{os.getpid()}_{next(_numbers)}"
        mysql_family.run(server.url, f"CREATE DATABASE {name}")
        made.append(name)
        return urlunsplit(urlsplit(server.url)._replace(path=f"/{name}"))

    yield database
    server.start()
    for name in made:
        mysql_family.run(server.url, f"DROP DATABASE {name}")


def _databases(server: Server) -> Iterator[Databases]:
    made: list[str] = []

    def database() -> str:
        server.start()
        name = f"t{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(server.url, autocommit=True) as maintenance:
            maintenance.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        made.append(name)
        return urlunsplit(urlsplit(server.url)._replace(path=f"/{name}"))

    yield database
    server.start()
    for name in made:
        _drop(server.url, name)


def _drop(url: str, name: str) -> None:
    """Drop a database and what would keep it: prepared transactions, slots, sessions."""
    own = urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    with psycopg.connect(url, autocommit=True) as maintenance:
        held = "SELECT gid FROM pg_prepared_xacts WHERE database = %s"
        for (gid,) in maintenance.execute(held, [name]).fetchall():
            with psycopg.connect(own, autocommit=True) as inside:
                inside.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
        slots = "SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = %s"
        for slot, pid in maintenance.execute(slots, [name]).fetchall():
            if pid is not None:
                maintenance.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
            maintenance.execute("SELECT pg_drop_replication_slot(%s)", [slot])
        maintenance.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

"""MariaDB as a target through the suite that every connector passes."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from services import Server
from syncline.testing import conformance
from syncline.testing.conformance import Driver
from tests.conftest import Databases

from .mysql_databases import Halves, PlainMysql


@pytest.fixture
def driver(mariadb_server: Server, mariadb_database: Databases) -> Iterator[Driver]:
    missing = urlunsplit(urlsplit(mariadb_server.url)._replace(path="/nowhere"))
    with PlainMysql(mariadb_database) as source, PlainMysql(mariadb_database) as target:
        yield Driver(Halves(), source, target, missing_url=missing)  # type: ignore[arg-type]


class TestTarget(conformance.TargetSuite):
    """Everything that a target promises."""

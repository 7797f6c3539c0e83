"""MySQL as a target through the suite that every connector passes."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from services import Server
from syncline.testing import conformance
from syncline.testing.conformance import Driver
from tests.conftest import Databases

from .mysql_databases import Halves, PlainMysql9


@pytest.fixture
def driver(mysql_server: Server, mysql_database: Databases) -> Iterator[Driver]:
    missing = urlunsplit(urlsplit(mysql_server.url)._replace(path="/nowhere"))
    with PlainMysql9(mysql_database) as source, PlainMysql9(mysql_database) as target:
        yield Driver(Halves(), source, target, missing_url=missing)  # type: ignore[arg-type]


class TestTarget(conformance.TargetSuite):
    """Everything that a target promises."""

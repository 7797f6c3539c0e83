"""Two servers with the same small table at one of them."""

from __future__ import annotations

import pytest

from tests.conftest import Databases
from tests.runs import execute

TABLE = "CREATE TABLE t (id bigint PRIMARY KEY, n int, note text)"


@pytest.fixture
def pair(postgres_database: Databases, postgres_b_database: Databases) -> tuple[str, str]:
    """A database with 100 rows in `t`, and an empty one on another server."""
    source, target = postgres_database(), postgres_b_database()
    execute(source, TABLE, "INSERT INTO t SELECT n, n, 'first' FROM generate_series(1, 100) n")
    return source, target

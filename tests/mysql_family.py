"""MariaDB and MySQL through a plain driver, for what tests ask and write there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import pymysql


def connect(url: str, **options: Any) -> pymysql.connections.Connection:
    """A session in autocommit mode at the URL's database, in UTC."""
    parts = urlsplit(url)
    asked = {
        "host": parts.hostname,
        "port": parts.port or 3306,
        "user": parts.username,
        "password": parts.password or "",
        "database": parts.path.lstrip("/") or None,
        "autocommit": True,
        "charset": "utf8mb4",
        "init_command": "SET time_zone = '+00:00'",
    }
    return pymysql.connect(**asked | options)


def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements in one session; the rows of the last."""
    connection = connect(url)
    try:
        return ask(connection, *statements)
    finally:
        connection.close()


def ask(
    connection: pymysql.connections.Connection, *statements: str, values: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    """Run statements in this session; the rows of the last. `values` are for all of them."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement, values or None)
        return list(cursor.fetchall())

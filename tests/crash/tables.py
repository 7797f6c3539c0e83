"""The tables that the writers work on, in any of the systems."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from typing import Any

import psycopg

DDL = {
    "accounts": """
        id bigint PRIMARY KEY,
        email text UNIQUE,
        owner text NOT NULL,
        balance numeric(12, 2) NOT NULL,
        ratio double precision,
        flag boolean NOT NULL,
        note text,
        photo bytea,
        changed timestamp""",
    "documents": """
        id text PRIMARY KEY,
        account_id bigint NOT NULL REFERENCES accounts (id),
        title text NOT NULL,
        version integer NOT NULL,
        body text""",
    "lines": """
        account_id bigint NOT NULL REFERENCES accounts (id) ON DELETE CASCADE ON UPDATE CASCADE,
        number integer NOT NULL,
        amount integer,
        PRIMARY KEY (account_id, number)""",
    "scratch": "id bigint PRIMARY KEY, word text",
    "acks": "writer integer NOT NULL, counter bigint NOT NULL, PRIMARY KEY (writer, counter)",
}
LATE = ("documents", "scratch")
"""Tables that join the stream when the others are live."""

WRITER_KEYS = 1_000_000_000
"""Writer n owns the account ids from n times this; ids below one time this are everybody's."""

SHARED = range(1, 21)
FIRST = 2000
"""The accounts that were there before any writer begin with this id."""

ERRORS = (psycopg.Error, sqlite3.Error)


class Database:
    """A connection for the harness and the writers: one dialect, explicit transactions."""

    def __init__(self, url: str) -> None:
        self.sqlite = url.startswith("sqlite")
        self._connection: Any
        if self.sqlite:
            self._connection = sqlite3.connect(
                url.removeprefix("sqlite:///"), timeout=20, isolation_level=None
            )
            self._connection.execute("PRAGMA foreign_keys = ON")
        else:
            self._connection = psycopg.connect(url, autocommit=True, connect_timeout=5)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement with `%s` for each value; its rows, if it has any."""
        if self.sqlite:
            return list(
                self._connection.execute(statement.replace("%s", "?").replace("%%", "%"), values).fetchall()
            )
        cursor = self._connection.execute(statement, values or None)
        return list(cursor.fetchall()) if cursor.description else []

    def fill(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each row of values."""
        if self.sqlite:
            self._connection.executemany(statement.replace("%s", "?"), rows)
        else:
            self._connection.cursor().executemany(statement, rows)

    def begin(self) -> None:
        """Open a transaction; in SQLite the only one that writes."""
        self.execute("BEGIN IMMEDIATE" if self.sqlite else "BEGIN")

    def close(self) -> None:
        """Close the connection; what was open is rolled back."""
        self._connection.close()


def create(url: str, accounts: int) -> None:
    """Make the tables, and rows in them that nobody's log will tell: they can only be copied."""
    database = Database(url)
    if database.sqlite:
        database.execute("PRAGMA journal_mode = WAL")
    database.begin()
    for name, columns in DDL.items():
        database.execute(f"CREATE TABLE {name} ({_spelt(columns, database.sqlite)})")
    database.execute("CREATE INDEX documents_account ON documents (account_id)")
    numbers = (*SHARED, *range(FIRST, FIRST + accounts))
    database.fill(
        "INSERT INTO accounts (id, email, owner, balance, flag) VALUES (%s, %s, 'nobody', %s, %s)",
        [(number, f"first{number}", number % 977, number % 2 == 0) for number in numbers],
    )
    parents = [number for number in numbers if number % 10 == 0]
    database.fill("INSERT INTO lines VALUES (%s, -1, %s)", [(number, number) for number in parents])
    database.fill(
        "INSERT INTO documents VALUES (%s, %s, 'first', 0, %s)",
        [(f"d{number}", number, random.Random(number).randbytes(2500).hex()) for number in parents],
    )
    database.execute("COMMIT")
    database.close()


def _spelt(columns: str, sqlite: bool) -> str:
    return columns.replace("bytea", "blob") if sqlite else columns

"""Pairs of stores of both systems, and statements that both understand."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.conftest import Databases

SORTS = [f"{source}-{target}" for source in ("postgresql", "sqlite") for target in ("postgresql", "sqlite")]


@dataclass(frozen=True)
class Stores:
    """Makes fresh stores."""

    here: Databases
    there: Databases
    folder: Path

    def pair(self, sorts: str) -> tuple[str, str]:
        """A source and a target, such as of `postgresql-sqlite`."""
        source, target = sorts.split("-")
        return self._one(source, self.here, "source.db"), self._one(target, self.there, "target.db")

    def _one(self, sort: str, database: Databases, name: str) -> str:
        return database() if sort == "postgresql" else f"sqlite:///{self.folder / name}"


def run(url: str, *statements: str) -> None:
    """Run statements, each a transaction."""
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10)) as file:
            for statement in statements:
                with file:
                    file.execute(statement)
        return
    with psycopg.connect(url, autocommit=True) as server:
        for statement in statements:
            server.execute(statement.encode())


def rows(url: str, table: str) -> int | None:
    """How many rows a table has; None without the table."""
    query = f"SELECT count(*) FROM {table}"
    if url.startswith("sqlite:"):
        try:
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10)) as file:
                found = file.execute(query).fetchone()
        except sqlite3.OperationalError:
            return None
    else:
        try:
            with psycopg.connect(url, autocommit=True) as server:
                found = server.execute(query.encode()).fetchone()
        except psycopg.errors.UndefinedTable:
            return None
    return int(found[0]) if found else None

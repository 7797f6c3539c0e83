"""A writer that changes tables as well as rows: `python -m tests.crash.shaper URL SEED FILE PAUSE`.

It works on one table, `shaped`, whose columns come, go, are renamed and widened, and on tables that come and
go, `came_1` and so on. What it wants to do depends on what it finds, so that a commit whose reply got lost
does no harm. FILE receives each statement that was acknowledged, for whoever wants to know what happened.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from .tables import ERRORS, Database

SHAPED = "shaped"
CAME = "came_"
FIRST_ROWS = 200
MOST_COLUMNS = 7
MOST_TABLES = 4
ADDED = (
    *("integer", "integer NOT NULL DEFAULT 7", "text NOT NULL DEFAULT 'it''s \"x\"'", "varchar(20)"),
    *("boolean NOT NULL DEFAULT true", "numeric(8, 2) DEFAULT 1.50", "bigint"),
    "timestamp DEFAULT '2024-01-02 03:04:05'",
)
WIDER = {"integer": "bigint", "character varying(20)": "text"}
SHAPING = 0.04
"""The part of its transactions that change a table."""


def create(database: Database) -> None:
    """Make the table with its first rows, inside the caller's transaction."""
    database.execute(f"CREATE TABLE {SHAPED} (id bigint PRIMARY KEY, word text, n integer NOT NULL)")
    database.fill(
        f"INSERT INTO {SHAPED} VALUES (%s, %s, %s)",
        [(number, f"word {number}", number) for number in range(FIRST_ROWS)],
    )


class Shaper:
    """One such writer; `done` counts what it did."""

    def __init__(self, url: str, seed: int, file: Path, pause: float) -> None:
        self._url, self._file, self._pause = url, file, pause
        self._random = random.Random(f"{seed}-shaper")
        self._stopped = False
        self._database: Database | None = None
        self._said: list[str] = []
        self._born = 0
        self.done: Counter[str] = Counter()

    def stop(self, *_: object) -> None:
        """End after the transaction that runs."""
        self._stopped = True

    def run(self) -> None:
        """Write until stopped."""
        with self._file.open("a") as file:
            while not self._stopped:
                try:
                    self._transaction(file)
                except ERRORS as error:
                    self.done[f"error {type(error).__name__}"] += 1
                    self._disconnect()
                time.sleep(self._pause * self._random.random() * 2)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _transaction(self, file: TextIO) -> None:
        if self._database is None:
            self._database = Database(self._url)
            if not self._database.sqlite:
                self._database.execute("SET lock_timeout = '5s'")
        database = self._database
        operations = SHAPES if self._random.random() < SHAPING else WRITES
        (operation,) = self._random.choices(list(operations), list(operations.values()))
        self._said = []
        database.begin()
        getattr(self, f"_{operation}")(database)
        database.execute("COMMIT")
        self.done[operation] += 1
        for statement in self._said:
            file.write(f"{time.strftime('%H:%M:%S')} {statement}\n")
        file.flush()

    def _alter(self, database: Database, statement: str) -> None:
        database.execute(statement)
        self._said.append(statement)

    # What there is.

    def _tables(self, database: Database) -> list[str]:
        """The tables that came and are still there, the oldest first."""
        query = "SELECT name FROM sqlite_schema WHERE type = 'table'"
        if not database.sqlite:
            query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        names = [row[0] for row in database.execute(query) if row[0].startswith(CAME)]
        return sorted(names, key=lambda name: int(name.removeprefix(CAME)))

    def _columns(self, database: Database, table: str) -> dict[str, str]:
        """The columns beside the key, with their types."""
        if database.sqlite:
            found = [(row[1], row[2]) for row in database.execute(f"PRAGMA table_info({table})")]
        else:
            found = database.execute(
                "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
                f" WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
            )
        return {name: type for name, type in found if name != "id"}

    def _value(self, database: Database, name: str, type: str) -> Any:
        if name != "parent":
            return self._cell(type)
        query = f"SELECT max(id) FROM {SHAPED} WHERE id < %s"
        return database.execute(query, [self._random.randrange(1_000_000)])[0][0]

    def _cell(self, type: str) -> Any:
        chance, type = self._random, type.partition("(")[0].lower()
        if type in ("integer", "bigint"):
            return chance.randint(0, 1_000_000 if type == "integer" else 1 << 60)
        if type == "boolean":
            return chance.random() < 0.5
        if type == "numeric":
            return chance.randint(0, 99_999) / 100
        if type.startswith("timestamp"):
            return datetime(2024, 1, 1 + chance.randrange(28), chance.randrange(24)).isoformat(" ")
        return chance.choice(["", "Zoë", "tab\tnew\nline\\", "'quoted\""])

    def _any(self, database: Database) -> str:
        return self._random.choice([SHAPED, SHAPED, *self._tables(database)])

    # Rows.

    def _insert(self, database: Database) -> None:
        table = self._any(database)
        columns = self._columns(database, table)
        listed, holes = ", ".join(["id", *columns]), ", ".join(["%s"] * (len(columns) + 1))
        for number in self._random.sample(range(1_000_000), self._random.choice([1, 1, 3, 20])):
            cells = [self._value(database, name, type) for name, type in columns.items()]
            database.execute(
                f"INSERT INTO {table} ({listed}) VALUES ({holes}) ON CONFLICT DO NOTHING", [number, *cells]
            )

    def _update(self, database: Database) -> None:
        table = self._any(database)
        columns = self._columns(database, table)
        name = self._random.choice(list(columns))
        database.execute(
            f"UPDATE {table} SET {name} = %s WHERE id %% 9 = %s",
            [self._value(database, name, columns[name]), self._random.randrange(9)],
        )

    def _delete(self, database: Database) -> None:
        table, start = self._any(database), self._random.randrange(1_000_000)
        database.execute(f"DELETE FROM {table} WHERE id BETWEEN %s AND %s", [start, start + 30_000])

    # Columns of the one table.

    def _add(self, database: Database) -> None:
        columns = self._columns(database, SHAPED)
        if len(columns) >= MOST_COLUMNS:
            self._drop(database)
            return
        # Names come again, after others: a column that was dropped and one of its name are two.
        name = self._random.choice([f"c{n}" for n in range(20) if f"c{n}" not in columns])
        self._alter(database, f"ALTER TABLE {SHAPED} ADD COLUMN {name} {self._random.choice(ADDED)}")

    def _drop(self, database: Database) -> None:
        names = [name for name in self._columns(database, SHAPED) if name.startswith("c")]
        if names:
            self._alter(database, f"ALTER TABLE {SHAPED} DROP COLUMN {self._random.choice(names)}")

    def _rename(self, database: Database) -> None:
        columns = self._columns(database, SHAPED)
        names = [name for name in columns if name.startswith("c")]
        if names:
            old = self._random.choice(names)
            new = self._random.choice([f"c{n}" for n in range(20) if f"c{n}" not in columns])
            self._alter(database, f"ALTER TABLE {SHAPED} RENAME COLUMN {old} TO {new}")

    def _widen(self, database: Database) -> None:
        columns = self._columns(database, SHAPED)
        narrow = [name for name, type in columns.items() if type in WIDER]
        if narrow and not database.sqlite:
            name = self._random.choice(narrow)
            self._alter(database, f"ALTER TABLE {SHAPED} ALTER COLUMN {name} TYPE {WIDER[columns[name]]}")

    # Tables that come and go.

    def _come(self, database: Database) -> None:
        tables = self._tables(database)
        if len(tables) >= MOST_TABLES:
            self._go(database)
            return
        # Above all that ever came: one that went is another table than one that comes later.
        self._born = max([self._born, *(int(name.removeprefix(CAME)) for name in tables)]) + 1
        self._make(database, f"{CAME}{self._born}")

    def _make(self, database: Database, table: str) -> None:
        parent = (
            f"bigint REFERENCES {SHAPED} (id) ON DELETE CASCADE" if self._random.random() < 0.5 else "bigint"
        )
        self._alter(database, f"CREATE TABLE {table} (id bigint PRIMARY KEY, word text, parent {parent})")
        for number in range(self._random.choice([0, 3, 300])):
            parents = f"(SELECT max(id) FROM {SHAPED} WHERE id < %s)"
            database.execute(
                f"INSERT INTO {table} VALUES (%s, %s, {parents})", [number, f"new {number}", number]
            )

    def _go(self, database: Database) -> None:
        tables = self._tables(database)
        if tables:
            self._alter(database, f"DROP TABLE {tables[0]}")

    def _replace(self, database: Database) -> None:
        """A table goes and another of its name comes, in one transaction."""
        tables = self._tables(database)
        if tables:
            table = self._random.choice(tables)
            self._alter(database, f"DROP TABLE {table}")
            self._make(database, table)


WRITES: dict[str, float] = {"insert": 10, "update": 10, "delete": 4}
SHAPES: dict[str, float] = {
    "add": 5,
    "drop": 3,
    "rename": 3,
    "widen": 3,
    "come": 4,
    "go": 1.5,
    "replace": 1,
}


def main(url: str, seed: str, file: str, pause: str) -> None:
    """Write until SIGTERM, then print what was done."""
    shaper = Shaper(url, int(seed), Path(file), float(pause))
    signal.signal(signal.SIGTERM, shaper.stop)
    shaper.run()
    print(", ".join(f"{name} {count:,}" for name, count in sorted(shaper.done.items())))


if __name__ == "__main__":
    main(*sys.argv[1:])

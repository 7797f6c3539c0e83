"""A writer that survives everything: `python -m tests.crash.writer URL NUMBER SEED FILE PAUSE`.

It runs seeded random transactions until SIGTERM, reconnects whenever the server is away, and appends to
FILE the counter of each commit that was acknowledged to it. The same counter stands in the table `acks`,
written by the same transaction. A commit whose reply got lost is neither counted nor repeated.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .tables import ERRORS, FIRST, SHARED, WRITER_KEYS, Database

MOST_ROWS = 4000


class Writer:
    """One writer; `done` counts what it did."""

    def __init__(self, url: str, number: int, seed: int, file: Path, pause: float) -> None:
        self._url, self._number, self._file, self._pause = url, number, file, pause
        self._random = random.Random(f"{seed}-{number}")
        self._low = number * WRITER_KEYS
        self._next = self._low
        self._rows = 0
        self._counter = 0
        self._stopped = False
        self._database: Database | None = None
        self.done: Counter[str] = Counter()

    def stop(self, *_: object) -> None:
        """End after the transaction that runs."""
        self._stopped = True

    def run(self) -> None:
        """Write until stopped."""
        with self._file.open("a") as acknowledged:
            while not self._stopped:
                try:
                    self._transaction(acknowledged)
                    time.sleep(self._pause * self._random.random() * 2)
                except ERRORS as error:
                    self.done[f"error {type(error).__name__}"] += 1
                    self._disconnect()
                    time.sleep(0.05)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _connected(self) -> Database:
        if self._database is None:
            database = Database(self._url)
            if not database.sqlite:
                database.execute("SET lock_timeout = '5s'")
            own = "FROM accounts WHERE id >= %s AND id < %s"
            (row,) = database.execute(f"SELECT max(id), count(*) {own}", [self._low, self._low + WRITER_KEYS])
            self._next, self._rows = (row[0] or self._low) + 1, row[1]
            self._database = database
        return self._database

    def _transaction(self, acknowledged: Any) -> None:
        database, chance = self._connected(), self._random
        operations = chance.choices(list(OPERATIONS), list(OPERATIONS.values()), k=chance.randint(1, 4))
        database.begin()
        for operation in operations:
            if operation == "insert" and self._rows > MOST_ROWS:
                operation = "delete"
            getattr(self, f"_{operation}")(database)
            self.done[operation] += 1
        self._counter += 1
        database.execute("INSERT INTO acks VALUES (%s, %s)", [self._number, self._counter])
        if chance.random() < 0.08:
            database.execute("ROLLBACK")
            self.done["rolled back"] += 1
            return
        database.execute("COMMIT")
        acknowledged.write(f"{self._counter}\n")
        acknowledged.flush()
        self.done["committed"] += 1

    # The operations. Each may find nothing to do.

    def _own(self, database: Database, most: int) -> list[int]:
        """Some account ids of this writer, of neighbouring ones."""
        start = self._random.randrange(self._low, self._next + 1)
        found = database.execute(
            "SELECT id FROM accounts WHERE id >= %s AND id < %s ORDER BY id LIMIT %s",
            [start, self._low + WRITER_KEYS, most],
        )
        return [row[0] for row in found]

    def _text(self, least: int, most: int) -> str:
        """Text that does not compress, so that PostgreSQL stores long ones out of line."""
        return self._random.randbytes(self._random.randint(least, most) // 2).hex()

    def _insert(self, database: Database) -> None:
        """Accounts with their documents and lines: three tables, two foreign keys."""
        chance = self._random
        for _ in range(chance.choice([1, 1, 2, 5, 20])):
            number = self._next
            self._next += 1
            self._rows += 1
            database.execute(
                "INSERT INTO accounts VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    *(number, f"e{number}" if chance.random() < 0.7 else None),
                    *(
                        chance.choice(["", "Zoë", "tab\tnew\nline\\", "'quoted\"", "\\N"]),
                        chance.randint(0, 999),
                    ),
                    *(chance.random() * 10 ** chance.randint(-9, 9), chance.random() < 0.5),
                    *(chance.choice([None, "", "note"]), chance.randbytes(chance.randint(0, 20))),
                    datetime.now(UTC).replace(tzinfo=None).isoformat(" "),
                ],
            )
            for _ in range(chance.choice([0, 0, 1, 2])):
                self._document(database, number)
            for line in range(chance.choice([0, 0, 1, 3])):
                database.execute(
                    "INSERT INTO lines VALUES (%s, %s, %s)", [number, line - 1, chance.randint(0, 9)]
                )

    def _document(self, database: Database, account: int) -> None:
        database.execute(
            "INSERT INTO documents VALUES (%s, %s, %s, 1, %s)",
            [f"{account}-{self._random.getrandbits(48):x}", account, "new", self._text(2, 30_000)],
        )

    def _update(self, database: Database) -> None:
        for number in self._own(database, 3):
            database.execute(
                "UPDATE accounts SET balance = balance + 1.25, note = %s, flag = NOT flag WHERE id = %s",
                [self._random.choice([None, "", "changed"]), number],
            )

    def _old(self, database: Database) -> None:
        """Rows that were there at first, copied perhaps by now: retitled, deleted, or given another key."""
        start = self._random.randrange(FIRST, FIRST + 100_000)
        found = database.execute(
            "SELECT id FROM accounts WHERE id >= %s AND id < %s ORDER BY id LIMIT 2", [start, WRITER_KEYS]
        )
        for (number,) in found:
            what = self._random.randrange(4)
            if what == 0:
                self._delete_account(database, number)
            elif what == 1:
                database.execute("DELETE FROM documents WHERE account_id = %s", [number])
                moved = FIRST + self._random.randrange(100_000, WRITER_KEYS - FIRST)
                database.execute("UPDATE accounts SET id = %s WHERE id = %s", [moved, number])
            else:
                database.execute("UPDATE documents SET title = 'old' WHERE account_id = %s", [number])

    def _share(self, database: Database) -> None:
        """Rows that every writer wants, in any order: locks are waited for, and deadlocks happen."""
        for number in self._random.sample(SHARED, 3):
            database.execute("UPDATE accounts SET balance = balance + 1 WHERE id = %s", [number])

    def _retitle(self, database: Database) -> None:
        """A big text stays untouched: PostgreSQL's log does not send it."""
        for number in self._own(database, 8):
            database.execute(
                "UPDATE documents SET title = %s, version = version + 1 WHERE account_id = %s",
                [self._text(2, 20), number],
            )

    def _rewrite(self, database: Database) -> None:
        for number in self._own(database, 2):
            body = self._random.choice([None, "", self._text(2, 60_000)])
            database.execute("UPDATE documents SET body = %s WHERE account_id = %s", [body, number])

    def _rekey(self, database: Database) -> None:
        for number in self._own(database, 3):
            database.execute("UPDATE lines SET number = number + 1000 WHERE account_id = %s", [number])

    def _rename(self, database: Database) -> None:
        """A key changes and a big text beside it stays untouched: it must be found elsewhere."""
        for number in self._own(database, 8):
            found = database.execute("SELECT id FROM documents WHERE account_id = %s", [number])
            for (old,) in found:
                new = f"{number}-{self._random.getrandbits(48):x}"
                database.execute("UPDATE documents SET id = %s WHERE id = %s", [new, old])

    def _delete(self, database: Database) -> None:
        for number in self._own(database, self._random.choice([1, 1, 3, 30])):
            self._delete_account(database, number)
            self._rows -= 1

    def _delete_account(self, database: Database, number: int) -> None:
        """Documents first; the lines go by a cascade."""
        database.execute("DELETE FROM documents WHERE account_id = %s", [number])
        database.execute("DELETE FROM accounts WHERE id = %s", [number])

    def _again(self, database: Database) -> None:
        """Delete, insert, delete and insert one key in one transaction."""
        for number in self._own(database, 1):
            for owner in ("again", "and again"):
                self._delete_account(database, number)
                database.execute(
                    "INSERT INTO accounts (id, email, owner, balance, flag) VALUES (%s, %s, %s, 0, %s)",
                    [number, f"e{number}", owner, True],
                )

    def _bulk(self, database: Database) -> None:
        """Many rows by one statement."""
        database.execute(
            "UPDATE accounts SET balance = balance + 0.5 WHERE id >= %s AND id < %s AND id %% 3 = %s",
            [self._low, self._low + WRITER_KEYS, self._random.randrange(3)],
        )

    def _move(self, database: Database) -> None:
        """A unique value goes from one row to another."""
        numbers = self._own(database, 2)
        if len(numbers) == 2:
            found = database.execute("SELECT email FROM accounts WHERE id = %s", [numbers[0]])
            database.execute("UPDATE accounts SET email = NULL WHERE id = %s", [numbers[0]])
            database.execute("UPDATE accounts SET email = %s WHERE id = %s", [found[0][0], numbers[1]])

    def _swap(self, database: Database) -> None:
        """Three rows hand their unique values round."""
        numbers = self._own(database, 3)
        emails = [
            database.execute("SELECT email FROM accounts WHERE id = %s", [number])[0][0] for number in numbers
        ]
        for number in numbers:
            database.execute("UPDATE accounts SET email = NULL WHERE id = %s", [number])
        for number, email in zip(numbers, emails[1:] + emails[:1], strict=True):
            database.execute("UPDATE accounts SET email = %s WHERE id = %s", [email, number])

    def _truncate(self, database: Database) -> None:
        """Empty a small table at once, and fill it anew."""
        database.execute("DELETE FROM scratch" if database.sqlite else "TRUNCATE scratch")
        for number in range(self._random.randint(0, 5)):
            database.execute("INSERT INTO scratch VALUES (%s, %s)", [number, self._text(0, 20)])

    def _scribble(self, database: Database) -> None:
        number = self._random.randint(10, 10_000)
        database.execute("DELETE FROM scratch WHERE id = %s", [number])
        database.execute("INSERT INTO scratch VALUES (%s, 'scribbled')", [number])


OPERATIONS: dict[str, float] = {
    "insert": 20,
    "update": 15,
    "old": 8,
    "share": 3,
    "retitle": 12,
    "rewrite": 5,
    "rekey": 6,
    "rename": 6,  # each one is read again at the source
    "delete": 8,
    "again": 3,
    "bulk": 1,
    "move": 5,
    "swap": 5,
    "truncate": 0.3,
    "scribble": 5,
}


def main(url: str, number: str, seed: str, file: str, pause: str) -> None:
    """Write until SIGTERM, then print what was done."""
    writer = Writer(url, int(number), int(seed), Path(file), float(pause))
    signal.signal(signal.SIGTERM, writer.stop)
    writer.run()
    print(", ".join(f"{name} {count:,}" for name, count in sorted(writer.done.items())))


if __name__ == "__main__":
    main(*sys.argv[1:])

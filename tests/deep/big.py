"""`make deep-big`: a snapshot and single transactions of millions of rows, from PostgreSQL to PostgreSQL.

Each is interrupted in the middle and resumed. Exit 0 when the process stayed under its bound, every Ctrl-C
ended it in time with nothing of it left on either server, and both sides are equal; 1 when something failed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.crash.ends import opened

from .process import MIB, Failed, Sync

TABLE = """CREATE TABLE {} (id bigint PRIMARY KEY, code int NOT NULL, label text NOT NULL, note text,
           amount numeric(12, 2) NOT NULL, at timestamptz NOT NULL, open boolean NOT NULL,
           ratio double precision NOT NULL)"""

ROWS = """INSERT INTO {} SELECT n, n % 977, 'label ' || n, CASE WHEN n % 7 > 0 THEN repeat('note ', 8) END,
          (n % 100000) / 100.0, timestamptz '2026-01-01 00:00:00+00' + n * interval '1 second', n % 2 = 0,
          n / 3.0::float8 FROM generate_series({}, {}) AS n"""

SESSIONS = """SELECT pid, backend_type, state, left(query, 80) FROM pg_stat_activity
              WHERE application_name LIKE 'syncline%'"""

WRITING = """SELECT count(*) FROM pg_stat_activity
             WHERE application_name LIKE 'syncline %' AND backend_xid IS NOT NULL"""

CHECKSUM = """SELECT count(*), sum(hashtextextended(t::text, 0)::numeric),
                     sum(hashtextextended(t::text, 1)::numeric) FROM {} AS t"""

END_SECONDS = 2.0
LONGEST_SECONDS = 1800.0


class Server:
    """One database, asked with a plain driver."""

    def __init__(self, url: str) -> None:
        self._session = psycopg.connect(url, autocommit=True, application_name="deep")
        self._session.execute("SET TimeZone = 'UTC'")

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """The rows of a query."""
        cursor = self._session.execute(query.encode())
        return cursor.fetchall() if cursor.description else []

    def number(self, query: str) -> int:
        """The one number of a query; 0 where a table in it does not exist or it is NULL."""
        try:
            ((value,),) = self.ask(query)
        except psycopg.errors.UndefinedTable:
            return 0
        return int(str(value or 0))

    def size(self, table: str) -> int:
        """The bytes of a table's file, uncommitted rows included."""
        return self.number(f"SELECT coalesce(pg_relation_size(to_regclass('public.{table}')), 0)")

    def close(self) -> None:
        """End the session."""
        self._session.close()


class Big:
    """The cases, over an empty pair of databases."""

    def __init__(self, source: str, target: str, rows: int, bound_mib: int, log: Path) -> None:
        self._urls = source, target
        self._rows, self._bound, self._log = rows, bound_mib * MIB, log
        self._source, self._target = Server(source), Server(target)

    def run(self) -> None:
        """Do everything; Failed with the first thing that is wrong."""
        self._snapshot()
        self._transactions()

    def close(self) -> None:
        """End the sessions."""
        self._source.close()
        self._target.close()

    def _snapshot(self) -> None:
        """A one-off run over a filled table."""
        self._fill("copied", 1, self._rows)
        copied = "SELECT sum(rows) FROM syncline.spans"

        def middle() -> bool:
            return self._target.number(copied) >= self._rows // 3

        with self._sync("--tables", "copied") as sync:
            seconds = sync.until(middle, "a third was copied", LONGEST_SECONDS)
            self._say("snapshot: a third is copied", seconds)
            self._interrupt(sync, "snapshot")
        kept = self._target.number(copied)
        with self._sync("--tables", "copied") as sync:
            begun = time.monotonic()
            code = sync.wait(LONGEST_SECONDS)
            if code != 0:
                raise Failed(f"the resumed snapshot ended with {code}; {sync.last_words()}")
            self._say(f"snapshot: the next run goes on from {kept:,} rows and ends", time.monotonic() - begun)
            self._judge_memory(sync, "snapshot, resumed")
        self._compare("copied")

    def _transactions(self) -> None:
        """Single transactions met by a follow that has nothing else to do."""
        self._fill("told", -9, 0)
        changed = self._rows // 5
        self._transaction(
            f"{self._rows:,} inserts in one transaction",
            ROWS.format("told", 1, self._rows),
            f"SELECT count(*) FROM told WHERE id = {self._rows}",
        )
        self._transaction(
            f"{changed:,} updates in one transaction",
            f"UPDATE told SET label = 'new ' || label, amount = amount + 1 WHERE id <= {changed}",
            "SELECT count(*) FROM told WHERE id = 1 AND label LIKE 'new %'",
        )
        self._transaction(
            f"{changed:,} deletes in one transaction",
            f"DELETE FROM told WHERE id > {self._rows - changed}",
            f"SELECT 1 - count(*) FROM told WHERE id = {self._rows}",
            grows=False,
        )
        with self._sync("--tables", "told") as sync:
            code = sync.wait(LONGEST_SECONDS)
            if code != 0:
                raise Failed(f"the last run ended with {code}; {sync.last_words()}")

    def _transaction(self, name: str, statement: str, arrived: str, *, grows: bool = True) -> None:
        """Run a statement while a follow runs, interrupt that in the middle, and follow on to the end. How
        far an open transaction is shows in the table's file; of a delete only that it has begun."""
        with self._sync("--tables", "told", "--follow") as sync:
            sync.until(self._is_live, "the table was live", LONGEST_SECONDS)
            before = self._target.size("told")
            at_source = self._source.size("told")
            begun = time.monotonic()
            self._source.ask(statement)
            self._say(f"{name}: committed at the source", time.monotonic() - begun)
            growth = self._source.size("told") - at_source

            def middle() -> bool:
                if grows:
                    return self._target.size("told") >= before + growth // 3
                return self._target.number(WRITING) > 0

            seconds = sync.until(middle, "the middle was reached", LONGEST_SECONDS)
            self._say(f"{name}: {'a third is written' if grows else 'writing has begun'}", seconds)
            if self._target.number(arrived):
                raise Failed(f"{name}: it was over before it could be interrupted; take more --rows")
            self._interrupt(sync, name)
        if self._target.number(arrived):
            raise Failed(f"{name}: a part of it, or all, was committed by an interrupted run")
        with self._sync("--tables", "told", "--follow") as sync:
            seconds = sync.until(
                lambda: self._target.number(arrived) == 1, "the transaction was whole", LONGEST_SECONDS
            )
            self._say(f"{name}: the next run applies it", seconds)
            self._interrupt(sync, f"{name}, at rest")
        self._compare("told")

    def _is_live(self) -> bool:
        state = "SELECT count(*) FROM syncline.tables WHERE name = 'told' AND state = 'live'"
        return self._target.number(state) == 1

    def _sync(self, *arguments: str) -> Sync:
        return Sync(*self._urls, *arguments, log=self._log)

    def _interrupt(self, sync: Sync, name: str) -> None:
        """Ctrl-C: it ends in time, as interrupted, and leaves no session on either server."""
        begun = time.monotonic()
        code, seconds = sync.interrupt()
        while left := [*self._source.ask(SESSIONS), *self._target.ask(SESSIONS)]:
            if time.monotonic() - begun > LONGEST_SECONDS / 10:
                break
            time.sleep(0.02)
        gone = time.monotonic() - begun
        self._say(f"{name}: Ctrl-C ends with {code}; its last session is gone after {gone:.2f} s", seconds)
        self._judge_memory(sync, name)
        if code != 130:
            raise Failed(f"{name}: exit code {code}; {sync.last_words()}")
        if seconds > END_SECONDS or gone > END_SECONDS:
            raise Failed(f"{name}: more than {END_SECONDS} s; left were {left}; {sync.last_words()}")

    def _judge_memory(self, sync: Sync, name: str) -> None:
        highest = max(size for _, size in sync.resident)
        peak, bound = sync.peak_bytes / MIB, self._bound / MIB
        print(f"{'':10}{name}: {peak:.0f} MiB at most (VmHWM), {highest / MIB:.0f} MiB sampled", flush=True)
        if peak > bound:
            raise Failed(f"{name}: {peak:.0f} MiB were resident, the bound is {bound:.0f} MiB")

    def _compare(self, table: str) -> None:
        begun = time.monotonic()
        (ours,), (theirs,) = (end.ask(CHECKSUM.format(table)) for end in (self._source, self._target))
        if ours != theirs:
            raise Failed(f"table {table}: {ours} at the source, {theirs} at the target")
        self._say(f"table {table}: {ours[0]:,} rows, equal by count and checksum", time.monotonic() - begun)

    def _fill(self, table: str, first: int, last: int) -> None:
        begun = time.monotonic()
        self._source.ask(TABLE.format(table))
        self._source.ask(ROWS.format(table, first, last))
        self._say(f"table {table} is filled", time.monotonic() - begun)

    def _say(self, text: str, seconds: float) -> None:
        print(f"{seconds:8.2f} s {text}", flush=True)


def main() -> int:
    """Run all cases, print the figures and the verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.deep.big", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--bound", type=int, default=400, metavar="MIB", help="most memory of the process")
    parser.add_argument("--logs", type=Path, default=Path(".deep"), help="folder for logs")
    asked = parser.parse_args()
    asked.logs.mkdir(parents=True, exist_ok=True)
    log = asked.logs / f"big-{random.SystemRandom().randrange(1_000_000)}.log"
    begun = time.monotonic()
    with (
        opened("postgres", "source", asked.logs) as source,
        opened("postgres-b", "target", asked.logs) as target,
    ):
        big = Big(source.url, target.url, asked.rows, asked.bound, log)
        verdict: Callable[[], str] = lambda: f"{time.monotonic() - begun:.0f} s; the log is {log}"  # noqa: E731
        try:
            big.run()
        except Failed as error:
            print(f"\nFAILED after {verdict()}: {error}")
            return 1
        finally:
            big.close()
    print(f"\nEverything held; {verdict()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`make deep-idle`: what a `sync --follow` costs that has nothing to do.

PostgreSQL to PostgreSQL, both databases on one server, first while nobody writes and then while a third
database of that server writes; SQLite to SQLite beside it. Exit 0 when the log that the server keeps stays
within a few segments, each process takes under a hundredth of a core, the position is not written because
of its own writing, and a change at the end arrives; 1 when something failed.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from syncline.engine.canary import CANARY_SECONDS
from syncline.engine.stream import IDLE_SECONDS
from tests.crash.ends import opened
from tests.crash.tables import Database

from .process import MIB, Failed, Sync

SEGMENT = 16 * MIB
RETAINED = 6 * SEGMENT
"""The server can let go only of what lies before an account of the transactions then running, which it
writes every 15 s, and only once the position after it is stored, which idle happens every IDLE_SECONDS."""

CORE_SHARE = 0.01
LOG_MIB_PER_MINUTE = 110
SAMPLE_SECONDS = 10.0
ARRIVES_SECONDS = 30.0

LOG = """SELECT pg_current_wal_lsn() - restart_lsn, pg_current_wal_lsn() - confirmed_flush_lsn,
                pg_current_wal_lsn() - '0/0', (SELECT count(*) FROM pg_ls_waldir())
         FROM pg_replication_slots WHERE database = current_database()"""


@dataclass
class Watch:
    """A follow under watch: when that began, the processor time it had had by then."""

    name: str
    sync: Sync
    begun: float = field(default_factory=time.monotonic)
    spent: float = 0.0

    def __post_init__(self) -> None:
        self.spent = self.sync.cpu_seconds

    def judge(self, phase: str) -> None:
        """Print the share of a core since then, and begin anew; Failed when it is too much."""
        now, spent = time.monotonic(), self.sync.cpu_seconds
        share = (spent - self.spent) / (now - self.begun)
        print(f"{self.name}, {phase}: {share:.2%} of a core over {now - self.begun:.0f} s", flush=True)
        if share >= CORE_SHARE:
            raise Failed(f"{self.name}, {phase}: {share:.2%} of a core, the bound is {CORE_SHARE:.0%}")
        self.begun, self.spent = now, spent


class Idle:
    """The follows and what is looked at."""

    def __init__(self, source: Database, target: Database, other: Database, watches: list[Watch]) -> None:
        self._source, self._target, self._other = source, target, other
        self._watches = watches
        self._rows: list[str] = []

    def quiet(self, seconds: float) -> None:
        """Nobody writes: the position's own writing must not be a reason to write it again (Race 13)."""
        begun = time.monotonic()
        self._rows = [self._row()]
        while time.monotonic() < begun + seconds:
            time.sleep(1)
            self._look()
        writes = len(self._rows) - 1
        print(f"quiet: the position was written {writes} times in {seconds:.0f} s", flush=True)
        if writes > seconds / CANARY_SECONDS + 1:
            raise Failed(f"the position was written {writes} times while nobody wrote")
        self._judge("quiet")

    def noisy(self, seconds: float) -> None:
        """Another database writes: the log does not pile up, and the position is written now and then."""
        self._other.execute("CREATE TABLE noise (text text)")
        ((_, _, first, _),) = self._source.execute(LOG)
        begun = sampled = time.monotonic()
        self._rows = [self._row()]
        highest = 0
        print("   s   MiB written   MiB retained   MiB not confirmed   segments on disk   position writes")
        while (now := time.monotonic()) < begun + seconds:
            self._write(first, (now - begun) / 60 * LOG_MIB_PER_MINUTE)
            self._look()
            ((retained, behind, at, files),) = self._source.execute(LOG)
            highest = max(highest, int(retained))
            if now - sampled >= SAMPLE_SECONDS:
                # The server gives files back at a checkpoint only, by itself every few minutes.
                self._other.execute("CHECKPOINT")
                figures = [f"{float(part) / MIB:15.1f}" for part in (at - first, retained, behind)]
                print(f"{now - begun:4.0f}", *figures, f"{files:18}", f"{len(self._rows) - 1:17}", flush=True)
                sampled = now
            time.sleep(1)
        writes = len(self._rows) - 1
        print(f"noisy: at most {highest / MIB:.1f} MiB retained; {writes} position writes", flush=True)
        if highest > RETAINED:
            raise Failed(f"{highest / MIB:.0f} MiB of log were retained, the bound is {RETAINED / MIB:.0f}")
        if writes > seconds / IDLE_SECONDS + seconds / CANARY_SECONDS + 1:
            raise Failed(f"the position was written {writes} times in {seconds:.0f} s")
        self._judge("noisy")

    def change(self) -> None:
        """One change of our own arrives."""
        self._source.execute("INSERT INTO items VALUES (0, 'at last')")
        seconds = self._watches[0].sync.until(
            lambda: bool(self._target.execute("SELECT 1 FROM items WHERE id = 0")),
            "the change arrived",
            ARRIVES_SECONDS,
        )
        print(f"the change arrived after {seconds:.2f} s", flush=True)

    def _row(self) -> str:
        """The transaction that wrote the position row as it is."""
        ((xmin,),) = self._target.execute("SELECT xmin::text FROM syncline.streams")
        return str(xmin)

    def _look(self) -> None:
        row = self._row()
        if row != self._rows[-1]:
            self._rows.append(row)

    def _write(self, first: float, mib: float) -> None:
        """Write rows until the server's log is so much larger than it was."""
        where = "SELECT pg_current_wal_lsn() - '0/0'"
        while float(self._other.execute(where)[0][0]) - float(first) < mib * MIB:
            filler = "SELECT repeat(md5(n::text), 32) FROM generate_series(1, 200) AS n"
            self._other.execute(f"INSERT INTO noise {filler}")

    def _judge(self, phase: str) -> None:
        for watch in self._watches:
            watch.judge(phase)


def _fill(database: Database) -> None:
    database.execute("CREATE TABLE items (id integer PRIMARY KEY, name text)")
    database.fill("INSERT INTO items VALUES (%s, 'one of many')", [(number,) for number in range(1, 1001)])


def _is_live(url: str) -> bool:
    """Whether the follow into this store has come to rest."""
    with closing(Database(url)) as database:
        tables = "_syncline_tables" if database.sqlite else "syncline.tables"
        try:
            return bool(database.execute(f"SELECT 1 FROM {tables} WHERE state = 'live'"))
        except (psycopg.errors.UndefinedTable, sqlite3.OperationalError):
            return False  # the bookkeeping is not made yet


@contextmanager
def following(source: str, target: str, log: Path) -> Iterator[Sync]:
    """A follow that is live."""
    with closing(Database(source)) as database:
        _fill(database)
    with Sync(source, target, "--follow", log=log) as sync:
        sync.until(lambda: _is_live(target), "it was live", 60)
        yield sync


def main() -> int:
    """Run both phases, print the figures and the verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.deep.idle", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="a tenth of it quiet, the rest noisy")
    parser.add_argument("--logs", type=Path, default=Path(".deep"), help="folder for logs and SQLite files")
    asked = parser.parse_args()
    folder = asked.logs / f"idle-{random.SystemRandom().randrange(1_000_000)}"
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        ends = [
            stack.enter_context(opened("postgres", side, folder)) for side in ("source", "target", "other")
        ]
        files = [stack.enter_context(opened("sqlite", side, folder)) for side in ("file-a", "file-b")]
        try:
            follows = [
                (name, stack.enter_context(following(a.url, b.url, folder / f"{name}.log")))
                for name, (a, b) in (("postgres", ends[:2]), ("sqlite", files))
            ]
            databases = [stack.enter_context(closing(Database(end.url))) for end in ends]
            time.sleep(5)  # what comes right after being live is not idle
            idle = Idle(*databases, [Watch(name, sync) for name, sync in follows])
            idle.quiet(asked.minutes * 6)
            idle.noisy(asked.minutes * 54)
            idle.change()
        except Failed as error:
            print(f"\nFAILED: {error}")
            return 1
    print(f"\nEverything held; logs in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

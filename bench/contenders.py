"""Those who compete. Each brings the source's table over to a target database of its own.

All have the same life. For a snapshot: `ready`, then `copy` until `copied`, then `clear`. For backlogs:
`ready`, `copy` until `live`, `pause`; for each backlog `resume` until the sentinel has `arrived`, `pause`; at
last `clear`. `check` says why nothing more will come.
"""

from __future__ import annotations

import glob
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from . import BenchError
from .figures import PSQL, SYNCLINE
from .usage import Usage
from .workload import MAKE_TABLE, TABLE, Database

PATIENCE_SECONDS = 1800.0
POLL_SECONDS = 0.005
STOP_SECONDS = 10.0
PUBLICATION = "bench"


class Contender:
    """What all have in common: a name and a target database, which `target` is connected to."""

    def __init__(self, name: str, source_url: str, target_url: str) -> None:
        self.name = name
        self._source_url, self._target_url = source_url, target_url
        self.target: Database = psycopg.connect(target_url, autocommit=True)

    def ready(self) -> None:
        """Make ready what is no part of the work: the empty table, with its key."""
        self.target.execute(MAKE_TABLE)

    def copy(self, usage: Usage) -> None:
        """Begin to bring over the table."""
        raise NotImplementedError

    def copied(self) -> bool:
        """Whether all rows are at the target and can be seen there."""
        raise NotImplementedError

    def clear(self) -> None:
        """Take everything away again."""
        self.target.execute(f"DROP TABLE IF EXISTS {TABLE}")

    def check(self) -> None:
        """BenchError when the work has failed."""

    def close(self) -> None:
        """End what still runs, whatever it does; leave nothing that would keep a database from going."""
        self.target.close()

    def arrived(self, sentinel: int) -> bool:
        """Whether the last row of a backlog can be seen at the target."""
        return bool(self.target.execute(f"SELECT FROM {TABLE} WHERE id = {sentinel}").rowcount)

    def within(self, subject: str, done: Callable[[], bool], usage: Usage | None = None) -> None:
        """Wait until something is done; BenchError when that takes too long or cannot come any more."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not done():
            self.check()
            if usage is not None:
                usage.sample()
            if time.monotonic() > deadline:
                raise BenchError(
                    f"cannot wait for {subject} of {self.name}: {PATIENCE_SECONDS:.0f} s are over"
                )
            time.sleep(POLL_SECONDS)
        if usage is not None:
            usage.sample(now=True)


class Following(Contender):
    """One that goes on after the copy, and can be stopped and started."""

    def live(self) -> bool:
        """Whether the copy is done in every respect, so that it can be paused."""
        raise NotImplementedError

    def resume(self, usage: Usage) -> None:
        """Go on with what was written meanwhile."""
        raise NotImplementedError

    def pause(self) -> None:
        """Stop, so that nothing is read from the source any more; the position stays."""
        raise NotImplementedError


class Psql(Contender):
    """`psql -c 'COPY … TO STDOUT' | psql -c 'COPY … FROM STDIN'`, in text, over one connection each."""

    def __init__(self, source_url: str, target_url: str) -> None:
        super().__init__(PSQL, source_url, target_url)
        self._pipe: list[subprocess.Popen[bytes]] = []

    def copy(self, usage: Usage) -> None:
        """Start both ends."""
        pipe = subprocess.PIPE
        reader = self._psql(
            self._source_url, f"COPY {TABLE} TO STDOUT", stdin=subprocess.DEVNULL, stdout=pipe
        )
        writer = self._psql(
            self._target_url, f"COPY {TABLE} FROM STDIN", stdin=reader.stdout, stdout=subprocess.DEVNULL
        )
        assert reader.stdout is not None
        reader.stdout.close()
        self._pipe = [reader, writer]
        for process in self._pipe:
            usage.watch(process.pid, "psql")

    def copied(self) -> bool:
        """Whether both ends have ended well."""
        return all(process.poll() == 0 for process in self._pipe)

    def check(self) -> None:
        """BenchError when an end failed; what it said stands on stderr."""
        if any(process.poll() for process in self._pipe):
            raise BenchError("cannot copy with psql: it ended with an error")

    def close(self) -> None:
        """Kill what is left."""
        for process in self._pipe:
            process.kill()
            process.wait()
        super().close()

    def _psql(self, url: str, command: str, **streams: object) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            f"PG{variable}": str(conninfo_to_dict(url)[member])
            for member, variable in _VARIABLES.items()
            if member in conninfo_to_dict(url)
        }
        line = [_program("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--command", command]
        return subprocess.Popen(line, env=environment, **streams)  # type: ignore[call-overload, no-any-return]


_VARIABLES = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "DATABASE"}


class Native(Following):
    """PostgreSQL's own logical replication: a subscription at the target, in text, with its defaults."""

    def __init__(self, name: str, source_url: str, target_url: str, slot: str) -> None:
        super().__init__(name, source_url, target_url)
        self._slot = slot
        self._source: Database = psycopg.connect(source_url, autocommit=True)

    def copy(self, usage: Usage) -> None:
        """Create the subscription."""
        statement = sql.SQL("CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {}").format(
            sql.Identifier(self._slot), make_conninfo(self._source_url), sql.Identifier(PUBLICATION)
        )
        self.target.execute(statement)

    def copied(self) -> bool:
        """Whether the copy's transaction is committed; its worker may still have a little to do."""
        return self._state() in ("f", "s", "r")

    def live(self) -> bool:
        """Whether the table is ready in the server's own words."""
        return self._state() == "r"

    def resume(self, usage: Usage) -> None:
        """Enable the subscription."""
        self._alter("ENABLE")

    def pause(self) -> None:
        """Disable the subscription and wait until its worker and its walsender are gone."""
        self._alter("DISABLE")
        self.within("the end", lambda: not self._working())

    def clear(self) -> None:
        """Drop the subscription, its slots and the table."""
        if self._state() is not None:
            self.target.execute(sql.SQL("DROP SUBSCRIPTION {}").format(sql.Identifier(self._slot)))
        super().clear()

    def close(self) -> None:
        """Let go of the subscription; the slot goes with the source's database."""
        if not self.target.closed and self._state() is not None:
            self._alter("DISABLE")
            self._alter("SET (slot_name = NONE)")
            self.target.execute(sql.SQL("DROP SUBSCRIPTION {}").format(sql.Identifier(self._slot)))
        self._source.close()
        super().close()

    def _alter(self, what: str) -> None:
        statement = sql.SQL("ALTER SUBSCRIPTION {} " + what)
        self.target.execute(statement.format(sql.Identifier(self._slot)))

    def _state(self) -> str | None:
        """The state of the table in `pg_subscription_rel`; None where there is no subscription."""
        query = """SELECT srsubstate::text FROM pg_subscription s JOIN pg_subscription_rel ON srsubid = s.oid
                   WHERE subname = %s"""
        row = self.target.execute(query, [self._slot]).fetchone()
        return str(row[0]) if row else None

    def _working(self) -> bool:
        worker = "SELECT FROM pg_stat_subscription WHERE subname = %s AND pid IS NOT NULL"
        walsender = "SELECT FROM pg_replication_slots WHERE slot_name = %s AND active"
        return bool(
            self.target.execute(worker, [self._slot]).rowcount
            or self._source.execute(walsender, [self._slot]).rowcount
        )


class Syncline(Following):
    """`syncline sync FROM TO --follow`, from the start of its process on."""

    def __init__(self, source_url: str, target_url: str, folder: Path) -> None:
        super().__init__(SYNCLINE, source_url, target_url)
        self._log = folder / "syncline.log"
        self._process: subprocess.Popen[bytes] | None = None

    def ready(self) -> None:
        """Nothing: it makes its table itself, with the key."""

    def copy(self, usage: Usage) -> None:
        """Start it."""
        self.resume(usage)

    def copied(self) -> bool:
        """Whether it is live: it says no earlier that all rows are there."""
        return self.live()

    def live(self) -> bool:
        """Whether its bookkeeping at the target calls the table live."""
        made = self.target.execute("SELECT to_regclass('syncline.tables') IS NOT NULL").fetchone()
        if made != (True,):
            return False
        return self.target.execute("SELECT state FROM syncline.tables").fetchall() == [("live",)]

    def resume(self, usage: Usage) -> None:
        """Start it again: it finds its position at the target."""
        self._process = self._start("--follow")
        usage.watch(self._process.pid, SYNCLINE)

    def pause(self) -> None:
        """SIGTERM, after which the slot and the position stay; so they do when it has to be killed."""
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"{self.name} was killed: it did not heed SIGTERM", file=sys.stderr, flush=True)
            process.kill()
            code = process.wait()
        if code not in (128 + signal.SIGTERM, -signal.SIGKILL):
            raise BenchError(f"cannot stop {self.name}: it ended with {code}; {self._last_words()}")

    def clear(self) -> None:
        """`--remove`, and the table."""
        if self._process is not None:
            self.pause()
        if code := self._start("--remove").wait(60):
            raise BenchError(f"cannot remove the stream: it ended with {code}; {self._last_words()}")
        super().clear()

    def check(self) -> None:
        """BenchError when it has ended, which a follow never does by itself."""
        if self._process is not None and self._process.poll() is not None:
            code = self._process.returncode
            raise BenchError(f"cannot measure {self.name}: it ended with {code}; {self._last_words()}")

    def close(self) -> None:
        """Kill it; its slot goes with the source's database."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        super().close()

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        urls: Mapping[str, str] = {"BENCH_FROM": self._source_url, "BENCH_TO": self._target_url}
        command = [sys.executable, "-m", "syncline", "sync", *(f"env:{name}" for name in urls), *arguments]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*command, "--quiet"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=os.environ | urls,
            )

    def _last_words(self) -> str:
        return " ".join(self._log.read_text().splitlines()[-3:]) or "it said nothing"


def _program(name: str) -> str:
    """The path of a client program; where the PATH has none, of the newest server installation."""
    found = shutil.which(name) or max(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), default="")
    if not found:
        raise BenchError(f"cannot find {name}: it is not installed; put it on the PATH")
    return found

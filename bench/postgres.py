"""PostgreSQL → PostgreSQL: the order of events.

Snapshots: each contender copies the same table, in turn, and takes it away again. Backlogs: all are live,
then stopped; what is written meanwhile stands in each one's replication slot, and one after the other
catches up with it. Who is first changes from round to round.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from services import Server, find

from . import BenchError, machine
from .contenders import PUBLICATION, Contender, Following, Native, Psql, Syncline
from .figures import CONTROL, NATIVE, SNAPSHOT, Run, summarise
from .usage import Usage, parent
from .workload import TABLE, Database, Workload, fill, require_equal

Tell = Callable[[str], None]
Some = TypeVar("Some", bound=Contender)


@dataclass(frozen=True)
class Arena:
    """Where it takes place: the source's database, and a session of each server that no contender uses."""

    source: Database
    servers: dict[str, Database]
    following: Sequence[Following]
    psql: Psql

    @property
    def everybody(self) -> list[Contender]:
        """All contenders; the two native ones side by side."""
        return [self.psql, *self.following]

    def usage(self) -> Usage:
        """A reading of this moment; what is spent from now on is counted."""
        postmasters = {name: _postmaster(session, name) for name, session in self.servers.items()}
        sessions = [self.source, *self.servers.values(), *(each.target for each in self.everybody)]
        return Usage(postmasters, {session.info.backend_pid for session in sessions})

    def settle(self) -> None:
        """Let neither server owe work that another one would pay for."""
        for session in self.servers.values():
            session.execute("CHECKPOINT")


def measure(rows: int, rounds: int, tell: Tell) -> dict[str, Any]:
    """The document of a benchmark of `rows` rows in `rounds` rounds; what goes on is told a line a run.
    BenchError when a contender fails, or does not end with equal rows, keys and indexes."""
    about = machine.describe()
    with _arena(rows) as arena:
        servers = {name: machine.server(session) for name, session in arena.servers.items()}
        runs = [*_snapshots(arena, rows, rounds, tell), *_catch_ups(arena, rows, rounds, tell)]
    return {
        "benchmark": "postgres",
        **about,
        "servers": servers,
        "rows": rows,
        "rounds": rounds,
        **summarise(runs),
    }


def _snapshots(arena: Arena, rows: int, rounds: int, tell: Tell) -> Iterator[Run]:
    for number in range(rounds):
        for contender in _turn(arena.everybody, number):
            contender.ready()
            arena.settle()
            usage, begun = arena.usage(), time.monotonic()
            contender.copy(usage)
            contender.within("the copy", contender.copied, usage)
            run = _run(SNAPSHOT, contender, rows, time.monotonic() - begun, usage, tell)
            require_equal(arena.source, contender.target, contender.name)
            contender.clear()
            yield run


def _catch_ups(arena: Arena, rows: int, rounds: int, tell: Tell) -> Iterator[Run]:
    _bring_up(arena)
    workload = Workload(arena.source, rows)
    for number in range(rounds):
        for kind in workload.backlogs:
            changes = workload.write(kind)
            for contender in _turn(arena.following, number):
                yield _catch_up(arena, contender, kind, changes, workload.sentinel, tell)
    for contender in arena.following:
        contender.clear()


def _bring_up(arena: Arena) -> None:
    """All live, then stopped. A vacuum that comes when it likes would hit one of them and not the others."""
    for contender in arena.following:
        contender.ready()
        contender.copy(arena.usage())
        contender.within("the copy", contender.live)
        contender.pause()
        require_equal(arena.source, contender.target, contender.name)
        contender.target.execute(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = off)")


def _catch_up(arena: Arena, contender: Following, kind: str, changes: int, sentinel: int, tell: Tell) -> Run:
    contender.target.execute(f"VACUUM ANALYZE {TABLE}")
    arena.settle()
    usage, begun = arena.usage(), time.monotonic()
    contender.resume(usage)
    contender.within("the sentinel", lambda: contender.arrived(sentinel), usage)
    run = _run(kind, contender, changes, time.monotonic() - begun, usage, tell)
    contender.pause()
    require_equal(arena.source, contender.target, contender.name)
    return run


def _run(work: str, contender: Contender, changes: int, seconds: float, usage: Usage, tell: Tell) -> Run:
    tell(f"{work:9} {contender.name:13} {changes:>9,} in {seconds:7.2f} s")
    return Run(work, contender.name, changes, seconds, usage.cpu_seconds, usage.client_peak_mib)


def _turn(contenders: Sequence[Some], number: int) -> Sequence[Some]:
    """The contenders in the order of a round."""
    first = number % len(contenders)
    return [*contenders[first:], *contenders[:first]]


@contextmanager
def _arena(rows: int) -> Iterator[Arena]:
    """The filled source and all contenders on their empty databases; everything goes afterwards."""
    with ExitStack() as stack:
        servers = {"source": find("postgres"), "target": find("postgres-b")}
        for server in servers.values():
            stack.enter_context(server.in_use())
        sessions = {name: stack.enter_context(_session(server.url)) for name, server in servers.items()}
        stack.enter_context(_quick_workers(sessions["target"]))
        prefix = f"bench_{os.getpid()}"
        source_url = stack.enter_context(_database(servers["source"], f"{prefix}_source"))
        source = stack.enter_context(_session(source_url))
        fill(source, rows)
        source.execute(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = off)")
        source.execute(sql.SQL("CREATE PUBLICATION {} FOR TABLE {}").format(*_names(PUBLICATION, TABLE)))
        urls = [
            stack.enter_context(_database(servers["target"], f"{prefix}_{name}"))
            for name in ("psql", "native", "control", "syncline")
        ]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="syncline-bench-")))
        psql = Psql(source_url, urls[0])
        following = [
            Native(NATIVE, source_url, urls[1], f"{prefix}_native"),
            Native(CONTROL, source_url, urls[2], f"{prefix}_control"),
            Syncline(source_url, urls[3], folder),
        ]
        for contender in (psql, *following):
            stack.callback(contender.close)
        yield Arena(source, sessions, following, psql)


@contextmanager
def _quick_workers(target: Database) -> Iterator[None]:
    """A subscription's worker starts at once. By default the server starts one in five seconds, which would
    count against it here and says nothing of its speed."""
    target.execute("ALTER SYSTEM SET wal_retrieve_retry_interval = '10ms'")
    target.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        target.execute("ALTER SYSTEM RESET wal_retrieve_retry_interval")
        target.execute("SELECT pg_reload_conf()")


@contextmanager
def _database(server: Server, name: str) -> Iterator[str]:
    """An empty database; it goes with all slots and sessions."""
    with _session(server.url) as maintenance:
        maintenance.execute(sql.SQL("CREATE DATABASE {}").format(*_names(name)))
    try:
        yield urlunsplit(urlsplit(server.url)._replace(path=f"/{name}"))
    finally:
        with _session(server.url) as maintenance:
            slots = "FROM pg_replication_slots WHERE database = %s"
            maintenance.execute(
                f"SELECT pg_terminate_backend(active_pid, 10000) {slots} AND active_pid IS NOT NULL", [name]
            )
            maintenance.execute(f"SELECT pg_drop_replication_slot(slot_name) {slots}", [name])
            maintenance.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(*_names(name)))


@contextmanager
def _session(url: str) -> Iterator[Database]:
    with contextlib.closing(psycopg.connect(url, autocommit=True)) as session:
        yield session


def _names(*names: str) -> list[sql.Identifier]:
    return [sql.Identifier(name) for name in names]


def _postmaster(session: Database, name: str) -> int:
    """The server's first process; BenchError when it does not run on this machine."""
    backend = session.info.backend_pid
    title = Path(f"/proc/{backend}/cmdline")
    found = parent(backend) if title.exists() and b"postgres" in title.read_bytes() else None
    if found is None:
        raise BenchError(
            f"cannot measure the {name} server: it does not run on this machine; use one that does"
        )
    return found

"""The state database: what is wished of pipelines, how they stand, and what they reported.

It holds nothing that cannot be lost: position and rows are the target's (Promise 1). Deleted while
pipelines run, it is made anew by whoever writes next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.pool import NullPool

from ..errors import NeedsOperator, Refused
from ..observe.figures import Figures
from . import stored
from .project import Project
from .stored import BUSY_SECONDS, VERSION, Answer, ReportRow, Select, Wish, WorkerRow
from .stores import redact, resolve

KEPT_REPORTS = 200
KEPT_CONFIGURATIONS = 50
_MIGRATING = 0x53796E63  # 'Sync': the advisory lock under which PostgreSQL's tables are made

_WORKERS = sa.table("workers", *map(sa.column, ["pipeline", *stored.PROCESSES]))
_FIGURES = sa.table("figures", *map(sa.column, ["pipeline", "written", "document"]))
_WISHES = sa.table("wishes", *map(sa.column, ["pipeline", "paused", "since"]))
_REPORTS = sa.table("reports", *map(sa.column, ["id", "pipeline", "ended", "exit_code", "document"]))
_CONFIGURATIONS = sa.table("configurations", *map(sa.column, ["id", "taken", "document"]))
_JOBS = sa.table("apscheduler_jobs", *map(sa.column, ["id", "next_run_time"]))


def open_state(project: Project) -> StateDatabase:
    """The state database of a project."""
    if (file := stored.state_file(project)) is not None:
        return StateDatabase(URL.create("sqlite", database=str(file)))
    try:
        url = make_url(resolve(project.configuration.state.url or ""))
    except sa.exc.ArgumentError:
        raise Refused(
            "open", "the state database", "its URL makes no sense", "write sqlite:///PATH"
        ) from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise Refused("open", "the state database", "it is neither SQLite nor PostgreSQL", "name one of them")
    return StateDatabase(url)


class StateDatabase:
    """The tables behind `[state] url`. Every method is one short transaction and may be called from any
    thread; trouble is NeedsOperator, with a remedy."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self.name = redact(url.render_as_string(hide_password=True).replace(":***@", "@"))
        self.engine = self._engine()
        """Its connections find the tables in the version of today."""
        event.listen(self.engine, "connect", self._look)

    # What is wished.

    def wish(self, pipelines: Sequence[str], *, paused: bool) -> None:
        """Ask that pipelines stand still, or run."""
        with self._write() as connection:
            for name in pipelines:
                _put(connection, _WISHES, name, paused=paused, since=time.time())

    def wishes(self) -> dict[str, Wish]:
        """What was asked of which pipeline; one that is not there is to run."""
        return self.ask(stored.wishes)

    # How pipelines stand.

    def put_worker(self, pipeline: str, row: WorkerRow) -> None:
        """Store how the supervisor sees a pipeline."""
        with self._write() as connection:
            _put(connection, _WORKERS, pipeline, **row.to_columns())

    def workers(self) -> dict[str, WorkerRow]:
        """What `put_worker` stored."""
        return self.ask(stored.workers)

    def put_figures(self, pipeline: str, figures: Figures) -> None:
        """Store what a pipeline's worker tells."""
        document = _dump(figures.to_json())
        with self._write() as connection:
            _put(connection, _FIGURES, pipeline, written=figures.at, document=document)

    def figures(self) -> dict[str, Figures]:
        """What `put_figures` stored."""
        return self.ask(stored.figures)

    # What was reported.

    def add_report(self, pipeline: str, exit_code: int, document: Mapping[str, Any]) -> None:
        """Keep the report of a run that ended; of each pipeline the last two hundred stay."""
        with self._write() as connection:
            values = {
                "pipeline": pipeline,
                "ended": time.time(),
                "exit_code": exit_code,
                "document": _dump(document),
            }
            connection.execute(sa.insert(_REPORTS).values(values))
            of_pipeline = _REPORTS.c.pipeline == pipeline
            kept = sa.select(_REPORTS.c.id).where(of_pipeline).order_by(_REPORTS.c.id.desc())
            old = sa.delete(_REPORTS).where(of_pipeline, _REPORTS.c.id.not_in(kept.limit(KEPT_REPORTS)))
            connection.execute(old)

    def reports(self, pipelines: Sequence[str], most: int) -> list[ReportRow]:
        """The last reports of these pipelines, the newest first."""
        return self.ask(lambda select: stored.reports(select, pipelines, most))

    def add_configuration(self, document: Mapping[str, Any]) -> None:
        """Keep a configuration that is run, unless it is the last one that was."""
        text = _dump(document)
        with self._write() as connection:
            last = sa.select(_CONFIGURATIONS.c.document).order_by(_CONFIGURATIONS.c.id.desc()).limit(1)
            if connection.scalar(last) != text:
                values = {"taken": time.time(), "document": text}
                connection.execute(sa.insert(_CONFIGURATIONS).values(values))
                kept = sa.select(_CONFIGURATIONS.c.id).order_by(_CONFIGURATIONS.c.id.desc())
                old = _CONFIGURATIONS.c.id.not_in(kept.limit(KEPT_CONFIGURATIONS))
                connection.execute(sa.delete(_CONFIGURATIONS).where(old))

    def forget(self, pipeline: str, *, wish: bool) -> None:
        """Delete all of a pipeline; with `wish` what was asked of it too."""
        tables = [_WORKERS, _FIGURES, _REPORTS, *([_WISHES] if wish else [])]
        with self._write() as connection:
            for table in tables:
                connection.execute(sa.delete(table).where(table.c.pipeline == pipeline))
            connection.execute(sa.delete(_JOBS).where(_JOBS.c.id == pipeline))

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Connections and versions.

    def _engine(self) -> Engine:
        if self._url.get_backend_name() != "sqlite":
            # One connection is enough for short transactions, and is not made anew every second.
            return sa.create_engine(self._url, pool_size=1, pool_pre_ping=True, hide_parameters=True)
        # Opened for each transaction: one that stays open would go on writing to a deleted file.
        engine = sa.create_engine(
            self._url, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True
        )
        event.listen(engine, "connect", _settle)
        event.listen(engine, "begin", _begin)
        return engine

    def _look(self, connection: Any, record: object) -> None:
        """Bring the tables to the version of today before a new connection is used."""
        cursor = connection.cursor()
        found = None
        with suppress(Exception):  # each driver has its own error for a table that is not there
            cursor.execute("SELECT version_num FROM alembic_version")
            found = cursor.fetchone()
        cursor.close()
        connection.rollback()
        if found is None or found[0] != VERSION:
            self._migrate()

    def _migrate(self) -> None:
        """Take the steps that are missing, in one transaction, by one process at a time."""
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        engine = self._engine()
        try:
            with engine.connect().execution_options(writes=True) as connection, connection.begin():
                if engine.dialect.name == "postgresql":
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATING)))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError:
            raise NeedsOperator(
                "open", f"the state database {self.name}", "a newer Syncline wrote it", self._remedy()
            ) from None
        finally:
            engine.dispose()

    def _remedy(self) -> str:
        return "use that version, or name another in [state]; losing it loses no data"

    def ask(self, question: Callable[[Select], Answer]) -> Answer:
        """The answer to a question of `stored`, as of one moment."""
        with self.told("read"), self.engine.connect() as connection, connection.begin():
            return question(connection.exec_driver_sql)

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with (
            self.told("write"),
            self.engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def told(self, operation: str) -> Iterator[None]:
        """Turn errors of the driver into one of ours: for those who use `engine` themselves."""
        try:
            if self._url.get_backend_name() == "sqlite" and self._url.database:
                # For its owner alone: APScheduler's jobs are pickled, so who may write here may run code.
                Path(self._url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            yield
        except sa.exc.SQLAlchemyError as error:
            self.engine.dispose()  # the next connection looks for the tables anew
            cause = getattr(error, "orig", None) or error
            reason = redact(str(cause)).strip().splitlines()[0]
            remedy = "see that it can be written and is what [state] means; losing it loses no data"
            raise NeedsOperator(operation, f"the state database {self.name}", reason, remedy) from error
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise NeedsOperator(
                operation, f"the state database {self.name}", reason, "name another in [state]"
            ) from error


def _settle(connection: Any, record: object) -> None:
    """Readers and writers of SQLite do not wait for each other; transactions are begun by `_begin`."""
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin(connection: Connection) -> None:
    """A writer takes SQLite's lock first: one that read before would be refused instead of waiting."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _put(connection: Connection, table: sa.TableClause, pipeline: str, **values: Any) -> None:
    """Update the row of a pipeline, or make it."""
    where = table.c.pipeline == pipeline
    if not connection.execute(sa.update(table).where(where).values(values)).rowcount:
        connection.execute(sa.insert(table).values(values | {"pipeline": pipeline}))


def _dump(document: Mapping[str, Any]) -> str:
    return orjson.dumps(document).decode()

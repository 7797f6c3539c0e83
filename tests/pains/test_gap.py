"""A log lost while it is followed or between two runs: a gap at once, by name; one command mends it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from services.postgres import Postgres, Standby, program_of
from syncline.control.pairs import Pair
from syncline.control.resync import resync
from syncline.engine.report import Options
from syncline.errors import NeedsOperator, Refused
from syncline.model import State, TableName
from tests.conftest import Databases
from tests.oracle import compare
from tests.runs import Following, Notices, execute, meanwhile, sync, value, verdicts, wait_for

from .conftest import TABLE
from .watch import count, live

NAMED = {"pipeline": "shop", "pipelines": ("shop",), "keep": True}
NAMELESS: dict[str, object] = {}
STATES = "SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM syncline.tables"
DETAIL = "SELECT detail FROM syncline.tables WHERE name = 't'"

PATH = "?options=-csearch_path%3Dpublic"  # the oracle would take a schema of the user's name for the first

Shop = tuple[str, str]


@pytest.fixture(scope="module")
def primary() -> Iterator[Postgres]:
    """A server that a test may stop, restore and make keep little log."""
    server = Postgres("postgres-gap")
    with server.in_use():
        yield server


def url_of(server: Postgres, database: str) -> str:
    return urlunsplit(urlsplit(server.url)._replace(path=f"/{database}"))


def fill(source: str, note: str = "first") -> None:
    execute(
        source,
        TABLE,
        "CREATE TABLE u (id bigint PRIMARY KEY, note text)",
        f"INSERT INTO t SELECT n, n, '{note}' FROM generate_series(1, 100) n",
        f"INSERT INTO u SELECT n, '{note}' FROM generate_series(1, 50) n",
    )


@pytest.fixture
def shop(primary: Postgres, postgres_b_database: Databases) -> Iterator[Shop]:
    """Two tables at a server that may be lost, and an empty database at another."""
    primary.start()
    with psycopg.connect(primary.url, autocommit=True) as session:
        session.execute("DROP DATABASE IF EXISTS shop WITH (FORCE)")
        session.execute("CREATE DATABASE shop")
    source = url_of(primary, "shop")
    fill(source)
    yield source, postgres_b_database()
    primary.start()
    wait_for(lambda: drop_slots(source), "the end of the slots")


def drop_slots(source: str) -> bool:
    """Drop what slots there are, ending who reads them; whether none is left."""
    slots = "FROM pg_replication_slots WHERE database = current_database()"
    with contextlib.suppress(psycopg.Error), psycopg.connect(source, autocommit=True) as server:
        server.execute(f"SELECT pg_terminate_backend(active_pid) {slots} AND active_pid IS NOT NULL".encode())
        server.execute(f"SELECT pg_drop_replication_slot(slot_name) {slots}".encode())
        return server.execute(f"SELECT count(*) {slots}".encode()).fetchone() == (0,)
    return False


def writing(source: str) -> AbstractContextManager[None]:
    """Somebody goes on writing to the other table meanwhile."""

    def write(key: int) -> None:
        insert = f"INSERT INTO u VALUES ({key}, 'meanwhile')"
        execute(source, insert, f"UPDATE u SET note = note || '.' WHERE id = {key % 50}")

    return meanwhile(write)


def ask(shop: Shop, *tables: str) -> None:
    resync(Pair(*shop, Options(**NAMED)), tables)  # type: ignore[arg-type]


class States(Notices):
    """An observer that keeps the last state of each table."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, State] = {}

    def state(self, table: TableName, state: State, detail: str) -> None:
        self.states[str(table)] = state


def wait_for_gap(following: Following, target: str) -> NeedsOperator:
    """The run's end, and its tables told to be a gap by then."""
    wait_for(lambda: following.error is not None, "the end of the run")
    assert isinstance(following.error, NeedsOperator), following.error
    assert value(target, STATES) == "t gap, u gap", following.error
    return following.error


def mend(shop: Shop) -> None:
    """What the gap's own remedy says, with writes going on; then both ends are equal for the oracle."""
    source, target = shop
    ask(shop)
    with writing(source), Following(*shop, **NAMED) as following:
        live(target, 2)
        wait_for(lambda: value(target, "SELECT count(*) FROM u WHERE id > 10020") != 0, "writes")
        assert following.error is None
    assert set(verdicts(sync(*shop, **NAMED)).values()) == {"equal"}
    assert compare(source + PATH, target + PATH) == []


@pytest.mark.parametrize("options", [NAMED, NAMELESS], ids=["named", "nameless"])
def test_a_slot_that_is_dropped_while_it_is_followed_is_a_gap_at_once(
    shop: Shop, options: dict[str, object]
) -> None:
    source, target = shop
    with Following(*shop, **options) as following:
        live(target, 2)
        wait_for(lambda: drop_slots(source), "the end of the slot")
        execute(source, "INSERT INTO t VALUES (101, 0, 'untold')")
        error = wait_for_gap(following, target)
    remedy = "syncline resync shop t" if options else "--replace --tables 't'"
    assert str(value(target, DETAIL)).endswith(f"is gone, so the changes after"
                                               f" {value(target, 'SELECT position FROM syncline.streams')}"
                                               f" are lost; copy it anew with {remedy}")  # fmt: skip
    assert error.remedy.startswith("use syncline resync shop to" if options else "run with --replace to")
    assert count(target, "id = 101") == 0
    if options:
        mend(shop)
    else:
        assert verdicts(sync(*shop, replace=True)) == {"t": "equal", "u": "equal"}


def test_a_publication_that_is_dropped_while_it_is_followed_is_a_gap_at_once(shop: Shop) -> None:
    """The walsender says it by itself, and no new run has to find it."""
    source, target = shop
    with Following(*shop, **NAMED) as following:
        live(target, 2)
        name = value(source, "SELECT pubname FROM pg_publication")
        execute(source, f"DROP PUBLICATION {name}", "INSERT INTO t VALUES (101, 0, 'untold')")
        error = wait_for_gap(following, target)
    assert "use syncline resync shop to copy its tables anew" in error.remedy
    assert count(target, "id = 101") == 0
    mend(shop)


def test_a_slot_that_the_server_invalidates_while_the_target_is_slow_is_a_gap(
    shop: Shop, primary: Postgres
) -> None:
    source, target = shop
    set_up = ("max_slot_wal_keep_size = '1MB'", "max_wal_size = '32MB'", "min_wal_size = '32MB'")

    def configure(*commands: str) -> None:
        with psycopg.connect(primary.url, autocommit=True) as session:
            for command in (*commands, "SELECT pg_reload_conf()"):
                session.execute(command.encode())

    def lost() -> bool:
        with psycopg.connect(source, autocommit=True) as server:
            server.execute("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
            server.execute("TRUNCATE filler")
            server.execute("SELECT pg_switch_wal()")
            server.execute("CHECKPOINT")
        return value(source, "SELECT wal_status FROM pg_replication_slots") == "lost"

    with Following(*shop, exclude=("filler",), **NAMED) as following:
        live(target, 2)
        execute(source, "CREATE TABLE filler (text text)")
        configure(*(f"ALTER SYSTEM SET {setting}" for setting in set_up))
        with psycopg.connect(target) as blocker:
            blocker.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            execute(source, "INSERT INTO t VALUES (101, 0, 'stuck')")
            try:
                wait_for(lost, "the invalidation", 90)
            finally:
                configure("ALTER SYSTEM RESET ALL")
        error = wait_for_gap(following, target)
    execute(source, "DROP TABLE filler")
    assert "has invalidated replication slot" in error.reason
    mend(shop)


def test_a_source_restored_from_a_physical_backup_is_a_gap(shop: Shop, primary: Postgres) -> None:
    """The same system id, the same timeline, its slot as it was then, and less log."""
    source, target = shop
    copy = Path(f"{primary.cluster}.backup")
    with Following(*shop, **NAMED) as following:
        live(target, 2)
        primary.stop()
        subprocess.run(["cp", "--archive", primary.cluster, copy], check=True)
        primary.start()
        execute(source, "INSERT INTO t SELECT n, 0, repeat('later', 1000) FROM generate_series(201, 400) n")
        wait_for(lambda: count(target, "id = 400") == 1, "the later rows")
        primary.kill()
        shutil.rmtree(primary.cluster)
        copy.rename(primary.cluster)
        primary.start()
        execute(source, "INSERT INTO t VALUES (101, 0, 'of another history')")
        error = wait_for_gap(following, target)
    assert "an older primary or a restored backup" in error.reason
    assert count(target, "id > 100") == 200
    mend(shop)


def test_a_target_restored_from_an_older_dump_is_a_gap(shop: Shop, tmp_path: Path) -> None:
    source, target = shop
    sync(*shop, **NAMED)
    dump = tmp_path / "target.sql"
    subprocess.run([program_of("pg_dump"), "--create", "--clean", "--file", dump, target], check=True)
    execute(source, "INSERT INTO t VALUES (101, 0, 'released')", "DELETE FROM t WHERE id = 1")
    sync(*shop, **NAMED)
    maintenance = urlunsplit(urlsplit(target)._replace(path="/postgres"))
    restore = [program_of("psql"), "--quiet", "--set", "ON_ERROR_STOP=1", "--file", dump, maintenance]
    subprocess.run(restore, check=True, stdout=subprocess.DEVNULL)
    for _ in range(2):
        with pytest.raises(
            NeedsOperator, match=r"so the changes after .* are lost; use syncline resync shop"
        ):
            sync(*shop, **NAMED)
    assert value(target, STATES) == "t gap, u gap"
    assert count(target) == 100
    mend(shop)


def test_a_promoted_standby_is_a_gap(shop: Shop, primary: Postgres) -> None:
    source, target = shop
    standby = Standby("postgres-gap-standby", primary)
    sync(*shop, **NAMED)
    with standby.in_use():
        execute(source, "INSERT INTO t VALUES (101, 0, 'not told before the failover')")
        new = url_of(standby, "shop")
        wait_for(lambda: count(new, "id = 101") == 1, "the standby")
        primary.stop()
        standby.promote()
        execute(new, "INSERT INTO t VALUES (102, 0, 'told by another timeline')")
        with pytest.raises(NeedsOperator, match=r"timeline 1 became timeline 2.*use syncline resync shop"):
            sync(new, target, **NAMED)
        assert value(target, STATES) == "t gap, u gap"
        assert count(target, "id > 100") == 0
        mend((new, target))


@pytest.mark.parametrize("same", [True, False], ids=["same rows", "other rows"])
def test_another_system_under_the_address_of_a_pipeline(
    shop: Shop, postgres_database: Databases, same: bool
) -> None:
    """What holds the same rows is gone on with; another one's are a gap, of which nothing can be kept."""
    _, target = shop
    sync(*shop, **NAMED)
    other = postgres_database()
    fill(other, "first" if same else "another")
    if same:
        assert verdicts(sync(other, target, **NAMED)) == {"t": "equal", "u": "equal"}
        return
    for _ in range(2):
        told = States()
        with pytest.raises(
            NeedsOperator, match=r"is another one than it was.*use syncline resync shop to copy"
        ):
            sync(other, target, observer=told, **NAMED)
        assert told.states == {"t": State.GAP, "u": State.GAP}
    assert count(target, "note = 'first'") == 100
    with pytest.raises(Refused, match="all of its tables must be copied anew; run syncline resync shop"):
        ask((other, target), "t")
    mend((other, target))
    assert value(target, "SELECT count(*) FROM syncline.streams") == 1


def test_another_source_of_other_tables_leaves_a_stream_of_the_same_name_alone(
    shop: Shop, postgres_database: Databases
) -> None:
    _, target = shop
    sync(*shop, **NAMED)
    other = postgres_database()
    execute(other, "CREATE TABLE w (id bigint PRIMARY KEY)", "INSERT INTO w VALUES (1)")
    assert verdicts(sync(other, target, **NAMED)) == {"w": "equal"}
    assert verdicts(sync(*shop, **NAMED)) == {"t": "equal", "u": "equal"}


@pytest.mark.parametrize("step", ["claim", "forget"])
def test_beginning_anew_from_another_system_may_be_interrupted(
    shop: Shop, postgres_database: Databases, step: str
) -> None:
    _, target = shop
    sync(*shop, **NAMED)
    other = postgres_database()
    fill(other, "another")
    ask((other, target))

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(other, target, target_before={step: die}, **NAMED)
    assert verdicts(sync(other, target, **NAMED)) == {"t": "equal", "u": "equal"}
    assert compare(other + PATH, target + PATH) == []
    assert value(target, "SELECT count(*) FROM syncline.streams") == 1

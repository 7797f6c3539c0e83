"""PostgreSQL as a Source, on a real server."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from services import Server
from syncline.connectors.postgres import replication, slot
from syncline.connectors.postgres.source import PostgresSource
from syncline.errors import Corruption, NeedsOperator, Refused, SynclineError, Transient
from syncline.model import Batch, Changes, Mark, Position, Schema, SchemaChange, TableName, Truncate
from tests.conftest import Databases

STREAM = f"syncline_test_{os.getpid()}"  # slots of all databases share their names


@pytest.fixture
def url(postgres_database: Databases) -> str:
    return postgres_database()


@pytest.fixture
def database(url: str) -> Iterator[psycopg.Connection[Any]]:
    """The application's connection."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def source(url: str) -> Iterator[PostgresSource]:
    source = PostgresSource(url)
    yield source
    source.close()


def quiet(_: str) -> None: ...


def schemas(source: PostgresSource, *names: str) -> list[Schema]:
    found = {str(schema.table): schema for schema in source.discover()}
    return [found[name] for name in names]


def begin(source: PostgresSource, *names: str) -> tuple[list[Schema], Position]:
    """Attach these tables and take a floor."""
    tables = schemas(source, *names)
    source.attach(STREAM, tables, quiet)
    return tables, source.floor(quiet)


def follow(
    source: PostgresSource,
    tables: Sequence[Schema],
    after: Position,
    until: Position | None = None,
    *,
    skip: str = "",
    max_bytes: int = 1 << 20,
) -> list[Batch]:
    """All batches up to now."""
    until = until or source.ceiling()
    batches = list(
        source.changes(STREAM, tables, after, skip=skip, max_bytes=max_bytes, max_wait=0.2, until=until)
    )
    assert batches[0].after == after
    assert all(one.upto == two.after for one, two in pairwise(batches))
    assert source.compare(batches[-1].upto, until) >= 0
    return batches


def drain(batches: Iterator[Batch]) -> None:
    """Read on until it ends, which must be soon."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        next(batches)


def segments(batches: Sequence[Batch]) -> list[Any]:
    return [segment for batch in batches for segment in batch.segments]


def told(changes: Changes) -> list[tuple[str, tuple[Any, ...], tuple[Any, ...]]]:
    """Kind, old key and row of each change; unsent cells as '?'."""
    sides = []
    for rows in (changes.before, changes.after):
        masks = [[False] * rows.count if mask is None else mask.to_pylist() for mask in rows.unsent]
        columns = [array.to_pylist() for array in rows.arrays]
        sides.append(
            [
                tuple("?" if masks[c][r] else columns[c][r] for c in range(len(columns)))
                for r in range(rows.count)
            ]
        )
    kinds = [chr(kind) for kind in changes.kinds]
    return list(zip(kinds, *sides, strict=True))


def test_changes_of_every_kind(source: PostgresSource, database: psycopg.Connection[Any]) -> None:
    database.execute("CREATE TABLE t (a int, b text, v text, PRIMARY KEY (b, a))")
    tables, floor = begin(source, "t")
    with database.transaction():
        database.execute("INSERT INTO t VALUES (-1, 'é\t\\N', NULL), (2, '', '')")
        database.execute("UPDATE t SET v = 'x' WHERE a = 2")
        database.execute("UPDATE t SET a = 3 WHERE a = 2")
        database.execute("DELETE FROM t WHERE a = -1")
    (changes,) = segments(batches := follow(source, tables, floor))
    assert told(changes) == [
        ("I", ("?", "?"), (-1, "é\t\\N", None)),
        ("I", ("?", "?"), (2, "", "")),
        ("U", ("?", "?"), (2, "", "x")),
        ("U", ("", 2), (3, "", "x")),
        ("D", ("é\t\\N", -1), ("?", "?", "?")),
    ]
    assert changes.before.columns == ("b", "a")
    assert changes.after.columns == ("a", "b", "v")
    assert changes.path == (source.identity().id,)
    assert sum(batch.transactions for batch in batches) == 1
    assert sum(batch.log_bytes for batch in batches) == source.compare(batches[-1].upto, floor)


def test_a_big_unchanged_value_is_unsent(source: PostgresSource, database: psycopg.Connection[Any]) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY, n int, big text)")
    database.execute("ALTER TABLE t ALTER big SET STORAGE EXTERNAL")
    database.execute("INSERT INTO t VALUES (1, 1, repeat('x', 9000))")
    tables, floor = begin(source, "t")
    database.execute("UPDATE t SET n = 2")
    database.execute("UPDATE t SET id = 5")
    database.execute("ALTER TABLE t REPLICA IDENTITY FULL")
    database.execute("UPDATE t SET n = 3")
    database.execute("UPDATE t SET id = 6")
    database.execute("DELETE FROM t")
    changes = [change for segment in segments(follow(source, tables, floor)) for change in told(segment)]
    big = "x" * 9000
    assert changes == [
        ("U", ("?",), (1, 2, "?")),
        ("U", (1,), (5, 2, "?")),
        ("U", ("?",), (5, 3, big)),
        ("U", (5,), (6, 3, big)),
        ("D", (6,), ("?", "?", "?")),
    ]


def test_a_big_key_is_always_known(source: PostgresSource, database: psycopg.Connection[Any]) -> None:
    """A key that is kept out of line is unsent in the new row; the old one has it."""
    database.execute("CREATE TABLE t (k text PRIMARY KEY, n int)")
    database.execute("ALTER TABLE t ALTER k SET STORAGE EXTERNAL")
    key = "k" * 2300
    database.execute("INSERT INTO t VALUES (%s, 1)", [key])
    tables, floor = begin(source, "t")
    database.execute("UPDATE t SET n = 2")
    (changes,) = segments(follow(source, tables, floor))
    assert told(changes) == [("U", ("?",), (key, 2))]


def test_truncate_of_several_tables(source: PostgresSource, database: psycopg.Connection[Any]) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)")
    database.execute("CREATE TABLE other (id int PRIMARY KEY)")
    tables, floor = begin(source, "t", "u")
    with database.transaction():
        database.execute("INSERT INTO t VALUES (1)")
        database.execute("TRUNCATE t, u, other")
        database.execute("INSERT INTO t VALUES (2)")
    before, truncate, after = segments(follow(source, tables, floor))
    assert isinstance(truncate, Truncate)
    assert set(truncate.tables) == {TableName("t"), TableName("u")}
    assert [len(changes.kinds) for changes in (before, after)] == [1, 1]


def test_only_committed_rows_of_given_tables(
    source: PostgresSource, database: psycopg.Connection[Any], url: str
) -> None:
    database.execute("CREATE SCHEMA s; CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE s.t (LIKE t)")
    database.execute("ALTER TABLE s.t ADD PRIMARY KEY (id); CREATE TABLE u (id int PRIMARY KEY)")
    source.attach(STREAM, schemas(source, "t", "s.t", "u"), quiet)
    floor = source.floor(quiet)
    with psycopg.connect(url) as other:
        other.execute("INSERT INTO t VALUES (1)")
        other.rollback()
        other.execute("INSERT INTO u VALUES (1)")
        other.commit()
        other.execute("INSERT INTO s.t VALUES (7)")
        other.commit()
    (changes,) = segments(follow(source, schemas(source, "t", "s.t"), floor))
    assert changes.table == TableName("t", "s")
    assert told(changes) == [("I", ("?",), (7,))]


def test_generated_and_identity_columns(source: PostgresSource, database: psycopg.Connection[Any]) -> None:
    database.execute(
        "CREATE TABLE t (twice int GENERATED ALWAYS AS (n * 2) STORED, n int, "
        "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)"
    )
    tables, floor = begin(source, "t")
    database.execute("INSERT INTO t (n) VALUES (4)")
    (changes,) = segments(follow(source, tables, floor))
    assert changes.after.columns == ("n", "id")
    assert told(changes) == [("I", ("?",), (4, 1))]


def test_a_partitioned_table_is_told_by_its_root(
    source: PostgresSource, database: psycopg.Connection[Any]
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)")
    database.execute("CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10)")
    # A partition of its own column order.
    database.execute("CREATE TABLE high (v text, id int NOT NULL)")
    database.execute("ALTER TABLE t ATTACH PARTITION high FOR VALUES FROM (10) TO (20)")
    tables, floor = begin(source, "t")
    database.execute("INSERT INTO t VALUES (1, 'a'), (11, 'b')")
    database.execute("UPDATE t SET id = 12 WHERE id = 1")
    changes = [change for segment in segments(follow(source, tables, floor)) for change in told(segment)]
    assert changes == [
        ("I", ("?",), (1, "a")),
        ("I", ("?",), (11, "b")),
        ("D", (1,), ("?", "?")),
        ("I", ("?",), (12, "a")),
    ]


def test_batches_are_cut_between_transactions(
    source: PostgresSource, database: psycopg.Connection[Any]
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    tables, floor = begin(source, "t")
    for n in range(40):
        database.execute(
            "INSERT INTO t SELECT %s + i, repeat('x', 100) FROM generate_series(1, 10) i", [n * 10]
        )
    batches = follow(source, tables, floor, max_bytes=4000)
    assert all(batch.complete for batch in batches)
    assert len([batch for batch in batches if batch.segments]) >= 10
    for batch in batches:
        assert sum(segment.count for segment in batch.segments) == 10 * len(
            {(row[2][0] - 1) // 10 for segment in batch.segments for row in told(segment)}
        )
    rows = [row[2][0] for segment in segments(batches) for row in told(segment)]
    assert rows == list(range(1, 401))


def test_a_transaction_larger_than_a_batch_comes_in_pieces(
    source: PostgresSource, database: psycopg.Connection[Any]
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    tables, floor = begin(source, "t")
    database.execute("INSERT INTO t VALUES (0, 'small')")
    database.execute("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 1000) i")
    database.execute("INSERT INTO t VALUES (1001, 'small')")
    batches = [batch for batch in follow(source, tables, floor, max_bytes=10_000) if batch.segments]
    pieces = [batch for batch in batches if not batch.complete]
    assert 5 <= len(pieces) <= 25, "1,000 rows that take some 200 bytes each"
    first, last = batches.index(pieces[0]), batches.index(pieces[-1])
    assert batches[first : last + 1] == pieces
    assert batches[last + 1].complete
    assert all(piece.upto == piece.after for piece in pieces)
    # What was whole before the large transaction does not wait for its end.
    assert [row[2][0] for segment in segments(batches[:first]) for row in told(segment)] == [0]
    assert sum(batch.transactions for batch in batches) == 3
    rows = [row[2][0] for segment in segments(batches) for row in told(segment)]
    assert rows == list(range(1002))


def test_any_position_can_be_resumed_from(source: PostgresSource, database: psycopg.Connection[Any]) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables, floor = begin(source, "t")
    for n in range(30):
        database.execute("INSERT INTO t VALUES (%s)", [n])
    until = source.ceiling()
    batches = follow(source, tables, floor, until, max_bytes=40)
    assert len(batches) > 10
    seen = 0
    for batch in batches:
        assert batch.complete
        seen += sum(segment.count for segment in batch.segments)
        rest = segments(follow(source, tables, batch.upto, until))
        assert [row[2][0] for segment in rest for row in told(segment)] == list(range(seen, 30))
    # Nothing after `until` either.
    some = follow(source, tables, floor, batches[9].upto)
    assert some[-1].upto == batches[9].upto
    assert told(segments(some)[-1])[-1] == told(segments(batches[:10])[-1])[-1]


def test_until_the_position_itself_is_one_empty_batch(
    source: PostgresSource, database: psycopg.Connection[Any]
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables, floor = begin(source, "t")
    assert follow(source, tables, floor, floor) == [Batch(floor, floor)]


def test_an_idle_source_moves_on_and_stays_in_time(
    source: PostgresSource, database: psycopg.Connection[Any]
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE unseen (id int)")
    tables, floor = begin(source, "t")
    batches = source.changes(STREAM, tables, floor, skip="", max_bytes=1 << 20, max_wait=0.1)
    first = next(batches)
    assert (first.after, first.segments) == (floor, ())
    database.execute("INSERT INTO unseen SELECT generate_series(1, 1000)")
    written = source.ceiling()
    upto = first.upto
    while source.compare(upto, written) < 0:
        batch = next(batches)
        assert (batch.after, batch.segments) == (upto, ())
        upto = batch.upto
    batches.close()
    assert active(database) is None


def active(database: psycopg.Connection[Any]) -> int | None:
    """The walsender on the slot, once it had a moment to go."""
    for _ in range(100):
        row = database.execute("SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", [STREAM])
        (pid,) = row.fetchone() or (None,)
        if pid is None:
            return None
        time.sleep(0.02)
    return int(pid)


@pytest.mark.parametrize(
    ("ddl", "description", "columns"),
    [
        ("ALTER TABLE t ADD note text", "column note was added", "id n v note"),
        ("ALTER TABLE t DROP v", "column v was dropped", "id n"),
        ("ALTER TABLE t RENAME v TO w", "column v was renamed to w", "id n w"),
        ("ALTER TABLE t ALTER v TYPE varchar(9)", "type of column v", "id n v"),
        ("ALTER TABLE t ALTER n TYPE numeric", "type of column n", "id n v"),
        ("ALTER TABLE t DROP v, ADD w text", "column w was added and column v was dropped", ""),
        ("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, n)", "identified by", ""),
        ("ALTER TABLE t RENAME TO t2; ALTER TABLE t2 RENAME TO t3", "renamed", ""),
    ],
)
@pytest.mark.parametrize("restarted", [False, True])
def test_a_table_that_no_longer_fits_says_so(
    source: PostgresSource,
    database: psycopg.Connection[Any],
    ddl: str,
    description: str,
    columns: str,
    restarted: bool,
) -> None:
    """Its rows come in the new shape, where that is known."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, v text)")
    database.execute("CREATE TABLE u (id int PRIMARY KEY)")
    tables, floor = begin(source, "t", "u")
    database.execute("INSERT INTO t VALUES (1, 1, '1')")
    if restarted:
        floor = follow(source, tables, floor)[-1].upto
    database.execute(ddl)
    name = database.execute("SELECT relname FROM pg_class WHERE relname ~ '^t\\d?$'").fetchone()
    assert name
    database.execute(sql.SQL("INSERT INTO {} VALUES (2, 2)").format(sql.Identifier(name[0])))
    database.execute("INSERT INTO u VALUES (1)")
    found = segments(follow(source, tables, floor))
    (told_of,) = [segment for segment in found if isinstance(segment, SchemaChange)]
    assert told_of.table == TableName("t")
    if restarted and description == "renamed":
        description = "no longer published"
    assert description in told_of.description
    assert " ".join(told_of.schema.names if told_of.schema else ()) == columns
    rows = [
        (str(segment.table), row[2][0])
        for segment in found
        if isinstance(segment, Changes)
        for row in told(segment)
    ]
    # A dropped name can stop the table before its last rows are told: it stops either way.
    assert [row for row in rows if row != ("t", 1)] == [("t", 2)] * bool(columns) + [("u", 1)]
    if columns:
        changes = [s for s in found if isinstance(s, Changes) and s.table == TableName("t")]
        assert " ".join(changes[-1].after.columns) == columns


def test_a_change_that_keeps_the_shape_goes_unnoticed(
    source: PostgresSource, database: psycopg.Connection[Any]
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    tables, floor = begin(source, "t")
    database.execute("INSERT INTO t VALUES (1, 'a')")
    database.execute("ALTER TABLE t ALTER v SET DEFAULT 'x'; ANALYZE t; CREATE INDEX ON t (v)")
    database.execute("INSERT INTO t VALUES (2)")
    rows = [row for segment in segments(follow(source, tables, floor)) for row in told(segment)]
    assert [row[2] for row in rows] == [(1, "a"), (2, "x")]


def test_of_a_dropped_table_the_catalog_says_so(
    source: PostgresSource, database: psycopg.Connection[Any]
) -> None:
    """The log tells what was written before, and nothing that would stop the table before that is applied."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    database.execute("CREATE TABLE moved (id int PRIMARY KEY)")
    tables, floor = begin(source, "t", "moved")
    database.execute("INSERT INTO t VALUES (1)")
    database.execute("DROP TABLE t")
    database.execute("ALTER TABLE moved RENAME TO elsewhere")
    told = segments(follow(source, tables, floor))
    assert [type(segment) for segment in told if segment.table.name == "t"] == [Changes]
    (gone,) = source.inspect(tables)
    assert isinstance(gone, SchemaChange)
    assert (gone.table.name, gone.dropped) == ("t", True)


def test_paths_of_one_table_do_not_meet_in_a_batch(
    source: PostgresSource, database: psycopg.Connection[Any]
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables, floor = begin(source, "t")
    for n, origin in enumerate(("a", None, "b", "b", None, None)):
        with database.transaction():
            if origin:
                mark = Mark("m", {"t": (origin,)}).dumps()
                database.execute("SELECT pg_logical_emit_message(true, 'syncline', %s)", [mark])
            database.execute("INSERT INTO t VALUES (%s)", [n])
    batches = follow(source, tables, floor)
    own = source.identity().id
    assert [segment.path for segment in segments(batches)] == [("a", own), (own,), ("b", own), (own,)]
    for batch in batches:
        assert len({segment.path for segment in batch.segments}) <= 1


def test_a_mark_that_is_none_stops_everything(
    source: PostgresSource, database: psycopg.Connection[Any]
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables, floor = begin(source, "t")
    database.execute("SELECT pg_logical_emit_message(true, 'other', 'x')")
    database.execute("SELECT pg_logical_emit_message(false, 'syncline', 'x')")
    follow(source, tables, floor)
    database.execute("SELECT pg_logical_emit_message(true, 'syncline', 'x')")
    with pytest.raises(Corruption, match="mark"):
        follow(source, tables, floor)


def test_attach_is_idempotent_and_detach_leaves_nothing(
    source: PostgresSource, database: psycopg.Connection[Any], url: str
) -> None:
    database.execute('CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE "U "" x" (id int PRIMARY KEY)')
    t, u = schemas(source, "t", 'U " x')
    assert not source.attached(STREAM)
    assert source.attach(STREAM, [t], quiet)
    assert source.attached(STREAM)
    assert not source.attach(STREAM, [t, u], quiet)
    published = "SELECT tablename FROM pg_publication_tables WHERE pubname = %s ORDER BY 1"
    assert database.execute(published, [STREAM]).fetchall() == [('U " x',), ("t",)]
    batches = source.changes(STREAM, [t], source.floor(quiet), skip="", max_bytes=1, max_wait=0.05)
    next(batches)
    other = PostgresSource(url)
    other.detach(STREAM)
    other.detach(STREAM)
    other.close()
    with pytest.raises(SynclineError):
        drain(batches)
    assert not source.attached(STREAM)
    assert database.execute("SELECT 1 FROM pg_publication").fetchall() == []
    assert slot.find_slot(database, STREAM) is None


def test_what_an_administrator_made_is_accepted_and_stays(
    source: PostgresSource, database: psycopg.Connection[Any]
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    database.execute(sql.SQL("CREATE PUBLICATION {} FOR ALL TABLES").format(sql.Identifier(STREAM)))
    database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [STREAM])
    tables = schemas(source, "t")
    assert not source.attach(STREAM, tables, quiet)
    floor = source.floor(quiet)
    database.execute("INSERT INTO t VALUES (1)")
    assert len(segments(follow(source, tables, floor))) == 1
    source.detach(STREAM)
    assert database.execute("SELECT pubname FROM pg_publication").fetchall() == [(STREAM,)]
    assert not source.attached(STREAM)


@pytest.mark.parametrize(
    ("with_what", "reason"),
    [
        ("FOR TABLE t WITH (publish = 'insert')", "insert, update, delete"),
        ("FOR TABLE t WHERE (id > 5)", "leaves out"),
        ("FOR TABLE t (id)", "leaves out"),
        ("FOR TABLE p", "partitions"),
    ],
)
def test_a_publication_that_leaves_something_out_is_refused(
    source: PostgresSource, database: psycopg.Connection[Any], with_what: str, reason: str
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v int)")
    database.execute("CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    database.execute("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)")
    database.execute(f"CREATE PUBLICATION {STREAM} {with_what}")
    with pytest.raises(Refused, match=reason):
        source.attach(STREAM, schemas(source, "t", "p"), quiet)
    assert not source.attached(STREAM)


@pytest.fixture
def plain(url: str, database: psycopg.Connection[Any]) -> Iterator[tuple[str, str]]:
    """A role without rights of its own that may log in, and its URL."""
    role = f"plain_{database.info.dbname}"
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
    info = database.info
    yield role, f"postgresql://{role}:p@{info.host}:{info.port}/{info.dbname}"
    database.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_a_role_without_rights_hears_what_to_run(
    plain: tuple[str, str], database: psycopg.Connection[Any]
) -> None:
    role, url = plain
    database.execute(f"CREATE TABLE t (id int PRIMARY KEY); GRANT SELECT ON t TO {role}")
    source = PostgresSource(url)
    tables = schemas(source, "t")
    with pytest.raises(Refused, match="REPLICATION") as refused:
        source.attach(STREAM, tables, quiet)
    assert f'ALTER ROLE "{role}" REPLICATION' in refused.value.remedy
    database.execute(f"ALTER ROLE {role} REPLICATION")
    with pytest.raises(Refused, match="CREATE PUBLICATION") as refused:
        source.attach(STREAM, tables, quiet)
    assert database.execute("SELECT 1 FROM pg_publication").fetchall() == []
    statement = refused.value.remedy.removeprefix("run ").split(" as ")[0]
    database.execute(statement)  # by the administrator, as told
    assert source.attach(STREAM, tables, quiet)
    floor = source.floor(quiet)
    database.execute("INSERT INTO t VALUES (1)")
    assert len(segments(follow(source, tables, floor))) == 1
    source.detach(STREAM)
    assert database.execute("SELECT pubname FROM pg_publication").fetchall() == [(STREAM,)]
    source.close()


def test_no_free_slot_is_refused(source: PostgresSource, database: psycopg.Connection[Any]) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    row = database.execute(
        "SELECT current_setting('max_replication_slots')::int - count(*) FROM pg_replication_slots"
    ).fetchone()
    assert row
    for n in range(row[0]):
        database.execute("SELECT pg_create_physical_replication_slot(%s)", [f"filler_{n}"])
    try:
        with pytest.raises(Refused, match="max_replication_slots"):
            source.attach(STREAM, schemas(source, "t"), quiet)
        assert database.execute("SELECT 1 FROM pg_publication").fetchall() == []
    finally:
        database.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            "WHERE slot_name LIKE 'filler_%'"
        )


def test_feedback_goes_on_while_the_consumer_is_slow(
    source: PostgresSource, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumer sleeps for longer than the server waits, with more in the log than any buffer holds."""
    monkeypatch.setattr(replication, "TIMEOUT_SECONDS", 1)
    monkeypatch.setattr(replication, "FEEDBACK_SECONDS", 0.2)
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    tables, floor = begin(source, "t")
    database.execute("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i")
    until = source.ceiling()
    rows = 0
    for batch in source.changes(STREAM, tables, floor, skip="", max_bytes=5 << 20, max_wait=0.2, until=until):
        rows += sum(segment.count for segment in batch.segments)
        if not batch.complete:
            time.sleep(1.5)
    assert rows == 20000


def test_interrupt_ends_whatever_waits(
    source: PostgresSource, database: psycopg.Connection[Any], url: str
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables = schemas(source, "t")
    source.attach(STREAM, tables, quiet)
    floor = source.floor(quiet)
    with psycopg.connect(url) as holder:
        holder.execute("INSERT INTO t VALUES (1)")

        def changes() -> None:
            for _ in source.changes(STREAM, tables, floor, skip="", max_bytes=1, max_wait=60):
                pass

        waits: list[Callable[[], object]] = [
            changes,
            lambda: source.floor(quiet),
            lambda: source.attach(f"{STREAM}_other", tables, quiet),
        ]
        for wait in waits:
            outcome: list[BaseException] = []

            def run(wait: Callable[[], object] = wait, outcome: list[BaseException] = outcome) -> None:
                try:
                    wait()
                except BaseException as error:
                    outcome.append(error)

            thread = threading.Thread(target=run)
            thread.start()
            time.sleep(0.3)
            source.interrupt()
            thread.join(10)
            assert not thread.is_alive()
            assert isinstance(outcome[0], Transient), outcome
            assert source.attached(STREAM)  # it ended that one call
    assert slot.find_slot(database, f"{STREAM}_other") is None


def test_a_killed_server_is_transient_and_the_log_goes_on(
    source: PostgresSource, postgres_server: Server, database: psycopg.Connection[Any], url: str
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables, floor = begin(source, "t")
    batches = source.changes(STREAM, tables, floor, skip="", max_bytes=1, max_wait=0.1)
    next(batches)
    database.execute(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", [STREAM]
    )
    with pytest.raises(Transient):
        drain(batches)
    database.execute("INSERT INTO t VALUES (1)")
    assert len(segments(follow(source, tables, floor))) == 1


def test_lag_and_release(source: PostgresSource, database: psycopg.Connection[Any]) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables, floor = begin(source, "t")
    database.execute("INSERT INTO t SELECT generate_series(1, 1000)")
    behind = source.lag(STREAM, floor)
    assert behind.amount > 10_000
    assert behind.retained >= behind.amount
    upto = follow(source, tables, floor)[-1].upto
    assert source.lag(STREAM, upto).amount == 0
    source.release(STREAM, upto)  # nothing is being read: it reaches the slot all the same
    found = slot.find_slot(database, STREAM)
    assert found
    assert found.confirmed == upto


def test_positions_have_one_text_and_an_order(source: PostgresSource) -> None:
    assert source.compare(Position("0/9"), Position("0/A")) < 0
    assert source.compare(Position("A/0"), Position("9/FFFFFFFF")) > 0
    assert source.compare(Position("1/0"), Position("1/00000000")) == 0
    for text in ("", "1", "x/1", "1/1/1", "1/123456789", "0/1\n"):
        with pytest.raises(Corruption):
            source.compare(Position(text), Position("0/1"))


def test_values_of_many_types_come_as_the_schema_says(
    source: PostgresSource, database: psycopg.Connection[Any]
) -> None:
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, b bool, by bytea, f float8, d numeric, ts timestamptz, "
        "u uuid, j jsonb, a int[], iv interval)"
    )
    # What the database would write depends on these; what the log tells must not.
    database.execute(
        f"ALTER DATABASE {database.info.dbname} SET timezone = 'Asia/Tokyo'; "
        f"ALTER DATABASE {database.info.dbname} SET datestyle = 'German'; "
        f"ALTER DATABASE {database.info.dbname} SET bytea_output = 'escape'; "
        f"ALTER DATABASE {database.info.dbname} SET extra_float_digits = 0; "
        f"ALTER DATABASE {database.info.dbname} SET intervalstyle = 'postgres_verbose'"
    )
    tables, floor = begin(source, "t")
    database.execute(
        "INSERT INTO t VALUES (1, true, '\\x00ff', 0.1::float8 + 0.2, 'NaN', '2024-02-29 23:59:59.5+00', "
        "'00000000-0000-0000-0000-00000000000A', '{\"a\": 1}', '{1,NULL}', '1 day 2 hours')"
    )
    (changes,) = segments(follow(source, tables, floor))
    rows = changes.after.tuples()
    assert rows == [
        (
            1,
            True,
            b"\x00\xff",
            0.30000000000000004,
            "NaN",
            "2024-02-29 23:59:59.5+00",
            "00000000-0000-0000-0000-00000000000a",
            '{"a": 1}',
            "{1,NULL}",
            "P1DT2H",
        )
    ]
    assert [array.type for array in changes.after.arrays] == [
        column.type.arrow for column in tables[0].stored
    ]
    assert changes.after.arrays[1].type == pa.bool_()


def test_a_fast_shutdown_does_not_wait_for_the_target(
    postgres_server: Server,
    source: PostgresSource,
    database: psycopg.Connection[Any],
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The slot is behind and stays behind; the server goes down all the same."""
    monkeypatch.setattr("syncline.connectors.postgres.source.PUBLISHED_CHECK_SECONDS", 3600)
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables, floor = begin(source, "t")
    source.release(STREAM, floor)
    database.execute("INSERT INTO t VALUES (1)")
    batches = source.changes(STREAM, tables, floor, skip="", max_bytes=1, max_wait=0.1)
    next(batches)
    stopping = threading.Thread(target=postgres_server.stop)
    stopping.start()
    with pytest.raises(Transient):
        drain(batches)
    stopping.join(30)
    assert not stopping.is_alive()
    postgres_server.start()
    with psycopg.connect(url) as again:
        found = slot.find_slot(again, STREAM)
        assert found
        assert source.compare(Position(found.confirmed or ""), floor) == 0


def test_a_gap_is_named(source: PostgresSource, database: psycopg.Connection[Any]) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    tables, floor = begin(source, "t")
    source.check_log(STREAM, floor)
    with pytest.raises(NeedsOperator, match="older primary"):
        source.check_log(STREAM, Position("FFFF/0"))
    database.execute(sql.SQL("DROP PUBLICATION {}").format(sql.Identifier(STREAM)))
    with pytest.raises(NeedsOperator, match="publication"):
        source.check_log(STREAM, floor)
    database.execute("SELECT pg_drop_replication_slot(%s)", [STREAM])
    with pytest.raises(NeedsOperator, match="is gone"):
        source.check_log(STREAM, floor)
    with pytest.raises(NeedsOperator, match="is gone"):
        follow(source, tables, floor)

"""What is PostgreSQL's own in writing: its DDL, its locks, its privileges, its COPY."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pyarrow as pa
import pytest

from syncline.connector import Claim
from syncline.connectors.postgres.ddl import aside_name
from syncline.connectors.postgres.store import COPY_TEXT, SERVER_DIGEST
from syncline.connectors.postgres.target import PostgresTarget
from syncline.errors import Corruption, NeedsOperator, Refused, Superseded, SynclineError, Transient
from syncline.model import (
    Column,
    ForeignKey,
    Identity,
    Index,
    Kind,
    Mark,
    Position,
    Rows,
    Schema,
    Span,
    State,
    TableName,
    TableState,
    Type,
)
from tests.conftest import Databases

STREAM = "syncline_0123456789ab"
HERE = Identity("postgres", "1", "source", "timeline 1")
P1, P2, P3 = Position("0/1"), Position("0/2"), Position("0/3")

Opener = Callable[[str], PostgresTarget]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens targets that are closed with the test."""
    targets: list[PostgresTarget] = []

    def open_target(url: str) -> PostgresTarget:
        targets.append(PostgresTarget(url))
        return targets[-1]

    yield open_target
    for target in targets:
        target.close()


@pytest.fixture
def role(postgres_url: str) -> Iterator[str]:
    """A role that may log in, and nothing else."""
    name = f"plain_{os.getpid()}"
    run(postgres_url, f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
    yield name
    # The databases of a test that asks for the role first have gone by now.
    run(postgres_url, f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
def plain_url(role: str, postgres_database: Databases) -> str:
    """A database that the plain role may make schemas in."""
    url = postgres_database()
    run(
        url,
        f"GRANT CREATE ON DATABASE {urlsplit(url).path[1:]} TO {role}; GRANT ALL ON SCHEMA public TO {role}",
    )
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}:secret@{parts.hostname}:{parts.port}"))


def run(url: str, script: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(script.encode())


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def schemas(store: PostgresTarget) -> dict[str, Schema]:
    return {str(schema.table): schema for schema in store.discover()}


def mark(*tables: TableName) -> Mark:
    return Mark(STREAM, {str(table): (HERE.id,) for table in tables})


def started(target: PostgresTarget, *states: TableState) -> Claim:
    """A claim of a stream that begins at P1 with these tables."""
    claim = target.claim(STREAM)
    with target.begin(claim, mark()) as apply:
        apply.start(HERE, P1)
        apply.record(states)
        apply.commit()
    return replace(claim, position=P1, source=HERE, tables={state.schema.table: state for state in states})


def live(schema: Schema, **more: Any) -> TableState:
    return TableState(schema, State.LIVE, **more)


def rows(schema: Schema, *cells: tuple[Any, ...], columns: tuple[str, ...] | None = None) -> Rows:
    names = columns or schema.names
    arrays = [
        pa.array([row[at] for row in cells], schema.column(name).type.arrow) for at, name in enumerate(names)
    ]
    return Rows.of(names, arrays)


def write(target: PostgresTarget, claim: Claim, upto: Position, *writes: Callable[[Any], object]) -> Claim:
    """One transaction of the stream."""
    with target.begin(claim, mark()) as apply:
        for each in writes:
            each(apply)
        apply.commit(upto)
    return claim.moved(upto)


def copied(source: PostgresTarget, target: PostgresTarget, claim: Claim, states: list[TableState]) -> None:
    """Copy whole tables."""
    for state in states:
        with target.begin_copy(claim, mark()) as apply:
            for part in source.read(state.schema, Span(), format=COPY_TEXT):
                apply.load(state, part)
            apply.commit()


RICH = """
CREATE SCHEMA sales; CREATE SCHEMA "Kinds";
CREATE TYPE "Kinds"."Mood" AS ENUM ('sad', 'it''s ok');
CREATE FUNCTION only_here() RETURNS int LANGUAGE sql AS 'SELECT 7';
CREATE TABLE customers (
    id bigserial PRIMARY KEY,
    "E-Mail" varchar(40) NOT NULL DEFAULT 'nobody' CONSTRAINT once UNIQUE DEFERRABLE,
    mood "Kinds"."Mood" DEFAULT 'sad', moods "Kinds"."Mood"[], n numeric(10,2) DEFAULT -1.5,
    f int DEFAULT only_here(),
    made timestamptz(3) DEFAULT now(), tags text[] DEFAULT '{}',
    twice numeric GENERATED ALWAYS AS (n * 2) STORED,
    during tsrange, EXCLUDE USING gist (during WITH &&)
);
CREATE INDEX low ON customers (lower("E-Mail"));
CREATE INDEX "Odd ""ON"" USING" ON customers (n DESC) WHERE n > 0;
CREATE TABLE sales.orders (
    customer bigint REFERENCES customers ON DELETE CASCADE,
    number int GENERATED ALWAYS AS IDENTITY, note char(5),
    PRIMARY KEY (customer, number)
);
CREATE UNIQUE INDEX notes ON sales.orders (note) INCLUDE (number);
INSERT INTO customers ("E-Mail", mood, moods, during) SELECT 'a' || i, 'it''s ok', '{sad,NULL}',
    tsrange('2024-01-01'::timestamp + i * '1 day'::interval, '2024-01-02'::timestamp + i * '1 day'::interval)
    FROM generate_series(1, 20) i;
INSERT INTO sales.orders OVERRIDING SYSTEM VALUE SELECT i, i, 'n' || i FROM generate_series(1, 20) i;
"""


def test_a_table_of_postgresql_is_made_as_it_was(opened: Opener, postgres_database: Databases) -> None:
    there, here = postgres_database(), postgres_database()
    run(there, RICH)
    source, target = opened(there), opened(here)
    known = schemas(source)
    states = [live(schema, created=True) for schema in known.values()]
    assert [target.refusals(state.schema) for state in states] == [(), ()]
    claim = started(target, *states)
    assert [target.prepare(state.schema, aside=False) for state in states] == [True, True]
    assert [target.prepare(state.schema, aside=False) for state in states] == [False, False]
    assert [target.mismatch(state.schema) for state in states] == ["", ""]
    copied(source, target, claim, states)
    target.finish(claim, states)
    target.finish(claim, states)
    for schema in known.values():
        target.advance_sequences(schema, source.sequences(schema))
        assert target.digest(schema, Span(), SERVER_DIGEST) == source.digest(schema, Span(), SERVER_DIGEST)
    made = schemas(opened(here))
    for name, schema in known.items():
        columns = [
            replace(column, default=None) if column.name == "f" else column for column in schema.columns
        ]
        assert made[name].columns == tuple(columns)
        assert made[name].key == schema.key
        assert made[name].indexes == schema.indexes
        assert made[name].foreign_keys == schema.foreign_keys
    assert ask(here, "INSERT INTO customers (\"E-Mail\") VALUES ('new') RETURNING id") == [(21,)]
    assert ask(here, "SELECT convalidated FROM pg_constraint WHERE contype = 'f'") == [(True,)]


def test_what_is_not_here_is_refused_by_column(opened: Opener, postgres_database: Databases) -> None:
    there, here = postgres_database(), postgres_database()
    run(there, """CREATE DOMAIN positive AS int; CREATE TYPE mood AS ENUM ('a', 'b');
                  CREATE TYPE pair AS (x int, y int);
                  CREATE TABLE t (id int PRIMARY KEY, p positive, m mood, ps pair[], ok inet)""")  # fmt: skip
    run(here, "CREATE TYPE mood AS ENUM ('a')")
    (schema,) = opened(there).discover()
    reasons = opened(here).refusals(schema)
    assert len(reasons) == 3
    assert "column p" in reasons[0]
    assert "public.positive" in reasons[0]
    assert "column ps" in reasons[1]
    assert "no label 'b'" in reasons[2]
    foreign = Schema(
        TableName("x" * 64),
        (Column("id", Type(Kind.JSON), False), Column("o", Type(Kind.OPAQUE, system="sqlite", name="any"))),
        ("id",),
        "sqlite",
    )
    said = "; ".join(opened(here).refusals(foreign))
    assert "more than 63 bytes" in said
    assert "column id" in said
    assert "column o (opaque(sqlite, any)) has no exact form" in said


def foreign_schema() -> Schema:
    """A table as another system would tell it."""
    return Schema(
        TableName('Od"d T'),
        (
            Column("id", Type(Kind.INT64), False, identity=True),
            Column("b", Type(Kind.BOOL), default="1"),
            Column("u", Type(Kind.UINT64), default="18446744073709551615"),
            Column("d", Type(Kind.DECIMAL, precision=10, scale=2), default="(1.5)"),
            Column("t", Type(Kind.TEXT, length=20), False, default="'it''s'"),
            Column("ts", Type(Kind.TIMESTAMP), default="CURRENT_TIMESTAMP"),
            Column("j", Type(Kind.JSON), default="(json_object())"),
            Column("by", Type(Kind.BYTES)),
            Column("f", Type(Kind.FLOAT32)),
            Column("e", Type(Kind.ENUM, labels=("x",))),
            Column("g", Type(Kind.INT64), default="id * 2", generated=True),
        ),
        ("id",),
        "sqlite",
        indexes=(Index("i", ("t", "d"), unique=True), Index("x", (), portable=False)),
    )


def test_a_table_of_another_system(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    target, schema = opened(url), foreign_schema()
    state = live(schema, created=True)
    assert target.refusals(schema) == ()
    claim = started(target, state)
    assert target.prepare(schema, aside=False)
    assert target.mismatch(schema) == ""
    cells = [
        (1, True, 2**64 - 1, "1.1", "a", "2024-02-29 23:59:59.5", '{"a":  1}', b"\x00\n", 0.5, "x"),
        (2, None, None, "1e400", "", None, None, None, float("nan"), None),
        (3, False, 0, "-0.10", "\\N\t", "infinity", "1", b"", float("-inf"), "y"),
    ]
    write(target, claim, P2, lambda apply: apply.upsert(state, rows(schema, *cells)))
    target.finish(claim, [state])
    back = Rows.concat(list(target.read(schema, Span())))
    expected = rows(schema, *cells)
    for name in schema.names:
        assert back.array(name).type == expected.array(name).type
        if name != "d":
            assert repr(back.array(name).to_pylist()) == repr(expected.array(name).to_pylist())
    assert back.array("d").to_pylist() == ["1.1", "1" + "0" * 400, "-0.10"]
    run(url, """INSERT INTO "Od""d T" (id) VALUES (9)""")
    assert ask(url, """SELECT b, u, d, t, j, abs(extract(epoch FROM ts - (now() AT TIME ZONE 'UTC'))) < 60
                       FROM "Od""d T" WHERE id = 9""") == [
        (True, 2**64 - 1, pytest.approx(1.5), "it's", None, True)
    ]  # fmt: skip
    assert {index.name for index in schemas(opened(url))['Od"d T'].indexes} == {"i"}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("CREATE TABLE t (id int PRIMARY KEY, n numeric(10,2))", ""),
        ("CREATE TABLE t (id bigint PRIMARY KEY, n numeric, x int)", ""),
        ("CREATE TABLE t (id int NOT NULL UNIQUE, n numeric(12,2))", ""),
        ("CREATE TABLE t (id int, n numeric(10,2))", "no primary key"),
        ("CREATE TABLE t (id int PRIMARY KEY)", "no column n"),
        ("CREATE TABLE t (id int PRIMARY KEY, n numeric(10,3))", "column n is numeric(10,3)"),
        ("CREATE TABLE t (id int PRIMARY KEY, n numeric(9,2))", ""),
        ("CREATE TABLE t (id int PRIMARY KEY, n text)", "column n is text"),
        ("CREATE TABLE t (id int PRIMARY KEY, n numeric NOT NULL)", "NOT NULL"),
        ("CREATE TABLE t (id int PRIMARY KEY, n numeric, x int NOT NULL)", "column x needs a value"),
        ("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, n numeric)", "no primary key"),
        ("CREATE VIEW t AS SELECT 1 AS id, 1::numeric AS n", "it is a view"),
        ("SELECT", ""),
    ],
)
def test_mismatch_in_a_sentence(opened: Opener, postgres_database: Databases, table: str, said: str) -> None:
    url = postgres_database()
    run(url, table)
    schema = Schema(
        TableName("t"),
        (Column("id", Type(Kind.INT32), False), Column("n", Type(Kind.DECIMAL, precision=10, scale=2))),
        ("id",),
        "postgres",
    )
    assert (
        (said in (found := opened(url).mismatch(schema))) if said else found_nothing(opened(url), schema)
    ), found


@pytest.mark.parametrize(
    ("table", "action"),
    [
        ("CREATE TABLE t (id int PRIMARY KEY, n numeric(9,3))", 'ALTER COLUMN "n" TYPE numeric(10,2)'),
        ("CREATE TABLE t (id int PRIMARY KEY, n text)",
         'ALTER COLUMN "n" TYPE numeric(10,2) USING "n"::numeric(10,2)'),
        ("CREATE TABLE t (id int PRIMARY KEY)", 'ADD COLUMN "n" numeric(10,2)'),
        ("CREATE TABLE t (id int PRIMARY KEY, n numeric NOT NULL, x int NOT NULL)",
         'ALTER COLUMN "n" DROP NOT NULL, ALTER COLUMN "x" DROP NOT NULL'),
        ("CREATE UNLOGGED TABLE t (id int, n numeric)", 'SET LOGGED, ADD PRIMARY KEY ("id")'),
        ("CREATE TABLE t (id int, n numeric PRIMARY KEY)", ""),
        ("CREATE TABLE t (id int, n numeric, x int UNIQUE)", 'ADD PRIMARY KEY ("id")'),
        ("CREATE TABLE t (id int UNIQUE, n int GENERATED ALWAYS AS IDENTITY, x int PRIMARY KEY)", ""),
        ("CREATE TABLE t (id int PRIMARY KEY, n numeric GENERATED ALWAYS AS (id * 2) STORED)",
         'ALTER COLUMN "n" DROP EXPRESSION'),
        ("CREATE TABLE t (id int PRIMARY KEY, n point)", ""),
        ("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", ""),
        ("CREATE VIEW t AS SELECT 1 AS id, 1::numeric AS n", ""),
        ("SELECT", ""),
    ],
)  # fmt: skip
def test_the_statement_after_which_a_table_fits(
    opened: Opener, postgres_database: Databases, table: str, action: str
) -> None:
    url = postgres_database()
    run(url, table)
    schema = Schema(
        TableName("t"),
        (Column("id", Type(Kind.INT32), False), Column("n", Type(Kind.DECIMAL, precision=10, scale=2))),
        ("id",),
        "postgres",
    )
    statement = opened(url).alteration(schema)
    assert statement == (action and f'ALTER TABLE "public"."t" {action}')
    if statement:
        run(url, statement)
        assert opened(url).mismatch(schema) == ""


def found_nothing(target: PostgresTarget, schema: Schema) -> bool:
    assert target.mismatch(schema) == ""
    return True


def test_race_12_a_hung_workers_open_transaction(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY)")
    hung = opened(url)
    state = live(schemas(hung)["t"])
    claim = started(hung, state)
    for begin in (hung.begin, hung.begin_copy):
        apply = begin(claim, mark())
        apply.load(state, rows(state.schema, (1,)))
        newer = opened(url).claim(STREAM)
        assert newer.fence == claim.fence + 1
        assert newer.position == P1
        with pytest.raises(SynclineError):
            apply.commit()
        with apply:
            pass
        with pytest.raises(Superseded, match=f"fence {newer.fence}"):
            begin(claim, mark())
        claim = newer
        assert ask(url, "SELECT * FROM t") == []


def test_race_12_a_worker_that_just_commits_is_waited_for(
    opened: Opener, postgres_database: Databases
) -> None:
    url = postgres_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY)")
    worker = opened(url)
    state = live(schemas(worker)["t"])
    claim = started(worker, state)
    taken: list[Claim] = []
    with worker.begin(claim, mark()) as apply:
        apply.load(state, rows(state.schema, (1,)))
        other = opened(url)
        thread = threading.Thread(target=lambda: taken.append(other.claim(STREAM)))
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
        while ask(url, waiting) == [(0,)] and thread.is_alive():
            time.sleep(0.005)
        apply.commit(P2)
    thread.join(30)
    assert taken[0].position == P2, "what the claim reads is read after the fence was taken"


def test_a_strangers_lock_is_waited_out_and_not_broken(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    claim = started(opened(url))
    with psycopg.connect(url) as stranger:
        stranger.execute("SELECT FROM syncline.streams FOR UPDATE")
        with pytest.raises(Transient, match=f"process {stranger.info.backend_pid} of user syncline"):
            opened(url).claim(STREAM)
    assert opened(url).claim(STREAM).fence == claim.fence + 1


def test_race_12_a_holder_that_only_a_superuser_may_end(
    opened: Opener, plain_url: str, postgres_url: str
) -> None:
    started(opened(plain_url))
    mighty = urlsplit(plain_url)._replace(netloc=urlsplit(postgres_url).netloc)
    hung = opened(urlunsplit(mighty))
    said = r"user syncline.*run SELECT pg_terminate_backend\(\d+\)"
    with hung.begin(hung.claim(STREAM), mark()), pytest.raises(NeedsOperator, match=said):
        opened(plain_url).claim(STREAM)


def test_a_worker_whose_stream_is_gone_is_superseded(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    stale, other = opened(url), opened(url)
    claim = started(stale)
    other.forget(STREAM)
    for begin in (stale.begin, stale.begin_copy):
        with pytest.raises(Superseded, match="the stream is gone"):
            begin(claim, mark())
    with pytest.raises(Superseded):
        stale.mark_removing(claim)


def test_an_index_that_needs_an_extension_says_so(opened: Opener, postgres_database: Databases) -> None:
    target = opened(postgres_database())
    definition = "CREATE INDEX i ON public.t USING gin (a public.gin_trgm_ops)"
    schema = Schema(
        TableName("t"),
        (Column("id", Type(Kind.INT64), False), Column("a", Type(Kind.TEXT))),
        ("id",),
        "postgres",
        indexes=(Index("i", ("a",), definition=definition),),
    )
    state = live(schema, created=True)
    claim = started(target, state)
    target.prepare(schema, aside=False)
    with pytest.raises(NeedsOperator, match=r"index i of table t.*gin_trgm_ops.*CREATE EXTENSION"):
        target.finish(claim, [state])


def test_what_postgresql_would_round_or_cannot_hold_is_refused(
    opened: Opener, postgres_database: Databases
) -> None:
    target, schema = opened(postgres_database()), foreign_schema()
    state = live(schema, created=True)
    claim = started(target, state)
    target.prepare(schema, aside=False)
    late = rows(schema, (1, "a", "2024-02-29 23:59:59.1234567"), columns=("id", "t", "ts"))
    with pytest.raises(NeedsOperator, match=r"column ts has '2024-02-29 23:59:59\.1234567'"):
        write(target, claim, P2, lambda apply: apply.load(state, late))
    void = rows(schema, (1, "a\0b"), columns=("id", "t"))
    with pytest.raises(NeedsOperator, match="0x00"):
        write(target, claim, P2, lambda apply: apply.load(state, void))


def test_race_05_copies_share_the_row(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY)")
    first, second = opened(url), opened(url)
    state = live(schemas(first)["t"])
    claim = started(first, state)
    with first.begin_copy(claim, mark()) as one, second.begin_copy(claim, mark()) as two:
        one.load(state, rows(state.schema, (1,)))
        two.load(state, rows(state.schema, (2,)))
        two.commit()
        one.commit()
    assert ask(url, "SELECT id FROM t ORDER BY id") == [(1,), (2,)]


def test_the_first_thing_in_the_log_is_the_mark(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t")
    run(url, "SELECT pg_create_logical_replication_slot('s', 'pgoutput')".replace("'s'", f"'s{os.getpid()}'"))
    target = opened(url)
    state = live(schemas(target)["t"])
    claim = started(target, state)
    query = f"""SELECT data FROM pg_logical_slot_get_binary_changes('s{os.getpid()}', NULL, NULL,
                'proto_version', '1', 'publication_names', 'p', 'messages', 'true')"""
    ask(url, query)
    write(target, claim, P2, lambda apply: apply.upsert(state, rows(state.schema, (1,))))
    told = [bytes(row[0]) for row in ask(url, query)]
    assert [message[:1] for message in told] == [b"B", b"M", b"R", b"I", b"C"]
    assert b"syncline\0" in told[1]
    assert Mark.loads(told[1].partition(b"syncline\0")[2][4:]) == mark()


def test_unique_values_change_places_in_every_kind_of_column(
    opened: Opener, postgres_database: Databases
) -> None:
    url = postgres_database()
    run(url, """CREATE TABLE t (id int PRIMARY KEY, "number" int NOT NULL UNIQUE,
                    mail varchar(16) NOT NULL UNIQUE,
                    u uuid NOT NULL UNIQUE, maybe text UNIQUE,
                    a int NOT NULL, b date NOT NULL, UNIQUE (b, a));
                CREATE UNIQUE INDEX ON t (lower(mail));
                CREATE TABLE child (id int PRIMARY KEY REFERENCES t ON DELETE CASCADE)""")  # fmt: skip
    target = opened(url)
    state = live(schemas(target)["t"])
    schema = state.schema
    claim = started(target, state)

    def row(id: int, value: int) -> tuple[Any, ...]:
        return (
            id,
            value,
            f"m{value}",
            f"00000000-0000-0000-0000-{value:012}",
            f"v{value}",
            value,
            "2024-01-01",
        )

    before = [row(i, i) for i in range(6)]
    after = [row(i, (i + 1) % 6) for i in range(6)]
    claim = write(target, claim, P2, lambda apply: apply.upsert(state, rows(schema, *before)))
    run(url, "INSERT INTO child SELECT id FROM t")
    claim = write(target, claim, P3, lambda apply: apply.upsert(state, rows(schema, *after)))
    found = ask(url, "SELECT id, number, mail, u::text, maybe, a, b::text FROM t ORDER BY id")
    assert found == after
    assert ask(url, "SELECT count(*) FROM child") == [(6,)]
    # The same with a part of the cells unsent, which stay.
    moved = replace(rows(schema, *[(*row(i, i)[:6], None) for i in range(6)]),
                    unsent=(None,) * 6 + (pa.array([True] * 6),))  # fmt: skip
    write(target, claim, Position("0/4"), lambda apply: apply.upsert(state, moved))
    assert ask(url, "SELECT id, number, mail, u::text, maybe, a, b::text FROM t ORDER BY id") == before


def test_a_unique_value_that_another_row_keeps_is_refused(
    opened: Opener, postgres_database: Databases
) -> None:
    url = postgres_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY, mail text UNIQUE); INSERT INTO t VALUES (1, 'a')")
    target = opened(url)
    state = live(schemas(target)["t"])
    claim = started(target, state)
    with pytest.raises(NeedsOperator, match=r"table t: .*t_mail_key.*\(mail\)=\(a\)"):
        write(target, claim, P2, lambda apply: apply.upsert(state, rows(state.schema, (2, "a"))))
    assert ask(url, "SELECT * FROM t") == [(1, "a")]
    # The session is as good as new.
    write(target, claim, P2, lambda apply: apply.upsert(state, rows(state.schema, (2, "b"))))
    assert ask(url, "SELECT id FROM t ORDER BY id") == [(1,), (2,)]


def test_staging_survives_a_rolled_back_transaction(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY, v text)")
    target = opened(url)
    state = live(schemas(target)["t"])
    claim = started(target, state)
    for at in range(4):
        with target.begin(claim, mark()) as apply:
            for again in range(2):
                apply.upsert(state, rows(state.schema, (at, str(again)), (10, str(at))))
                apply.delete(state, rows(state.schema, (99,), columns=("id",)))
            if at % 2:
                apply.commit()
    assert ask(url, "SELECT * FROM t ORDER BY id") == [(1, "1"), (3, "1"), (10, "3")]


def test_many_sets_of_unsent_cells_in_one_upsert(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY, a text, b text, c text)")
    run(url, "INSERT INTO t SELECT i, 'a', 'b', 'c' FROM generate_series(0, 7) i")
    target = opened(url)
    state = live(schemas(target)["t"])
    claim = started(target, state)
    count = 16
    arrays = [pa.array(range(count), pa.int64())]
    masks: list[pa.Array | None] = [None]
    for place in range(3):
        unsent = [bool(i >> place & 1) for i in range(count)]
        arrays.append(pa.array([None if mask else f"new{i}" for i, mask in enumerate(unsent)], pa.string()))
        masks.append(pa.array(unsent))
    changed = Rows.of(state.schema.names, arrays, masks)
    with target.begin(claim, mark()) as apply:
        missing = apply.upsert(state, changed)
        apply.commit(P2)
    assert sorted(missing.array("id").to_pylist()) == list(range(9, 16))
    expected = [
        (i, *(old if i >> place & 1 else f"new{i}" for place, old in enumerate("abc"))) for i in range(8)
    ]
    assert ask(url, "SELECT * FROM t ORDER BY id") == [*expected, (8, "new8", "new8", "new8")]


def test_generated_and_always_identity_columns(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, """CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int,
                                g int GENERATED ALWAYS AS (a + 1) STORED)""")  # fmt: skip
    target = opened(url)
    state = live(schemas(target)["t"])
    assert state.schema.names == ("id", "a")
    claim = started(target, state)
    claim = write(target, claim, P2, lambda apply: apply.load(state, rows(state.schema, (5, 1))))
    write(target, claim, P3, lambda apply: apply.upsert(state, rows(state.schema, (5, 2), (6, 3))))
    assert ask(url, "SELECT * FROM t ORDER BY id") == [(5, 2, 3), (6, 3, 4)]


def test_a_partitioned_table_and_an_heir_as_targets(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, """CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
                CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
                CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20);
                CREATE TABLE base (id int PRIMARY KEY, v text); CREATE TABLE heir () INHERITS (base);
                INSERT INTO heir VALUES (1, 'heir'), (2, 'heir')""")  # fmt: skip
    target = opened(url)
    known = schemas(target)
    parts, base = live(known["t"]), live(known["base"])
    claim = started(target, parts, base)
    for state in (parts, base):
        claim = write(target, claim, Position(f"0/{claim.position}a"),
            lambda apply, state=state: apply.upsert(state, rows(state.schema, (1, "x"), (11, "y"), (2, "z"))),
            lambda apply, state=state: apply.delete(state, rows(state.schema, (2,), columns=("id",))),
        )  # fmt: skip
        assert target.digest(state.schema, Span(), SERVER_DIGEST).count == 2
    write(target, claim, P3, lambda apply: apply.truncate([base, parts]))
    assert ask(url, "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM ONLY base)") == [(0, 0)]
    assert ask(url, "SELECT id, v FROM heir ORDER BY id") == [(1, "heir"), (2, "heir")]
    assert target.replaceable(known["t"])
    assert target.replaceable(known["base"])


def test_truncate_with_foreign_keys_inside_and_outside(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, """CREATE TABLE parent (id int PRIMARY KEY);
                CREATE TABLE child (id int PRIMARY KEY REFERENCES parent);
                CREATE TABLE other (id int PRIMARY KEY REFERENCES parent);
                INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1)""")  # fmt: skip
    target = opened(url)
    known = schemas(target)
    states = [live(known["parent"]), live(known["child"])]
    claim = started(target, *states)
    claim = write(target, claim, P2, lambda apply: apply.truncate(states))
    assert ask(url, "SELECT (SELECT count(*) FROM parent), (SELECT count(*) FROM child)") == [(0, 0)]
    run(url, "DROP TABLE other; INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1)")
    with target.begin(claim, mark()) as apply:
        apply.truncate(states)
    assert ask(url, "SELECT (SELECT count(*) FROM parent), (SELECT count(*) FROM child)") == [(1, 1)]
    write(target, claim, P3, lambda apply: apply.truncate(states))
    assert ask(url, "SELECT (SELECT count(*) FROM parent), (SELECT count(*) FROM child)") == [(0, 0)]


def test_truncate_without_the_right_to_switch_foreign_keys_off(opened: Opener, plain_url: str) -> None:
    run(plain_url, """CREATE TABLE parent (id int PRIMARY KEY);
                      CREATE TABLE child (id int PRIMARY KEY REFERENCES parent, up int REFERENCES child);
                      CREATE TABLE other (id int PRIMARY KEY REFERENCES parent);
                      INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1)""")  # fmt: skip
    target = opened(plain_url)
    known = schemas(target)
    states = [live(known["parent"]), live(known["child"])]
    write(target, started(target, *states), P2, lambda apply: apply.truncate(states))
    counts = "SELECT (SELECT count(*) FROM parent), (SELECT count(*) FROM child)"
    assert ask(plain_url, counts) == [(0, 0)]


def test_swap_keeps_what_belongs_to_the_name(opened: Opener, role: str, postgres_database: Databases) -> None:
    url = postgres_database()
    long = "x" * 63
    run(url, f"""CREATE TABLE parent (
                     id int GENERATED BY DEFAULT AS IDENTITY CONSTRAINT "the key" PRIMARY KEY,
                     mail text CONSTRAINT once UNIQUE, n int);
                 CREATE INDEX "{long}" ON parent (n);
                 CREATE TABLE child (id int PRIMARY KEY, parent int CONSTRAINT "of" REFERENCES parent);
                 CREATE TABLE outside (id int REFERENCES parent);
                 GRANT SELECT ON parent TO PUBLIC;
                 GRANT INSERT, UPDATE (mail) ON parent TO {role} WITH GRANT OPTION;
                 CREATE PUBLICATION own FOR TABLE parent;
                 INSERT INTO parent VALUES (1, 'old', 1); INSERT INTO child VALUES (1, 1);
                 INSERT INTO outside VALUES (1)""")  # fmt: skip
    target = opened(url)
    known = schemas(target)
    before = {name: replace(known[name], estimated_rows=None) for name in ("parent", "child")}
    assert [target.replaceable(schema) for schema in before.values()] == ["", ""]
    states = [live(schema, created=True, aside=True) for schema in before.values()]
    claim = started(target, *states)
    for state in states:
        assert target.prepare(state.schema, aside=True)
    parent, child = states
    claim = write(target, claim, P2,
        lambda apply: apply.upsert(parent, rows(parent.schema, (1, "new", 2), (2, "b", 3))),
        lambda apply: apply.upsert(child, rows(child.schema, (1, 2))),
    )  # fmt: skip
    assert ask(url, "SELECT mail FROM parent") == [("old",)]
    target.finish(claim, states)
    settled = [replace(state, aside=False) for state in states]
    target.swap(claim, settled)
    target.finish(claim, settled)
    assert ask(url, "SELECT * FROM parent ORDER BY id") == [(1, "new", 2), (2, "b", 3)]
    assert {name: replace(schema, estimated_rows=None) for name, schema in schemas(opened(url)).items()
            if name in before} == before  # fmt: skip
    assert ask(url, "SELECT conname FROM pg_constraint WHERE conrelid = 'parent'::regclass ORDER BY 1") == [
        ("once",),
        ("the key",),
    ]
    assert ask(url, "SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'f' ORDER BY 1") == [
        ("child",),
        ("outside",),
    ]
    assert ask(url, "SELECT relname FROM pg_class WHERE relname ~ 'syncline_new' OR relkind = 'S'") == [
        ("parent_id_seq",)
    ]
    assert ask(url, "SELECT tablename FROM pg_publication_tables WHERE pubname = 'own'") == [("parent",)]
    assert ask(url, f"""SELECT has_table_privilege('{role}', 'parent', 'SELECT'),
        has_table_privilege('{role}', 'parent', 'INSERT WITH GRANT OPTION'),
        has_table_privilege('{role}', 'parent', 'UPDATE'),
        has_column_privilege('{role}', 'parent', 'mail', 'UPDATE WITH GRANT OPTION')""") == [
        (True, True, False, True)
    ]  # fmt: skip
    assert target.peek(STREAM) == replace(claim, tables={state.schema.table: state for state in settled})
    write(target, claim, P3, lambda apply: apply.upsert(settled[0], rows(parent.schema, (3, "c", 4))))


def test_what_would_be_lost_in_a_swap_is_named(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, """CREATE TABLE viewed (id int PRIMARY KEY); CREATE VIEW seen AS SELECT * FROM viewed;
                CREATE TABLE fired (id int PRIMARY KEY);
                CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
                CREATE TRIGGER bell BEFORE INSERT ON fired FOR EACH ROW EXECUTE FUNCTION f();
                CREATE TABLE guarded (id int PRIMARY KEY); CREATE POLICY rule ON guarded USING (true);
                CREATE TABLE typed (id int PRIMARY KEY); CREATE TABLE user_of (x typed);
                CREATE TABLE free (id int PRIMARY KEY)""")  # fmt: skip
    target = opened(url)
    known = schemas(target)
    assert "view seen" in target.replaceable(known["viewed"])
    assert "trigger bell" in target.replaceable(known["fired"])
    assert "policy rule" in target.replaceable(known["guarded"])
    assert "user_of" in target.replaceable(known["typed"])
    assert target.replaceable(known["free"]) == ""
    assert target.replaceable(replace(known["free"], table=TableName("nowhere"))) == ""


def test_names_beside_others_fit_and_differ() -> None:
    names = ["t", "x" * 63, "x" * 62 + "y", "ü" * 31, "x" * 49, "x" * 50]
    made = [aside_name(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(len(name.encode()) <= 63 and name.endswith("__syncline_new") for name in made)
    assert made[0] == "t__syncline_new"


def test_a_finish_that_was_killed_goes_on(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    target = opened(url)
    schema = Schema(
        TableName("t"),
        (Column("id", Type(Kind.INT64), False), Column("a", Type(Kind.INT64)), Column("b", Type(Kind.INT64))),
        ("id",),
        "other",
        indexes=(Index("one", ("a",)), Index("two", ("b",), unique=True)),
        foreign_keys=(ForeignKey("", ("a",), TableName("t"), ("id",)),),
    )
    state = live(schema, created=True)
    claim = started(target, state)
    target.prepare(schema, aside=False)
    claim = write(target, claim, P2, lambda apply: apply.upsert(state, rows(schema, (1, 1, 5), (2, 1, 5))))
    with pytest.raises(NeedsOperator, match=r"unique index two of table t: Key \(b\)=\(5\) is duplicated"):
        target.finish(claim, [state])
    names = "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 't'::regclass ORDER BY 1"
    assert ask(url, names) == [("one",), ("t_pkey",)]
    run(url, "UPDATE t SET b = id; CREATE TABLE two (x int)")
    target.finish(claim, [state])
    target.finish(claim, [state])
    assert len(ask(url, names)) == 3, "a name that something else has is varied"
    assert ask(url, "SELECT conname FROM pg_constraint WHERE contype = 'f'") == [("t_a_fkey",)]


def test_a_plain_role_does_everything(opened: Opener, plain_url: str, postgres_database: Databases) -> None:
    there = postgres_database()
    run(there, RICH)
    source, target = opened(there), opened(plain_url)
    run(plain_url, "CREATE FUNCTION only_here() RETURNS int LANGUAGE sql AS 'SELECT 8'")
    assert not target.may_act_as_replica
    known = schemas(source)
    states = [live(schema, created=True) for schema in known.values()]
    claim = started(target, *states)
    for state in states:
        assert target.prepare(state.schema, aside=False)
    copied(source, target, claim, states)
    target.finish(claim, states)
    customers, orders = states
    keys = rows(orders.schema, (1, 1), columns=("customer", "number"))
    some = Rows.concat(list(source.read(customers.schema, Span())))
    claim = write(target, claim, P2,
        lambda apply: apply.delete(orders, keys),
        lambda apply: apply.upsert(customers, some),
    )  # fmt: skip
    with pytest.raises(NeedsOperator, match=r"table sales\.orders: .*foreign key"):
        write(target, claim, P3, lambda apply: apply.upsert(orders, rows(orders.schema, (99, 1, "x    "))))
    claim = write(target, claim, P3, lambda apply: apply.truncate([orders, customers]))
    assert target.digest(customers.schema, Span(), SERVER_DIGEST).count == 0
    aside = [replace(state, aside=True) for state in states]
    for state in aside:
        target.prepare(state.schema, aside=True)
    target.finish(claim, aside)
    target.swap(claim, states)
    target.finish(claim, states)
    assert len(schemas(opened(plain_url))["sales.orders"].foreign_keys) == 1
    target.forget(STREAM)
    assert ask(plain_url, "SELECT FROM pg_namespace WHERE nspname = 'syncline'") == []


def test_a_role_that_may_not_is_told_what_to_grant(
    opened: Opener, role: str, postgres_database: Databases
) -> None:
    url = postgres_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY)")
    parts = urlsplit(url)
    target = opened(urlunsplit(parts._replace(netloc=f"{role}:secret@{parts.hostname}:{parts.port}")))
    with pytest.raises(Refused, match=f"GRANT CREATE, TEMP ON DATABASE {parts.path[1:]} TO {role}"):
        target.claim(STREAM)
    with pytest.raises(Refused, match=f"SCHEMA public TO {role}"):
        target.prepare(replace(schemas(target)["t"], table=TableName("new")), aside=False)
    run(url, f"GRANT CREATE ON DATABASE {parts.path[1:]} TO {role}")
    claim = started(target)
    state = live(schemas(target)["t"])
    with pytest.raises(Refused, match=f"GRANT SELECT, INSERT, UPDATE, DELETE ON t TO {role}"):
        write(target, claim, P2, lambda apply: apply.load(state, rows(state.schema, (1,))))
    with pytest.raises(Refused, match="table t"):
        target.holds_rows(state.schema)


def test_forget_leaves_what_others_put_beside_the_bookkeeping(
    opened: Opener, postgres_database: Databases
) -> None:
    url = postgres_database()
    target = opened(url)
    started(target)
    run(url, "CREATE TABLE syncline.mine (a int)")
    target.forget(STREAM)
    assert ask(url, "SELECT relname FROM pg_class WHERE relnamespace = 'syncline'::regnamespace") == [
        ("mine",)
    ]
    assert target.peek(STREAM) is None
    claim = started(target)
    assert target.peek(STREAM) == claim


def test_concurrent_first_claims(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    fences: list[int] = []
    targets = [opened(url) for _ in range(6)]

    def take(target: PostgresTarget, at: int) -> None:
        fences.append(target.claim(STREAM if at % 2 else f"{STREAM}_side").fence)

    threads = [threading.Thread(target=take, args=(target, at)) for at, target in enumerate(targets)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(fences) == [1, 1, 2, 2, 3, 3]


def test_the_outcome_of_a_commit_whose_reply_was_lost_can_be_read(
    opened: Opener, postgres_database: Databases
) -> None:
    url = postgres_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY)")
    target = opened(url)
    state = live(schemas(target)["t"])
    claim = started(target, state)
    with target.begin(claim, mark()) as apply:
        apply.load(state, rows(state.schema, (1,)))
        apply.commit(P2)
        found = opened(url).peek(STREAM)
        assert found is not None
        assert (found.fence, found.position) == (claim.fence, P2)
    with target.begin(claim.moved(P2), mark()) as apply:
        apply.load(state, rows(state.schema, (2,)))
        run(url, f"""SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                     WHERE application_name = 'syncline {STREAM}' AND datname = current_database()
                       AND state LIKE 'idle in%'""")  # fmt: skip
        with pytest.raises(Transient):
            apply.commit(P3)
    found = target.peek(STREAM)
    assert found is not None
    assert found.position == P2
    assert ask(url, "SELECT id FROM t") == [(1,)]


def test_nothing_is_written_outside_a_lost_transaction(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY)")
    target = opened(url)
    state = live(schemas(target)["t"])
    claim = started(target, state)
    with target.begin(claim, mark()) as apply:
        run(url, f"""SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                     WHERE application_name = 'syncline {STREAM}'
                       AND datname = current_database()""")  # fmt: skip
        for _ in range(2):
            with pytest.raises(Transient):
                apply.load(state, rows(state.schema, (1,)))
        with pytest.raises(Transient):
            apply.upsert(state, rows(state.schema, (2,)))
        with pytest.raises(Transient):
            apply.commit(P2)
    assert ask(url, "SELECT id FROM t") == []


def test_a_position_that_moved_is_found_at_once(opened: Opener, postgres_database: Databases) -> None:
    target = opened(postgres_database())
    claim = write(target, started(target), P2)
    with pytest.raises(Corruption, match="its position is 0/2, not 0/3"):
        target.begin(claim.moved(P3), mark())


def test_a_failed_transaction_does_not_commit(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY)")
    target = opened(url)
    state = live(schemas(target)["t"])
    claim = started(target, state)
    for upto in (None, P2):
        with target.begin(claim, mark()) as apply:
            with pytest.raises(NeedsOperator, match="table t"):
                apply.load(state, rows(state.schema, (1,), (1,)))
            with pytest.raises(SynclineError):
                apply.commit(upto)
    assert target.peek(STREAM) == claim


def test_interrupt_ends_a_write_that_waits(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY)")
    target = opened(url)
    state = live(schemas(target)["t"])
    claim = started(target, state)
    caught: list[BaseException] = []

    def attempt() -> None:
        try:
            write(target, claim, P2, lambda apply: apply.load(state, rows(state.schema, (1,))))
        except BaseException as error:
            caught.append(error)

    with psycopg.connect(url) as blocker:
        blocker.execute("LOCK TABLE t")
        thread = threading.Thread(target=attempt)
        thread.start()
        while ask(url, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass") == [
            (0,)
        ]:
            time.sleep(0.01)
        target.interrupt()
        thread.join(20)
        assert not thread.is_alive()
    assert isinstance(caught[0], Transient)
    write(target, claim, P2, lambda apply: apply.load(state, rows(state.schema, (1,))))
    assert ask(url, "SELECT id FROM t") == [(1,)]

"""One table, or all of a stream, copied anew while everything else goes on, by one command."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from syncline.control.pairs import Pair
from syncline.control.resync import resync
from syncline.engine.report import Options, Report
from syncline.errors import NeedsOperator, Refused, Transient
from tests.runs import Following, Notices, execute, sync, value, verdicts, wait_for

from .watch import count, live

NAMED = {"pipeline": "shop", "pipelines": ("shop",), "keep": True}
STATES = "SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM syncline.tables"


@pytest.fixture
def shop(pair: tuple[str, str]) -> tuple[str, str]:
    """Another table beside `t`."""
    execute(
        pair[0],
        "CREATE TABLE u (id bigint PRIMARY KEY, note text)",
        "INSERT INTO u SELECT n, 'first' FROM generate_series(1, 50) n",
    )
    return pair


def ask(pair: tuple[str, str], *tables: str, **options: object) -> list[str]:
    """What the command does."""
    asked = resync(Pair(*pair, Options(**{**NAMED, **options})), tables)  # type: ignore[arg-type]
    return [str(table) for table in asked]


def run(pair: tuple[str, str], **more: object) -> Report:
    """One run of the pipeline."""
    return sync(*pair, **{**NAMED, **more})


def rows(url: str) -> list[list[object]]:
    """All rows of both tables, by a plain driver."""
    with psycopg.connect(url) as session:
        return [session.execute(f"SELECT * FROM {table} ORDER BY id".encode()).fetchall() for table in "tu"]


def drop_slots(source: str) -> None:
    drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
    with psycopg.connect(source, autocommit=True) as server:
        server.execute(f"{drop} WHERE database = current_database()".encode())


def test_a_running_stream_copies_the_table_and_applies_the_rest(shop: tuple[str, str]) -> None:
    source, target = shop
    notices = Notices()
    with Following(*shop, observer=notices, **NAMED) as following:
        live(target, 2)
        execute(target, "UPDATE t SET note = 'damaged' WHERE id < 50", "DELETE FROM t WHERE id > 90")
        assert ask(shop, "t") == ["t"]
        execute(source, "INSERT INTO u VALUES (1000, 'meanwhile')")
        wait_for(lambda: value(target, "SELECT count(*) FROM u WHERE id = 1000") == 1, "the other table")
        wait_for(lambda: count(target, "note = 'first'") == 100, "the copy")
        live(target, 2)
        execute(source, "INSERT INTO t VALUES (1001, 0, 'after')")
        wait_for(lambda: count(target, "id = 1001") == 1, "what came after")
        assert following.error is None
    assert "the copy of table t begins anew: somebody asked for it" in notices.texts
    assert value(target, "SELECT count(*) FROM syncline.asked") == 0
    assert rows(source) == rows(target)


def test_what_is_asked_while_nobody_runs_is_done_by_the_next_run(shop: tuple[str, str]) -> None:
    _, target = shop
    run(shop)
    execute(target, "DELETE FROM t", "DELETE FROM u")
    assert ask(shop) == ["t", "u"]
    assert verdicts(run(shop)) == {"t": "equal", "u": "equal"}
    assert rows(shop[0]) == rows(shop[1])


@pytest.mark.parametrize(
    ("end", "method"), [("before", "floor"), ("target_before", "prepare"), ("target_before", "join")]
)
def test_a_request_outlives_a_run_that_dies_with_it(shop: tuple[str, str], end: str, method: str) -> None:
    _, target = shop
    run(shop)
    execute(target, "DELETE FROM t")
    ask(shop, "t")

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(shop, **{end: {method: die}})
    assert verdicts(run(shop)) == {"t": "equal", "u": "equal"}


def test_a_table_that_stopped_is_resumed_by_the_command_that_its_state_names(shop: tuple[str, str]) -> None:
    source, target = shop
    with Following(*shop, schema="freeze", **NAMED):
        live(target, 2)
        execute(source, "ALTER TABLE t ALTER COLUMN n TYPE text")
        execute(source, "INSERT INTO t VALUES (101, 'a', 'new')")
        wait_for(lambda: value(target, STATES) == "t failed, u live", "the stop")
        detail = value(target, "SELECT detail FROM syncline.tables WHERE name = 't'")
        assert str(detail).endswith("; copy it anew with syncline resync shop t")
        ask(shop, "t")
        live(target, 2)
    assert count(target, "n = 'a'") == 1


def test_what_cannot_be_copied_stays_as_it_is_and_says_why(shop: tuple[str, str]) -> None:
    _, target = shop
    run(shop)
    execute(target, "CREATE VIEW v AS SELECT * FROM t")
    ask(shop, "t")
    notices = Notices()
    assert verdicts(run(shop, observer=notices)) == {"t": "equal", "u": "equal"}
    (told,) = (text for text in notices.texts if "not copied anew" in text)
    assert "view v" in told
    assert value(target, "SELECT count(*) FROM syncline.asked") == 0


def lose_slot(source: str, target: str) -> None:
    drop_slots(source)


def restore_target(source: str, target: str) -> None:
    """The target as a backup has it: behind what the source keeps its log for."""
    before = value(target, "SELECT position FROM syncline.streams")
    execute(source, "INSERT INTO t VALUES (500, 0, 'released')")
    run((source, target))
    execute(target, "DELETE FROM t WHERE id = 500", f"UPDATE syncline.streams SET position = '{before}'")


def restore_source(source: str, target: str) -> None:
    """A source that has written less than the target has of it."""
    execute(target, "UPDATE syncline.streams SET position = 'FFFF/0'")


def promote_source(source: str, target: str) -> None:
    """Another timeline."""
    execute(
        target,
        "UPDATE syncline.streams SET source = jsonb_set(source, '{incarnation}', '\"timeline 0\"')",
    )


LOSSES = [lose_slot, restore_target, restore_source, promote_source]


@pytest.mark.parametrize("lose", LOSSES)
def test_a_lost_log_is_a_gap_until_all_is_copied_anew(
    shop: tuple[str, str], lose: Callable[[str, str], None]
) -> None:
    """Promise 7; the old rows stay until the new ones are there."""
    source, target = shop
    run(shop)
    lose(source, target)
    execute(source, "INSERT INTO t VALUES (101, 0, 'untold')")
    for _ in range(2):  # also the second time: it never goes on from now
        with pytest.raises(NeedsOperator, match="use syncline resync shop to copy its tables anew"):
            run(shop)
    assert value(target, STATES) == "t gap, u gap"
    assert count(target, "id = 101") == 0
    ask(shop)
    seen: list[object] = []
    assert set(
        verdicts(run(shop, target_before={"swap": lambda *_: seen.append(count(target))})).values()
    ) == {"equal"}
    assert seen[0] == 100  # until then the old rows stood there
    assert rows(source) == rows(target)
    execute(source, "INSERT INTO t VALUES (102, 0, 'told')")
    run(shop)
    assert count(target, "id = 102") == 1


@pytest.mark.parametrize("method", ["detach", "attach", "floor"])
@pytest.mark.parametrize("lose", LOSSES)
def test_mending_a_gap_may_be_interrupted_anywhere(
    shop: tuple[str, str], lose: Callable[[str, str], None], method: str
) -> None:
    source, target = shop
    run(shop)
    lose(source, target)
    execute(source, "INSERT INTO t VALUES (101, 0, 'untold')", "DELETE FROM t WHERE id = 1")
    ask(shop)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(shop, before={method: die})
    execute(source, "INSERT INTO t VALUES (103, 0, 'between')")
    assert set(verdicts(run(shop)).values()) == {"equal"}
    assert rows(source) == rows(target)


def test_of_a_gap_one_table_may_be_mended_first(shop: tuple[str, str]) -> None:
    source, target = shop
    run(shop)
    drop_slots(source)
    execute(source, "INSERT INTO t VALUES (101, 0, 'untold')", "INSERT INTO u VALUES (101, 'untold')")
    ask(shop, "t")
    with Following(*shop, **NAMED) as following:
        wait_for(lambda: value(target, STATES) == "t live, u gap", "one of two")
        execute(source, "INSERT INTO u VALUES (102, 'untold too')", "INSERT INTO t VALUES (102, 0, 'told')")
        wait_for(lambda: count(target, "id = 102") == 1, "the mended table's change")
        assert value(target, "SELECT max(id) FROM u") == 50
        ask(shop, "u")
        live(target, 2)
        assert following.error is None
    assert rows(source) == rows(target)


def test_a_nameless_stream_is_asked_too(shop: tuple[str, str]) -> None:
    _, target = shop
    with Following(*shop):
        live(target, 2)
        execute(target, "DELETE FROM u")
        assert ask(shop, "u", pipeline="") == ["u"]
        wait_for(lambda: value(target, "SELECT count(*) FROM u") == 50, "the copy")
    with pytest.raises(Refused, match=r"resync table w: .* has no such table; it has t, u"):
        ask(shop, "w", pipeline="")


def test_rows_of_others_are_given_up_where_their_table_is_named(shop: tuple[str, str]) -> None:
    _, target = shop
    execute(target, "CREATE TABLE t (id bigint PRIMARY KEY, n int, note text)", "INSERT INTO t VALUES (7)")
    with pytest.raises(Refused, match="holds other rows in t; use syncline resync shop t to build it anew"):
        run(shop)
    with pytest.raises(Refused, match="name the tables"):
        ask(shop)
    assert ask(shop, "t") == ["t"]
    assert verdicts(run(shop)) == {"t": "equal", "u": "equal"}
    assert value(target, "SELECT count(*) FROM syncline.asked") == 0


def test_a_table_that_is_no_longer_meant_leaves_and_its_rows_stay(shop: tuple[str, str]) -> None:
    source, target = shop
    run(shop)
    published = "SELECT string_agg(tablename, ', ') FROM pg_publication_tables"
    notices = Notices()
    assert verdicts(run(shop, exclude=("u",), observer=notices)) == {"t": "equal"}
    assert "table u is not of the pipeline any more; its rows stay" in notices.texts
    assert value(target, STATES) == "t live"
    assert value(source, published) == "t"
    assert value(target, "SELECT count(*) FROM u") == 50
    execute(source, "INSERT INTO u VALUES (51, 'not told')", "DELETE FROM t WHERE id = 1")
    assert verdicts(run(shop, exclude=("u",))) == {"t": "equal"}
    assert value(target, "SELECT count(*) FROM u") == 50
    execute(source, "DELETE FROM u WHERE id = 51")
    with Following(*shop, **NAMED):  # back again: it holds just its rows
        live(target, 2)
    assert rows(source) == rows(target)


def test_a_table_may_leave_while_it_is_brought_up(shop: tuple[str, str]) -> None:
    _, target = shop
    run(shop, exclude=("u",))

    def die(*_: object) -> None:
        raise Transient("join", "u", "the test says so")

    with pytest.raises(NeedsOperator):
        run(shop, target_before={"join": die}, give_up_after=0.5)
    assert verdicts(run(shop, exclude=("u",))) == {"t": "equal"}
    assert value(target, "SELECT count(*) FROM syncline.streams") == 1


def test_a_side_stream_that_lost_its_log_begins_anew(shop: tuple[str, str]) -> None:
    source, target = shop
    run(shop, exclude=("u",))

    def die(*_: object) -> None:
        raise Transient("join", "u", "the test says so")

    with pytest.raises(NeedsOperator):
        run(shop, target_before={"join": die}, give_up_after=0.5)
    with psycopg.connect(source, autocommit=True) as server:
        server.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                       " WHERE slot_name LIKE '%side' AND database = current_database()")  # fmt: skip
    execute(source, "INSERT INTO u VALUES (51, 'untold')")
    assert verdicts(run(shop)) == {"t": "equal", "u": "equal"}
    assert rows(source) == rows(target)

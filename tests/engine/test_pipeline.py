"""Whole runs of the engine over stores in memory, with faults where they hurt."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from syncline import failpoints
from syncline.connectors.memory import Database, database
from syncline.errors import Interrupted, NeedsOperator, Refused
from syncline.model import Column, ForeignKey, Kind, Schema, State, TableName, Type
from tests.runs import Following, Notices, sync, verdicts

INT, TEXT = Type(Kind.INT64), Type(Kind.TEXT)
PLACES = sorted(set(failpoints.NAMES) - {"attach.publication", "alter.before_commit"})
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    failpoints.arm("")


@pytest.fixture
def pair() -> tuple[Database, Database]:
    number = next(_numbers)
    return database(f"engine-source-{number}"), database(f"engine-target-{number}")


def parents(name: str = "parents") -> Schema:
    columns = (Column("id", INT, False), Column("name", TEXT), Column("big", TEXT))
    return Schema(TableName(name), columns, ("id",), "memory")


def children() -> Schema:
    columns = (Column("parent", INT, False), Column("n", INT, False), Column("note", TEXT))
    key = ForeignKey("to_parent", ("parent",), TableName("parents"), ("id",))
    return Schema(TableName("children"), columns, ("parent", "n"), "memory", foreign_keys=(key,))


def fill(source: Database, rows: int = 30) -> None:
    source.create(parents())
    source.create(children())
    with source.transaction() as writes:
        for number in range(rows):
            writes.insert("parents", {"id": number, "name": f"p{number}", "big": f"big{number}"})
            writes.insert("children", {"parent": number, "n": 1, "note": None})


def urls(pair: tuple[Database, Database]) -> tuple[str, str]:
    return f"memory://{pair[0].name}", f"memory://{pair[1].name}"


def same(pair: tuple[Database, Database]) -> bool:
    source, target = pair
    tables = list(source.tables)
    return all(table in target.tables and source.rows(table) == target.rows(table) for table in tables)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Writer:
    """An application that writes to the source from a thread of its own."""

    def __init__(self, source: Database, seed: int, tables: tuple[str, ...] = ("parents",)) -> None:
        self._source, self._random, self._tables = source, random.Random(seed), tables
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._end.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._end.wait(0.0005):
            self.write()

    def write(self) -> None:
        """One random transaction; what a constraint refuses is rolled back, as an application's would be."""
        table = self._random.choice(self._tables)
        held = [row[0] for row in self._source.table(table).rows.values()]
        free = [number for number in range(60) if number not in held]
        try:
            with self._source.transaction() as writes:
                for _ in range(self._random.randint(1, 4)):
                    self._change(writes, table, held, free)
        except NeedsOperator:
            pass

    def _change(self, writes: object, table: str, held: list[int], free: list[int]) -> None:
        action = self._random.choice(["insert", "small", "big", "move", "delete"])
        text = f"{self._random.random()}"
        if action == "insert" and free:
            writes.insert(table, {"id": self._random.choice(free), "name": text, "big": text * 3})  # type: ignore[attr-defined]
        elif held:
            key = (self._random.choice(held),)
            if action == "delete":
                writes.delete(table, key)  # type: ignore[attr-defined]
            elif action == "move" and free:
                writes.update(table, key, {"id": self._random.choice(free)}, unsent=["big"])  # type: ignore[attr-defined]
            elif action == "big":
                writes.update(table, key, {"big": text})  # type: ignore[attr-defined]
            else:
                writes.update(table, key, {"name": text}, unsent=["big"])  # type: ignore[attr-defined]


def test_a_run_copies_catches_up_compares_and_leaves_nothing(pair: tuple[Database, Database]) -> None:
    fill(pair[0])
    report = sync(*urls(pair), span_rows=7)
    assert verdicts(report) == {"children": "equal", "parents": "equal"}
    assert [table.rows_copied for table in report.tables] == [30, 30]
    assert report.exit_code == 0
    assert same(pair)
    assert (pair[0].slots, pair[1].streams) == ({}, {})


@pytest.mark.parametrize("place", PLACES)
def test_a_failure_anywhere_changes_nothing_in_the_end(pair: tuple[Database, Database], place: str) -> None:
    fill(pair[0])
    seed = int(os.environ.get("SYNCLINE_SEED", random.randrange(1 << 30)))
    print(f"SYNCLINE_SEED={seed}")
    with Writer(pair[0], seed) as writer:
        with Following(*urls(pair), tables=["children"]):
            wait_for(lambda: _state(pair[1], "children") is State.LIVE)
        failpoints.arm(f"{place}=fail")
        with Following(*urls(pair), span_rows=5):
            time.sleep(0.3)
        writer.end()
    report = sync(*urls(pair))
    assert set(verdicts(report).values()) == {"equal"}
    assert failpoints.hits(place), "the place was passed"
    assert same(pair)
    assert (pair[0].slots, pair[1].streams) == ({}, {})


def _state(target: Database, table: str) -> State | None:
    for stream in target.streams.values():
        for name, state in stream.tables.items():
            if str(name) == table:
                return state.state
    return None


@pytest.mark.parametrize("run", range(5))
def test_race_04_random_faults_under_writes(pair: tuple[Database, Database], run: int) -> None:
    fill(pair[0])
    pair[0].create(parents("more"))
    seed = int(os.environ.get("SYNCLINE_SEED", random.randrange(1 << 30)))
    print(f"SYNCLINE_SEED={seed}")
    chance = random.Random(seed)
    with Writer(pair[0], seed, ("parents", "more")) as writer:
        for tables in (["parents"], ["parents", "more"], ["*"]):
            failpoints.arm(f"{chance.choice(PLACES)}=fail@{chance.randint(1, 3)}")
            with Following(*urls(pair), tables=tables, span_rows=chance.randint(2, 20)) as following:
                time.sleep(chance.uniform(0.02, 0.3))
            assert isinstance(following.error, Interrupted)
        failpoints.arm("")
        writer.end()
    report = sync(*urls(pair))
    assert set(verdicts(report).values()) == {"equal"}
    assert same(pair)


def test_race_01_no_table_is_live_before_all_that_its_copy_may_have_read(
    pair: tuple[Database, Database],
) -> None:
    fill(pair[0])
    source, target = pair
    live_at: list[int] = []

    def change(*_: object, **__: object) -> None:
        with source.transaction() as writes:
            writes.update("parents", (1,), {"name": f"{random.random()}"})

    def look(*_: object, **__: object) -> None:
        (stream,) = target.streams.values()
        live_at.append(int(stream.position or 0))

    read: list[int] = []
    after = {"read": lambda *_, **__: (read.append(source.last), change())}
    sync(*urls(pair), after=after, target_before={"finish": look}, span_rows=7, workers=1)
    assert live_at
    assert min(live_at) >= max(read)


def test_keys_that_change_all_the_time_keep_no_table_from_being_live(
    pair: tuple[Database, Database],
) -> None:
    fill(pair[0])
    source = pair[0]
    new_keys = itertools.count(1000)

    def move(*_: object, **__: object) -> None:
        """Each look at the log's end finds one more key changed, with a cell that only the source knows."""
        with source.transaction() as writes:
            key = min(row[0] for row in source.table("parents").rows.values())
            writes.update("parents", (key,), {"id": next(new_keys)}, unsent=["big"])

    with Following(*urls(pair), before={"ceiling": move}) as following:
        wait_for(lambda: _state(pair[1], "parents") is State.LIVE or following.error is not None)
        assert following.error is None
    assert set(verdicts(sync(*urls(pair))).values()) == {"equal"}
    assert same(pair)


def test_tables_that_differ_are_named(pair: tuple[Database, Database]) -> None:
    fill(pair[0])
    with Following(*urls(pair)):
        wait_for(lambda: _state(pair[1], "parents") is _state(pair[1], "children") is State.LIVE)
    with pair[1].transaction() as behind_our_back:
        behind_our_back.update("parents", (3,), {"name": "altered"})
    report = sync(*urls(pair))
    assert verdicts(report) == {"children": "equal", "parents": "different"}
    assert report.exit_code == 1


def test_a_source_that_never_rests_is_not_called_equal_or_different(pair: tuple[Database, Database]) -> None:
    fill(pair[0])
    source = pair[0]

    def change(*_: object, **__: object) -> None:
        with source.transaction() as writes:
            writes.update("parents", (1,), {"name": f"{random.random()}"})

    report = sync(*urls(pair), after={"digest": change})
    assert verdicts(report)["parents"] == "not compared (source still changing)"
    assert report.exit_code == 1
    assert same(pair)


def test_other_rows_at_the_target_are_refused_and_replaced_on_demand(pair: tuple[Database, Database]) -> None:
    fill(pair[0])
    pair[1].create(parents())
    with pair[1].transaction() as writes:
        writes.insert("parents", {"id": 99, "name": "older"})
    with pytest.raises(Refused, match="holds other rows"):
        sync(*urls(pair))
    assert pair[1].rows("parents") == [(99, "older", None)]
    assert (pair[0].slots, pair[1].streams) == ({}, {})
    assert verdicts(sync(*urls(pair), replace=True)) == {"children": "equal", "parents": "equal"}
    assert same(pair)


def test_the_same_rows_at_the_target_are_adopted(pair: tuple[Database, Database]) -> None:
    fill(pair[0])
    sync(*urls(pair))
    report = sync(*urls(pair))
    assert verdicts(report) == {"children": "equal", "parents": "equal"}
    assert [table.rows_copied for table in report.tables] == [0, 0]


def test_a_table_without_a_key_is_skipped_by_name_or_refused(pair: tuple[Database, Database]) -> None:
    fill(pair[0])
    pair[0].create(Schema(TableName("keyless"), (Column("n", INT),), (), "memory"))
    observer = Notices()
    report = sync(*urls(pair), observer=observer)
    assert verdicts(report) == {"children": "equal", "keyless": "skipped", "parents": "equal"}
    assert report.exit_code == 1
    assert any("keyless" in text for text in observer.texts)
    with pytest.raises(Refused, match="keyless"):
        sync(*urls(pair), tables=["keyless"])


@pytest.mark.parametrize(
    ("tables", "message"), [(["parent"], "did you mean parents"), (["x*"], "no table matches")]
)
def test_tables_that_are_not_there_are_refused(
    pair: tuple[Database, Database], tables: list[str], message: str
) -> None:
    fill(pair[0])
    with pytest.raises(Refused, match=message):
        sync(*urls(pair), tables=tables)
    assert (pair[0].slots, pair[1].streams, pair[1].tables) == ({}, {}, {})


def test_a_dry_run_touches_nothing(pair: tuple[Database, Database]) -> None:
    fill(pair[0])
    report = sync(*urls(pair), dry_run=True)
    assert verdicts(report) == {"children": "would be copied", "parents": "would be copied"}
    assert (pair[0].slots, pair[1].streams, pair[1].tables) == ({}, {}, {})


def test_remove_takes_away_what_a_stopped_run_left(pair: tuple[Database, Database]) -> None:
    fill(pair[0])
    with Following(*urls(pair)):
        wait_for(lambda: _state(pair[1], "parents") is State.LIVE)
    assert pair[0].slots
    assert sync(*urls(pair), remove=True).notes
    assert (pair[0].slots, pair[1].streams) == ({}, {})
    assert same(pair)


def test_race_13_a_lost_log_is_a_gap_until_it_is_replaced(pair: tuple[Database, Database]) -> None:
    fill(pair[0])
    with Following(*urls(pair)):
        wait_for(lambda: _state(pair[1], "parents") is _state(pair[1], "children") is State.LIVE)
    with pair[0].transaction() as writes:
        writes.delete("children", (1, 1))
    pair[0].prune()
    with pytest.raises(NeedsOperator, match="--replace"):
        sync(*urls(pair))
    assert _state(pair[1], "parents") is State.GAP
    assert len(pair[1].rows("children")) == 30
    assert set(verdicts(sync(*urls(pair), replace=True)).values()) == {"equal"}
    assert same(pair)


def test_a_schema_change_stops_its_table_only(pair: tuple[Database, Database]) -> None:
    fill(pair[0])
    with Following(*urls(pair), schema="freeze") as following:
        wait_for(lambda: _state(pair[1], "parents") is _state(pair[1], "children") is State.LIVE)
        pair[0].add_column("children", Column("added", TEXT))
        with pair[0].transaction() as writes:
            writes.update("parents", (1,), {"name": "goes on"})
        wait_for(lambda: (1, "goes on", "big1") in pair[1].rows("parents"))
        assert following.error is None
    report = sync(*urls(pair))
    assert verdicts(report) == {"children": "failed", "parents": "equal"}
    assert "added" in report.tables[0].detail
    assert report.exit_code == 1


@pytest.mark.parametrize("others", [True, False])
def test_a_stopped_table_is_copied_anew_on_demand(pair: tuple[Database, Database], others: bool) -> None:
    fill(pair[0])
    tables = ["parents", "children"] if others else ["children"]
    with Following(*urls(pair), tables=tables, span_rows=7, schema="freeze"):
        wait_for(lambda: all(_state(pair[1], table) is State.LIVE for table in tables))
        pair[0].add_column("children", Column("added", TEXT))
        wait_for(lambda: _state(pair[1], "children") is State.FAILED)
    assert len(pair[1].rows("children")) == 30
    assert set(verdicts(sync(*urls(pair), tables=tables, replace=True)).values()) == {"equal"}
    assert pair[1].rows("children") == pair[0].rows("children")


def test_trouble_without_progress_is_given_up(pair: tuple[Database, Database]) -> None:
    fill(pair[0])

    def fail(*_: object, **__: object) -> None:
        failpoints.arm("copy.before_commit=fail")

    with pytest.raises(NeedsOperator, match="tried for"):
        sync(*urls(pair), target_before={"begin_copy": fail}, give_up_after=0.5)
    assert verdicts(sync(*urls(pair))) == {"children": "equal", "parents": "equal"}

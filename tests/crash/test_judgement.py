"""The crash test can fail: what a bad sync would leave behind is found; and its writer can be trusted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from services import Server
from syncline import failpoints
from tests.crash import evolving, runner
from tests.crash.ends import End
from tests.crash.evolving import ALTERING
from tests.crash.run import FIRST_COPY, FOLLOWING, JOINING, REMOVING, SHORT, Crash, _leftovers
from tests.crash.syncer import Failed, Syncer
from tests.crash.tables import DDL, Database, create


def pair(folder: Path) -> tuple[Crash, End, End]:
    ends = [End(side, f"sqlite:///{folder / side}.db", None, None) for side in ("source", "target")]
    for end in ends:
        create(end.url, 50)
    return Crash(SHORT, ends[0], ends[1], folder, 1), ends[0], ends[1]


def test_every_failpoint_is_visited() -> None:
    assert {*FIRST_COPY, *FOLLOWING, *JOINING, *ALTERING, *REMOVING} == set(failpoints.NAMES)


def test_a_lost_commit_is_found_in_the_store_that_lost_it(tmp_path: Path) -> None:
    test, source, target = pair(tmp_path)
    for number in (1, 2):
        (tmp_path / f"acks-{number}").write_text("1\n2\n")
    for end in (source, target):
        end.ask(lambda db: db.execute("INSERT INTO acks VALUES (1, 1), (1, 2), (2, 1), (2, 2)"))
    assert test._judge_acks() == []
    target.ask(lambda db: db.execute("DELETE FROM acks WHERE writer = 2 AND counter = 1"))
    assert test._judge_acks() == ["target lost 1 commits of writer 2: [1]"]
    assert [difference.what for difference in test._differences()] == ["row missing"]


def test_a_run_in_which_nothing_was_written_proves_nothing(tmp_path: Path) -> None:
    test, _, _ = pair(tmp_path)
    for number in (1, 2):
        (tmp_path / f"acks-{number}").write_text("")
    assert test._judge_acks() == ["no writer had anything acknowledged"]


def test_every_table_must_be_called_equal(tmp_path: Path) -> None:
    test, _, _ = pair(tmp_path)
    tables = [{"table": name, "verdict": "equal"} for name in DDL]
    assert test._judge_report({"tables": tables}) == []
    assert test._judge_report({"tables": tables[1:]})
    tables[0]["verdict"] = "not_compared"
    assert test._judge_report({"tables": tables})


def test_a_sync_that_ends_by_itself_is_a_failure(tmp_path: Path) -> None:
    nowhere = End("nowhere", "sqlite:///nowhere/nothing.db", None, None)
    syncer = Syncer(nowhere, nowhere, tmp_path / "log")
    syncer.start("--follow")
    while syncer._started().poll() is None:
        time.sleep(0.05)
    with pytest.raises(Failed, match="ended by itself with exit code 2"):
        syncer.kill()


def test_the_writer_outlives_a_hard_stop_and_what_it_saw_acknowledged_is_there(
    postgres_server: Server, postgres_database: Callable[[], str], tmp_path: Path
) -> None:
    url, file = postgres_database(), tmp_path / "acks"
    create(url, 50)
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.writer", url, "1", "7", str(file), "0"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )

    def wait_for(more: int) -> None:
        wanted = len(file.read_text().split()) + more if file.exists() else more
        while not file.exists() or len(file.read_text().split()) < wanted:
            assert writer.poll() is None
            time.sleep(0.02)

    wait_for(50)
    postgres_server.kill()
    postgres_server.start()
    wait_for(50)
    writer.terminate()
    said, _ = writer.communicate(timeout=20)
    database = Database(url)
    there = {row[0] for row in database.execute("SELECT counter FROM acks WHERE writer = 1")}
    database.close()
    assert {int(line) for line in file.read_text().split()} <= there
    assert "rolled back" in said
    assert "error" in said


def test_what_was_not_taken_away_is_found(postgres_database: Callable[[], str], tmp_path: Path) -> None:
    postgres = Database(postgres_database())
    assert _leftovers(postgres) == []
    postgres.execute("CREATE PUBLICATION syncline_x FOR ALL TABLES")
    postgres.execute("SELECT pg_create_logical_replication_slot('syncline_left', 'pgoutput')")
    postgres.execute("CREATE SCHEMA syncline")
    assert sorted(_leftovers(postgres)) == [
        "publication syncline_x",
        "schema syncline",
        "slot syncline_left",
    ]
    postgres.close()
    sqlite = Database(f"sqlite:///{tmp_path / 'left.db'}")
    sqlite.execute("CREATE TABLE t (n)")
    assert _leftovers(sqlite) == []
    sqlite.execute("CREATE TRIGGER _syncline_t AFTER INSERT ON t BEGIN SELECT 1; END")
    assert _leftovers(sqlite) == ["trigger _syncline_t"]
    sqlite.close()


def test_a_worker_that_is_left_alone_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the one of another supervisor, or in the place of it."""
    monkeypatch.setattr(runner, "WITHIN", 1.0)
    ends = [End(side, f"sqlite:///{tmp_path / side}.db", None, None) for side in ("source", "target")]
    create(ends[0].url, 50)
    service = runner.Runner(ends[0], ends[1], tmp_path, "")
    try:
        service.start()
        deadline = time.monotonic() + 60
        while len(service.workers) != 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        service.alone([])
        with pytest.raises(Failed, match="are there after"):
            service.alone(service.workers)
        old = service.hang_worker()
        service.kill()
        service.start()
        with pytest.raises(Failed, match="are there after"):
            service.alone(old)
        service.wake(old)
        monkeypatch.setattr(runner, "WITHIN", 60.0)
        service.alone(old)
    finally:
        service.close()


def test_a_document_that_was_deleted_and_not_marked_is_found(tmp_path: Path) -> None:
    ends = [End(side, f"sqlite:///{tmp_path / side}.db", None, None) for side in ("source", "target")]
    create(ends[1].url, 50)
    test = evolving.Evolving(evolving.SHORT, ends[0], ends[1], tmp_path, 1)
    assert test._judge_marks() == ["no document was there to be marked"]
    test._documents = ends[1].ask(evolving._documents)
    assert test._judge_marks() == []
    ends[1].ask(lambda db: db.execute("DELETE FROM documents WHERE id = 'd2000'"))
    assert test._judge_marks() == ["1 documents were deleted, not marked: ['d2000']"]

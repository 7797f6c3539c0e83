"""Another copy of the file put in its place: always noticed, and a gap unless it has the same history."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from syncline.engine.pipeline import stream_name
from syncline.errors import NeedsOperator
from syncline.model import Position, State
from tests.runs import Following, Notices, sync, verdicts, wait_for

from .sqlite_files import STREAM, attach, plain, source_of, target_of

KEYS = range(1, 40)


def by_rename(copy: Path, path: Path) -> None:
    os.replace(copy, path)


def by_copying(copy: Path, path: Path) -> None:
    with copy.open("rb") as new, path.open("r+b") as old:
        shutil.copyfileobj(new, old)
        old.truncate()


def with_log_left(path: Path) -> None:
    """-wal and -shm stay where they are, empty: a full one SQLite would play into the new file."""


def with_log_removed(path: Path) -> None:
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


Put = Callable[[Path, Path], None]
Clean = Callable[[Path], None]
every_way = [
    pytest.mark.parametrize("put", [by_rename, by_copying]),
    pytest.mark.parametrize("clean", [with_log_left, with_log_removed]),
]


def in_every_way(test: Callable[..., None]) -> Callable[..., None]:
    for mark in every_way:
        test = mark(test)
    return test


def insert(path: Path, *keys: int) -> None:
    """Rows of another process, which has closed the file when this returns."""
    code = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
for key in sys.argv[2:]:
    db.execute("INSERT INTO t VALUES (?, 'same text')", (key,))
db.close()
"""
    subprocess.run([sys.executable, "-c", code, str(path), *map(str, keys)], check=True)


def back_up(path: Path) -> Path:
    copy = path.with_name("backup.db")
    with closing(plain(path)) as db, closing(sqlite3.connect(copy)) as backup:
        db.backup(backup)
    return copy


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    source = tmp_path / "source.db"
    with closing(plain(source)) as db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    return source, tmp_path / "target.db"


def urls(files: tuple[Path, Path]) -> tuple[str, str]:
    return f"sqlite:///{files[0]}", f"sqlite:///{files[1]}"


def checkpointed(path: Path) -> bool:
    with closing(plain(path)) as db:
        return bool(db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)


def pruned(path: Path) -> bool:
    with closing(plain(path)) as db:
        return bool(db.execute("SELECT count(*) FROM _syncline_log").fetchone()[0] == 1)


def rows(path: Path) -> list[int]:
    if not path.exists():
        return []
    with closing(plain(path)) as db:
        there = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 't'").fetchone()
        return [row[0] for row in db.execute("SELECT id FROM t ORDER BY id")] if there else []


def state_at(files: tuple[Path, Path]) -> tuple[State, str]:
    target = target_of(files[1])
    claim = target.peek(stream_name(source_of(files[0]).identity(), target.identity()))
    assert claim
    (state,) = claim.tables.values()
    return state.state, state.detail


@in_every_way
def test_race_13_a_restored_backup_that_wrote_as_many_rows_again_is_a_gap(
    files: tuple[Path, Path], put: Put, clean: Clean
) -> None:
    path = files[0]
    source = source_of(path)
    attach(source, "t")
    insert(path, 1)
    copy = back_up(path)
    insert(path, 2, 3)
    position = source.ceiling()
    source.check_log(STREAM, position)
    with closing(plain(path)) as db:
        db.execute("SELECT * FROM t").fetchall()
        source.close()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        left = [(end, path.with_name(path.name + end).read_bytes()) for end in ("-wal", "-shm")]
    for end, content in left:
        path.with_name(path.name + end).write_bytes(content)
    put(copy, path)
    clean(path)
    insert(path, 2, 3)  # just what the other history has, at the same numbers
    again = source_of(path)
    assert again.compare(again.ceiling(), position) == 0
    with pytest.raises(NeedsOperator, match=r"another history.*another copy of the file.*a gap"):
        again.check_log(STREAM, position)
    insert(path, *KEYS[3:])
    with pytest.raises(NeedsOperator, match="another history"):
        again.check_log(STREAM, position)


@in_every_way
def test_race_13_a_file_replaced_while_it_is_followed_is_a_gap_at_once(
    files: tuple[Path, Path], put: Put, clean: Clean
) -> None:
    path, target = files
    insert(path, 1)
    with Following(*urls(files)) as run:
        wait_for(lambda: rows(target) == [1], "the copy")
        copy = back_up(path)
        insert(path, 2, 3)
        wait_for(lambda: rows(target) == [1, 2, 3], "the rows")
        if clean is with_log_left:
            wait_for(lambda: pruned(path) and checkpointed(path), "the checkpoint of the last write")
        put(copy, path)
        clean(path)
        insert(path, 2, 3, 4)
        wait_for(lambda: run.error is not None, "the error")
    assert isinstance(run.error, NeedsOperator)
    assert re.search("in its place|log is gone", str(run.error))
    with pytest.raises(NeedsOperator, match=r"another copy of the file.*--replace"):
        sync(*urls(files))
    assert state_at(files)[0] is State.GAP
    assert verdicts(sync(*urls(files), replace=True)) == {"t": "equal"}
    assert rows(path) == rows(target) == [1, 2, 3, 4]


def test_a_backup_of_before_the_first_run_is_a_gap(files: tuple[Path, Path]) -> None:
    path, target = files
    insert(path, 1)
    copy = back_up(path)
    with Following(*urls(files)) as run:
        wait_for(lambda: rows(target) == [1], "the copy")
        by_rename(copy, path)
        with_log_removed(path)
        wait_for(lambda: run.error is not None, "the error")
    assert isinstance(run.error, NeedsOperator)
    with pytest.raises(NeedsOperator, match="was restored, promoted or replaced"):
        sync(*urls(files))
    assert state_at(files)[0] is State.GAP


def test_a_copy_put_beside_the_log_of_the_old_file_is_not_opened(files: tuple[Path, Path]) -> None:
    path, target = files
    insert(path, 1)
    with Following(*urls(files)) as run:
        wait_for(lambda: rows(target) == [1], "the copy")
        copy = back_up(path)
        untouched = copy.read_bytes()
        insert(path, 2)
        wait_for(lambda: rows(target) == [1, 2], "the row")
        by_rename(copy, path)
        wait_for(lambda: run.error is not None, "the error")
    assert isinstance(run.error, NeedsOperator)
    assert "beside the write-ahead log of the old one" in str(run.error)
    assert f"{path}-wal" in run.error.remedy
    assert path.read_bytes() == untouched


def test_a_copy_with_the_same_history_is_gone_on_with(files: tuple[Path, Path]) -> None:
    path, target = files
    insert(path, 1)
    seen = Notices()
    with Following(*urls(files), observer=seen) as run:
        wait_for(lambda: rows(target) == [1], "the copy")
        copy = path.with_name("vacuumed.db")
        with closing(plain(path)) as db:
            db.execute(f"VACUUM INTO '{copy}'")
        insert(copy, 2)
        wait_for(lambda: pruned(path) and checkpointed(path), "the checkpoint")
        by_rename(copy, path)
        insert(path, 3)
        wait_for(lambda: rows(target) == [1, 2, 3], "the rows of the new file")
        assert run.error is None
    assert any("another file was put in its place" in text for text in seen.texts)


def test_a_file_removed_while_it_is_followed_ends_the_run(files: tuple[Path, Path]) -> None:
    path, target = files
    insert(path, 1)
    with Following(*urls(files)) as run:
        wait_for(lambda: rows(target) == [1], "the copy")
        insert(path, 2)
        wait_for(lambda: rows(target) == [1, 2], "the row")
        path.unlink()
        wait_for(lambda: run.error is not None, "the error")
    assert isinstance(run.error, NeedsOperator)
    assert "the file is gone" in str(run.error)


def test_a_link_that_leads_to_another_copy_is_a_gap(files: tuple[Path, Path]) -> None:
    path, target = files
    link = path.with_name("link.db")
    link.symlink_to(path.name)
    insert(path, 1)
    with Following(f"sqlite:///{link}", f"sqlite:///{target}") as run:
        wait_for(lambda: rows(target) == [1], "the copy")
        copy = back_up(path)
        insert(path, 2)
        wait_for(lambda: rows(target) == [1, 2], "the row")
        link.unlink()
        link.symlink_to(copy.name)
        wait_for(lambda: run.error is not None, "the error")
    assert isinstance(run.error, NeedsOperator)


def test_a_target_replaced_while_it_is_written_is_not_written_to_any_more(files: tuple[Path, Path]) -> None:
    path, target = files
    insert(path, 1)
    with Following(*urls(files)) as run:
        wait_for(lambda: rows(target) == [1], "the copy")
        copy = back_up(target)
        insert(path, 2)
        wait_for(lambda: rows(target) == [1, 2], "the row")
        wait_for(lambda: checkpointed(target), "the checkpoint")
        by_rename(copy, target)
        insert(path, 3)
        wait_for(lambda: run.error is not None, "the error")
    assert isinstance(run.error, NeedsOperator)
    assert "the target is older than the log" in str(run.error)
    assert rows(target) == [1]


def test_a_position_of_a_number_alone_is_still_read(files: tuple[Path, Path]) -> None:
    path = files[0]
    source = source_of(path)
    attach(source, "t")
    insert(path, 1)
    end = source.ceiling()
    number = Position(end.partition(".")[0])
    source.check_log(STREAM, number)
    assert source.compare(number, end) == 0
    with pytest.raises(NeedsOperator, match="ends at"):
        source.check_log(STREAM, Position(str(int(number) + 1)))

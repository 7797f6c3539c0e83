"""Another file in the place of the one that a pipeline follows: a gap at once, and one command mends it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from syncline.control.pairs import Pair
from syncline.control.resync import resync
from syncline.engine.report import Options
from syncline.errors import NeedsOperator
from tests.oracle import compare
from tests.runs import Following, meanwhile, sync, verdicts, wait_for

NAMED = {"pipeline": "shop", "pipelines": ("shop",), "keep": True}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    source = tmp_path / "source.db"
    with closing(sqlite3.connect(source)) as db, db:
        db.execute("PRAGMA journal_mode = wal")
        for table in "tu":
            db.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, note TEXT)")
            db.executemany(f"INSERT INTO {table} VALUES (?, 'first')", [(n,) for n in range(100)])
    return source, tmp_path / "target.db"


def urls(files: tuple[Path, Path]) -> tuple[str, str]:
    return f"sqlite:///{files[0]}", f"sqlite:///{files[1]}"


def write(path: Path, table: str, *keys: int) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as db, db:
        db.executemany(f"INSERT INTO {table} VALUES (?, 'later')", [(key,) for key in keys])


def fetch(path: Path, query: str) -> list[tuple[object, ...]]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=30)) as db:
        try:
            return db.execute(query).fetchall()
        except sqlite3.OperationalError:  # not made yet
            return []


def states(path: Path) -> set[object]:
    return {state for (state,) in fetch(path, "SELECT state FROM _syncline_tables")}


def has(path: Path, table: str, key: int) -> bool:
    return bool(fetch(path, f"SELECT 1 FROM {table} WHERE id = {key}"))


def copy_of(path: Path) -> Path:
    copy = path.with_name("backup.db")
    with closing(sqlite3.connect(path)) as db, closing(sqlite3.connect(copy)) as backup:
        db.backup(backup)
    return copy


def put(copy: Path, path: Path) -> None:
    """As an operator restores a file: with the write-ahead log of the old one taken away."""
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    os.replace(copy, path)


def writing(path: Path) -> AbstractContextManager[None]:
    """Somebody goes on writing to the other table meanwhile."""
    return meanwhile(lambda key: write(path, "u", key))


def mend(files: tuple[Path, Path]) -> None:
    """What the gap's own remedy says, with writes going on; then both files are equal for the oracle."""
    resync(Pair(*urls(files), Options(**NAMED)), ())  # type: ignore[arg-type]
    with writing(files[0]), Following(*urls(files), **NAMED) as following:
        wait_for(lambda: states(files[1]) == {"live"}, "live tables")
        wait_for(lambda: has(files[1], "u", 10_005), "writes")
        assert following.error is None
    assert verdicts(sync(*urls(files), **NAMED)) == {"t": "equal", "u": "equal"}
    assert compare(*urls(files), exclude=("_syncline_*",)) == []


@pytest.mark.parametrize("moment", ["before the first run", "while it was followed"])
def test_an_older_copy_put_in_while_the_file_is_followed(files: tuple[Path, Path], moment: str) -> None:
    source, target = files
    copy = copy_of(source) if moment == "before the first run" else None
    with Following(*urls(files), **NAMED) as following:
        wait_for(lambda: states(target) == {"live"}, "live tables")
        copy = copy or copy_of(source)
        write(source, "t", 200, 201)
        wait_for(lambda: has(target, "t", 201), "the rows")
        put(copy, source)
        write(source, "t", 300, 301, 302)
        wait_for(lambda: following.error is not None, "the end of the run")
        assert isinstance(following.error, NeedsOperator), following.error
        assert states(target) == {"gap"}, following.error
    assert "use syncline resync shop to copy its tables anew" in following.error.remedy
    details = [str(detail) for (detail,) in fetch(target, "SELECT detail FROM _syncline_tables")]
    assert {detail.rpartition("; ")[2] for detail in details} == {
        f"copy it anew with syncline resync shop {table}" for table in "tu"
    }
    assert has(target, "t", 201)
    assert not has(target, "t", 302)
    mend(files)


def test_an_older_copy_put_in_between_two_runs(files: tuple[Path, Path]) -> None:
    source, target = files
    sync(*urls(files), **NAMED)
    copy = copy_of(source)
    write(source, "t", 200, 201)
    sync(*urls(files), **NAMED)
    put(copy, source)
    write(source, "t", 300, 301, 302, 303)  # as far as the other history had come, and on
    for _ in range(2):
        with pytest.raises(NeedsOperator, match=r"another copy of the file.*use syncline resync shop"):
            sync(*urls(files), **NAMED)
    assert states(target) == {"gap"}
    assert not has(target, "t", 303)
    mend(files)


def test_an_older_copy_of_the_target_put_in_between_two_runs(files: tuple[Path, Path]) -> None:
    source, target = files
    sync(*urls(files), **NAMED)
    copy = copy_of(target)
    write(source, "t", 200, 201)
    sync(*urls(files), **NAMED)
    put(copy, target)
    with pytest.raises(NeedsOperator, match=r"the target is older than the log.*use syncline resync shop"):
        sync(*urls(files), **NAMED)
    assert states(target) == {"gap"}
    assert not has(target, "t", 200)
    mend(files)

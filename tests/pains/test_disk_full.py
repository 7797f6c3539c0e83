"""A disk that is full: one line that says so, and the same command goes on once there is room."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from syncline.errors import NeedsOperator
from tests.mounts import mounted
from tests.oracle import compare
from tests.runs import Following, execute, sync, value, verdicts, wait_for

from .conftest import TABLE

FILL = "INSERT INTO t SELECT n, n, repeat('x', 1000) FROM generate_series(101, 8000) n"


def grow(disk: Path, size: str) -> None:
    """Give a small disk more room."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def fill(path: Path) -> int:
    """Insert rows until the disk is full; how many the file has then, as the application was told."""
    for number in range(2, 2000):
        try:
            with closing(sqlite3.connect(path, timeout=10)) as file, file:
                file.execute("INSERT INTO t VALUES (?, ?)", (number, "x" * 4000))
        except sqlite3.OperationalError:
            return number - 1  # "database or disk is full"
    raise AssertionError("the disk did not fill")


def test_the_disk_of_a_target_file(pair: tuple[str, str], tmp_path: Path) -> None:
    source, _ = pair
    execute(source, FILL)
    with mounted(tmp_path / "disk", "size=3m") as disk:
        target = f"sqlite:///{disk}/copy.db"
        with pytest.raises(NeedsOperator, match="the disk is full; make room and run again"):
            sync(source, target)
        grow(disk, "64m")
        assert verdicts(sync(source, target)) == {"t": "equal"}
        with closing(sqlite3.connect(disk / "copy.db")) as file:
            assert file.execute("SELECT count(*) FROM t").fetchone() == (8000,)


def test_the_disk_of_a_followed_file_whose_log_grows(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=2m") as disk:
        path, copy = disk / "shop.db", tmp_path / "copy.db"
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, note TEXT)")
            file.execute("INSERT INTO t VALUES (1, 'first')")
        source, target = f"sqlite:///{path}", f"sqlite:///{copy}"

        def copied(rows: int) -> bool:
            if not copy.exists():
                return False
            with closing(sqlite3.connect(copy)) as file:
                there = file.execute("SELECT 1 FROM sqlite_schema WHERE name = 't'").fetchone()
                return bool(there) and file.execute("SELECT count(*) FROM t").fetchone() == (rows,)

        with Following(source, target):
            wait_for(lambda: copied(1), "the copy")
        kept = fill(path)  # nobody follows now: rows and log fill the disk
        grow(disk, "64m")
        assert verdicts(sync(source, target)) == {"t": "equal"}
        assert copied(kept), "what the application was told is kept, and nothing else"


def test_the_disk_of_a_target_server(pair: tuple[str, str], postgres_b_url: str, tmp_path: Path) -> None:
    source, _ = pair
    execute(source, FILL)
    place = Path("/tmp") / f"syncline-full-{os.getpid()}"  # where the server's user may come
    with mounted(place, "size=4m,mode=0777") as disk:
        folder = disk / "space"
        folder.mkdir()
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        folder.chmod(0o700)
        with psycopg.connect(postgres_b_url, autocommit=True) as server:
            server.execute(f"CREATE TABLESPACE syncline_small LOCATION '{folder}'".encode())
            server.execute("CREATE DATABASE syncline_full")
        target = urlunsplit(urlsplit(postgres_b_url)._replace(path="/syncline_full"))
        try:
            execute(target, f"{TABLE} TABLESPACE syncline_small")
            with pytest.raises(NeedsOperator, match=r"No space left on device.*; free disk space"):
                sync(source, target)
            grow(disk, "64m")
            assert verdicts(sync(source, target)) == {"t": "equal"}
            assert value(target, "SELECT count(*) FROM t") == 8000
            assert compare(source, target) == []
        finally:
            with psycopg.connect(postgres_b_url, autocommit=True) as server:
                server.execute("DROP DATABASE syncline_full WITH (FORCE)")
                server.execute("DROP TABLESPACE syncline_small")
    place.rmdir()

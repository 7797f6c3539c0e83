"""The test servers themselves: made once, same port for ever, hard stops, locks that do not leak."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from services import Server, ServiceError, find, names

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that no other test knows."""
    monkeypatch.setenv("SYNCLINE_SERVICES", str(tmp_path))
    monkeypatch.delenv("SYNCLINE_POSTGRES_URL", raising=False)
    server = find("postgres")
    yield server
    server.remove()


def ask(url: str, question: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question).fetchone()
        return row and row[0]


def test_is_made_once_and_keeps_its_port_and_data_through_a_hard_stop(own_server: Server) -> None:
    own_server.start()
    url = own_server.url
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    held = psycopg.connect(url)
    own_server.kill()
    assert not own_server.running
    with pytest.raises(psycopg.OperationalError):
        held.execute("SELECT 1")
    held.close()
    own_server.start()
    own_server.start()
    assert own_server.url == url
    assert ask(url, "SELECT n FROM t") == 1
    own_server.stop()
    assert not own_server.running
    assert own_server.url == url


def test_remove_leaves_nothing(own_server: Server) -> None:
    own_server.start()
    data = Path(own_server.status().split()[3])
    assert data.is_dir()
    own_server.remove()
    assert not data.exists()
    assert own_server.status() == "not made"
    with pytest.raises(ServiceError, match="python -m services up postgres"):
        _ = own_server.url


def test_two_at_once_make_one_server_and_their_lock_does_not_outlive_them(own_server: Server) -> None:
    command = [sys.executable, "-m", "services", "up", "postgres"]
    both = [subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert said[0] == said[1]
    assert said[0].startswith("postgres postgresql://")
    pid = own_server.status().split()[-1]
    held = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    assert not [path for path in held if str(own_server.folder) in path and "lock" in path]
    own_server.stop()  # would wait for ever if the server held the lock


def test_a_session_ends_what_it_started_and_leaves_what_was_kept(own_server: Server) -> None:
    with own_server.in_use():
        assert own_server.running
    assert own_server.status() == "not made"
    own_server.start(keep=True)
    with own_server.in_use():
        pass
    assert own_server.running


def test_the_first_session_out_leaves_the_server_to_the_second(own_server: Server) -> None:
    with own_server.in_use():
        with own_server.in_use():
            pass
        assert own_server.running


def test_it_can_replicate_prepare_and_refuse_a_wrong_password(postgres_url: str) -> None:
    assert ask(postgres_url, "SHOW wal_level") == "logical"
    assert ask(postgres_url, "SHOW max_prepared_transactions") == "10"
    assert ask(postgres_url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is True
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres_url, password="wrong")


def test_a_url_in_the_environment_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCLINE_POSTGRES_B_URL", "postgresql://elsewhere/db")
    server = find("postgres-b")
    server.start()
    assert (server.url, server.running) == ("postgresql://elsewhere/db", True)
    with pytest.raises(ServiceError, match="not stopped from here"):
        server.kill()


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    assert {"postgres", "postgres-b"} <= set(names())
    with pytest.raises(ServiceError, match="postgres-b"):
        find("oracle")

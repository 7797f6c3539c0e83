"""MariaDB and MySQL as test servers: each a copy of a template, with the log that following needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from services import Server, debian, find
from tests.mysql_family import connect, run


@pytest.fixture(params=["mariadb", "mysql"])
def own_server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """A server that no other test knows."""
    request.getfixturevalue(f"{request.param}_server")  # skips where it cannot be got
    monkeypatch.setenv("SYNCLINE_SERVICES", str(tmp_path))
    monkeypatch.delenv(f"SYNCLINE_{request.param.upper()}_URL", raising=False)
    server = find(request.param)
    yield server
    server.remove()


def test_keeps_port_and_data_through_a_hard_stop_and_goes_without_a_trace(own_server: Server) -> None:
    own_server.start()
    url = own_server.url
    run(url, "CREATE TABLE t (n int PRIMARY KEY)", "INSERT INTO t VALUES (7)")
    held = connect(url)
    own_server.kill()
    assert not own_server.running
    with pytest.raises(pymysql.err.OperationalError):
        held.cursor().execute("SELECT 1")
    own_server.start()
    assert (own_server.url, run(url, "SELECT n FROM t")) == (url, [(7,)])
    own_server.stop()
    assert not own_server.running
    data = Path(own_server.status().split()[3])
    own_server.remove()
    assert not data.exists()


@pytest.mark.parametrize("name", ["mariadb", "mysql"])
def test_its_log_holds_whole_rows_with_full_metadata(name: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(f"{name}_server")
    asked = "@@log_bin, @@binlog_format, @@binlog_row_image, @@binlog_row_metadata"
    assert run(server.url, f"SELECT {asked}") == [(1, "ROW", "FULL", "FULL")]
    gtid = "@@gtid_mode" if name == "mysql" else "IF(@@gtid_current_pos = '', '', 'ON')"
    run(server.url, "CREATE TABLE IF NOT EXISTS seen (n int)", "DROP TABLE seen")
    assert run(server.url, f"SELECT {gtid}") == [("ON",)]
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        connect(server.url, password="wrong")


def test_what_was_unpacked_is_found_again_without_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(debian.Unavailable, match="cannot be downloaded: apt-get is missing"):
        debian.unpacked("mysql-server-core")
    (tmp_path / "syncline" / "mysql-server-core-0123456789abcdef").mkdir()
    assert debian.unpacked("mysql-server-core").name == "mysql-server-core-0123456789abcdef"

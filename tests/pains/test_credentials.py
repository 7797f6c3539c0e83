"""Passwords that are rotated while a stream is followed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.cli.command import start
from tests.runs import execute, wait_for

from .watch import count, equal, live

ROLE = "syncline_rotated"


@pytest.fixture
def role(pair: tuple[str, str]) -> Iterator[str]:
    for url in pair:
        execute(url, f"CREATE ROLE {ROLE} SUPERUSER LOGIN PASSWORD 'old-word'")
    yield ROLE
    for url in pair:
        execute(url, f"DROP OWNED BY {ROLE}", f"DROP ROLE {ROLE}")


def as_role(url: str, password: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{ROLE}:{password}@{parts.hostname}:{parts.port}"))


def test_a_new_password_is_found_where_the_old_one_stood(
    pair: tuple[str, str], role: str, tmp_path: Path
) -> None:
    source, target = pair
    secrets = tmp_path / "source", tmp_path / "target"
    for secret, url in zip(secrets, pair, strict=True):
        secret.write_text(as_role(url, "old-word"))
    with start("sync", f"file:{secrets[0]}", f"file:{secrets[1]}", "--follow") as follow:
        try:
            live(target)
            for url in pair:  # the server first: for a moment the file's password is a wrong one
                execute(url, f"ALTER ROLE {role} PASSWORD 'new-word'")
                with psycopg.connect(url, autocommit=True) as server:
                    query = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
                    server.execute(query.encode())
            execute(source, "INSERT INTO t VALUES (1000, 0, 'meanwhile')")
            time.sleep(1.5)
            for secret, url in zip(secrets, pair, strict=True):
                secret.write_text(as_role(url, "new-word"))
            wait_for(lambda: count(target, "id = 1000") == 1, "the row of meanwhile", 60)
        finally:
            follow.terminate()
            out, err = follow.communicate(timeout=30)
    assert follow.returncode == 143, (out, err)
    assert "password authentication failed" in err, "it was said"
    for word in ("old-word", "new-word"):
        assert word not in out + err
    equal(source, target)

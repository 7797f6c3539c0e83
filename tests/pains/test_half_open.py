"""Links that are dead without anybody having said so."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit, urlunsplit

import pytest

from syncline.connectors.postgres import replication
from syncline.connectors.postgres.connection import Address, Sessions
from tests.crash.proxy import Proxy, Way
from tests.runs import Following, Notices, execute, wait_for

from .watch import count, equal, live


def through(url: str) -> tuple[str, Proxy]:
    """The URL by way of a proxy."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    between = Proxy(parts.hostname, parts.port)
    netloc = f"{parts.username}:{parts.password}@127.0.0.1:{between.port}"
    return urlunsplit(parts._replace(netloc=netloc)), between


def test_a_source_that_is_connected_and_answers_no_more_is_connected_to_anew(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication, "ANSWER_SECONDS", 2.0)
    source, target = pair
    url, proxy = through(source)
    notices = Notices()
    with proxy, Following(url, target, observer=notices):
        live(target)
        execute(source, "INSERT INTO t VALUES (1000, 0, 'before')")
        wait_for(lambda: count(target, "id = 1000") == 1, "the row of before")
        # As a firewall does that has forgotten a connection.
        wait_for(lambda: proxy.strand(b"replication\0database") > 0, "the walsender's connection")
        execute(source, "INSERT INTO t VALUES (2000, 0, 'meanwhile')")
        wait_for(lambda: count(target, "id = 2000") == 1, "the row", 60)
    assert any("does not answer any more" in text for text in notices.texts)
    equal(source, target)


@pytest.mark.parametrize("way", Way, ids=str)
@pytest.mark.parametrize("end", [0, 1], ids=["source", "target"])
def test_a_link_that_is_cut_one_way_only(pair: tuple[str, str], end: int, way: Way) -> None:
    urls = list(pair)
    urls[end], proxy = through(pair[end])
    with proxy, Following(*urls):
        live(pair[1])
        for number in range(1000, 1004):
            proxy.hold(way)
            execute(
                pair[0], f"INSERT INTO t VALUES ({number}, 0, 'held')", "UPDATE t SET n = n + 1 WHERE id = 1"
            )
            # What was held arrives late, or its connection is lost and it arrives again by another one.
            proxy.restore(reset=number % 2 == 0)
            wait_for(lambda number=number: count(pair[1], f"id = {number}") == 1, "the row", 60)  # type: ignore[misc]
        wait_for(lambda: count(pair[1], "id = 1 AND n = 5") == 1, "each update once", 60)
    equal(*pair)


def test_what_was_sent_and_never_acknowledged_ends_the_connection_within_a_minute(
    pair: tuple[str, str],
) -> None:
    """Else a server whose machine is gone would be waited for as long as TCP tries: a quarter of an hour."""
    sessions = Sessions(Address(pair[1]))
    with sessions.mapped("look at", "the target") as connection:
        link = socket.socket(fileno=os.dup(connection.pgconn.socket))
        limit = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        link.close()
    sessions.close()
    assert limit == 60_000

"""The link does what it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.crash.proxy import Proxy, Way


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(1000):
                connection.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_passes_data_and_ends_both_ways(echo: int) -> None:
    with Proxy("127.0.0.1", echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
        client.sendall(b"x" * 500)
        assert sum(len(client.recv(1000)) for _ in range(1)) > 0
        client.shutdown(socket.SHUT_WR)
        while client.recv(1000):
            pass


def test_a_cut_resets_what_is_open_and_what_comes_until_it_is_restored(echo: int) -> None:
    with Proxy("127.0.0.1", echo) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
            client.sendall(b"one")
            assert client.recv(10) == b"one"
            proxy.cut()
            assert _is_dead(client)
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
            assert _is_dead(client)
        proxy.restore()
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
            client.sendall(b"two")
            assert client.recv(10) == b"two"


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("reset", [False, True])
def test_what_is_held_arrives_late_or_never(echo: int, way: Way, reset: bool) -> None:
    with Proxy("127.0.0.1", echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
        proxy.hold(way)
        client.sendall(b"late")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(10)
        client.settimeout(5)
        proxy.restore(reset=reset)
        if reset:
            assert _is_dead(client)
        else:
            assert client.recv(10) == b"late"


def _is_dead(client: socket.socket) -> bool:
    try:
        client.sendall(b"?")
        return client.recv(10) == b""
    except ConnectionError:
        return True

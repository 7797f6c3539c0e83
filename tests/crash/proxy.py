"""A link between the syncing process and a server that can be cut, held and slowed down."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from enum import Enum
from typing import Self

POLL_SECONDS = 0.05
SAID_BYTES = 4096  # the beginning of what a client said, which has what it wants to be


class Way(Enum):
    """One direction of a link."""

    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


class Proxy:
    """Listens on a loopback `port` and passes every connection on to a server, until told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._held: set[Way] = set()
        self._is_cut = False
        self._delay = 0.0
        self._links: set[_Link] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset every connection, and every new one."""
        self._is_cut = True
        self._reset()

    def hold(self, way: Way) -> None:
        """Deliver nothing more in this direction; nobody is told."""
        self._held.add(way)

    def strand(self, saying: bytes) -> int:
        """Deliver nothing more of those connections whose client has said that, and tell nobody; what
        connects later is passed on. How many there are."""
        with self._lock:
            stranded = [link for link in self._links if saying in link.said]
        for link in stranded:
            link.stranded = True
        return len(stranded)

    def delay(self, seconds: float) -> None:
        """Let each piece of data wait so long before it is passed on; 0 ends that."""
        self._delay = seconds

    def restore(self, *, reset: bool = False) -> None:
        """Deliver again, what was held first; with `reset` what was held is lost with its connections."""
        if reset:
            self._reset()
        self._is_cut = False
        self._held.clear()

    def close(self) -> None:
        """End everything."""
        self._is_cut = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reset(self) -> None:
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                _reset(client)
                continue
            try:
                server = socket.create_connection(self._server, timeout=5)
            except OSError:
                _reset(client)
                continue
            link = _Link(self, client, server)
            with self._lock:
                self._links.add(link)
            link.start()
            if self._is_cut:  # cut meanwhile
                link.close()

    # What a link asks of its proxy.

    def held(self, way: Way) -> bool:
        """Whether nothing is delivered in this direction."""
        return way in self._held

    @property
    def delay_seconds(self) -> float:
        """How long each piece of data waits."""
        return self._delay

    def forget(self, link: _Link) -> None:
        """A link is over."""
        with self._lock:
            self._links.discard(link)


class _Link:
    """One connection, with a thread a direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self.stranded, self.said = False, b""
        self._closed = threading.Event()
        self._pumps = 2
        self._lock = threading.Lock()

    def start(self) -> None:
        for way, source, sink in (
            (Way.TO_SERVER, self._client, self._server),
            (Way.TO_CLIENT, self._server, self._client),
        ):
            source.settimeout(None)
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pump, args=(way, source, sink), daemon=True).start()

    def close(self) -> None:
        """Reset both ends."""
        self._closed.set()
        for end in (self._client, self._server):
            _reset(end)
        self._proxy.forget(self)

    def _pump(self, way: Way, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                if way is Way.TO_SERVER and len(self.said) < SAID_BYTES:
                    self.said += data
                if self._proxy.delay_seconds:
                    self._closed.wait(self._proxy.delay_seconds)
                while self._holds(way) and not self._closed.is_set():
                    self._closed.wait(POLL_SECONDS)
                if self._closed.is_set():
                    return  # reset: what was held never arrives
                sink.sendall(data)
            # In order for what one side said last to arrive, the end is passed on and not made a reset.
            while self._holds(way) and not self._closed.is_set():
                self._closed.wait(POLL_SECONDS)
            sink.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            self._finish()

    def _holds(self, way: Way) -> bool:
        return self.stranded or self._proxy.held(way)

    def _finish(self) -> None:
        """Wake the other pump; the last one out closes both ends."""
        self._closed.set()
        self._proxy.forget(self)
        with self._lock:
            self._pumps -= 1
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            if not self._pumps:
                end.close()


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        end.close()

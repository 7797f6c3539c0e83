"""The stream of a server's binlog: its protocol over the socket of a session that is logged in.

Protocol: MySQL Internals Manual, "Replication Protocol", COM_REGISTER_SLAVE, COM_BINLOG_DUMP and
COM_BINLOG_DUMP_GTID; MariaDB Knowledge Base, "Replica Registration".
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ...errors import Corruption, NeedsOperator, SynclineError, Transient
from .connection import Address, ask, errors, log_in, meaning
from .gtid import GtidSet, MariaDBSet, MySQLSet

HEARTBEAT_SECONDS: Final = 5
"""How often a server that has nothing to tell says that it is there."""

SILENCE_SECONDS: Final = 60
"""A server that says nothing for so long is gone."""

_BUFFER: Final = 1 << 20
_WHOLE: Final = 0xFF_FFFF
"""A packet of so many bytes goes on in the next."""

_REGISTER, _DUMP, _DUMP_GTID = 0x15, 0x12, 0x1E
_BY_GTID: Final = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where to begin: after the transactions of a set, or at an offset of a file."""

    known: GtidSet | None = None
    file: str = ""
    offset: int = 4


class Packets:
    """A byte stream as the payloads of its packets; no IO. A payload of 16 MB or more comes in several
    packets and goes out in one."""

    def __init__(self, sequence: int) -> None:
        self._sequence = sequence
        self._data = bytearray()
        self._whole = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Take bytes in; the payloads that are complete with them. Corruption when a packet is missing."""
        self._data += data
        at = 0
        try:
            while len(self._data) - at >= 4:
                head = int.from_bytes(self._data[at : at + 4], "little")
                end = at + 4 + (head & _WHOLE)
                if end > len(self._data):
                    return
                if head >> 24 != self._sequence & 0xFF:
                    raise Corruption("read", "the binlog", f"packet {head >> 24} came in a wrong place")
                self._sequence += 1
                payload = bytes(self._data[at + 4 : end])
                at = end
                if self._whole or len(payload) == _WHOLE:
                    self._whole += payload
                    if len(payload) == _WHOLE:
                        continue
                    payload, self._whole = bytes(self._whole), bytearray()
                yield payload
        finally:
            del self._data[:at]


class Dump:
    """A session in which the server sends its binlog.

    Transient for a lost connection and after `interrupt`, NeedsOperator when the log does not hold what was
    asked for. `server` is the number that this reader has among the replicas; the server ends an older reader
    of the same number.
    """

    def __init__(self, address: Address, server: int) -> None:
        self._server = server
        self._session = log_in(address)
        self._socket: socket.socket = self._session._sock
        self._buffer = memoryview(bytearray(_BUFFER))
        self._packets = Packets(1)
        self._heard = time.monotonic()
        self._interrupted = False
        self.version = str(ask(self._session, "SELECT VERSION()")[0][0])

    @property
    def is_mariadb(self) -> bool:
        """Which of the two systems it is."""
        return "mariadb" in self.version.lower()

    def start(self, place: Place) -> None:
        """Ask for everything after a place."""
        period = HEARTBEAT_SECONDS * 1_000_000_000
        ask(self._session, f"SET @master_heartbeat_period = {period}, @source_heartbeat_period = {period}")
        own = str(uuid.uuid5(uuid.NAMESPACE_OID, f"syncline {self._server}"))
        ask(self._session, "SET @slave_uuid = %s, @replica_uuid = %s", own, own)
        checksum = "@@global.binlog_checksum"
        ask(self._session, f"SET @master_binlog_checksum = {checksum}, @source_binlog_checksum = {checksum}")
        if self.is_mariadb:
            ask(self._session, "SET @mariadb_slave_capability = 4")
            if isinstance(place.known, MariaDBSet):
                known = str(place.known)
                ask(self._session, "SET @slave_connect_state = %s, @slave_gtid_strict_mode = 1", known)
        with errors("follow", "the binlog"):
            register = struct.pack("<IBBBHII", self._server, 0, 0, 0, 0, 0, 0)
            self._session._execute_command(_REGISTER, register)
            self._session._read_ok_packet()
            self._session._execute_command(*self._command(place))
        self._heard = time.monotonic()

    def _command(self, place: Place) -> tuple[int, bytes]:
        file = place.file.encode()
        if isinstance(place.known, MySQLSet):
            known = place.known.encode()
            head = struct.pack("<HII", _BY_GTID, self._server, len(file))
            return _DUMP_GTID, head + file + struct.pack("<QI", 4, len(known)) + known
        if place.offset > 0xFFFF_FFFF:
            raise NeedsOperator(
                *("follow", "the binlog", f"{place.file} is longer than 4 GiB where it is to be read"),
                "turn GTIDs on",
            )
        return _DUMP, struct.pack("<IHI", place.offset, 0, self._server) + file

    def take(self, max_wait: float) -> list[bytes]:
        """The events that have arrived, after `max_wait` seconds at the most; [] when none have."""
        deadline = time.monotonic() + max_wait
        while True:
            self._alive()
            found = []
            try:
                self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
                size = self._socket.recv_into(self._buffer)
            except TimeoutError:
                size = -1
            except (OSError, ValueError) as error:
                self._alive()
                raise Transient("follow", "the binlog", str(error)) from None
            if size == 0:
                self._alive()
                raise Transient("follow", "the binlog", "the server ended the connection")
            if size > 0:
                self._heard = time.monotonic()
                found = [self._event(payload) for payload in self._packets.feed(self._buffer[:size])]
            elif time.monotonic() - self._heard > SILENCE_SECONDS:
                raise Transient("follow", "the binlog", f"the server is silent for {SILENCE_SECONDS} seconds")
            if found or time.monotonic() >= deadline:
                return found

    def _event(self, payload: bytes) -> bytes:
        if payload[:1] == b"\0":
            return payload[1:]
        if payload[:1] == b"\xff":
            code = int.from_bytes(payload[1:3], "little")
            text = payload[9:] if payload[3:4] == b"#" else payload[3:]
            raise _refusal(code, text.decode(errors="replace"))
        if payload[:1] == b"\xfe" and len(payload) < 9:
            raise Transient("follow", "the binlog", "the server ended the stream")
        raise Corruption("read", "the binlog", f"a packet begins with {payload[:1].hex() or 'nothing'}")

    def _alive(self) -> None:
        if self._interrupted:
            raise Transient("follow", "the binlog", "it was interrupted")

    def interrupt(self) -> None:
        """From another thread: end what waits here, and all that is called later, with Transient."""
        self._interrupted = True
        # That of TLS would take the state away under the reader.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """End the session; may be called twice. The server ends its side when it next has something to
        say."""
        self._session._force_close()


class LogLost(NeedsOperator):
    """The server's log does not hold what comes after that place: it is a Gap (Promise 7)."""


_LOST: Final = (
    "purged",
    "could not find first log file",
    "could not find gtid state",
    "is not in the master's binlog",
    "is not in the binlog",
    "has more gtids",
    "more gtids than",
    "position > file size",
    "impossible position",
    "bogus data",
)


def _refusal(code: int, message: str) -> SynclineError:
    """Error 1236 is a lost log, a wrong place and more: its text tells."""
    if code == 1236 and any(lost in message.lower() for lost in _LOST):
        return LogLost("follow", "the binlog", message, "copy the tables anew")
    return meaning("follow", "the binlog", code, message)
